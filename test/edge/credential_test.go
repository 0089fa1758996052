package edge_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// E6, A6, E8: a server with a login of its own gets the credential of the operator and nothing
// of the client's, over each transport. If it refuses that credential, the client gets 502 and
// no challenge, because a new login would not help. No log line has the credential.
func TestCredentialOfTheOperator(t *testing.T) {
	const secret = "sesame-of-the-operator"
	t.Setenv("MCP_AUTH_BRIDGE_TEST_CREDENTIAL", secret)
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	newServer := func(*http.Request) *mcp.Server { return newFiles() }
	for name, tc := range map[string]struct {
		server http.Handler
		front  string
	}{
		"Streamable HTTP": {mcp.NewStreamableHTTPHandler(newServer, nil), "%s/mcp"},
		"HTTP+SSE":        {mcp.NewSSEHandler(newServer, nil), "sse+%s/sse"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+secret {
					w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", resource_metadata="http://127.0.0.1:1/x"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				tc.server.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			t.Cleanup(server.CloseClientConnections)
			port := testcaddy.FreePort(t)
			url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
			token := issuer.Token(url, nil)
			front := "/mcp " + fmt.Sprintf(tc.front, server.URL)
			testcaddy.Run(t, site(port, front, authorize(issuer), "legacy_sse", `header_up Authorization "Bearer {env.MCP_AUTH_BRIDGE_TEST_CREDENTIAL}"`))
			if _, err := connect(t, url, token).ListTools(t.Context(), nil); err != nil {
				t.Errorf("Streamable HTTP: %v", err)
			}
			tr := &http.Transport{}
			t.Cleanup(tr.CloseIdleConnections)
			old, err := mcp.NewClient(&mcp.Implementation{Name: "old", Version: "1"}, nil).
				Connect(context.WithoutCancel(t.Context()), &mcp.SSEClientTransport{Endpoint: url + "/sse", HTTPClient: &http.Client{Transport: withToken{tr, token}}}, nil)
			if err != nil {
				t.Fatalf("HTTP+SSE: %v", err)
			}
			if _, err := old.ListTools(t.Context(), nil); err != nil {
				t.Errorf("HTTP+SSE: %v", err)
			}
			_ = old.Close()
			for _, line := range testcaddy.Logs() {
				if strings.Contains(line, secret) {
					t.Errorf("the log has the credential: %s", line)
				}
			}
			testcaddy.Run(t, site(port, front, authorize(issuer), `header_up Authorization "Bearer wrong"`))
			token = issuer.Token(url, nil)
			if got := post(t, url, initialize, "Authorization", "Bearer "+token); got.Status != http.StatusBadGateway || len(got.Header["Www-Authenticate"]) > 0 {
				t.Errorf("a credential that is refused: got %d %v %s", got.Status, got.Header, got.Body)
			}
		})
	}
}

// A6: where the edge answers in place of a handler that follows, the answer has none of that
// handler's fields, and keeps those that the site had set before.
func TestAnswerInPlaceOfAHandler(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	route {
		header X-Before 1
		mcp_auth_bridge /mcp {
			%s
		}
		header X-Later 1
		header Set-Cookie a=b
		respond refused 401
	}
}`, port, authorize(issuer)))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	got := post(t, url, rpc("ping", `{}`), "Authorization", "Bearer "+issuer.Token(url, nil))
	if got.Status != http.StatusBadGateway || got.Header.Get("X-Before") != "1" || got.Header.Get("X-Later")+got.Header.Get("Set-Cookie")+got.Body != "" {
		t.Errorf("got %d %v %s", got.Status, got.Header, got.Body)
	}
}
