// Package issuers has tests of `authorize` with authorization servers of others. It is a module
// of its own: what these need does not become part of mcp_auth_bridge.
package issuers
