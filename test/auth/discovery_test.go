package auth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

const (
	wellKnownOfMCP = "/.well-known/oauth-protected-resource/mcp"
	wellKnownRoot  = "/.well-known/oauth-protected-resource"
	goodDocument   = `{"resource":"UP/mcp","authorization_servers":["https://login.example.com"],"scopes_supported":["mcp"]}`
)

// C1, C2: an open server that answers 500 to every path it does not know has no metadata:
// waiting does not help.
func TestOpenServerWith500Elsewhere(t *testing.T) {
	base, _ := discoverySite(t, fakeServer{
		"POST /mcp": reply(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{}}`),
		"GET /mcp":  reply(405, "", ""),
		"*":         reply(500, "text/plain", "Internal Server Error"),
	}, "mcp_auth_bridge UP")
	c := mcptest.NewClient(t)
	for range 2 {
		for _, path := range []string{wellKnownOfMCP, wellKnownRoot} {
			got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+path, ""))
			if got.Status != 404 || got.Header.Get("Retry-After") != "" || !json.Valid([]byte(got.Body)) {
				t.Errorf("%s: got %d %v %s; want a JSON 404", path, got.Status, got.Header, got.Body)
			}
		}
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize)); got.Status != 200 {
		t.Errorf("the endpoint: got %d", got.Status)
	}
	if testcaddy.Logged("metadata is not available") {
		t.Error("the log says that something is wrong")
	}
}

// C2: what stands at the well-known URL with the path is passed over where it is unusable;
// the challenge names the right document.
func TestPathFormUnusable(t *testing.T) {
	for name, form := range map[string]func(http.ResponseWriter, *http.Request){
		"502": reply(502, "text/html", "<html><body>502 Bad Gateway</body></html>"),
		"{}":  reply(200, "application/json", "{}"),
		"401": challenge401("Bearer"),
		"ok":  reply(200, "application/json", `{"status":"ok"}`),
		"500": reply(500, "application/json", `{"message":"no route"}`),
		"hangs": func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		},
		"another resource": reply(200, "application/json", `{"resource":"https://other.example/mcp"}`),
	} {
		for _, challenged := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, named: %t", name, challenged), func(t *testing.T) {
				line := "Bearer"
				if challenged {
					line = `Bearer resource_metadata="UP` + wellKnownRoot + `"`
				}
				base, _ := discoverySite(t, fakeServer{
					"POST /mcp":             challenge401(line),
					"GET " + wellKnownOfMCP: form,
					"GET " + wellKnownRoot:  reply(200, "application/json", goodDocument),
				}, "mcp_auth_bridge UP {\n\t\tlimits {\n\t\t\tmetadata_timeout 1s\n\t\t}\n\t}")
				c := mcptest.NewClient(t)
				url := named(t, mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize)))
				for _, url := range []string{url, base + wellKnownOfMCP, base + wellKnownRoot} {
					wantDocument(t, c, url, base+"/mcp", "https://login.example.com")
				}
			})
		}
	}
}

// C2: each challenge leads to the document that it names, whoever asks first: the root
// document of another resource is not this endpoint's, and two challenges have two. The one
// that a client without credentials is sent to has the well-known URL (A5), also before the
// bridge has searched.
func TestDocumentOfItsOwn(t *testing.T) {
	doc := func(server string) func(http.ResponseWriter, *http.Request) {
		return reply(200, "application/json", `{"resource":"UP/v2/mcp","authorization_servers":["https://`+server+`.example.com"]}`)
	}
	server := fakeServer{
		"GET /meta/v2.json":    doc("two"),
		"GET /meta/step-up":    doc("three"),
		"GET " + wellKnownRoot: reply(200, "application/json", `{"resource":"UP/v1/mcp","authorization_servers":["https://one.example.com"]}`),
		"POST /v2/mcp": func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Header.Get("Authorization") != "":
				reply(403, "", "", "WWW-Authenticate", `Bearer error="insufficient_scope", resource_metadata="UP/meta/step-up"`)(w, r)
			case r.Header.Get("X-Tenant") != "":
				challenge401(`Bearer resource_metadata="UP/tenants/`+r.Header.Get("X-Tenant")+`"`)(w, r)
			default:
				challenge401(`Bearer resource_metadata="UP/meta/v2.json"`)(w, r)
			}
		},
		"GET /tenants/a": doc("a"), "GET /tenants/b": doc("b"),
	}
	for _, first := range []string{"", "Authorization", "X-Tenant", "metadata"} {
		t.Run("first "+first, func(t *testing.T) {
			base, _ := discoverySite(t, server, "mcp_auth_bridge /v2/mcp UP")
			c := mcptest.NewClient(t)
			if first == "metadata" {
				wantDocument(t, c, base+"/.well-known/oauth-protected-resource/v2/mcp", base+"/v2/mcp", "https://two.example.com")
			}
			order := []string{"", "Authorization", "X-Tenant"}
			if first == "Authorization" {
				order = []string{"Authorization", "X-Tenant", ""}
			} else if first == "X-Tenant" {
				order = []string{"X-Tenant", "", "Authorization"}
			}
			for range 2 {
				for _, who := range order {
					values, want := []string{""}, map[string]string{"": "two"}
					switch who {
					case "Authorization":
						values, want = []string{"Bearer x"}, map[string]string{"Bearer x": "three"}
					case "X-Tenant":
						values, want = []string{"a", "b"}, map[string]string{"a": "a", "b": "b"}
					}
					for _, value := range values {
						r := mcptest.NewRequest(t, "POST", base+"/v2/mcp", mcptest.Initialize)
						if who != "" {
							r.Header.Set(who, value)
						}
						url := named(t, mcptest.Do(t, c, r))
						wellKnown := base + "/.well-known/oauth-protected-resource/v2/mcp"
						if !strings.HasPrefix(url, wellKnown) || who == "" && url != wellKnown || who != "" && url == wellKnown {
							t.Errorf("%s: the challenge names %s", who, url)
						}
						wantDocument(t, c, url, base+"/v2/mcp", "https://"+want[value]+".example.com")
					}
				}
			}
		})
	}
}

// C2: a resource that is a list, or missing, is no document, and each is told for what it is.
func TestResourceListOrMissing(t *testing.T) {
	for cause, body := range map[string]string{
		"has a resource that is a list":       `{"resource":["UP/api/mcp"],"authorization_servers":["https://login.example.com"]}`,
		"has no resource":                     `{"authorization_servers":["https://login.example.com"]}`,
		"has a resource that is not a string": `{"resource":null}`,
		"has a resource that is empty":        `{"resource":"","authorization_servers":["https://login.example.com"]}`,
	} {
		t.Run(cause, func(t *testing.T) {
			base, _ := discoverySite(t, fakeServer{
				"POST /api/mcp": challenge401(`Bearer resource_metadata="UP/.well-known/oauth-protected-resource/api/mcp"`),
				"GET /.well-known/oauth-protected-resource/api/mcp": reply(200, "application/json", body),
			}, "mcp_auth_bridge /api/mcp UP")
			c := mcptest.NewClient(t)
			wantCause(t, c, base, named(t, mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/api/mcp", mcptest.Initialize))), cause)
		})
	}
}

// C3, F1: a server that calls itself by another port is visibly wrong, and status and log
// have the very line that mends it; with that line it is right.
func TestServerHasAnotherPort(t *testing.T) {
	const own = "http://localhost:8000"
	server := fakeServer{
		"POST /mcp":             challenge401(`Bearer resource_metadata="` + own + wellKnownOfMCP + `"`),
		"GET " + wellKnownOfMCP: reply(200, "application/json", `{"resource":"`+own+`/mcp","authorization_servers":["https://login.example.com"]}`),
	}
	base, _ := discoverySite(t, server, "mcp_auth_bridge UP")
	c := mcptest.NewClient(t)
	url := named(t, mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize)))
	if !strings.HasPrefix(url, base+"/") {
		t.Errorf("the challenge names %s", url)
	}
	wantDocument(t, c, url, own+"/mcp", "https://login.example.com")
	var status struct {
		Endpoints []struct {
			Metadata []struct {
				Known     bool   `json:"known"`
				LastError string `json:"last_error"`
				Foreign   string `json:"foreign_resource"`
				Add       string `json:"add"`
			} `json:"metadata"`
		} `json:"endpoints"`
	}
	got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/mcp-status?json", ""))
	if err := json.Unmarshal([]byte(got.Body), &status); err != nil || len(status.Endpoints) != 1 || len(status.Endpoints[0].Metadata) != 1 {
		t.Fatalf("got %s, %v", got.Body, err)
	}
	if m := status.Endpoints[0].Metadata[0]; m.LastError != "names another resource" || m.Foreign != own+"/mcp" || m.Add != "origins "+own {
		t.Errorf("the status says %+v", m)
	}
	if !testcaddy.Logged(`"add":"origins `+own+`"`, "names another resource") {
		t.Error("the log does not have the line")
	}
	base, _ = discoverySite(t, server, "mcp_auth_bridge UP {\n\t\tchallenge {\n\t\t\torigins "+own+"\n\t\t}\n\t}")
	wantDocument(t, c, named(t, mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize))), base+"/mcp", "https://login.example.com")
	if testcaddy.Logged("names another resource") {
		t.Error("the log still says so")
	}
}

// C2, F1: the query of an MCP URL is a part of it: in the challenge, in the well-known URL
// and in resource, also of a document that the operator writes. No log has it.
func TestQueryInURL(t *testing.T) {
	server := fakeServer{
		"POST /mcp": challenge401(`Bearer resource_metadata="UP` + wellKnownOfMCP + `QUERY"`),
		"GET " + wellKnownOfMCP: func(w http.ResponseWriter, r *http.Request) {
			scope := "all"
			if r.URL.RawQuery != "" {
				scope = "one"
			}
			reply(200, "application/json", `{"resource":"UP/mcpQUERY","authorization_servers":["https://login.example.com"],"scopes_supported":["`+scope+`"]}`)(w, r)
		},
	}
	base, _ := discoverySite(t, server, "mcp_auth_bridge UP")
	c := mcptest.NewClient(t)
	for query, scope := range map[string]string{"": "all", "?project=secret-a": "one", "?project=secret-b&x=%20": "one"} {
		url := named(t, mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp"+query, mcptest.Initialize)))
		if want := base + wellKnownOfMCP + query; url != want {
			t.Errorf("the challenge names %s; want %s", url, want)
		}
		wantDocument(t, c, url, base+"/mcp"+query, "https://login.example.com")
		if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", url, "")); !strings.Contains(got.Body, `"scopes_supported":["`+scope+`"]`) {
			t.Errorf("%q: got %s; want scope %s", query, got.Body, scope)
		}
	}
	if status := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/mcp-status?json", "")); strings.Contains(status.Body, "secret") {
		t.Errorf("the status has a query: %s", status.Body)
	}
	for _, line := range testcaddy.Logs() {
		if strings.Contains(line, "secret") && !strings.Contains(line, `"level":"debug"`) { // where reverse_proxy tells of each request
			t.Errorf("the log has a query: %s", line)
		}
	}

	server["POST /mcp"] = challenge401("Bearer")
	base, _ = discoverySite(t, server, "mcp_auth_bridge UP {\n\t\tmetadata {\n\t\t\tauthorization_servers https://as.example.com\n\t\t}\n\t}")
	url := named(t, mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp?project=a", mcptest.Initialize)))
	if want := base + wellKnownOfMCP + "?project=a"; url != want {
		t.Errorf("the challenge names %s; want %s", url, want)
	}
	wantDocument(t, c, url, base+"/mcp?project=a", "https://as.example.com")
}

// A3, A6: of two challenges the one that names metadata is mapped, and nothing is added.
func TestTwoBearersOneBare(t *testing.T) {
	lines := []string{`Bearer realm="x", resource_metadata="UP` + wellKnownRoot + `"`, "Bearer"}
	for _, order := range [][]string{lines, {lines[1], lines[0]}} {
		base, _ := discoverySite(t, fakeServer{
			"POST /mcp":            challenge401(order...),
			"GET " + wellKnownRoot: reply(200, "application/json", goodDocument),
		}, "mcp_auth_bridge UP")
		c := mcptest.NewClient(t)
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize))
		want := strings.ReplaceAll(strings.Join(order, "|"), "UP"+wellKnownRoot, base+wellKnownOfMCP)
		if lines := strings.Join(got.Header["Www-Authenticate"], "|"); lines != want {
			t.Errorf("got %s; want %s", lines, want)
		}
		wantDocument(t, c, named(t, got), base+"/mcp", "https://login.example.com")
	}
}

// C2: a challenge of another scheme, on a redirect to a login page, leads to its document.
func TestChallengeOnRedirect(t *testing.T) {
	const at = "/.well-known/example-access-protected-resource/mcp"
	gate := reply(302, "", "", "WWW-Authenticate", `Example-Access resource_metadata="UP`+at+`"`, "Location", "https://team.example.com/login/mcp?kid=1")
	base, _ := discoverySite(t, fakeServer{
		"POST /mcp": gate, "GET /mcp": gate,
		"GET " + at: reply(200, "application/json", `{"resource":"UP/mcp","authorization_servers":["https://team.example.com"]}`),
	}, "mcp_auth_bridge UP")
	c := mcptest.NewClient(t)
	for range 2 {
		for _, method := range []string{"POST", "GET"} {
			got := mcptest.Do(t, c, mcptest.NewRequest(t, method, base+"/mcp", mcptest.Initialize))
			if got.Status != 302 || got.Header.Get("Location") != "https://team.example.com/login/mcp?kid=1" || !strings.HasPrefix(got.Header.Get("WWW-Authenticate"), "Example-Access resource_metadata=") {
				t.Errorf("got %d %v", got.Status, got.Header)
			}
			wantDocument(t, c, named(t, got), base+"/mcp", "https://team.example.com")
		}
		wantDocument(t, c, base+wellKnownOfMCP, base+"/mcp", "https://team.example.com")
	}
}

// C1, C5: a server of MCP specification 2025-03-26 has the metadata of its authorization
// server at its own origin. Where that is one elsewhere it is relayed, and nothing else of
// the site loses its answer by that.
func TestRelayedServerMetadata(t *testing.T) {
	const at = "/.well-known/oauth-authorization-server"
	doc := `{"issuer":"https://login.example.com","authorization_endpoint":"https://login.example.com/authorize","token_endpoint":"https://login.example.com/token","registration_endpoint":"https://login.example.com/register","response_types_supported":["code"]}`
	serve := func(body string) fakeServer {
		return fakeServer{"POST /mcp": challenge401("Bearer"), "GET " + at: reply(200, "application/json", body)}
	}
	c := mcptest.NewClient(t)
	base, _ := discoverySite(t, serve(doc), "mcp_auth_bridge UP")
	for range 2 {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+at, "", "Origin", "https://anyone.example"))
		if got.Status != 200 || got.Body != doc || got.Header.Get("Content-Type") != "application/json" || strings.Join(got.Header["Access-Control-Allow-Origin"], "|") != "*" {
			t.Errorf("got %d %v %s", got.Status, got.Header, got.Body)
		}
	}
	for _, path := range []string{wellKnownOfMCP, "/.well-known/openid-configuration", at + "/other"} {
		if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+path, "")); got.Status != 404 {
			t.Errorf("%s: got %d", path, got.Status)
		}
	}

	// An authorization server of the server's own has to be bridged, and nothing private leaves.
	base, up := discoverySite(t, serve(strings.ReplaceAll(doc, "https://login.example.com", "UP")), "mcp_auth_bridge UP")
	got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+at, ""))
	if got.Status != 404 || strings.Contains(got.Body, strings.TrimPrefix(up.URL, "http://")) || !strings.Contains(got.Body, "own origin") {
		t.Errorf("of its own: got %d %s", got.Status, got.Body)
	}
	if !testcaddy.Logged("is not passed on", "authorization_server bridge") {
		t.Error("the log does not say what mends it")
	}

	// The site's own answer stays, and of two endpoints neither speaks for the root.
	base, _ = discoverySite(t, serve(doc), "mcp_auth_bridge UP\n\trespond "+at+" \"{}\"")
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+at, "")); got.Status != 200 || got.Body != "{}" {
		t.Errorf("the site's own: got %d %s", got.Status, got.Body)
	}
	base, _ = discoverySite(t, serve(doc), "mcp_auth_bridge /mcp UP\n\tmcp_auth_bridge /two http://UP/mcp")
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+at, "")); got.Status != 404 {
		t.Errorf("of two endpoints: got %d %s", got.Status, got.Body)
	}
}

// C2, D3: the query of an MCP URL reaches the server on every transport, and is in the
// challenge that comes back.
func TestQueryOnEveryTransport(t *testing.T) {
	const query = "?project=secret-a&x=%20"
	for name, directive := range map[string]string{
		"http": "mcp_auth_bridge UP", "http for old clients": "mcp_auth_bridge UP {\n\t\tlegacy_sse\n\t}",
		"sse": "mcp_auth_bridge sse+http://UP/mcp", "sse for old clients": "mcp_auth_bridge sse+http://UP/mcp {\n\t\tlegacy_sse\n\t}",
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			seen := make(map[string]bool)
			note := func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" {
					mu.Lock()
					seen[r.URL.RawQuery] = true
					mu.Unlock()
				}
				challenge401(`Bearer resource_metadata="UP`+wellKnownOfMCP+`QUERY"`)(w, r)
			}
			base, _ := discoverySite(t, fakeServer{"POST /mcp": note, "GET /mcp": note}, directive)
			c := mcptest.NewClient(t)
			paths := []string{"POST /mcp"}
			if strings.Contains(directive, "legacy") {
				paths = append(paths, "GET /mcp/sse")
			} else {
				paths = append(paths, "GET /mcp")
			}
			for _, request := range paths {
				clear(seen)
				method, path, _ := strings.Cut(request, " ")
				body := mcptest.Initialize
				if method == "GET" {
					body = ""
				}
				got := mcptest.Do(t, c, mcptest.NewRequest(t, method, base+path+query, body, "Authorization", "Bearer x"))
				if got.Status != 401 {
					t.Errorf("%s: got %d %s", request, got.Status, got.Body)
					continue
				}
				if url := named(t, got); url != base+wellKnownOfMCP+query {
					t.Errorf("%s: the challenge names %s", request, url)
				}
				if len(seen) != 1 || !seen[query[1:]] {
					t.Errorf("%s: the server saw the queries %v", request, seen)
				}
			}
		})
	}
}

// C1: with `root_metadata off` the only endpoint of a site does not own the well-known URL
// without a path.
func TestRootMetadataOff(t *testing.T) {
	for option, want := range map[string]int{"": 200, "root_metadata": 200, "root_metadata off": 404} {
		t.Run(option, func(t *testing.T) {
			base, _ := discoverySite(t, fakeServer{
				"POST /mcp":             challenge401("Bearer"),
				"GET " + wellKnownOfMCP: reply(200, "application/json", goodDocument),
				"*":                     reply(404, "", ""),
			}, "mcp_auth_bridge UP {\n\t\t"+option+"\n\t}")
			c := mcptest.NewClient(t)
			if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+wellKnownOfMCP, "")); got.Status != 200 {
				t.Errorf("with the path: got %d", got.Status)
			}
			if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+wellKnownRoot, "")); got.Status != want {
				t.Errorf("without: got %d, want %d", got.Status, want)
			}
		})
	}
}
