package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit/traffic"
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
	traffic.Reloads
}

// load returns a load for the site.
func (c *caddy) load(up *traffic.Upstream, t *benchkit.Tally) *traffic.Load {
	return traffic.New(c.Site, &c.Reloads, up, t, c.plain)
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
	endpoints := []string{traffic.First}
	if n%2 == 1 {
		endpoints = append(endpoints, traffic.Second)
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
			directive, matchers = "reverse_proxy", []string{path, traffic.WellKnown + path}
		}
		for _, matcher := range matchers {
			fmt.Fprintf(&b, "\t\t%s %s http://%s {\n\t\t\ttransport http {\n\t\t\t\tkeepalive %s\n\t\t\t}\n\t\t}\n", directive, matcher, c.upstream, keepalive)
		}
	}
	b.WriteString("\t\trespond \"" + traffic.NoEndpoint + "\" 404\n\t}\n}\n")
	return b.String()
}

// reload loads the next configuration.
func (c *caddy) reload(ctx context.Context) error {
	return c.Do(ctx, func(ctx context.Context, n int64) error { return c.Load(ctx, c.caddyfile(n)) })
}
