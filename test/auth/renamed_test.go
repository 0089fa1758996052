package auth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// elsewhere is a server that calls itself http://localhost:8000 in whatever it says, as one
// in a container whose port is published under another number. It redirects /mcp to /mcp/.
func elsewhere(t *testing.T) *httptest.Server {
	t.Helper()
	const own = "http://localhost:8000"
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/mcp":
			h.Set("Location", own+"/mcp/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		case "/mcp/":
			h.Set("WWW-Authenticate", `Bearer resource_metadata="`+own+`/.well-known/oauth-protected-resource/mcp"`)
			w.WriteHeader(http.StatusUnauthorized)
		case "/.well-known/oauth-protected-resource/mcp":
			_, _ = fmt.Fprintf(w, `{"resource":"%s/mcp","authorization_servers":["%[1]s"]}`, own)
		case "/.well-known/oauth-authorization-server":
			_, _ = fmt.Fprintf(w, `{"issuer":"%s","authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token"}`, own)
		case "/authorize":
			h.Set("Location", own+"/login?next=/authorize")
			w.WriteHeader(http.StatusFound)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(up.Close)
	return up
}

// Rules A5, A10, C3, C5, F2: a server that calls itself by another port is mapped as far as
// is certain, nothing of it reaches a client in a Location, and log and status name the
// very line that makes the rest its own.
func TestRenamedServer(t *testing.T) {
	const line = "origins http://localhost:8000"
	for _, tc := range []struct{ listed, bridged bool }{{}, {listed: true}, {bridged: true}, {true, true}} {
		t.Run(fmt.Sprintf("listed %t, bridged %t", tc.listed, tc.bridged), func(t *testing.T) {
			up, port := elsewhere(t), testcaddy.FreePort(t)
			options := ""
			if tc.listed {
				options += "\n\t\tchallenge {\n\t\t\t" + line + "\n\t\t}"
			}
			if tc.bridged {
				options += "\n\t\tauthorization_server bridge"
			}
			testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://mcp.test:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge %s {%s\n\t}\n\thandle /status {\n\t\tmcp_auth_bridge status\n\t}\n}",
				port, up.URL, options))
			base := fmt.Sprintf("http://mcp.test:%d", port)
			ask := func(method, path string) mcptest.Answer {
				r := mcptest.NewRequest(t, method, "http://"+testcaddy.Addr(port)+path, "{}")
				r.Host = strings.TrimPrefix(base, "http://")
				got := mcptest.Do(t, mcptest.NewClient(t), r)
				if l := got.Header.Get("Location"); strings.Contains(l, "localhost") {
					t.Errorf("%s %s: Location %s", method, path, l)
				}
				return got
			}
			got := ask("POST", "/mcp")
			if want := `Bearer resource_metadata="` + base + `/.well-known/oauth-protected-resource/mcp"`; got.Status != http.StatusUnauthorized || got.Header.Get("WWW-Authenticate") != want {
				t.Errorf("got %d, %q, want %s", got.Status, got.Header["Www-Authenticate"], want)
			}
			resource, issuer := "http://localhost:8000/mcp", "http://localhost:8000"
			if tc.listed {
				resource = base + "/mcp"
			}
			if tc.listed && tc.bridged {
				issuer = base
			}
			if got := ask("GET", "/.well-known/oauth-protected-resource/mcp"); got.Body != fmt.Sprintf(`{"resource":%q,"authorization_servers":[%q]}`, resource, issuer) {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			if got := ask("GET", "/.well-known/oauth-authorization-server"); tc.bridged && got.Body != fmt.Sprintf(`{"issuer":"%s","authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token"}`, issuer) {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			if got := ask("GET", "/authorize"); tc.listed && tc.bridged && got.Header.Get("Location") != base+"/login?next=/authorize" {
				t.Errorf("got %d to %q", got.Status, got.Header.Get("Location"))
			}
			shown := strings.Contains(ask("GET", "/status?json").Body, `"add":"`+line+`"`)
			if logged := testcaddy.Logged(`"add":"` + line + `"`); shown == tc.listed || logged == tc.listed {
				t.Errorf("the line is in the status: %t, in the log: %t; want %t", shown, logged, !tc.listed)
			}
		})
	}
}

// Rules A2, A10, C2: a redirect to a login page elsewhere crosses as it is, with its
// challenge whole, and the URL in it has the document that it named. The operator is told
// that clients do not follow, and no line makes the gate the server's own.
func TestLoginByRedirect(t *testing.T) {
	const login = "https://team.example.com/login/mcp?kid=1"
	var up *httptest.Server
	up = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/mcp":
			w.Header().Set("WWW-Authenticate", `Example-Access  resource_metadata="`+up.URL+`/.well-known/example-access-protected-resource/mcp" , x=y`)
			w.Header().Set("Location", login)
			w.WriteHeader(http.StatusFound)
		case "/.well-known/example-access-protected-resource/mcp":
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"resource":"%s/mcp","authorization_servers":["https://team.example.com"]}`, up.URL)
		default:
			http.NotFound(w, r)
		}
	}))
	up.Start()
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, ""))
	base := "http://" + testcaddy.Addr(port)
	for range 2 {
		for _, method := range []string{"POST", "GET"} {
			got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, method, base+"/mcp", mcptest.Initialize))
			lines := got.Header["Www-Authenticate"]
			if got.Status != http.StatusFound || got.Header.Get("Location") != login || len(lines) != 1 {
				t.Fatalf("%s: got %d, header %v", method, got.Status, got.Header)
			}
			before, rest, _ := strings.Cut(lines[0], `"`)
			named, after, _ := strings.Cut(rest, `"`)
			if before != "Example-Access  resource_metadata=" || after != " , x=y" || !strings.HasPrefix(named, base+"/") {
				t.Errorf("%s: challenge %q", method, lines[0])
			}
			want := fmt.Sprintf(`{"resource":"%s/mcp","authorization_servers":["https://team.example.com"]}`, base)
			if doc := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", named, "")); doc.Status != http.StatusOK || doc.Body != want {
				t.Errorf("%s: got %d %s", named, doc.Status, doc.Body)
			}
		}
	}
	testcaddy.WantAdvice(t, "MCP server redirects to another origin", "")
}
