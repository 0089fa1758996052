// Package mcptest has the other side of a test: scripted MCP servers and clients. It imports
// nothing of Caddy.
//
// Servers:
//   - [Answers] answers as the query of a request asks it to, and [NewChallenging] refuses
//     every request.
//   - [Gate] is an MCP server over Streamable HTTP and HTTP+SSE. The test decides which
//     requests it refuses, and sees all that arrive.
//   - [ServeChild] is a program on standard input and output. [Main] makes a test binary
//     this program, or one of the test's own.
//
// Clients:
//   - [NewRequest] and [Do] make one request.
//   - [Session] is a session over Streamable HTTP.
//   - [Caller] is a client of any transport in front of a Gate.
//   - [LiteralClient] sends paths as they are written.
//
// A conversation has everything that either side of MCP may send. Its transcript must be
// the same however client and server are connected. [Converse] and [NewServer] have it with
// the Go SDK; [RawClient] and [RawServer], [LoneClient] and [LoneServer] have it without an
// SDK, with what none can send. [Tap] records a conversation.
package mcptest
