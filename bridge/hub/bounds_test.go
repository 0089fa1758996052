package hub

import "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"

// freeStarts is how many servers may end soon before the next start waits.
const freeStarts = servers.BackoffAfter
