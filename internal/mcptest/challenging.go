package mcptest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// NewChallenging starts an upstream that answers every request to its endpoint with
// a status and challenges, and has a metadata document.
func NewChallenging(t *testing.T, status int, lines ...string) *httptest.Server {
	t.Helper()
	var up *httptest.Server
	up = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
				t.Errorf("credentials of a client were sent to %s", r.URL.Path)
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"resource":%q}`, up.URL+"/mcp")
			return
		}
		for _, line := range lines {
			w.Header().Add("WWW-Authenticate", strings.ReplaceAll(line, "UP", up.URL))
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte("body"))
	}))
	up.Start()
	t.Cleanup(up.Close)
	return up
}
