package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

// caddy is a Caddy process whose configuration changes.
type caddy struct {
	*benchkit.Caddy
	config atomic.Int64 // number of the last one
}

func startCaddy(ctx context.Context, binary, dir string) (*caddy, error) {
	process, err := benchkit.NewCaddy(dir)
	if err != nil {
		return nil, err
	}
	c := &caddy{Caddy: process}
	return c, c.Start(ctx, binary, c.caddyfile(0))
}

// Endpoints: the second is in every other configuration only.
const kept, dropped = "/kept", "/dropped"

// caddyfile is configuration n.
func (c *caddy) caddyfile(n int64) string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	endpoints := []string{kept}
	if n%2 == 1 {
		endpoints = append(endpoints, dropped)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "{\n\tadmin unix/%s\n\tpersist_config off\n\tauto_https off\n\tlog {\n\t\tlevel ERROR\n\t}\n}\nhttp://%s {\n\tbind 127.0.0.1\n\theader X-Config %d\n", c.Socket, c.Site, n)
	for _, path := range endpoints {
		fmt.Fprintf(&b, "\tmcp_auth_bridge %s {\n\t\tstdio %q {\n\t\t\tenv %s=1\n\t\t}\n\t\tsessions {\n\t\t\tmax 500\n\t\t\tidle_timeout %s\n\t\t}\n\t}\n", path, self, benchkit.ProgramMode, idle)
	}
	b.WriteString("}\n")
	return b.String()
}

// reload loads the next configuration, or the one after that.
func (c *caddy) reload(ctx context.Context, steps int64) error {
	return c.Load(ctx, c.caddyfile(c.config.Add(steps)))
}
