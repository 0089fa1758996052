//go:build race

package mcptest

// Raced is true in a build with the race detector. It finds two races of Caddy's own
// that no request path of the bridge is part of; what runs into them is tested
// without it:
//
//   - Caddy's TLS app writes to itself while it starts, and a handshake over
//     QUIC reads that.
//   - reverse_proxy's wrapper of a request body is read and closed at one time
//     where an upstream of HTTP/2 answers before the end of the body.
const Raced = true

func init() { delete(Fronts, "http3") }
