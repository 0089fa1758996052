package mcptest

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// MixedKinds are the requests of the mixed load, in turn; each is at the upstream as its
// name says.
var MixedKinds = []string{"ok", "expired", "scope", "bare", "preflight", "refused", "ok", "stream", "missing", "relayed", "ok", "broken"}

// ServeMixed is the upstream of the mixed load.
func ServeMixed(w http.ResponseWriter, r *http.Request) {
	challenge := func(status int, line string) {
		w.Header().Set("WWW-Authenticate", line)
		w.WriteHeader(status)
	}
	private := `resource_metadata="http://localhost:1/.well-known/oauth-protected-resource/mcp"`
	switch r.Header.Get("X-Kind") {
	case "expired":
		challenge(http.StatusUnauthorized, `Bearer error="invalid_token", `+private)
	case "scope":
		challenge(http.StatusForbidden, `Bearer error="insufficient_scope", scope="a", `+private)
	case "bare":
		w.WriteHeader(http.StatusUnauthorized)
	case "relayed":
		challenge(http.StatusUnauthorized, `Bearer error="invalid_token", resource_metadata="https://elsewhere.example.com/.well-known/oauth-protected-resource"`)
	case "broken":
		challenge(http.StatusUnauthorized, `=`)
	case "missing":
		w.WriteHeader(http.StatusNotFound)
	case "stream":
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {}\n\n")
	default:
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}
}

// MixedRequest returns a request of one kind.
func MixedRequest(t *testing.T, base, kind string) *http.Request {
	r := NewRequest(t, http.MethodPost, base+"/mcp", Initialize, "X-Kind", kind)
	switch kind {
	case "preflight":
		r = NewRequest(t, http.MethodOptions, base+"/mcp", "", "Origin", base, "Access-Control-Request-Method", "POST")
	case "refused":
		r.Header.Set("Origin", "https://evil.example.com")
	}
	return r
}
