//go:build mcp_auth_bridge_unobserved

package mcpauthbridge

// observed is false in a build that is there to be measured against: what observation
// costs is the difference.
const observed = false
