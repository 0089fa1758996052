package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// cachedMetadata caches the metadata and nothing else.
const cachedMetadata = "@metadata path /.well-known/oauth-protected-resource/*\n\tcache @metadata\n\tmcp_auth_bridge "

func TestCacheOfMetadata(t *testing.T) {
	f := front{global: "cache", http: cachedMetadata + "UP", program: cachedMetadata + "{\n\t\tPROGRAM\n\t}"}
	drive(t, f)
	t.Run("each origin gets its own answer", func(t *testing.T) {
		port := testcaddy.FreePort(t)
		d, err := demo.Start(t.Context(), demo.Options{Public: []string{endpointAt(port)}, AnyHost: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		f.global += "\n\tmcp_auth_bridge {\n\t\tcors {\n\t\t\tallow_origins " + mcptest.AppOrigin + " https://b.example.com\n\t\t}\n\t}"
		url := f.inFrontOf(t, port, d.Origin())
		wellKnown := strings.TrimSuffix(url, "/mcp") + "/.well-known/oauth-protected-resource/mcp"
		get := func(origin string) mcptest.Answer {
			r := mcptest.NewRequest(t, "GET", wellKnown, "")
			if origin != "" {
				r.Header.Set("Origin", origin)
			}
			return mcptest.Do(t, mcptest.NewClient(t), r)
		}
		var body string
		for _, origin := range []string{"", mcptest.AppOrigin, "https://b.example.com", "https://evil.example"} {
			first, second := get(origin), get(origin)
			if body == "" {
				body = first.Body
			}
			for _, got := range []mcptest.Answer{first, second} {
				if got.Status != 200 || got.Body != body {
					t.Errorf("for the origin %q: got %d %s", origin, got.Status, got.Body)
				}
				if allowed := got.Header.Get("Access-Control-Allow-Origin"); allowed != "*" && allowed != "" && allowed != origin {
					t.Errorf("the origin %q gets the answer for %q", origin, allowed)
				}
			}
		}
		if state := get("").Header.Get("Cache-Status"); !strings.Contains(state, "hit") {
			t.Errorf("the metadata is not cached: Cache-Status is %q", state)
		}
		if got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", url, "")); got.Status != 401 || got.Header.Get("Cache-Status") != "" {
			t.Errorf("the endpoint passes the cache: %d %v", got.Status, got.Header)
		}
	})
}

// A cache in front of the whole site gives the answer to one client's GET to another client,
// unless the client has a token in Authorization. docs/recipes.md says so. If this fails, the
// plugin has changed: look at the page.
func TestCacheOfTheSiteMixesClients(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"for":%q}`, r.Header.Get("X-Api-Key")+r.Header.Get("Authorization"))
	}))
	t.Cleanup(up.Close)
	url := front{global: "cache", http: "cache\n\tmcp_auth_bridge UP"}.inFrontOf(t, testcaddy.FreePort(t), up.URL)
	get := func(name, value string) string {
		return mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", url, "", name, value)).Body
	}
	if got, want := get("Authorization", "Bearer a"), `{"for":"Bearer a"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := get("Authorization", "Bearer b"), `{"for":"Bearer b"}`; got != want {
		t.Errorf("with a token: got %s, want %s", got, want)
	}
	get("X-Api-Key", "a")
	if got, want := get("X-Api-Key", "b"), `{"for":"a"}`; got != want {
		t.Errorf("with another key: got %s; the page says that it is the answer to the first", got)
	}
}

// A cache in front of the whole site holds event streams back that answer a POST: the writer
// of the plugin cannot flush. docs/recipes.md says so. If this fails, the plugin has changed:
// look at the page.
func TestCacheOfTheSiteHoldsStreamsBack(t *testing.T) {
	url := front{global: "cache"}.run(t, testcaddy.FreePort(t), "route {\n\t\tcache\n\t\ttest_flush\n\t}")
	got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", url, call))
	if got.Body != http.ErrNotSupported.Error() {
		t.Errorf("flushing says %q", got.Body)
	}
}

func init() {
	caddy.RegisterModule(flushing{})
	httpcaddyfile.RegisterHandlerDirective("test_flush", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return flushing{}, nil
	})
}

// flushing is a handler that answers with the error of flushing.
type flushing struct{}

// CaddyModule returns the Caddy module information.
func (flushing) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_flush", New: func() caddy.Module { return new(flushing) }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (flushing) ServeHTTP(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
	if err := http.NewResponseController(w).Flush(); errors.Is(err, http.ErrNotSupported) {
		_, _ = fmt.Fprint(w, http.ErrNotSupported)
	}
	return nil
}
