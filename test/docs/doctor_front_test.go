package docs_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// fronted is a server behind this module, and what the doctor has to say of it
// at the public URL.
type fronted struct {
	name   string
	server func(own string) http.HandlerFunc
	block  string // of mcp_auth_bridge
	opts   doctor.Options
	state  doctor.State
	rule   string
	says   string
	cures  []string // all of them, with {origin} for the public origin
}

// answers401 answers 401 with challenges, and documents at their paths.
func answers401(documents map[string]any, lines ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if document, ok := documents[r.URL.Path]; ok {
			answerJSON(w, http.StatusOK, document)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			http.NotFound(w, r)
			return
		}
		for _, line := range lines {
			w.Header().Add("WWW-Authenticate", line)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}
}

const wellKnownResource = "/.well-known/oauth-protected-resource"

// Rule F3: a cure is one that the set-up still lacks: behind this module the
// doctor says what is to be added to its block, with the values that it saw,
// and never to put it in front.
func TestDoctorBehindTheModule(t *testing.T) {
	login := "https://login.example.com"
	for _, tc := range []fronted{
		{
			name: "resource at another port", rule: "resource.identical", says: "the OAuth metadata says this server is http://localhost:8000/mcp, but clients use {origin}/mcp",
			server: func(own string) http.HandlerFunc {
				return answers401(map[string]any{wellKnownResource + "/mcp": map[string]any{"resource": "http://localhost:8000/mcp", "authorization_servers": []string{login}}},
					`Bearer resource_metadata="`+own+wellKnownResource+`/mcp"`)
			},
			cures: []string{
				"Caddyfile: if http://localhost:8000 is this server, add `origins http://localhost:8000` to the block `challenge`, and remove `keep_resource`",
				"server: set its public URL (resource, and the audience of tokens) to {origin}/mcp",
			},
		},
		{
			name: "keep_resource", block: "metadata {\n\t\t\tkeep_resource\n\t\t}", rule: "resource.identical", says: "but clients use {origin}/mcp",
			server: func(own string) http.HandlerFunc {
				return answers401(map[string]any{wellKnownResource + "/mcp": map[string]any{"resource": own + "/mcp", "authorization_servers": []string{login}}},
					`Bearer resource_metadata="`+own+wellKnownResource+`/mcp"`)
			},
			cures: []string{
				"Caddyfile: if {upstream} is this server, add `origins {upstream}` to the block `challenge`, and remove `keep_resource`",
				"server: set its public URL (resource, and the audience of tokens) to {origin}/mcp",
			},
		},
		{
			name: "no metadata", rule: "challenge.present", says: "the 401 has no WWW-Authenticate header",
			server: func(string) http.HandlerFunc { return answers401(nil) },
			cures: []string{
				"Caddyfile: add `authorization_servers <url>` to the block `metadata`; mcp_auth_bridge then adds the header",
				`server: send WWW-Authenticate: Bearer resource_metadata="{origin}` + wellKnownResource + `/mcp"`,
			},
		},
		{
			name: "no document where the challenge says", rule: "metadata.found", says: "the URL in WWW-Authenticate returns 404 Not Found (",
			server: func(own string) http.HandlerFunc {
				return answers401(nil, `Bearer resource_metadata="`+own+wellKnownResource+`/mcp"`)
			},
			cures: []string{
				"Caddyfile: add `authorization_servers <url>` to the block `metadata`; mcp_auth_bridge then writes the document",
				"server: serve metadata with resource and authorization_servers",
			},
		},
		{
			name: "a list for resource", rule: "metadata.found", says: "the URL in WWW-Authenticate returns 404 Not Found (What the server behind has as metadata cannot be used",
			server: func(own string) http.HandlerFunc {
				return answers401(map[string]any{wellKnownResource + "/mcp": map[string]any{"resource": []string{own + "/mcp"}}}, `Bearer resource_metadata="`+own+wellKnownResource+`/mcp"`)
			},
			cures: []string{
				"Caddyfile: add `authorization_servers <url>` to the block `metadata`; mcp_auth_bridge then writes the document",
				"server: serve metadata with resource and authorization_servers",
			},
		},
		{
			name: "a bridged authorization server that fails", rule: "issuer.found", says: "the authorization server has no metadata: {origin}/.well-known/oauth-authorization-server returns 503 Service Unavailable (",
			block: "authorization_server bridge",
			server: func(own string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.URL.Path, "/.well-known/oauth-authorization-server") {
						w.WriteHeader(http.StatusInternalServerError)
						return
					}
					answers401(map[string]any{wellKnownResource + "/mcp": map[string]any{"resource": own + "/mcp", "authorization_servers": []string{own}}}, `Bearer resource_metadata="`+own+wellKnownResource+`/mcp"`)(w, r)
				}
			},
			cures: []string{
				"Caddyfile: look into Caddy's log (`metadata`) and `caddy mcp status`: the server behind Caddy did not send it",
				"authorization server: serve /.well-known/oauth-authorization-server or /.well-known/openid-configuration for this issuer",
			},
		},
		{
			name: "login by a redirect", rule: "endpoint.login", says: "the server redirects (302) to a login page, https://team.example.com/gate, instead of answering 401; its challenge has the scheme Example-Access, which clients do not know",
			server: func(string) http.HandlerFunc {
				return func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("WWW-Authenticate", "Example-Access realm=x")
					w.Header().Set("Location", "https://team.example.com/gate")
					w.WriteHeader(http.StatusFound)
				}
			},
			cures: []string{"network: have the proxy that redirects answer MCP clients with 401 and WWW-Authenticate: Bearer, or let /mcp and /.well-known/* through"},
		},
		{
			name: "the server fails", rule: "endpoint.upstream", says: "a proxy answers, but the MCP server behind it does not (502)",
			server: func(string) http.HandlerFunc {
				return func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
			},
			cures: []string{
				"Caddyfile: start the server, or correct its address after `mcp_auth_bridge`; `caddy mcp status` and Caddy's log have the reason",
				"server: look into its log",
			},
		},
		{
			name: "a path that the server does not have", rule: "endpoint.path", says: "there is no MCP endpoint at this path (404)",
			server: func(string) http.HandlerFunc { return http.NotFound },
			cures: []string{
				"Caddyfile: if the server has the endpoint at another path, add `upstream_path <path>`",
				"command line: if clients use another path, use that URL",
			},
		},
		{
			name: "a page that is not allowed", rule: "preflight.origin", says: "pages at https://app.example.com get 403", opts: doctor.Options{Origin: "https://app.example.com"},
			server: func(own string) http.HandlerFunc { return answers401(nil, "Bearer") },
			cures:  []string{"Caddyfile: add `allow_origins https://app.example.com` to the block `cors` of mcp_auth_bridge"},
		},
		{
			name: "a field that a page may not send", rule: "preflight.headers", says: "pages at https://app.example.com may not send x-api-key",
			opts:   doctor.Options{Origin: "https://app.example.com", Header: http.Header{"X-Api-Key": {"k"}}},
			block:  "cors {\n\t\t\tallow_origins https://app.example.com\n\t\t}",
			server: func(own string) http.HandlerFunc { return answers401(nil, "Bearer") },
			cures:  []string{"Caddyfile: add `allow_headers X-Api-Key` to the block `cors` of mcp_auth_bridge"},
		},
		{
			name: "a page that the server refuses", rule: "endpoint.origin", says: "requests from pages at https://app.example.com get 403, others do not", opts: doctor.Options{Origin: "https://app.example.com"},
			block: "cors {\n\t\t\tallow_origins https://app.example.com\n\t\t}",
			server: func(own string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Origin") != "" {
						w.WriteHeader(http.StatusForbidden)
						return
					}
					answers401(nil, "Bearer")(w, r)
				}
			},
			cures: []string{
				"Caddyfile: add `header_up -Origin`; `allow_origins https://app.example.com` still checks the origin",
				"server: add https://app.example.com to its allowed origins",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t) })
	}
}

func (tc fronted) run(t *testing.T) {
	t.Helper()
	var handler http.HandlerFunc
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler(w, r) }))
	t.Cleanup(server.Close)
	handler = tc.server(server.URL)
	origin := "http://" + testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, "{\n\tauto_https off\n}\n"+origin+" {\n\tmcp_auth_bridge "+strings.TrimPrefix(server.URL, "http://")+" {\n\t\t"+tc.block+"\n\t}\n}")
	tc.opts.URL = origin + "/mcp"
	r, err := doctor.Run(t.Context(), tc.opts)
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("{origin}", origin, "{upstream}", server.URL)
	v := r.Verdict
	if tc.state == "" {
		tc.state = doctor.Broken
	}
	if v.State != tc.state || v.Finding == nil || v.Finding.Rule != tc.rule || !strings.Contains(v.Finding.Text, fill.Replace(tc.says)) {
		t.Fatalf("got %s, %+v\nwant %s, %s: ...%s...", v.State, v.Finding, tc.state, tc.rule, fill.Replace(tc.says))
	}
	var cures, want []string
	for _, c := range v.Finding.Cures {
		cures = append(cures, c.Where+": "+c.Text)
	}
	for _, cure := range tc.cures {
		want = append(want, fill.Replace(cure))
	}
	if !slices.Equal(cures, want) {
		t.Errorf("got cures\n%s\nwant\n%s", strings.Join(cures, "\n"), strings.Join(want, "\n"))
	}
	for _, s := range r.Steps {
		for _, f := range s.Findings {
			for _, c := range f.Cures {
				if strings.Contains(c.Text, "in front of the server") || strings.Contains(c.Text, "replace `reverse_proxy`") || strings.Contains(c.Text, "{") {
					t.Errorf("%s: %s", f.Rule, c.Text)
				}
			}
		}
	}
}

// Rule F3: behind the module the doctor finds nothing of what is the module's to
// mend, and what is the authorization server's: as many findings as there are
// here, at any level.
func TestDoctorThroughTheModule(t *testing.T) {
	const first = "Bearer resource_metadata=\"{own}" + wellKnownResource + "/mcp{query}\""
	for _, tc := range []struct {
		name   string
		lines  []string
		query  string // of the MCP URL
		server map[string]any
		opts   doctor.Options
		block  string
		want   []string
	}{
		{name: "one challenge", lines: []string{first}},
		{name: "a bare Bearer last", lines: []string{first, "Bearer"}},
		{name: "a bare Bearer first", lines: []string{"Bearer", first}, want: []string{"warn challenge.first: the first challenge is a Bearer challenge without parameters, so clients built with the TypeScript SDK ignore it; they still find the metadata at its well-known URL"}},
		{name: "a query", lines: []string{first}, query: "?project=a-1"},
		{
			name: "a login page at another origin", lines: []string{first}, server: map[string]any{"authorization_endpoint": "https://pages.example.com/login"},
			want: []string{"warn issuer.iss: authorization_endpoint is at https://pages.example.com, not at the issuer, and the metadata does not announce iss (authorization_response_iss_parameter_supported): some clients stop"},
		},
		{name: "a login page at another origin, with iss", lines: []string{first}, server: map[string]any{"authorization_endpoint": "https://pages.example.com/login", "authorization_response_iss_parameter_supported": true}},
		{
			name: "an extension", lines: []string{first}, opts: doctor.Options{Origin: "safari-web-extension://6F9619FF-8B86-D011-B42D-00C04FC964FF"},
			block: "cors {\n\t\t\tallow_origins safari-web-extension://6F9619FF-8B86-D011-B42D-00C04FC964FF\n\t\t}",
		},
		{
			name: "fields of the caller's that are allowed", lines: []string{first}, opts: doctor.Options{Origin: "https://app.example.com", Header: http.Header{"X-Api-Key": {"k"}}},
			block: "cors {\n\t\t\tallow_origins https://app.example.com\n\t\t\tallow_headers X-Api-Key\n\t\t}",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var issuer, own string
			login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/.well-known/oauth-authorization-server" && tc.server != nil {
					document := map[string]any{
						"issuer": issuer, "token_endpoint": issuer + "/token", "registration_endpoint": issuer + "/register",
						"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
					}
					maps.Copy(document, tc.server)
					w.Header().Set("Access-Control-Allow-Origin", "*")
					answerJSON(w, http.StatusOK, document)
					return
				}
				authorizationServer(w, r, issuer)
			}))
			t.Cleanup(login.Close)
			issuer = login.URL
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == wellKnownResource+"/mcp" && "?"+r.URL.RawQuery != tc.query && tc.query != "" {
					answerJSON(w, http.StatusOK, map[string]any{"resource": own + "/mcp", "authorization_servers": []string{issuer}, "scopes_supported": []string{"all"}})
					return
				}
				var lines []string
				for _, line := range tc.lines {
					lines = append(lines, strings.NewReplacer("{own}", own, "{query}", tc.query).Replace(line))
				}
				answers401(map[string]any{wellKnownResource + "/mcp": map[string]any{"resource": own + "/mcp" + tc.query, "authorization_servers": []string{issuer}}}, lines...)(w, r)
			}))
			t.Cleanup(server.Close)
			own = server.URL
			origin := "http://" + testcaddy.Addr(testcaddy.FreePort(t))
			testcaddy.Run(t, "{\n\tauto_https off\n}\n"+origin+" {\n\tmcp_auth_bridge "+strings.TrimPrefix(own, "http://")+" {\n\t\t"+tc.block+"\n\t}\n}")
			tc.opts.URL = origin + "/mcp" + tc.query
			r, err := doctor.Run(t.Context(), tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range r.Steps {
				for _, f := range s.Findings {
					if f.Level != doctor.Pass {
						got = append(got, string(f.Level)+" "+f.Rule+": "+f.Text)
					}
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
			if tc.query != "" && strings.Contains(text(t, r), "a-1") {
				t.Errorf("the query is shown:\n%s", text(t, r))
			}
		})
	}
}
