// Package upstream speaks to MCP servers in messages. A [Peer] is one server: over Streamable
// HTTP ([StartHTTP]), over HTTP+SSE ([StartSSE]), or a process, which package upstreams
// starts. What a server sends goes to a [Receiver]. A [Refusal] is an answer of the server
// that is no success; it has the challenge as the client gets it.
package upstream
