package edge_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// E7: the server's own session id reaches no client, also in an informational answer, and in the
// second of two lines.
func TestEachSessionIDIsSealed(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	const id = "the-servers-own-id"
	var named []string // sessions that the server was asked for
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		named = append(named, r.Header["Mcp-Session-Id"]...)
		w.Header().Set("Mcp-Session-Id", id+"-early")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header()["Mcp-Session-Id"] = []string{id, id + "-2"}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}`))
	}))
	t.Cleanup(server.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, server.URL, authorize(issuer)))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	for _, body := range []string{rpc("ping", `{}`), rpc("tools/list", `{}`), `{"jsonrpc":"2.0","method":"notifications/initialized"}`} {
		r := mcptest.NewRequest(t, http.MethodPost, url, body, "Authorization", "Bearer "+issuer.Token(url, nil))
		early := 0
		var got []string
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			early++
			got = append(got, h["Mcp-Session-Id"]...)
			return nil
		}}))
		a := mcptest.Do(t, mcptest.NewClient(t), r)
		got = append(got, a.Header["Mcp-Session-Id"]...)
		if early != 1 || len(got) == 0 {
			t.Fatalf("got %d informational answers and the ids %q", early, got)
		}
		if strings.Contains(strings.Join(got, " "), id) {
			t.Errorf("%s: the client got the ids %q", body, got)
		}
		for i, sealed := range got { // each is sealed once
			if post(t, url, body, "Authorization", "Bearer "+issuer.Token(url, nil), "Mcp-Session-Id", sealed); len(named) != i+1 || !strings.HasPrefix(named[i], id) {
				t.Errorf("%s: the id %q leads to the sessions %q", body, sealed, named)
			}
		}
		named = nil
	}
}
