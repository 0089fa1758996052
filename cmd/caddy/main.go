// Command caddy is Caddy with its standard modules and mcp_auth_bridge, for
// those who build from a clone instead of with xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge"
)

func main() {
	caddycmd.Main()
}
