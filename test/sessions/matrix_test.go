package sessions_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Tokens that the guarded server knows.
const (
	goodToken    = "good"    // opens everything
	nextToken    = "next"    // does, too: what a refresh brings
	weakToken    = "weak"    // everything but tools
	expiredToken = "expired" // nothing
)

// guarded refuses requests as an MCP server with authorization does.
func guarded(t *testing.T, path string, h http.Handler) string {
	t.Helper()
	var origin string
	mux := http.NewServeMux()
	wellKnown := "/.well-known/oauth-protected-resource"
	mux.HandleFunc(wellKnown+path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"resource": origin + path, "authorization_servers": []string{"https://login.example.com"}})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		refuse := func(status int, params string) {
			w.Header().Set("WWW-Authenticate", `Bearer `+params+`resource_metadata="`+origin+wellKnown+path+`"`)
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, "refused %s", r.Method)
		}
		switch token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); {
		case token == "":
			refuse(http.StatusUnauthorized, "")
		case token == expiredToken:
			refuse(http.StatusUnauthorized, `error="invalid_token", `)
		case token == weakToken && strings.Contains(string(body), "tools/call"):
			refuse(http.StatusForbidden, `error="insufficient_scope", scope="tools", `)
		default:
			h.ServeHTTP(w, r)
		}
	})
	s := httptest.NewServer(mux)
	origin = s.URL
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL + path
}

// matrix is one client without an SDK.
type matrix struct {
	t      *testing.T
	client *http.Client
	base   string
	header map[string]string // of every request
}

// do sends a request and returns the answer, unread where it is a stream.
func (m *matrix) do(method, path, token, body string, header ...string) *http.Response {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.base+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	if method == http.MethodGet {
		req.Header.Set("Accept", "text/event-stream")
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range m.header {
		req.Header.Set(name, value)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := m.client.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// refused wants a request to be refused as the server does it, to the letter but
// for the URL of the metadata.
func (m *matrix) refused(what, method, path, body string, header ...string) {
	m.t.Helper()
	for _, tc := range []struct {
		token, params string
		status        int
	}{
		{"", "", http.StatusUnauthorized},
		{expiredToken, `error="invalid_token", `, http.StatusUnauthorized},
		{weakToken, `error="insufficient_scope", scope="tools", `, http.StatusForbidden},
	} {
		if tc.token == weakToken && !strings.Contains(body, "tools/call") {
			continue
		}
		res := m.do(method, path, tc.token, body, header...)
		got, _ := io.ReadAll(res.Body)
		want := `Bearer ` + tc.params + `resource_metadata="` + m.base + `/.well-known/oauth-protected-resource/mcp"`
		if res.StatusCode != tc.status || res.Header.Get("WWW-Authenticate") != want {
			m.t.Errorf("%s with token %q: %d, challenge %q, want %d, %q", what, tc.token, res.StatusCode, res.Header["Www-Authenticate"], tc.status, want)
		}
		if !strings.HasPrefix(string(got), "refused ") {
			m.t.Errorf("%s with token %q: body %q is not the server's", what, tc.token, got)
		}
		if id := res.Header.Get("Mcp-Session-Id"); id != "" {
			m.t.Errorf("%s with token %q: session %q", what, tc.token, id)
		}
	}
}

// taken wants a request to be answered with a status.
func (m *matrix) taken(what, method, path, token, body string, status int, header ...string) *http.Response {
	m.t.Helper()
	res := m.do(method, path, token, body, header...)
	if res.StatusCode != status {
		got, _ := io.ReadAll(res.Body)
		m.t.Fatalf("%s with token %q: %d %s, want %d", what, token, res.StatusCode, got, status)
	}
	return res
}

const matrixCall = `{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"echo","arguments":{"text":"hello there"}}}`

// sessions goes through Streamable HTTP with sessions.
func (m *matrix) sessions() {
	t := m.t
	m.refused("initialize", "POST", "/mcp", mcptest.Initialize)
	res := m.taken("initialize", "POST", "/mcp", goodToken, mcptest.Initialize, 200)
	_, _ = io.Copy(io.Discard, res.Body)
	id := res.Header.Get("Mcp-Session-Id")
	if id == "" {
		t.Fatal("no session")
	}
	m.header = map[string]string{"Mcp-Session-Id": id, "Mcp-Protocol-Version": "2025-11-25"}
	m.refused("initialized", "POST", "/mcp", mcptest.Initialized)
	m.taken("initialized", "POST", "/mcp", goodToken, mcptest.Initialized, 202)
	m.refused("call", "POST", "/mcp", matrixCall)
	m.refused("ping", "POST", "/mcp", `{"jsonrpc":"2.0","id":"c","method":"ping"}`)
	m.refused("notification", "POST", "/mcp", `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`)
	m.refused("answer", "POST", "/mcp", `{"jsonrpc":"2.0","id":77,"result":{}}`)
	m.refused("GET", "GET", "/mcp", "")
	m.refused("DELETE", "DELETE", "/mcp", "")
	for _, token := range []string{goodToken, nextToken} {
		got, _ := io.ReadAll(m.taken("call", "POST", "/mcp", token, matrixCall, 200).Body)
		if !strings.Contains(string(got), `"hello there"`) || !strings.Contains(string(got), `"id":"c"`) {
			t.Errorf("call with token %q after refusals: %s", token, got)
		}
	}
	stream := m.taken("GET", "GET", "/mcp", nextToken, "", 200)
	_ = stream.Body.Close()
	if res := m.do("DELETE", "/mcp", nextToken, ""); res.StatusCode/100 != 2 {
		t.Errorf("DELETE: %d", res.StatusCode)
	}
	m.taken("call after DELETE", "POST", "/mcp", goodToken, matrixCall, 404)
}

// oldSSE goes through HTTP+SSE.
func (m *matrix) oldSSE() {
	t := m.t
	m.refused("GET", "GET", "/mcp/sse", "")
	stream := m.taken("GET", "GET", "/mcp/sse", goodToken, "", 200)
	events := bufio.NewScanner(stream.Body)
	next := func(want string) string {
		t.Helper()
		for events.Scan() {
			if data, ok := strings.CutPrefix(events.Text(), "data: "); ok && strings.Contains(data, want) {
				return data
			}
		}
		t.Fatalf("the stream has ended without %q: %v", want, events.Err())
		return ""
	}
	to := next("/")
	m.refused("initialize", "POST", to, mcptest.Initialize)
	m.taken("initialize", "POST", to, goodToken, mcptest.Initialize, 202)
	next(`"protocolVersion"`)
	m.refused("initialized", "POST", to, mcptest.Initialized)
	m.taken("initialized", "POST", to, goodToken, mcptest.Initialized, 202)
	m.refused("call", "POST", to, matrixCall)
	m.refused("notification", "POST", to, `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`)
	for _, token := range []string{goodToken, nextToken} {
		m.taken("call", "POST", to, token, matrixCall, 202)
		if got := next(`"hello there"`); !strings.Contains(got, `"id":"c"`) {
			t.Errorf("call with token %q after refusals: %s", token, got)
		}
	}
}

// Rules A1, A8, D4: on every pair of transports with an HTTP server behind it, a
// refusal answers the very request that caused it, with the server's status, body
// and challenge, and harms nothing else.
func TestRefusalMatrix(t *testing.T) {
	newServer := func(*http.Request) *mcp.Server { return mcptest.NewServer() }
	for up, start := range map[string]func(t *testing.T, stateless bool) string{
		"http": func(t *testing.T, stateless bool) string {
			return guarded(t, "/mcp", mcp.NewStreamableHTTPHandler(newServer, &mcp.StreamableHTTPOptions{Stateless: stateless}))
		},
		"sse": func(t *testing.T, _ bool) string {
			return "sse+" + guarded(t, "/sse", mcp.NewSSEHandler(newServer, nil))
		},
	} {
		for down, drive := range map[string]func(*matrix){
			"sessions":  (*matrix).sessions,
			"sse":       (*matrix).oldSSE,
			"stateless": (*matrix).stateless,
		} {
			t.Run(down+" to "+up, func(t *testing.T) {
				port := testcaddy.FreePort(t)
				testcaddy.Run(t, mcptest.SiteForAllClients(port, "to "+start(t, down == "stateless")))
				drive(&matrix{t: t, client: mcptest.HTTPClient(t), base: "http://" + testcaddy.Addr(port)})
			})
		}
	}
}

// stateless goes through Streamable HTTP of 2026-07-28.
func (m *matrix) stateless() {
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	discover := `{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{` + meta + `}}`
	call := `{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"echo","arguments":{"text":"hello there"},` + meta + `}}`
	m.header = map[string]string{"Mcp-Protocol-Version": "2026-07-28"}
	m.refused("discover", "POST", "/mcp", discover, "Mcp-Method", "server/discover")
	got, _ := io.ReadAll(m.taken("discover", "POST", "/mcp", goodToken, discover, 200, "Mcp-Method", "server/discover").Body)
	if !strings.Contains(string(got), `"2026-07-28"`) {
		m.t.Errorf("discover: %s", got)
	}
	m.refused("call", "POST", "/mcp", call, "Mcp-Method", "tools/call", "Mcp-Name", "echo")
	for _, token := range []string{goodToken, nextToken} {
		got, _ := io.ReadAll(m.taken("call", "POST", "/mcp", token, call, 200, "Mcp-Method", "tools/call", "Mcp-Name", "echo").Body)
		if !strings.Contains(string(got), `"hello there"`) || !strings.Contains(string(got), `"id":"c"`) {
			m.t.Errorf("call with token %q after refusals: %s", token, got)
		}
	}
}
