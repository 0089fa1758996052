// Package shared serves stateless clients (MCP specification 2026-07-28), several of which
// share one server.
//
// [Servers] finds the server for a request, or starts it. All clients share a server that is
// stateless itself. For a server with a handshake the bridge does the handshake, and only
// the requests of one owner with the same capabilities share it.
package shared
