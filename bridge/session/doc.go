// Package session serves clients that have a session with a server of their own: over
// Streamable HTTP (MCP specification 2025-03-26 to 2025-11-25) and over HTTP+SSE
// (2024-11-05).
//
// [Table] finds the session of a request. A session takes the messages of its client to its
// server, and keeps the messages of the server in streams until the client has read them.
package session
