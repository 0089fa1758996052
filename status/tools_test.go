package status

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// toolServer is an MCP server that lists tools in pages.
type toolServer struct {
	stateless bool
	pages     int
	seen      []string // methods with their session and revision
}

func (s *toolServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var message struct {
		ID     any
		Method string
		Params struct{ Cursor string }
	}
	body, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(body, &message) // a DELETE has none
	s.seen = append(s.seen, strings.TrimSpace(r.Method+" "+message.Method+" "+r.Header.Get("Mcp-Session-Id")+r.Header.Get("MCP-Protocol-Version")))
	if r.Header.Get("Authorization") != "Bearer hush-hush" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	result := ""
	switch {
	case message.Method == "initialize" && !s.stateless:
		w.Header().Set("Mcp-Session-Id", "S-")
		result = `{"protocolVersion":"2025-06-18","serverInfo":{"name":"pages","version":"2"}}`
	case message.Method == "server/discover" && s.stateless:
		result = `{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"pages","version":"2"}}}`
	case message.Method == "tools/list":
		page := 1
		_, _ = fmt.Sscanf(message.Params.Cursor, "page %d", &page) // the first page has no cursor
		next := ""
		if page < s.pages {
			next = fmt.Sprintf(`,"nextCursor":"page %d"`, page+1)
		}
		result = fmt.Sprintf(`{"tools":[{"name":"tool-%d","description":"does \u001b[31m it\nsecond line"}]%s}`, page, next)
	case message.ID == nil:
		w.WriteHeader(http.StatusAccepted)
		return
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no hush-hush here"}}`)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	id, _ := json.Marshal(message.ID)
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
}

// tools lists the tools of a server, and returns what is printed or the error.
func tools(t *testing.T, h http.Handler, token string) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	l, err := newLister(srv.URL+"/mcp", header, 10*time.Second)
	if err == nil {
		err = l.run(t.Context())
	}
	if err != nil {
		return strings.ReplaceAll(err.Error(), srv.URL, "URL")
	}
	var b strings.Builder
	if err := l.print(&b, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// `caddy mcp tools` lists the tools of every page, in a session that it ends, or without
// one where the server is stateless. It prints nothing that a terminal acts on.
func TestTools(t *testing.T) {
	const want = "pages 2 has 2 tools.\n  tool-1  does \\x1b[31m it\n  tool-2  does \\x1b[31m it\n"
	session := &toolServer{pages: 2}
	if got := tools(t, session, "hush-hush"); got != want {
		t.Errorf("with a session: got\n%s", got)
	}
	if got, want := strings.Join(session.seen, "\n"), "POST initialize\nPOST notifications/initialized S-2025-06-18\nPOST tools/list S-2025-06-18\nPOST tools/list S-2025-06-18\nDELETE  S-2025-06-18"; got != want {
		t.Errorf("it sent\n%s\nwant\n%s", got, want)
	}
	stateless := &toolServer{pages: 2, stateless: true}
	if got := tools(t, stateless, "hush-hush"); got != want {
		t.Errorf("without a session: got\n%s", got)
	}
	if got, want := strings.Join(stateless.seen, "\n"), "POST initialize\nPOST server/discover 2026-07-28\nPOST tools/list 2026-07-28\nPOST tools/list 2026-07-28"; got != want {
		t.Errorf("it sent\n%s\nwant\n%s", got, want)
	}
}

// What gives no tools is a line with the cure, without a secret, and bounded.
func TestToolsFailures(t *testing.T) {
	reached := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	t.Cleanup(elsewhere.Close)
	status := func(code int, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", elsewhere.URL+"/mcp") // for the redirect
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		})
	}
	for name, tt := range map[string]struct {
		server      http.Handler
		token, want string
	}{
		"no token":      {&toolServer{}, "", "requires a login (401); give an access token with --token or MCP_TOKEN"},
		"wrong token":   {&toolServer{}, "wrong", "refuses the credentials (401)"},
		"endless pages": {&toolServer{pages: 1 << 20}, "hush-hush", "has more than 100 pages"},
		"redirect":      {status(http.StatusTemporaryRedirect, ""), "hush-hush", "redirects to " + elsewhere.URL + "/mcp; use that URL"},
		"HTTP+SSE":      {status(http.StatusMethodNotAllowed, ""), "", "caddy mcp serve --to sse+<url>"},
		"website":       {status(http.StatusOK, "<html>"), "", "answers initialize with 200 and no MCP message; `caddy mcp doctor URL/mcp` says more"},
		"error":         {status(http.StatusBadRequest, `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"hush-hush"}}`), "hush-hush", "with an error: "},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tools(t, tt.server, tt.token); !strings.Contains(got, tt.want) || strings.Contains(got, "hush") || strings.Contains(got, "\n") {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	if reached > 0 {
		t.Error("a redirect was followed with a token")
	}
}

// A host alone is enough. A token is sent in plain HTTP only on this machine, unless the
// caller says http://.
func TestToolsURL(t *testing.T) {
	for given, want := range map[string]string{
		"localhost:8080":             "http://localhost:8080/mcp",
		"127.0.0.1:8080/files/mcp":   "http://127.0.0.1:8080/files/mcp",
		"[::1]:8080":                 "http://[::1]:8080/mcp",
		"localhost:8080/":            "http://localhost:8080/",
		"localhost/mcp?tenant=1":     "http://localhost/mcp?tenant=1",
		"mcp.example.com":            "https://mcp.example.com/mcp",
		"mcp.example.com:8443/other": "https://mcp.example.com:8443/other",
		"192.168.1.10:8080":          "https://192.168.1.10:8080/mcp",
		"localhost.example.com":      "https://localhost.example.com/mcp",
		"http://mcp.example.com":     "http://mcp.example.com",
		"HTTP://localhost:8080/mcp":  "http://localhost:8080/mcp",
	} {
		l, err := newLister(given, http.Header{}, time.Second)
		if err != nil {
			t.Errorf("%s: %v", given, err)
		} else if got := l.url.String(); got != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
	}
	for given, want := range map[string]string{
		"":                       "must begin with https:// or http:// and a host",
		"/mcp":                   "must begin with https:// or http:// and a host",
		"sse+http://localhost/":  "must begin with https:// or http:// and a host",
		"alice:secret@localhost": "has a user name in it",
		"localhost:port":         "must begin with https:// or http:// and a host",
	} {
		if _, err := newLister(given, http.Header{}, time.Second); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", given, err, want)
		}
	}
}
