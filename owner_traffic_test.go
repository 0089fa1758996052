package mcpauthbridge

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// serveWhoever serves an HTTP+SSE server, and one of Streamable HTTP, that takes who
// returns for the user of a request, and notes the address of each request.
func serveWhoever(t *testing.T, who func(r *http.Request) string) (address string, asked func() []string) {
	t.Helper()
	servers := &tenants{streams: make(map[string]chan string), openers: make(map[string]string)}
	var mu sync.Mutex
	var all []string
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		all = append(all, r.Method+" "+r.RequestURI)
		mu.Unlock()
		servers.serve(w, r, who(r))
	}))
	t.Cleanup(func() {
		up.CloseClientConnections()
		up.Close()
	})
	return strings.TrimPrefix(up.URL, "http://"), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), all...)
	}
}

// behindAccount has everybody log in as one user.
func behindAccount(routes []any) []any {
	account := members{"username": "team", "password": "$2a$04$Zn2jbdwi9zuuPch8z2u0ueL3ho9Rar0tApogGOr6umY9IrRpKzXfC"}
	login := members{"handler": "authentication", "providers": members{"http_basic": members{"accounts": []any{account}}}}
	return append([]any{members{"handle": []any{login}}}, routes...)
}

// statelessCall is a request of 2026-07-28 at an endpoint.
func statelessCall(t *testing.T, listen, query, tool string) *http.Request {
	t.Helper()
	body := `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"` + tool + `","arguments":{"do":"pid","n":0},` +
		`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	r := doorway{host: "localhost"}.request(t, t.Context(), listen, "", http.MethodPost, "/mcp"+query, body)
	r.Header.Del("Authorization")
	r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	r.Header.Set("Mcp-Method", "tools/call")
	r.Header.Set("Mcp-Name", tool)
	return r
}

// Rules D4, D5a: two people never share the server's stream, whatever the server knows
// them by, and whatever they have in common.
func TestUsersOfSharedServers(t *testing.T) {
	field := func(name string) func(r *http.Request, user string) {
		return func(r *http.Request, user string) { r.Header.Set(name, user) }
	}
	read := func(name string) func(r *http.Request) string {
		return func(r *http.Request) string { return r.Header.Get(name) }
	}
	inQuery := func(r *http.Request, user string) { r.URL.RawQuery = "key=" + user }
	readQuery := func(r *http.Request) string { return r.URL.Query().Get("key") }
	for name, tc := range map[string]struct {
		account bool
		is      func(r *http.Request, user string)
		who     func(r *http.Request) string
	}{
		"a field of its own":                {false, field("X-Brave-Key"), read("X-Brave-Key")},
		"a field named like the protocol's": {false, field("Mcp-Api-Key"), read("Mcp-Api-Key")},
		"a field that a browser might send": {false, field("Sec-Api-Key"), read("Sec-Api-Key")},
		"a key in the query":                {false, inQuery, readQuery},
		"a key in a cookie":                 {false, func(r *http.Request, user string) { r.Header.Set("Cookie", "key="+user) }, func(r *http.Request) string { return strings.TrimPrefix(r.Header.Get("Cookie"), "key=") }},
		"a key beside one token": {false, func(r *http.Request, user string) {
			r.Header.Set("Authorization", "Bearer shared")
			r.Header.Set("X-Api-Key", user)
		}, read("X-Api-Key")},
		"a key behind one account":             {true, field("X-Api-Key"), read("X-Api-Key")},
		"a key in the query behind an account": {true, inQuery, readQuery},
		"a user whom a guard names":            {false, field("Remote-User"), read("Remote-User")},
		"a user in a field that is unknown":    {false, field("X-My-Portal-User"), read("X-My-Portal-User")},
		"a tenant that a proxy in front names": {false, field("X-Tenant-Id"), read("X-Tenant-Id")},
	} {
		t.Run(name, func(t *testing.T) {
			address, _ := serveWhoever(t, tc.who)
			listen := otherListen(t)
			s := &stand{host: "localhost", match: members{}, endpoint: members{"handler": "mcp_auth_bridge", "upstream": members{"protocol": "sse", "path": "/sse"}}}
			s.dial(address)
			routes := s.routes(1)
			if tc.account {
				routes = behindAccount(routes)
			}
			if err := load(t, listen, routes, nil); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				for _, user := range []string{"alice", "bob"} {
					r := statelessCall(t, listen, "", "whoami")
					if tc.account {
						r.SetBasicAuth("team", "page-password")
					}
					tc.is(r, user)
					if got := post(t, r, http.StatusOK); !strings.Contains(got, "data of "+user) {
						t.Errorf("%s: got %s", user, got)
					}
				}
			}
		})
	}
}

// Rules D5a, D6: at a program, which judges nobody, the session of one person is none to
// another who has the same account.
func TestSessionOfOneAccount(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	listen := otherListen(t)
	s := &stand{host: "localhost", match: members{}, endpoint: members{
		"handler":  "mcp_auth_bridge",
		"upstream": members{"protocol": "stdio", "command": []string{self, "-test.run=^$"}, "env": []string{"MCP_AUTH_BRIDGE_TEST_SERVER=1"}},
	}}
	if err := load(t, listen, behindAccount(s.routes(1)), nil); err != nil {
		t.Fatal(err)
	}
	ask := func(body, session, key, query string) *http.Response {
		r := doorway{host: "localhost"}.request(t, t.Context(), listen, "", http.MethodPost, "/mcp"+query, body)
		r.SetBasicAuth("team", "page-password")
		r.Header.Set("X-Api-Key", key)
		if session != "" {
			r.Header.Set("Mcp-Session-Id", session)
		}
		res, err := plainTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res
	}
	session := ask(strings.Replace(initializeFrame, "2024-11-05", "2025-11-25", 1), "", "alice", "").Header.Get("Mcp-Session-Id")
	if session == "" {
		t.Fatal("no session")
	}
	const note = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	for _, tc := range []struct {
		key, query string
		want       int
	}{{"bob", "", http.StatusNotFound}, {"alice", "?key=bob", http.StatusNotFound}, {"alice", "", http.StatusAccepted}} {
		if got := ask(note, session, tc.key, tc.query).StatusCode; got != tc.want {
			t.Errorf("%s%s: got %d, want %d", tc.key, tc.query, got, tc.want)
		}
	}
	for _, cause := range []string{"X-Api-Key", "the query"} {
		if !testcaddy.Logged("refused a session to a request with other headers", `"cause":"`+cause+`"`, "request_header -") {
			t.Errorf("the log does not name %s", cause)
		}
	}
}

// Rules F1, D4: the id of a session of HTTP+SSE is the bridge's own and goes into no
// address of the server's, and the client's query reaches it with every request.
func TestQueryOfOldClients(t *testing.T) {
	anyone := func(*http.Request) string { return "anyone" }
	for name, endpoint := range map[string]members{
		"http": {"legacy_sse": members{}},
		"sse":  {"legacy_sse": members{}, "upstream": members{"protocol": "sse", "path": "/sse"}},
	} {
		t.Run(name, func(t *testing.T) {
			address, asked := serveWhoever(t, anyone)
			listen := otherListen(t)
			endpoint["handler"], endpoint["metadata"] = "mcp_auth_bridge", members{"disabled": true}
			s := &stand{host: "localhost", match: members{}, endpoint: endpoint}
			s.dial(address)
			if err := load(t, listen, s.routes(1), nil); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			at := doorway{host: "localhost"}
			messages, lines := openStream(t, ctx, listen, at, "", "/mcp/sse?api_key=k%20ey&sessionId=mine")
			post(t, at.request(t, ctx, listen, "", http.MethodPost, messages, initializeFrame), http.StatusAccepted)
			if got := nextData(lines); !strings.Contains(got, "data of anyone") {
				t.Errorf("got %q", got)
			}
			if name == "sse" {
				return // what it announces is what its clients are told (D2)
			}
			all := asked()
			if len(all) < 2 {
				t.Errorf("the server was asked %q", all)
			}
			for _, line := range all {
				if strings.Contains(line, "sessionId") || !strings.Contains(line, "api_key=k%20ey") {
					t.Errorf("the server was asked %s", line)
				}
			}
		})
	}
	// Clients with sessions, and without, of the endpoint itself, whose messages go to the
	// address that the server has announced.
	t.Run("to an announced address", func(t *testing.T) {
		address, asked := serveWhoever(t, anyone)
		listen := otherListen(t)
		s := &stand{host: "localhost", match: members{}, endpoint: members{"handler": "mcp_auth_bridge", "metadata": members{"disabled": true}, "upstream": members{"protocol": "sse", "path": "/sse"}}}
		s.dial(address)
		if err := load(t, listen, s.routes(1), nil); err != nil {
			t.Fatal(err)
		}
		post(t, statelessCall(t, listen, "?api_key=k&s=another", "whoami"), http.StatusOK)
		posts := 0
		for _, line := range asked() {
			if strings.HasPrefix(line, "POST") {
				posts++
			}
			if !strings.Contains(line, "api_key=k") || strings.HasPrefix(line, "POST") && (!strings.Contains(line, "?s=0&") || strings.Contains(line, "another")) {
				t.Errorf("the server was asked %s", line)
			}
		}
		if posts < 2 {
			t.Errorf("%d messages have reached the server", posts)
		}
	})
}

// Rule D2: what is announced is a path, and never a host, however the client writes the
// address of the stream.
func TestAnnouncedPathIsNoHost(t *testing.T) {
	address, _ := serveWhoever(t, func(*http.Request) string { return "anyone" })
	for name, endpoint := range map[string]members{
		"http":  {"legacy_sse": members{}},
		"sse":   {"legacy_sse": members{}, "upstream": members{"protocol": "sse", "path": "/sse"}},
		"stdio": {"legacy_sse": members{}, "upstream": members{"protocol": "stdio", "command": []string{"/bin/cat"}}},
	} {
		for _, stripped := range []string{"configured", "by a rewrite"} {
			t.Run(name+"/"+stripped, func(t *testing.T) {
				listen := otherListen(t)
				endpoint["handler"] = "mcp_auth_bridge"
				s := &stand{host: "localhost", match: members{}, endpoint: endpoint}
				if name != "stdio" {
					s.dial(address)
				}
				strip := members{"handler": "rewrite", "strip_path_prefix": "/tools"}
				if stripped == "by a rewrite" { // of which nobody knows what it strips
					strip = members{"handler": "rewrite", "path_regexp": []any{members{"find": "^/+tools", "replace": ""}}}
				}
				routes := []any{members{"handle": []any{strip}}, s.routes(1)[0]}
				if err := load(t, listen, routes, nil); err != nil {
					t.Fatal(err)
				}
				for _, path := range []string{"/tools/mcp/sse", "//tools/mcp/sse", "///tools/mcp/sse"} {
					got := announcedAt(t, listen, path)
					if !strings.HasPrefix(got, "/tools/mcp/") {
						t.Errorf("%s: %q is announced", path, got)
					}
				}
			})
		}
	}
}

// announcedAt returns what is announced to a client that asks for a path, as it is written.
func announcedAt(t *testing.T, listen, path string) string {
	t.Helper()
	conn, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, port, _ := net.SplitHostPort(listen)
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost:%s\r\nAccept: text/event-stream\r\n\r\n", path, port)
	return nextData(bufio.NewScanner(conn))
}

// Rule D5a: anonymous requests are one owner, and the log says so at load.
func TestAnonymousOwnerIsLogged(t *testing.T) {
	for kind, want := range map[string]bool{"stdio": true, "sse": true, "legacy_sse": false, "memory alone": false, "stdio with authorize": false} {
		testcaddy.ForgetLogs()
		kind, authorized := strings.CutSuffix(kind, " with authorize")
		s := standing(t, kind, otherListen(t))
		if authorized { // requests without credentials are refused
			s.endpoint["authorize"] = members{"caddy_user": true}
		}
		s.identified(t)
		if got := testcaddy.Logged("requests without credentials count as one user"); got != want {
			t.Errorf("%s, authorized %t: it is said: %t", kind, authorized, got)
		}
	}
}
