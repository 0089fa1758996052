package mcpauthbridge

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rules D4, D5a: whoever the configuration says a request is from, by placeholders in
// what it sends to the server, never shares the server's stream with another.
func TestUsersNamedByPlaceholders(t *testing.T) {
	inPath := func(r *http.Request, user string) { r.URL.Path = "/" + user + "/mcp" }
	inField := func(r *http.Request, user string) { r.Header.Set("User-Agent", user) }
	ofField := func(r *http.Request) string { return r.Header.Get("X-Tenant") }
	for name, tc := range map[string]struct {
		before, inside string
		is             func(r *http.Request, user string)
		who            func(r *http.Request) string
	}{
		"a part of the path": {
			"@t path_regexp t ^/([a-z]+)/mcp$\n\t\trewrite @t /mcp", "header_up X-Tenant {re.t.1}", inPath, ofField,
		},
		"a variable": {
			"@admin header User-Agent alice\n\t\tvars role bob\n\t\tvars @admin role alice", "header_up X-Tenant {vars.role}", inField, ofField,
		},
		"a mapped value": {
			"map {header.User-Agent} {who} {\n\t\t\talice alice\n\t\t\tdefault bob\n\t\t}", "header_up X-Tenant {who}", inField, ofField,
		},
		"a value in another": {
			"vars who {header.User-Agent}", `header_up X-Tenant "of {env.NO_SUCH_NAME:} {vars.who}"`, inField,
			func(r *http.Request) string {
				return strings.TrimSpace(strings.TrimPrefix(r.Header.Get("X-Tenant"), "of "))
			},
		},
		"the name of a field": {
			"vars who {header.User-Agent}", "header_up X-{vars.who} yes", inField,
			func(r *http.Request) string {
				if r.Header.Get("X-Alice") != "" {
					return "alice"
				}
				return "bob"
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			address, _ := serveWhoever(t, tc.who)
			listen := otherListen(t)
			testcaddy.Run(t, ":"+listen[strings.LastIndexByte(listen, 58)+1:]+" {\n\troute {\n\t\t"+tc.before+"\n\t\tmcp_auth_bridge sse+http://"+address+"/sse {\n\t\t\tmetadata off\n\t\t\t"+tc.inside+"\n\t\t}\n\t}\n}")
			for range 2 {
				for _, user := range []string{"alice", "bob"} {
					r := statelessCall(t, listen, "", "whoami")
					tc.is(r, user)
					if got := post(t, r, http.StatusOK); !strings.Contains(got, "data of "+user) {
						t.Errorf("%s: got %s", user, got)
					}
				}
			}
		})
	}
}

// What is another for each request or connection tells nobody apart, and a field that
// does not count does not count because the configuration sets it: one server is shared.
func TestValuesOfEachRequestSeparateNoUsers(t *testing.T) {
	anyone := func(*http.Request) string { return "anyone" }
	address, asked := serveWhoever(t, anyone)
	listen := otherListen(t)
	testcaddy.Run(t, ":"+listen[strings.LastIndexByte(listen, ':')+1:]+` {
		mcp_auth_bridge sse+http://`+address+`/sse {
			metadata off
			header_up X-Own-Id {http.request.uuid}
			header_up X-Real-Ip {remote_host}
			header_up X-Peer {remote}
			header_up X-At {time.now.unix_ms}
			header_up X-Asked-For {header.Mcp-Name}
			header_up Host {upstream_hostport}
		}
	}`)
	for range 3 {
		post(t, statelessCall(t, listen, "", "whoami"), http.StatusOK)
	}
	streams := 0
	for _, line := range asked() {
		if strings.HasPrefix(line, "GET") {
			streams++
		}
	}
	if streams != 1 {
		t.Errorf("%d streams were opened, want 1", streams)
	}
}
