// Package cors decides which pages may use an MCP endpoint: which origins may call
// it (decide.go), how preflights are answered (preflight.go), and which headers
// pages may send and read (headernames.go). See the Fetch standard, section "CORS
// protocol".
//
// A [Policy] is compiled once from a [Config], where every mistake is an error,
// and is then safe for concurrent use. What depends on the connection (the
// public origin, loopback, trusted proxies) is computed by the caller and
// passed in a [Request].
//
// Access-Control-Allow-Credentials is never sent: MCP clients authorize with
// the Authorization field, which is no credential in the sense of CORS. That is
// why "*" can be allowed at all.
//
// Metadata is public: [OpenHeaders] and [OpenPreflight] serve it to every
// origin.
package cors
