package observe_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// trap is a site whose operator has made a mistake that only traffic shows.
type trap struct {
	t                *testing.T
	url, host, admin string
}

// newTrap loads a site of a host. UPSTREAM in the directive is the address of the upstream.
func newTrap(t *testing.T, host, directive string, up http.HandlerFunc) *trap {
	t.Helper()
	upstream := httptest.NewServer(up)
	t.Cleanup(upstream.Close)
	port, admin := testcaddy.FreePort(t), testcaddy.Addr(testcaddy.FreePort(t))
	directive = strings.ReplaceAll(directive, "UPSTREAM", upstream.Listener.Addr().String())
	testcaddy.Run(t, fmt.Sprintf("{\n\tadmin %s\n\tauto_https off\n}\nhttp://%s:%d {\n\tbind 127.0.0.1\n\t%s\n}", admin, host, port, directive))
	return &trap{t, "http://" + testcaddy.Addr(port), net.JoinHostPort(host, strconv.Itoa(port)), admin}
}

func (s *trap) ask(method, path, body string, header ...string) mcptest.Answer {
	s.t.Helper()
	r := mcptest.NewRequest(s.t, method, s.url+path, body, header...)
	r.Host = s.host
	return mcptest.Do(s.t, mcptest.NewClient(s.t), r)
}

// wantTold fails unless the log has a message once, with advice and the line that fixes it,
// and the status has it as well.
func (s *trap) wantTold(message, subject, add string) {
	s.t.Helper()
	told := 0
	for _, line := range testcaddy.Logs() {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["msg"] != message {
			continue
		}
		told++
		if got, _ := entry["add"].(string); got != add || entry["advice"] == "" {
			s.t.Errorf("got %s, want the line %q", line, add)
		}
	}
	if told != 1 {
		s.t.Errorf("%q is in the log %d times, want once: %q", message, told, testcaddy.Logs())
	}
	var status struct {
		Endpoints []struct {
			Notices []struct{ Message, Subject, Advice, Add string }
		}
	}
	got := mcptest.Do(s.t, mcptest.NewClient(s.t), mcptest.NewRequest(s.t, http.MethodGet, "http://"+s.admin+"/mcp_auth_bridge/", ""))
	if err := json.Unmarshal([]byte(got.Body), &status); err != nil {
		s.t.Fatal(err)
	}
	for _, n := range status.Endpoints[0].Notices {
		if n.Message == message && n.Add == add && strings.Contains(n.Subject, subject) && n.Advice != "" {
			return
		}
	}
	s.t.Errorf("the status does not have %q with %q and %q: %s", message, subject, add, got.Body)
}

const untrusted = "X-Forwarded-Proto of an untrusted peer is ignored"

// A proxy in front that is not trusted makes the public URL begin with http. The operator is
// told to trust it, and not to allow the endpoint's own origin, which would cure nothing else.
func TestUntrustedProxyIsTold(t *testing.T) {
	s := newTrap(t, "mcp.example.com", "mcp_auth_bridge UPSTREAM", func(http.ResponseWriter, *http.Request) {})
	for range 2 {
		got := s.ask(http.MethodPost, "/mcp", mcptest.Initialize, "X-Forwarded-Proto", "https", "Origin", "https://"+s.host)
		if got.Status != http.StatusForbidden {
			t.Fatalf("got %d %s", got.Status, got.Body)
		}
	}
	s.wantTold(untrusted, "127.0.0.1", "trusted_proxies private_ranges")
	if !testcaddy.Logged("origin is not allowed", "trusted_proxies") || testcaddy.Logged("allow_origins") {
		t.Errorf("got log %q", testcaddy.Logs())
	}
	if out := testcaddy.RunStatus(t, s.admin); strings.Contains(out, "allow_origins") {
		t.Errorf("got status\n%s", out)
	}
}

// Nothing is told of a proxy that is trusted, where the public URL is configured, or where
// the proxy says http.
func TestTrustedProxyIsNotTold(t *testing.T) {
	for name, tc := range map[string]struct{ directive, proto string }{
		"trusted":    {"mcp_auth_bridge UPSTREAM {\n\t\ttrusted_proxies private_ranges\n\t}", "https"},
		"public_url": {"mcp_auth_bridge UPSTREAM {\n\t\tpublic_url https://mcp.example.com/mcp\n\t}", "https"},
		"http":       {"mcp_auth_bridge UPSTREAM", "http"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTrap(t, "mcp.example.com", tc.directive, func(http.ResponseWriter, *http.Request) {})
			s.ask(http.MethodPost, "/mcp", mcptest.Initialize, "X-Forwarded-Proto", tc.proto)
			if testcaddy.Logged(untrusted) {
				t.Errorf("got log %q", testcaddy.Logs())
			}
		})
	}
}

// An upstream that is a website, or that has nothing at the path, is told of: clients only say that
// they cannot connect.
func TestNoMCPServerIsTold(t *testing.T) {
	const html = "<!doctype html><form>Log in</form>"
	for name, tc := range map[string]struct {
		directive, kind, body string
		status                int
		want                  string
	}{
		"login page":          {"mcp_auth_bridge UPSTREAM", "text/html; charset=utf-8", html, http.StatusOK, "upstream answers with a web page"},
		"page for no path":    {"mcp_auth_bridge UPSTREAM", "text/html", html, http.StatusNotFound, "upstream has no MCP server at this path"},
		"website":             {"mcp_auth_bridge UPSTREAM", "text/plain", "no", http.StatusMethodNotAllowed, "upstream has no MCP server at this path"},
		"page for the stream": {"mcp_auth_bridge sse+http://UPSTREAM/sse", "text/html", html, http.StatusOK, "upstream has no HTTP+SSE server at this path"},
		"no stream":           {"mcp_auth_bridge sse+http://UPSTREAM/sse", "text/plain", "no", http.StatusNotFound, "upstream has no HTTP+SSE server at this path"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTrap(t, "127.0.0.1", tc.directive, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tc.kind)
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			})
			for range 2 {
				s.ask(http.MethodPost, "/mcp", mcptest.Initialize)
			}
			s.wantTold(tc.want, "/", "")
		})
	}
}

// What MCP servers answer is not taken for that: a session that is over, a method that they do not
// have, a message without an answer.
func TestMCPServerIsNotTakenForNone(t *testing.T) {
	for name, tc := range map[string]struct {
		sent, kind, session, body string
		status                    int
	}{
		"session is over":        {mcptest.Initialize, "text/plain", "s", "gone", http.StatusNotFound},
		"no such method":         {mcptest.Initialize, "application/json", "", noSuchMethod, http.StatusNotFound},
		"accepted":               {mcptest.Initialized, "text/plain", "", "", http.StatusAccepted},
		"accepted, with words":   {mcptest.Initialized, "text/plain", "", "Accepted", http.StatusOK},
		"answer":                 {mcptest.Initialize, "application/json", "", greeting, http.StatusOK},
		"answer with a length":   {mcptest.Initialize, "application/json", "", `{"result":{"instructions":"` + strings.Repeat("x", 1<<17) + `"},"jsonrpc":"2.0","id":1}`, http.StatusOK},
		"answer without a type":  {mcptest.Initialize, "", "", greeting, http.StatusOK},
		"answer in a stream":     {mcptest.Initialize, "text/event-stream", "", "data: " + greeting + "\n\n", http.StatusOK},
		"login":                  {mcptest.Initialize, "text/html", "", "log in", http.StatusUnauthorized},
		"refused":                {mcptest.Initialize, "text/plain", "", "no", http.StatusForbidden},
		"not available":          {mcptest.Initialize, "text/plain", "", "no", http.StatusServiceUnavailable},
		"nothing for an unknown": {`{"jsonrpc":"2.0","id":1,"method":"ping"}`, "application/json", "", `{"error":"log in first"}`, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTrap(t, "127.0.0.1", "mcp_auth_bridge UPSTREAM", answering(tc.status, tc.kind, tc.body))
			s.ask(http.MethodPost, "/mcp", tc.sent, "Mcp-Session-Id", tc.session)
			if testcaddy.Logged("a web page") || testcaddy.Logged("no MCP server") || testcaddy.Logged("not an MCP server") {
				t.Errorf("got log %q", testcaddy.Logs())
			}
			if state, problems := s.state(); state == "failing" {
				t.Errorf("got %s, %q", state, problems)
			}
		})
	}
}

// greeting answers initialize.
const greeting = `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}`

const noSuchMethod = `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method"}}`

// answering answers each request in the same way. Without a kind there is no Content-Type.
func answering(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if w.Header().Set("Content-Type", kind); kind == "" {
			w.Header()["Content-Type"] = nil
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// state returns what the status says of the endpoint.
func (s *trap) state() (state string, problems []string) {
	s.t.Helper()
	var status struct {
		Endpoints []struct {
			State    string
			Problems []struct{ Text string }
		}
	}
	got := mcptest.Do(s.t, mcptest.NewClient(s.t), mcptest.NewRequest(s.t, http.MethodGet, "http://"+s.admin+"/mcp_auth_bridge/", ""))
	if err := json.Unmarshal([]byte(got.Body), &status); err != nil || len(status.Endpoints) != 1 {
		s.t.Fatalf("got %s (%v)", got.Body, err)
	}
	for _, p := range status.Endpoints[0].Problems {
		problems = append(problems, p.Text)
	}
	return status.Endpoints[0].State, problems
}

// Rules F2, F3: log, status and doctor agree on whether the upstream is an MCP server. It is not
// if its answer to the first message of a client has no JSON-RPC message, whatever the media type
// and the status of success. The endpoint is then failing, until the upstream answers as an MCP
// server does.
func TestUpstreamWithoutMCPIsFailing(t *testing.T) {
	const html = "<!doctype html><p>Welcome</p>"
	for name, tc := range map[string]struct {
		status     int
		kind, body string
		want       string // the message; empty if it is an MCP server
	}{
		"text":             {http.StatusOK, "text/plain; charset=utf-8", "It works!", "upstream is not an MCP server"},
		"web page":         {http.StatusOK, "text/html", html, "upstream answers with a web page"},
		"made web page":    {http.StatusCreated, "text/html", html, "upstream answers with a web page"},
		"JSON":             {http.StatusOK, "application/json", `{"message":"hello"}`, "upstream is not an MCP server"},
		"JSON of REST":     {http.StatusCreated, "application/json; charset=utf-8", `{"id":1,"method":"initialize"}`, "upstream is not an MCP server"},
		"list":             {http.StatusOK, "application/json", `[]`, "upstream is not an MCP server"},
		"no type":          {http.StatusOK, "", "ok", "upstream is not an MCP server"},
		"nothing":          {http.StatusOK, "application/json", "", "upstream is not an MCP server"},
		"accepted":         {http.StatusAccepted, "", "", "upstream is not an MCP server"},
		"no content":       {http.StatusNoContent, "", "", "upstream is not an MCP server"},
		"long text":        {http.StatusOK, "text/plain", strings.Repeat("json", 1<<15), "upstream is not an MCP server"},
		"JSON for no path": {http.StatusNotFound, "application/json", `{"detail":"Not Found"}`, "upstream has no MCP server at this path"},
		"text for no path": {http.StatusNotFound, "text/plain", "404", "upstream has no MCP server at this path"},
		"gone":             {http.StatusGone, "text/plain", "gone", "upstream has no MCP server at this path"},
		"server":           {http.StatusOK, "application/json", greeting, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var cured atomic.Bool
			s := newTrap(t, "127.0.0.1", "mcp_auth_bridge UPSTREAM", func(w http.ResponseWriter, r *http.Request) {
				if cured.Load() {
					answering(http.StatusOK, "application/json", greeting)(w, r)
					return
				}
				answering(tc.status, tc.kind, tc.body)(w, r)
			})
			if got := s.ask(http.MethodPost, "/mcp", mcptest.Initialize); got.Status != tc.status || got.Body != tc.body {
				t.Errorf("the client got %d %.100q", got.Status, got.Body)
			}
			report, err := doctor.Run(t.Context(), doctor.Options{URL: s.url + "/mcp"})
			if err != nil {
				t.Fatal(err)
			}
			rule := ""
			if f := report.Verdict.Finding; f != nil {
				rule = f.Rule
			}
			state, problems := s.state()
			out := testcaddy.RunStatus(t, s.admin)
			if tc.want == "" {
				if state == "failing" || strings.Contains(out, "failing") || rule == "endpoint.mcp" || rule == "endpoint.path" {
					t.Errorf("got %s, %q, and the doctor says %s: %s\n%s", state, problems, rule, report.Verdict.Text, out)
				}
				return
			}
			s.wantTold(tc.want, "/mcp", "")
			if state != "failing" || !slices.Contains(problems, tc.want) || !strings.Contains(out, "\nfailing ") || !strings.Contains(out, tc.want) {
				t.Errorf("got %s, %q\n%s", state, problems, out)
			}
			if report.Verdict.State != doctor.Broken || rule != "endpoint.mcp" && rule != "endpoint.path" && rule != "endpoint.answer" {
				t.Errorf("the doctor says %s, %s: %s", report.Verdict.State, rule, report.Verdict.Text)
			}
			cured.Store(true)
			s.ask(http.MethodPost, "/mcp", mcptest.Initialize)
			if state, problems := s.state(); state == "failing" {
				t.Errorf("the server is an MCP server now: got %s, %q", state, problems)
			}
		})
	}
}

// Rule F2: where messages are carried over to another transport, too, an upstream that is no MCP
// server makes the endpoint failing.
func TestCarriedOverWithoutMCPIsFailing(t *testing.T) {
	s := newTrap(t, "127.0.0.1", "mcp_auth_bridge sse+http://UPSTREAM/sse", answering(http.StatusOK, "application/json", `{"message":"hello"}`))
	s.ask(http.MethodPost, "/mcp", mcptest.Initialize)
	if state, problems := s.state(); state != "failing" || !slices.Contains(problems, "upstream has no HTTP+SSE server at this path") {
		t.Errorf("got %s, %q", state, problems)
	}
}

const speaksSSE = "MCP server speaks HTTP+SSE"

// An HTTP+SSE server that is configured as one of Streamable HTTP refuses a POST, and its
// stream names where to post: the operator is told how to write it. The stream passes as it is.
func TestSSEServerConfiguredAsHTTPIsTold(t *testing.T) {
	for _, refuses := range []int{http.StatusMethodNotAllowed, http.StatusNotFound} {
		for _, first := range []string{"event: endpoint\ndata: /messages?sessionId=1\n\n", ": hello\r\n\r\nid: 1\r\nevent:endpoint\r\ndata: /m\r\n\r\n"} {
			s := newTrap(t, "127.0.0.1", "mcp_auth_bridge /sse UPSTREAM", func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet {
					w.WriteHeader(refuses)
					return
				}
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = w.Write([]byte(first[:10]))
				w.(http.Flusher).Flush()
				_, _ = w.Write([]byte(first[10:] + "event: message\ndata: {}\n\n"))
			})
			for range 2 {
				s.ask(http.MethodPost, "/sse", mcptest.Initialize)
				if got := s.ask(http.MethodGet, "/sse", "", "Accept", "text/event-stream"); got.Body != first+"event: message\ndata: {}\n\n" {
					t.Errorf("got %q", got.Body)
				}
			}
			var add string
			for _, line := range testcaddy.Logs() {
				if _, after, ok := strings.Cut(line, `"add":"mcp_auth_bridge /sse sse+http://`); ok {
					add, _, _ = strings.Cut(after, `"`)
				}
			}
			if !strings.HasSuffix(add, "/sse") {
				t.Errorf("got address %q", add)
			}
			s.wantTold(speaksSSE, "sse+http://", "mcp_auth_bridge /sse sse+http://"+add)
		}
	}
}

// A server of Streamable HTTP is not taken for one: its streams have other events, and what
// it refuses is a session that is over.
func TestStreamableServerIsNotTakenForSSE(t *testing.T) {
	for name, tc := range map[string]struct {
		posts int
		event string
	}{
		"another event first": {http.StatusNotFound, "event: message\ndata: {}\n\nevent: endpoint\ndata: /m\n\n"},
		"takes posts":         {http.StatusAccepted, "event: endpoint\ndata: /m\n\n"},
		"an endless event":    {http.StatusNotFound, "data: " + strings.Repeat("x", 1<<16) + "\n\nevent: endpoint\ndata: /m\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTrap(t, "127.0.0.1", "mcp_auth_bridge UPSTREAM", func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet {
					w.WriteHeader(tc.posts)
					return
				}
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = w.Write([]byte(tc.event))
			})
			s.ask(http.MethodPost, "/mcp", mcptest.Initialize)
			if got := s.ask(http.MethodGet, "/mcp", "", "Accept", "text/event-stream"); got.Body != tc.event {
				t.Errorf("got %d bytes, want %d", len(got.Body), len(tc.event))
			}
			if testcaddy.Logged(speaksSSE) {
				t.Errorf("got log %q", testcaddy.Logs())
			}
		})
	}
}

// A server that is its own authorization server needs `authorization_server bridge`, which
// the log and the status name, on a public host and on this machine. With it, and for a
// server whose authorization server is elsewhere, nothing is told.
func TestOwnAuthorizationServerIsTold(t *testing.T) {
	const own = "MCP server is its own authorization server"
	for name, tc := range map[string]struct {
		host, directive, issuer string
		told                    bool
	}{
		"public host":   {"mcp.example.com", "mcp_auth_bridge UPSTREAM", "", true},
		"this machine":  {"127.0.0.1", "mcp_auth_bridge UPSTREAM", "", true},
		"bridged":       {"mcp.example.com", "mcp_auth_bridge UPSTREAM {\n\t\tauthorization_server bridge\n\t}", "", false},
		"elsewhere":     {"mcp.example.com", "mcp_auth_bridge UPSTREAM", "https://login.example.com", false},
		"the own host":  {"mcp.example.com", "mcp_auth_bridge UPSTREAM", "https://mcp.example.com", false},
		"configured":    {"mcp.example.com", "mcp_auth_bridge UPSTREAM {\n\t\tmetadata {\n\t\t\tauthorization_servers https://login.example.com\n\t\t}\n\t}", "", false},
		"metadata, off": {"mcp.example.com", "mcp_auth_bridge UPSTREAM {\n\t\tmetadata off\n\t}", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTrap(t, tc.host, tc.directive, func(w http.ResponseWriter, r *http.Request) {
				self := "http://" + r.Context().Value(http.LocalAddrContextKey).(fmt.Stringer).String()
				issuer := tc.issuer
				if issuer == "" {
					issuer = self
				}
				switch r.URL.Path {
				case "/.well-known/oauth-protected-resource/mcp":
					w.Header().Set("Content-Type", "application/json")
					_, _ = fmt.Fprintf(w, `{"resource":"%s/mcp","authorization_servers":[%q]}`, self, issuer)
				case "/mcp":
					w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+self+`/.well-known/oauth-protected-resource/mcp"`)
					w.WriteHeader(http.StatusUnauthorized)
				default:
					w.WriteHeader(http.StatusNotFound)
				}
			})
			for range 2 {
				s.ask(http.MethodGet, "/.well-known/oauth-protected-resource/mcp", "")
			}
			if !tc.told {
				if testcaddy.Logged(own) {
					t.Errorf("got log %q", testcaddy.Logs())
				}
				return
			}
			s.wantTold(own, "http://127.0.0.1:", "authorization_server bridge")
		})
	}
}
