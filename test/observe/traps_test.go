package observe_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

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
