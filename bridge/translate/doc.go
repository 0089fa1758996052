// Package translate stands between clients and servers of different revisions of MCP. A
// [Translator] lets a client with a handshake (2024-11-05 to 2025-11-25) use a stateless
// server (2026-07-28). The other types are what is known of servers and clients of both.
package translate
