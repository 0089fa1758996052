package edge_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// E5: a list is filtered also in the answer to a request that asks for none. A server that is sent
// an id a second time, while it makes a list for the first, sends the list on the stream of the
// second request. Answers without a list stay as they are.
func TestListInTheAnswerToAnotherRequest(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	var kind, body string
	var accepted []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		accepted = r.Header["Accept-Encoding"]
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Etag", `"e"`)
		if kind != "text/event-stream" {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, server.URL, authorize(issuer, attackRules, "lists hide")))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	token := "Bearer " + issuer.Token(url, nil)
	const tools = `"tools":[{"name":"open","inputSchema":{"type":"object"}},{"name":"delete_all","inputSchema":{"type":"object"}}]`
	list := `{"jsonrpc":"2.0","id":1,"result":{` + tools + `}}`
	call := `{"jsonrpc":"2.0","id":1,"result":{"content":[],"structuredContent":{` + tools + `}}}`
	for _, tc := range []struct {
		name, request, kind, body, want string // "": the same
	}{
		{"JSON", rpc("tools/call", `{"name":"open"}`), "application/json", list, "filtered"},
		{"another list", rpc("prompts/list", `{}`), "application/json", strings.Replace(list, `"tools"`, `"prompts":[],"tools"`, 1), "filtered"},
		{"no list", rpc("prompts/list", `{}`), "application/json", list, "refused"},
		{"plain text", rpc("ping", `{}`), "text/plain", list, "filtered"},
		{"events", rpc("tools/call", `{"name":"open"}`), "text/event-stream", "data: {}\n\ndata: " + list + "\n\n", "filtered"},
		{"batch", "[" + rpc("ping", `{}`) + "]", "application/json", `[{"jsonrpc":"2.0","id":2,"result":{}},` + list + "]", "filtered"},
		{"not to be read", rpc("ping", `{}`), "application/json", list + "x", "refused"},
		{"a list of a tool", rpc("tools/call", `{"name":"open"}`), "application/json", call, ""},
		{"a list of a tool, in events", rpc("tools/call", `{"name":"open"}`), "text/event-stream", "data: " + call + "\n\n", ""},
		{"both a result and an error", rpc("tools/call", `{"name":"open"}`), "application/json", `{"jsonrpc":"2.0","id":1,"result":{},"error":null}`, ""},
		{"another type", rpc("tools/call", `{"name":"open"}`), "text/html", "<p>", ""},
		{"a large answer", rpc("tools/call", `{"name":"open"}`), "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"` + strings.Repeat("x", 17<<20) + `"}]}}`, ""},
	} {
		kind, body = tc.kind, tc.body
		got := post(t, url, tc.request, "Authorization", token, "Accept-Encoding", "gzip")
		if len(accepted) != 1 || accepted[0] != "identity" {
			t.Errorf("%s: the server was asked for the coding %q", tc.name, accepted)
		}
		switch tc.want {
		case "filtered":
			if got.Status != http.StatusOK || !strings.Contains(got.Body, `"open"`) || strings.Contains(got.Body, "delete_all") || got.Header.Get("Cache-Control") != "no-store" && tc.kind != "text/event-stream" {
				t.Errorf("%s: got %d %v %s", tc.name, got.Status, got.Header, got.Body)
			}
		case "refused":
			if got.Status != http.StatusBadGateway || strings.Contains(got.Body, "delete_all") {
				t.Errorf("%s: got %d %s", tc.name, got.Status, got.Body)
			}
		default:
			events := tc.kind == "text/event-stream"
			if got.Status != http.StatusOK || got.Body != tc.body || !events && (got.Header.Get("Content-Length") != strconv.Itoa(len(body)) || got.Header.Get("Etag") == "") {
				t.Errorf("%s: got %d %v %.200s", tc.name, got.Status, got.Header, got.Body)
			}
		}
	}
}
