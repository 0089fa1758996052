package edge_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// E5: a list that comes late is filtered, whether it comes on its own stream or, after the
// connection broke, on one that resumes that. Another principal cannot resume it.
func TestLateListIsFiltered(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	command, answer := mcptest.Gated(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, "/mcp", "stdio "+command, authorize(issuer, attackRules, "lists hide")))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	token := "Bearer " + issuer.Token(url, nil)
	begun := post(t, url, initialize, "Authorization", token)
	session := begun.Header.Get("Mcp-Session-Id")
	if session == "" {
		t.Fatalf("initialize: %d %s", begun.Status, begun.Body)
	}
	const all = `{"tools":[{"name":"open","inputSchema":{"type":"object"}},{"name":"delete_all","inputSchema":{"type":"object"}}]}`
	for _, cut := range []bool{false, true} {
		r := mcptest.NewRequest(t, http.MethodPost, url, rpc("tools/list", "{}"), "Authorization", token, "Mcp-Session-Id", session, "Mcp-Protocol-Version", "2025-11-25")
		client := mcptest.NewClient(t)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		if lines.Scan(); !strings.HasPrefix(lines.Text(), "id: ") {
			t.Fatalf("got %d %v %q", res.StatusCode, res.Header, lines.Text())
		}
		if cut {
			last := strings.TrimPrefix(lines.Text(), "id: ")
			_ = res.Body.Close()
			other := "Bearer " + issuer.Token(url, map[string]any{"sub": "other"})
			if got := mcptest.Do(t, client, mcptest.NewRequest(t, http.MethodGet, url, "", "Authorization", other, "Mcp-Session-Id", session, "Last-Event-Id", last)); got.Status != http.StatusNotFound {
				t.Errorf("another principal gets %d %s", got.Status, got.Body)
			}
			if res, err = client.Do(mcptest.NewRequest(t, http.MethodGet, url, "", "Authorization", token, "Mcp-Session-Id", session, "Last-Event-Id", last)); err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			lines = bufio.NewScanner(res.Body)
		}
		go answer(all)
		var got strings.Builder
		for lines.Scan() {
			got.WriteString(lines.Text() + "\n")
		}
		if text := got.String(); !strings.Contains(text, `"open"`) || strings.Contains(text, "delete_all") {
			t.Errorf("cut %v: got %q", cut, text)
		}
	}
}
