//go:build !mcp_auth_bridge_unobserved

package mcpauthbridge

// observed says that what happens is counted, remembered and told.
const observed = true
