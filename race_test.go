//go:build race

package mcpauthbridge_test

// Caddy's TLS app writes to itself while it starts, and a handshake over QUIC
// reads that; nothing in between orders the two for the race detector. HTTP/3
// is tested without it.
func init() { delete(fronts, "http3") }
