package observe_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rules F2, F3: an upstream that refuses the first message of a client needs attention until it takes
// one. If it refuses the name or the page, the operator is told of the line that helps.
func TestUpstreamThatRefusesIsTold(t *testing.T) {
	const host, origin = "upstream refuses the header Host", "upstream refuses the header Origin"
	for name, tc := range map[string]struct {
		directive, origin string
		status            int
		body              string
		state, text       string
		notice, add       string
	}{
		"fails":           {"mcp_auth_bridge UPSTREAM", "", 500, "no", "attention", "upstream refuses the first message of a client (500)", "", ""},
		"not available":   {"mcp_auth_bridge UPSTREAM", "", 503, "", "attention", "upstream refuses the first message of a client (503)", "", ""},
		"no stream":       {"mcp_auth_bridge sse+http://UPSTREAM/sse", "", 500, "", "attention", "upstream refuses the first message of a client (500)", "", ""},
		"misdirected":     {"mcp_auth_bridge UPSTREAM", "", 421, "Invalid Host header", "attention", "upstream refuses the first message of a client (421)", host, "header_up Host {upstream_hostport}"},
		"name refused":    {"mcp_auth_bridge UPSTREAM", "", 403, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Invalid Host: x"},"id":null}`, "attention", "upstream refuses the first message of a client (403)", host, "header_up Host {upstream_hostport}"},
		"its own name":    {"mcp_auth_bridge UPSTREAM {\n\t\theader_up Host {upstream_hostport}\n\t}", "", 403, "Forbidden: invalid Host header", "attention", "upstream refuses the first message of a client (403)", host, ""},
		"page refused":    {"mcp_auth_bridge UPSTREAM {\n\t\tcors {\n\t\t\tallow_origins https://app.example\n\t\t}\n\t}", "https://app.example", 403, "Invalid Origin: https://app.example", "attention", "1 notice", origin, "header_up -Origin"},
		"its own CORS":    {"mcp_auth_bridge UPSTREAM {\n\t\tcors off\n\t}", "https://app.example", 403, "Invalid Origin header", "attention", "1 notice", origin, ""},
		"access refused":  {"mcp_auth_bridge UPSTREAM", "", 403, "no key, no invalid origin: none", "ok", "", "", ""},
		"another refusal": {"mcp_auth_bridge UPSTREAM", "", 403, "Invalid hosted domain, invalid host", "ok", "", "", ""},
		"bad request":     {"mcp_auth_bridge UPSTREAM", "", 400, "Invalid Host: x", "ok", "", "", ""},
		"login":           {"mcp_auth_bridge UPSTREAM", "", 401, "Invalid Host: x", "attention", "1 challenge without a metadata URL", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var cured atomic.Bool
			s := newTrap(t, "127.0.0.1", tc.directive, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case !cured.Load():
					answering(tc.status, "text/plain", tc.body)(w, r)
				case r.Method == http.MethodGet:
					answering(http.StatusOK, "text/event-stream", "event: endpoint\ndata: /m\n\n")(w, r)
				default:
					answering(http.StatusOK, "application/json", greeting)(w, r)
				}
			})
			ask := func() mcptest.Answer {
				if tc.origin == "" {
					return s.ask(http.MethodPost, "/mcp", mcptest.Initialize)
				}
				return s.ask(http.MethodPost, "/mcp", mcptest.Initialize, "Origin", tc.origin)
			}
			ask()
			if got := ask(); !strings.HasPrefix(tc.directive, "mcp_auth_bridge sse+") && (got.Status != tc.status || got.Body != tc.body) {
				t.Errorf("the client got %d %q", got.Status, got.Body)
			}
			state, problems := s.state()
			if state != tc.state || tc.text != "" && !slices.Contains(problems, tc.text) {
				t.Errorf("got %s, %q; want %s, %q", state, problems, tc.state, tc.text)
			}
			if tc.notice != "" {
				s.wantTold(tc.notice, "", tc.add)
			} else if testcaddy.Logged(host) || testcaddy.Logged(origin) {
				t.Errorf("got log %q", testcaddy.Logs())
			}
			if out := testcaddy.RunStatus(t, s.admin); !strings.Contains(out, "\n"+tc.state+" ") || tc.notice == "" && strings.HasPrefix(tc.text, "upstream") && !strings.Contains(out, tc.text+"; the server's own log says why") {
				t.Errorf("got status\n%s", out)
			}
			cured.Store(true)
			ask()
			if _, problems := s.state(); slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, "refuses") }) {
				t.Errorf("it takes the first message now: got %q", problems)
			}
		})
	}
}

// A refusal is over if the upstream refuses the next client for another reason, and a call is no first
// message, whatever it says.
func TestRefusalOfTheFirstMessageEnds(t *testing.T) {
	var status atomic.Int32
	s := newTrap(t, "127.0.0.1", "mcp_auth_bridge UPSTREAM", func(w http.ResponseWriter, r *http.Request) {
		answering(int(status.Load()), "text/plain", "no")(w, r)
	})
	for _, tc := range []struct {
		status int32
		sent   string
		want   bool
	}{
		{500, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"git","arguments":{"command":"initialize","x":"server/discover"}}}`, false},
		{503, mcptest.Initialize, true},
		{403, mcptest.Initialize, false},
		{500, mcptest.Initialize, true},
		{429, mcptest.Initialize, false},
	} {
		status.Store(tc.status)
		s.ask(http.MethodPost, "/mcp", tc.sent)
		if state, problems := s.state(); (state == "attention") != tc.want || tc.want != slices.Contains(problems, fmt.Sprintf("upstream refuses the first message of a client (%d)", tc.status)) {
			t.Errorf("%d: got %s, %q", tc.status, state, problems)
		}
	}
}

// A client that invents names fills neither the log nor the notices. Of names that the endpoint does
// not have nothing is told.
func TestInventedNamesAreNotTold(t *testing.T) {
	for option, want := range map[string]int{"": 1, "public_url http://mcp.example.com/mcp": 0, "hosts mcp.example.com": 0} {
		s := newTrap(t, "", "mcp_auth_bridge UPSTREAM {\n\t\t"+option+"\n\t}", answering(http.StatusMisdirectedRequest, "text/plain", "Invalid Host header"))
		for i := range 40 {
			s.host = fmt.Sprintf("h%d.example", i)
			s.ask(http.MethodPost, "/mcp", mcptest.Initialize)
		}
		told := 0
		for _, line := range testcaddy.Logs() {
			if strings.Contains(line, `"upstream refuses`) {
				told++
			}
		}
		if told != want {
			t.Errorf("%q: %d lines, want %d: %q", option, told, want, testcaddy.Logs())
		}
		if s.host = "mcp.example.com"; option != "" {
			s.ask(http.MethodPost, "/mcp", mcptest.Initialize)
			s.wantTold("upstream refuses the header Host", s.host, "header_up Host {upstream_hostport}")
		}
	}
}

// A server on a socket has no name of its own.
func TestRefusedNameOnASocket(t *testing.T) {
	socket := mcptest.ListenUnix(t, answering(http.StatusMisdirectedRequest, "text/plain", "Invalid Host header"))
	s := newTrap(t, "127.0.0.1", "mcp_auth_bridge unix/"+socket, func(http.ResponseWriter, *http.Request) {})
	s.ask(http.MethodPost, "/mcp", mcptest.Initialize)
	s.wantTold("upstream refuses the header Host", "", "header_up Host localhost")
}
