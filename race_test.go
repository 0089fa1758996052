//go:build race

package mcpauthbridge_test

// raced says that the race detector watches. It finds two races of Caddy's own
// that no request path of the bridge is part of; what runs into them is tested
// without it:
//
//   - Caddy's TLS app writes to itself while it starts, and a handshake over
//     QUIC reads that.
//   - reverse_proxy's wrapper of a request body is read and closed at one time
//     where an upstream of HTTP/2 answers before the end of the body.
const raced = true

func init() { delete(fronts, "http3") }
