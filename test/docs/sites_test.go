package docs_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// mcpServer is an MCP server that calls itself by a name, or else by its
// address, and wants a token of an authorization server.
func mcpServer(t *testing.T, name, issuer string) *httptest.Server {
	t.Helper()
	var server *httptest.Server
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own := name
		if own == "" {
			own = server.URL
		}
		protected(w, r, own, issuer)
	}))
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// The first Caddyfile of docs/many-servers.md serves what its table says; in
// the second, the origins of an endpoint's own replace those of all.
func TestDocumentedManyServers(t *testing.T) {
	found := blocks(t, "docs/many-servers.md", "caddyfile")
	place := func(caddyfile string) string {
		github, files := mcpServer(t, "", "https://login.example.com"), mcpServer(t, "", "https://login.example.com")
		replaced, origins := onLoopback(t, strings.NewReplacer("http://github-mcp:3000", github.URL, "http://files-mcp:3000", files.URL).Replace(caddyfile))
		testcaddy.Run(t, replaced)
		return origins["mcp.example.com"]
	}
	client := mcptest.NewClient(t)
	get := func(url, origin string) mcptest.Answer {
		t.Helper()
		req := mcptest.NewRequest(t, http.MethodGet, url, "")
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		return mcptest.Do(t, client, req)
	}

	origin := place(found[0])
	const wellKnown = "/.well-known/oauth-protected-resource"
	for at, endpoint := range map[string]string{wellKnown + "/github/mcp": "/github/mcp", wellKnown: "/github/mcp", wellKnown + "/files/mcp": "/files/mcp"} {
		// The root form names the endpoint by its own URL.
		if got := get(origin+at, ""); got.Status != http.StatusOK || !strings.Contains(got.Body, `"resource":"`+origin+endpoint+`"`) {
			t.Errorf("%s: got %d %s, want the resource %s", at, got.Status, got.Body, endpoint)
		}
		if at != wellKnown && !strings.Contains(read(t, "docs/many-servers.md"), "`https://mcp.example.com"+at+"`") {
			t.Errorf("the page does not name %s", at)
		}
	}

	origin = place(found[1])
	for endpoint, allowed := range map[string]string{"/github/mcp": "https://app.example.com", "/files/mcp": "https://files.example.com"} {
		for _, page := range []string{"https://app.example.com", "https://files.example.com"} {
			want := http.StatusForbidden
			if page == allowed {
				want = http.StatusUnauthorized // the server's
			}
			if got := get(origin+endpoint, page); got.Status != want {
				t.Errorf("%s of %s: got %d, want %d", page, endpoint, got.Status, want)
			}
		}
	}
}

// The Caddyfiles of docs/kubernetes.md give clients what they need behind a
// proxy that ends TLS, be the server found by a Service or by the names of its
// pods.
func TestDocumentedKubernetesServes(t *testing.T) {
	const page = "docs/kubernetes.md"
	var config object
	if err := yaml.NewDecoder(strings.NewReader(blocks(t, page, "yaml")[0])).Decode(&config); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ caddyfile, upstream, calls string }{
		"Service":  {config.Data["Caddyfile"], "mcp-server:3000", ""},
		"headless": {blocks(t, page, "caddyfile")[0], "\t\t\tname mcp-server-pods\n\t\t\tport 3000", "http://mcp-server:3000"},
	} {
		t.Run(name, func(t *testing.T) {
			const issuer = "https://login.example.com"
			login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { authorizationServer(w, r, issuer) }))
			t.Cleanup(login.Close)
			server := mcpServer(t, tc.calls, issuer)
			addr := strings.TrimPrefix(server.URL, "http://")
			if strings.Contains(tc.upstream, "name") {
				host, port, _ := strings.Cut(addr, ":")
				addr = "\t\t\tname " + host + "\n\t\t\tport " + port
			}
			replaced, origins := onLoopback(t, strings.Replace(tc.caddyfile, tc.upstream, addr, 1))
			origin := origins[":8080"]
			replaced = strings.Replace(replaced, origin+" {", origin[strings.LastIndex(origin, ":"):]+" {\n\tbind 127.0.0.1", 1)
			testcaddy.Run(t, replaced)
			r, err := doctor.Run(t.Context(), doctor.Options{URL: "https://mcp.example.com/mcp", Transport: endsTLS(t, origin, login.URL)})
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict.State != doctor.Healthy || r.Verdict.Warnings > 0 {
				t.Errorf("got\n%s", text(t, r))
			}
		})
	}
}
