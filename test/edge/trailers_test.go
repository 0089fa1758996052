package edge_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// E6: a field that says who asks, or that carries a credential, does not reach the server as a
// trailer either, which some servers add to the header.
func TestIdentityIsNotInTrailers(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	for name, front := range map[string]string{"HTTP/1.1": "%s", "HTTP/2": "%s {\n\t\ttransport http {\n\t\t\tversions h2c\n\t\t}"} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var got []string
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprint(r.Method, " ", r.Trailer))
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
			}))
			server.Config.Protocols = new(http.Protocols)
			server.Config.Protocols.SetHTTP1(true)
			server.Config.Protocols.SetUnencryptedHTTP2(true)
			server.Start()
			t.Cleanup(server.Close)
			port := testcaddy.FreePort(t)
			config := site(port, fmt.Sprintf(front, server.URL), authorize(issuer, "identity X-User id"))
			if name == "HTTP/2" {
				config = strings.Replace(config, "h2c\n\t\t} {", "h2c\n\t\t}", 1)
			}
			testcaddy.Run(t, config)
			url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
			for _, method := range []string{http.MethodPost, http.MethodDelete} {
				r := mcptest.NewRequest(t, method, url, "", "Authorization", "Bearer "+issuer.Token(url, nil))
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(rpc("ping", `{}`))), -1
				r.Trailer = http.Header{"X-User": {"root"}, "Authorization": {"Bearer x"}, "Dpop": {"x"}}
				if a := mcptest.Do(t, mcptest.NewClient(t), r); a.Status != http.StatusOK {
					t.Errorf("%s: got %d %s", method, a.Status, a.Body)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if want := "[POST map[] DELETE map[]]"; fmt.Sprint(got) != want {
				t.Errorf("the server got %s, want %s", got, want)
			}
		})
	}
}
