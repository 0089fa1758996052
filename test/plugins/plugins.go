// Command plugins is Caddy with mcp_auth_bridge and the plugins that users run beside it. It
// is a module of its own: what these plugins need does not become part of mcp_auth_bridge. Its
// tests run a login, an event stream and a program through each of them.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	// The plugins.
	_ "github.com/caddyserver/cache-handler"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/greenpau/caddy-security"
	_ "github.com/lucaslorentz/caddy-docker-proxy/v2/generator" // without its command, which asks a Docker daemon
	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge"
	_ "github.com/mholt/caddy-l4"
	_ "github.com/mholt/caddy-ratelimit"
)

func main() { caddycmd.Main() }
