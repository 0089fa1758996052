package http_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Of two endpoints with one path, the one that no request can reach is refused with
// both named. Two that share the requests between them are none of this.
func TestTwoEndpointsWithOnePath(t *testing.T) {
	for _, tt := range []struct {
		name, site string
		refused    bool
	}{
		{"the same path", "mcp_auth_bridge localhost:1\n\tmcp_auth_bridge localhost:2", true},
		{"the same path in route", "route {\n\tmcp_auth_bridge localhost:1\n\tmcp_auth_bridge localhost:2\n\t}", true},
		{"the same path in another block", "route {\n\thandle /mcp* {\n\tmcp_auth_bridge localhost:1\n\t}\n\tmcp_auth_bridge localhost:2\n\t}", true},
		{"a middleware behind the endpoint", "route {\n\tmcp_auth_bridge localhost:1\n\tmcp_auth_bridge\n\treverse_proxy localhost:2\n\t}", true},
		{"a middleware in front", "route {\n\tmcp_auth_bridge\n\tmcp_auth_bridge localhost:1\n\t}", false},
		{"other paths", "mcp_auth_bridge localhost:1\n\tmcp_auth_bridge /b/mcp localhost:2", false},
		{"by method", "@get method GET\n\tmcp_auth_bridge @get localhost:1\n\tmcp_auth_bridge localhost:2", false},
		{"by header", "@a header X-A a\n\tmcp_auth_bridge @a localhost:1\n\tmcp_auth_bridge localhost:2", false},
		{"by slash", "@a path /mcp\n\troute {\n\tmcp_auth_bridge @a localhost:1\n\tmcp_auth_bridge localhost:2\n\t}", false},
		{"by host", "@a host a.localhost\n\tmcp_auth_bridge @a localhost:1\n\tmcp_auth_bridge localhost:2", false},
		{"in one of two places", "@a path /mcp\n\troute {\n\troute @a {\n\tmcp_auth_bridge localhost:1\n\tinvoke mcp\n\t}\n\tinvoke mcp\n\t}", false},
		{"in both places", "route {\n\tmcp_auth_bridge localhost:1\n\tinvoke mcp\n\tinvoke mcp\n\t}", true},
		{"a matcher that is always true", "@all path *\n\tmcp_auth_bridge @all localhost:1\n\tmcp_auth_bridge localhost:2", true},
		{"a matcher that excludes something else", "@most not path /admin*\n\tmcp_auth_bridge @most localhost:1\n\tmcp_auth_bridge localhost:2", true},
		{"by headers that exclude each other", "@a header X-A a\n\t@b not header X-A a\n\tmcp_auth_bridge @a localhost:1\n\tmcp_auth_bridge @b localhost:2", false},
		{"one behind a guard", "route {\n\tmcp_auth_bridge localhost:1\n\tbasic_auth /mcp* {\n\t\tuser " + mcptest.Bcrypted + "\n\t}\n\tmcp_auth_bridge localhost:2\n\t}", true},
		{"beside a handle block", "mcp_auth_bridge localhost:1\n\thandle /mcp* {\n\tmcp_auth_bridge localhost:2\n\t}", true},
		{"by prefix", "handle_path /a/* {\n\tmcp_auth_bridge localhost:1\n\t}\n\thandle_path /b/* {\n\tmcp_auth_bridge localhost:2\n\t}", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := testcaddy.Run(t, "{\n\tauto_https off\n}\n")
			err := in.TryLoad(fmt.Sprintf("{\n\tauto_https off\n}\n&(mcp) {\n\tmcp_auth_bridge localhost:2\n}\n:%d {\n\tbind 127.0.0.1\n\t%s\n}\n", testcaddy.FreePort(t), tt.site))
			if refused := err != nil && strings.Contains(err.Error(), "can never be reached") && strings.Contains(err.Error(), "localhost:1"); refused != tt.refused || !refused && err != nil {
				t.Errorf("got %v, want refused: %v", err, tt.refused)
			}
			if tt.refused && err != nil && !strings.Contains(err.Error(), "localhost:2") && !strings.Contains(err.Error(), "the handlers that follow") {
				t.Errorf("the error names one of them: %v", err)
			}
			if testcaddy.Logged("same path") {
				t.Error("warned of two endpoints")
			}
		})
	}
}

// The error for two endpoints with one path has the lines of both, as far as a Caddyfile was
// adapted; that for a path of HTTP+SSE names the path.
func TestEndpointsThatCollideAreNamed(t *testing.T) {
	testcaddy.AsWritten(t)
	in := testcaddy.Run(t, "{\n\tauto_https off\n}\n")
	for name, tc := range map[string]struct {
		site string
		want []string
	}{
		"other upstreams":                {"mcp_auth_bridge localhost:1\n\tmcp_auth_bridge localhost:2", []string{"(Caddyfile:6)", "(Caddyfile:7)", "localhost:1", "localhost:2", "can never be reached"}},
		"everything alike":               {"mcp_auth_bridge localhost:1\n\tmcp_auth_bridge localhost:1", []string{"(Caddyfile:6)", "(Caddyfile:7)", "are one to clients"}},
		"a path of HTTP+SSE first":       {"mcp_auth_bridge localhost:1 {\n\t\tlegacy_sse /events\n\t}\n\tmcp_auth_bridge /events localhost:2", []string{"(Caddyfile:6)", "(Caddyfile:9)", `"/events"`, "legacy_sse"}},
		"a path of HTTP+SSE behind":      {"mcp_auth_bridge /events localhost:2\n\tmcp_auth_bridge localhost:1 {\n\t\tlegacy_sse /events\n\t}", []string{"(Caddyfile:6)", "(Caddyfile:7)", `"/events"`, "legacy_sse"}},
		"a path of HTTP+SSE of its own":  {"mcp_auth_bridge /events localhost:2\n\tmcp_auth_bridge localhost:1 {\n\t\tlegacy_sse /stream\n\t}", nil},
		"a path of HTTP+SSE by a header": {"@a header X-A a\n\tmcp_auth_bridge @a /events localhost:2\n\tmcp_auth_bridge localhost:1 {\n\t\tlegacy_sse /events\n\t}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := in.TryLoad(fmt.Sprintf("{\n\tauto_https off\n}\n:%d {\n\tbind 127.0.0.1\n\t%s\n}\n", testcaddy.FreePort(t), tc.site))
			if (err != nil) != (tc.want != nil) {
				t.Errorf("got %v", err)
			}
			for _, text := range tc.want {
				if err != nil && !strings.Contains(err.Error(), text) {
					t.Errorf("%s is missing: %v", text, err)
				}
			}
		})
	}
}

// holder is a plugin's handler that holds routes: where everyone can see them, or
// where only it does.
type holder struct {
	Shown     caddyhttp.RouteList `json:"shown,omitempty"`
	HiddenRaw []json.RawMessage   `json:"hidden,omitempty"`
	hidden    caddyhttp.RouteList
}

func (holder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_holder", New: func() caddy.Module { return new(holder) }}
}

func (h *holder) Provision(ctx caddy.Context) error {
	for _, raw := range h.HiddenRaw {
		var route caddyhttp.Route
		if err := json.Unmarshal(raw, &route); err != nil {
			return err
		}
		h.hidden = append(h.hidden, route)
	}
	return errors.Join(h.Shown.Provision(ctx), h.hidden.Provision(ctx))
}

func (h *holder) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return append(slices.Clone(h.Shown), h.hidden...).Compile(next).ServeHTTP(w, r)
}

func init() { caddy.RegisterModule(holder{}) }

// loadJSON loads a configuration of HTTP servers.
func loadJSON(t *testing.T, servers string) error {
	t.Helper()
	t.Cleanup(func() { _ = caddy.Stop() })
	return caddy.Load(fmt.Appendf(nil, `{"admin":{"disabled":true,"config":{"persist":false}},"storage":{"module":"file_system","root":%q},
		"logging":{"logs":{"default":{"level":"DEBUG","encoder":{"format":"json"},"writer":{"output":"test_sink"}}}},
		"apps":{"http":{"servers":%s}}}`, t.TempDir(), servers), true)
}

// Rule D5: a program that other machines can reach is refused wherever in the
// configuration it stands.
func TestProgramIsFoundWhereverItStands(t *testing.T) {
	const program = `{"handler":"mcp_auth_bridge","upstream":{"protocol":"stdio","command":["/bin/cat"]}}`
	for name, server := range map[string]string{
		"in a route":                   `"routes":[{"handle":[%s]}]`,
		"in a subroute":                `"routes":[{"handle":[{"handler":"subroute","routes":[{"handle":[{"handler":"subroute","routes":[{"handle":[%s]}]}]}]}]}]`,
		"in a named route":             `"named_routes":{"mcp":{"handle":[%s]}},"routes":[{"handle":[{"handler":"invoke","name":"mcp"}]}]`,
		"through a named route":        `"named_routes":{"a":{"handle":[{"handler":"invoke","name":"b"}]},"b":{"handle":[%s]}},"routes":[{"handle":[{"handler":"subroute","routes":[{"handle":[{"handler":"invoke","name":"a"}]}]}]}]`,
		"in a route that none invokes": `"named_routes":{"mcp":{"handle":[%s]}},"routes":[{"handle":[{"handler":"static_response"}]}]`,
		"after an error":               `"routes":[{"handle":[{"handler":"error"}]}],"errors":{"routes":[{"handle":[%s]}]}`,
		"after a subroute's error":     `"routes":[{"handle":[{"handler":"subroute","routes":[{"handle":[{"handler":"error"}]}],"errors":{"routes":[{"handle":[%s]}]}}]}]`,
		"after a proxy's answer":       `"routes":[{"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"127.0.0.1:1"}],"handle_response":[{"routes":[{"handle":[%s]}]}]}]}]`,
		"after an endpoint's answer":   `"routes":[{"handle":[{"handler":"mcp_auth_bridge","endpoint":"/a","reverse_proxy":{"upstreams":[{"dial":"127.0.0.1:1"}],"handle_response":[{"routes":[{"handle":[%s]}]}]}}]}]`,
		"after any answer":             `"routes":[{"handle":[{"handler":"intercept","handle_response":[{"routes":[{"handle":[%s]}]}]},{"handler":"static_response"}]}]`,
		"in a plugin":                  `"routes":[{"handle":[{"handler":"test_holder","shown":[{"handle":[%s]}]}]}]`,
		"hidden in a plugin":           `"routes":[{"handle":[{"handler":"test_holder","hidden":[{"handle":[%s]}]}]}]`,
		"behind a loop of routes":      `"named_routes":{"a":{"handle":[{"handler":"invoke","name":"b"},{"handler":"invoke","name":"b"}]},"b":{"handle":[{"handler":"invoke","name":"a"},{"handler":"invoke","name":"a"},%s]}},"routes":[{"handle":[{"handler":"invoke","name":"a"}]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			server := fmt.Sprintf(server, program)
			load := func(listen string) error {
				return loadJSON(t, fmt.Sprintf(`{"s":{"automatic_https":{"disable":true},"listen":[%s],%s}}`, listen, server))
			}
			local, open := fmt.Sprintf("%q", testcaddy.Addr(testcaddy.FreePort(t))), fmt.Sprintf(`":%d"`, testcaddy.FreePort(t))
			for _, listen := range []string{open, local + "," + open} {
				if err := load(listen); err == nil || !strings.Contains(err.Error(), "allow_unauthenticated") {
					t.Errorf("at %s: got %v, want it refused", listen, err)
				}
			}
			if err := load(local); err != nil {
				t.Errorf("on loopback: %v", err)
			}
		})
	}
	// Two servers: where it is not known which of them leads to the program, both may.
	for name, want := range map[string]bool{
		`"hidden":[{"handle":[%s]}]`: true,
		`"shown":[{"handle":[%s]}]`:  false,
	} {
		err := loadJSON(t, fmt.Sprintf(`{"a":{"automatic_https":{"disable":true},"listen":[%q],"routes":[{"handle":[{"handler":"test_holder",%s}]}]},"b":{"automatic_https":{"disable":true},"listen":[":%d"],"routes":[{"handle":[{"handler":"static_response"}]}]}}`,
			testcaddy.Addr(testcaddy.FreePort(t)), fmt.Sprintf(name, program), testcaddy.FreePort(t)))
		if got := err != nil; got != want {
			t.Errorf("%s beside an open server: got %v, want refused: %v", name, err, want)
		}
	}
}

// An endpoint in a named route has the hosts of all sites that invoke it: each is its own
// origin (B3), and has its metadata (C1).
func TestNamedRouteHasSeveralPlaces(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\n&(mcp) {\n\tmcp_auth_bridge %s\n}\nhttp://a.test:%[2]d {\n\tbind 127.0.0.1\n\tinvoke mcp\n}\nhttp://b.test:%[2]d {\n\tbind 127.0.0.1\n\tinvoke mcp\n}\nhttp://:%[2]d {\n\tbind 127.0.0.1\n\tinvoke mcp\n}", up.URL, port))
	for _, host := range []string{"a.test", "b.test"} {
		host := fmt.Sprintf("%s:%d", host, port)
		r := mcptest.NewRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp?answer=200", mcptest.Initialize, "Origin", "http://"+host)
		r.Host = host
		if got := mcptest.Do(t, mcptest.NewClient(t), r); got.Status != http.StatusOK || got.Header.Get("Access-Control-Allow-Origin") != "http://"+host {
			t.Errorf("%s: got %d, %q", host, got.Status, got.Header)
		}
		for _, path := range []string{"", "/mcp"} {
			r = mcptest.NewRequest(t, http.MethodGet, "http://"+testcaddy.Addr(port)+"/.well-known/oauth-protected-resource"+path, "")
			r.Host = host
			if got := mcptest.Do(t, mcptest.NewClient(t), r); got.Status != http.StatusOK || !strings.Contains(got.Body, `"resource":"http://`+host+`/mcp"`) {
				t.Errorf("%s%s: got %d %s", host, path, got.Status, got.Body)
			}
		}
	}
}

// lateHandler is a plugin's handler that loads others when all is provisioned.
type lateHandler struct{}

var late struct {
	handlers []string // to load, as JSON
	loaded   []caddyhttp.MiddlewareHandler
}

func (lateHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_late", New: func() caddy.Module { return new(lateHandler) }}
}

// ServeHTTP passes a request to the handler that its path is for.
func (lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	handler := late.loaded[3]
	switch {
	case r.URL.Path == "/mw":
		handler = late.loaded[0]
	case r.URL.Path == "/status":
		handler = late.loaded[1]
	case strings.HasPrefix(r.URL.Path, "/.well-known/"):
		handler = late.loaded[2]
	}
	return handler.ServeHTTP(w, r, next)
}

func (lateHandler) load(t *testing.T, ctx caddy.Context) {
	t.Helper()
	late.loaded = nil
	for _, raw := range late.handlers {
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(raw), &members); err != nil {
			t.Fatal(err)
		}
		var name string
		if err := json.Unmarshal(members["handler"], &name); err != nil {
			t.Fatal(err)
		}
		delete(members, "handler")
		rest, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		module, err := ctx.LoadModuleByID("http.handlers."+name, rest)
		if err != nil {
			t.Fatal(err)
		}
		late.loaded = append(late.loaded, module.(caddyhttp.MiddlewareHandler))
	}
}

func init() { caddy.RegisterModule(lateHandler{}) }

// Nothing answers while a configuration starts whose checks fail: 503, which a page can
// read, without a challenge, and no program is started. (Rules D5, A7, B1.)
func TestNothingAnswersBeforeTheChecks(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	script := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho > "+started+"\nexec cat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	port := testcaddy.FreePort(t)
	const (
		middleware = `{"handler":"mcp_auth_bridge","endpoint":"/mw"}`
		site       = `{"match":[{"path":["/status"]}],"handle":[{"handler":"mcp_auth_bridge_status"}]},{"match":[{"path":["/.well-known/*"]}],"handle":[{"handler":"mcp_auth_bridge_metadata"}]}`
	)
	program := fmt.Sprintf(`{"handler":"mcp_auth_bridge","legacy_sse":{},"metadata":{"authorization_servers":["https://login.example.com"]},"upstream":{"protocol":"stdio","command":[%q]}}`, script)
	config := func(routes string) *caddy.Config {
		cfg := new(caddy.Config)
		raw := fmt.Sprintf(`{"admin":{"disabled":true},"storage":{"module":"file_system","root":%q},"apps":{"http":{"servers":{"s":{"automatic_https":{"disable":true},"listen":[":%d"],"routes":[%s]}}}}}`, t.TempDir(), port, routes)
		if err := json.Unmarshal([]byte(raw), cfg); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	// Where the routes are Caddy's own, the configuration is refused before anything starts.
	if _, err := caddy.ProvisionContext(config(site + `,{"handle":[` + program + `]}`)); err == nil || !strings.Contains(err.Error(), "allow_unauthenticated") {
		t.Errorf("provisioned: got %v", err)
	}
	// Where a plugin loads handlers later, Start refuses it.
	late.handlers = []string{middleware, `{"handler":"mcp_auth_bridge_status"}`, `{"handler":"mcp_auth_bridge_metadata"}`, program}
	ctx, err := caddy.ProvisionContext(config(`{"handle":[{"handler":"test_late"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"http", "mcp_auth_bridge"} {
		app, err := ctx.App(id)
		if err != nil {
			t.Fatal(err)
		}
		if id == "mcp_auth_bridge" {
			defer func() {
				if err := app.(caddy.App).Start(); err == nil {
					t.Error("the configuration is not refused")
				}
			}()
			continue
		}
		lateHandler{}.load(t, ctx)
		if err := app.(caddy.App).Start(); err != nil { // as Caddy may, before the other one
			t.Fatal(err)
		}
		defer func() { _ = app.(caddy.App).Stop() }()
	}
	origin := "http://localhost:" + strconv.Itoa(port)
	for _, path := range []string{"/mcp", "/mcp/", "/mw", "/status", "/status?json", "/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r := mcptest.NewRequest(t, method, "http://"+testcaddy.Addr(port)+path, mcptest.Initialize, "Origin", origin)
			r.Host = strings.TrimPrefix(origin, "http://")
			got := mcptest.Do(t, mcptest.NewClient(t), r)
			if got.Status != http.StatusServiceUnavailable || got.Header.Get("WWW-Authenticate") != "" || got.Header.Get("Mcp-Session-Id") != "" {
				t.Errorf("%s %s: got %d %v %s", method, path, got.Status, got.Header, got.Body)
			}
			if endpoint := strings.HasPrefix(path, "/m"); endpoint && (got.Header.Get("Access-Control-Allow-Origin") != origin || got.Header.Get("Access-Control-Expose-Headers") == "") {
				t.Errorf("%s %s: a page cannot read the answer: %v", method, path, got.Header)
			}
		}
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("the program was started")
	}
}

// What is warned of at load is so: the endpoint in a block for other paths gets no request, and
// a bare status page answers in place of the block behind it.
func TestTrapsAreReal(t *testing.T) {
	for name, tc := range map[string]struct {
		site, warning string
		paths         []string
	}{
		"handle":      {"handle /api* {\n\t\tmcp_auth_bridge UPSTREAM\n\t}", "no request for the endpoint enters its block", []string{"/mcp", "/api", "/api/mcp"}},
		"handle_path": {"handle_path /api {\n\t\tmcp_auth_bridge UPSTREAM\n\t}", "no request for the endpoint enters its block", []string{"/mcp", "/api", "/api/mcp"}},
		"status page": {"mcp_auth_bridge status\n\thandle /api* {\n\t\tmcp_auth_bridge /api/mcp UPSTREAM\n\t}", "status page answers all requests of its site", []string{"/api/mcp"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s reaches the server", r.URL.Path) }))
			t.Cleanup(server.Close)
			port := testcaddy.FreePort(t)
			testcaddy.ForgetLogs()
			testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\n:%d {\n\tbind 127.0.0.1\n\t%s\n}\n", port, strings.Replace(tc.site, "UPSTREAM", strings.TrimPrefix(server.URL, "http://"), 1)))
			if !testcaddy.Logged(tc.warning) {
				t.Errorf("there is no warning %q", tc.warning)
			}
			client := mcptest.NewClient(t)
			for _, path := range tc.paths {
				mcptest.Do(t, client, mcptest.NewRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+path, mcptest.Initialize))
			}
		})
	}
}
