package doctor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net"
	"strings"
)

// proofURL returns the URL in a proof of possession.
func proofURL(proof string) string {
	parts := strings.Split(proof, ".")
	if len(parts) != 3 {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ HTU string }
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		return ""
	}
	return claims.HTU
}

// noSuchName fails like a dial to an unknown host name, without asking a name server.
func noSuchName(_ context.Context, network, addr string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(addr)
	return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}
}

func newSiteLog() *log.Logger { return log.New(io.Discard, "", 0) }
