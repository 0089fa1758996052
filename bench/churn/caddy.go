package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

const (
	grace     = 5 * time.Second // the site's grace_period
	keepalive = 5 * time.Second // of idle connections to the upstream
)

// caddy is a Caddy process whose configuration changes.
type caddy struct {
	*benchkit.Caddy
	plain    bool
	upstream string // address
	// Reloads, when each ended, and how long it took.
	begun, done atomic.Int64
	mu          sync.Mutex
	ends        []time.Time
	times       []time.Duration
}

// settled returns how many reloads are over for certain: when Caddy says that
// one is done, it may still be closing the listener of before.
func (c *caddy) settled() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.ends)
	for n > 0 && time.Since(c.ends[n-1]) < time.Second {
		n--
	}
	return int64(n)
}

func startCaddy(ctx context.Context, binary, dir, upstream string, plain bool) (*caddy, error) {
	process, err := benchkit.NewCaddy(dir)
	if err != nil {
		return nil, err
	}
	c := &caddy{Caddy: process, plain: plain, upstream: upstream}
	return c, c.Start(ctx, binary, c.caddyfile(0))
}

// caddyfile is configuration n. The odd ones have the second endpoint.
func (c *caddy) caddyfile(n int64) string {
	endpoints := []string{first}
	if n%2 == 1 {
		endpoints = append(endpoints, second)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{
	admin unix/%s
	persist_config off
	auto_https off
	grace_period %s
	log {
		level ERROR
	}
}
http://%s {
	bind 127.0.0.1
	route {
		header X-Config %d
`, c.Socket, grace, c.Site, n)
	for _, path := range endpoints {
		directive, matchers := "mcp_auth_bridge", []string{path}
		if c.plain {
			directive, matchers = "reverse_proxy", []string{path, wellKnown + path}
		}
		for _, matcher := range matchers {
			fmt.Fprintf(&b, "\t\t%s %s http://%s {\n\t\t\ttransport http {\n\t\t\t\tkeepalive %s\n\t\t\t}\n\t\t}\n", directive, matcher, c.upstream, keepalive)
		}
	}
	b.WriteString("\t\trespond \"" + noEndpoint + "\" 404\n\t}\n}\n")
	return b.String()
}

// noEndpoint is the body of the site's own 404.
const noEndpoint = "no such endpoint"

// reload loads the next configuration.
func (c *caddy) reload(ctx context.Context) error {
	n := c.begun.Add(1)
	started := time.Now()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ends, c.times = append(c.ends, time.Now()), append(c.times, time.Since(started))
		c.done.Store(n)
	}()
	return c.Load(ctx, c.caddyfile(n))
}
