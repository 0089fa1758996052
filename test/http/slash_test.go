package http_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// slashed is an upstream whose MCP server stands at one path, and whose metadata
// is found in one way and calls itself in one way.
type slashed struct {
	path     string // that it serves
	other    string // the other slash form, which it redirects to path with status
	status   int
	form     string // of the metadata's place
	resource string // %s is the origin
}

func (s slashed) serve(w http.ResponseWriter, r *http.Request) {
	origin := "http://" + r.Host // as reverse_proxy sends it
	const wellKnown = "/.well-known/oauth-protected-resource"
	at := map[string]string{"inserted": wellKnown + strings.TrimSuffix(s.path, "/"), "root": wellKnown, "elsewhere": "/meta/data"}[s.form]
	switch {
	case r.URL.Path == at || s.form == "inserted" && r.URL.Path == at+"/":
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"resource":%q}`, strings.ReplaceAll(s.resource, "%s", origin))
	case r.URL.Path == s.path:
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+origin+at+`"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write(body)
	case s.status != 0 && r.URL.Path == s.other:
		w.Header().Set("Location", s.path)
		if s.status == http.StatusPermanentRedirect {
			w.Header().Set("Location", origin+s.path)
		}
		w.WriteHeader(s.status)
	default:
		http.NotFound(w, r)
	}
}

// slashedUpstreams are the combinations of path, redirect, and metadata.
func slashedUpstreams() map[string]slashed {
	all := make(map[string]slashed)
	for _, configured := range []string{"/", "/mcp", "/mcp/", "/x/y"} {
		for _, status := range []int{0, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
			if configured == "/" && status != 0 {
				continue // it has one form
			}
			path, other := configured, strings.TrimSuffix(configured, "/")
			if other == configured {
				other = configured + "/"
			}
			if status != 0 {
				path, other = other, path
			}
			for _, form := range []string{"inserted", "root", "elsewhere"} {
				for _, resource := range []string{"%s", "%s/", "%s" + path, "%s" + other} {
					name := fmt.Sprintf("%s, %d, metadata %s, %s", configured, status, form, resource)
					all[name] = slashed{path, other, status, form, resource}
				}
			}
		}
	}
	return all
}

// Rules A5, A10, C1, C2, C3: in every combination of the endpoint's path, the
// prefix that the site strips, the upstream's path and its slash, the place of
// its metadata and what it calls itself, both slash forms of the endpoint are
// served without a redirect, the challenge names metadata that is there, and its
// resource is the URL that the metadata was asked for.
func TestSlashesAndPrefixes(t *testing.T) {
	for name, s := range slashedUpstreams() {
		t.Run(name, func(t *testing.T) {
			up := httptest.NewServer(http.HandlerFunc(s.serve))
			t.Cleanup(up.Close)
			configured := s.path
			if s.status != 0 {
				configured = s.other
			}
			type site struct{ endpoint, prefix string }
			port := testcaddy.FreePort(t)
			caddyfile := "{\n\tauto_https off\n}\n"
			sites := make(map[string]site)
			for _, prefix := range []string{"", "/p"} {
				for _, endpoint := range []string{"/", "/mcp", "/a/b/mcp"} {
					host := fmt.Sprintf("h%d.test", len(sites))
					sites[host] = site{endpoint, prefix}
					directive := fmt.Sprintf("mcp_auth_bridge %s %s%s", endpoint, up.URL, configured)
					if prefix != "" {
						directive = fmt.Sprintf("mcp_auth_bridge metadata\n\thandle_path %s* {\n\t\t%s\n\t}", prefix, directive)
					}
					caddyfile += fmt.Sprintf("http://%s:%d {\n\tbind 127.0.0.1\n\t%s\n}\n", host, port, directive)
				}
			}
			testcaddy.Run(t, caddyfile)
			c := mcptest.NewClient(t)
			ask := func(method, host, path, token string) mcptest.Answer {
				r := mcptest.NewRequest(t, method, "http://"+testcaddy.Addr(port)+path, "{}")
				r.Host = fmt.Sprintf("%s:%d", host, port)
				if token != "" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
				return mcptest.Do(t, c, r)
			}
			for host, at := range sites {
				public := strings.TrimSuffix(at.prefix+at.endpoint, "/")
				origin := fmt.Sprintf("http://%s:%d", host, port)
				wellKnown := "/.well-known/oauth-protected-resource" + public
				for _, slash := range []string{"", "/"} {
					got := ask(http.MethodGet, host, wellKnown+slash, "")
					want := origin + public + slash
					if public == "" {
						want = origin
					}
					if got.Status != http.StatusOK || got.Body != `{"resource":"`+want+`"}` {
						t.Errorf("%s: got %d %s, want %s", wellKnown+slash, got.Status, got.Body, want)
					}
				}
				for _, path := range []string{public, public + "/"} {
					if path == "" {
						continue
					}
					got := ask(http.MethodPost, host, path, "")
					if want := `resource_metadata="` + origin + wellKnown + `"`; got.Status != http.StatusUnauthorized || !strings.Contains(got.Header.Get("WWW-Authenticate"), want) {
						t.Errorf("%s: got %d, %q, want %s", path, got.Status, got.Header["Www-Authenticate"], want)
					}
					if got := ask(http.MethodPost, host, path, "x"); got.Status != http.StatusOK || got.Body != "{}" {
						t.Errorf("%s: got %d %s", path, got.Status, got.Body)
					}
				}
			}
		})
	}
}

// Rule C1: clients of HTTP+SSE look for the metadata below the path of their event
// stream; it is the endpoint's, and names that, among several endpoints as well.
func TestMetadataOfEventStream(t *testing.T) {
	up := slashed{path: "/mcp", form: "inserted", resource: "%s/mcp"}
	s := httptest.NewServer(http.HandlerFunc(up.serve))
	t.Cleanup(s.Close)
	addr := testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://%s {
	mcp_auth_bridge %[2]s {
		legacy_sse
	}
	mcp_auth_bridge /other/mcp %[2]s/mcp {
		legacy_sse /events
	}
}`, addr, s.URL))
	for path, want := range map[string]string{
		"/mcp/sse":         "http://" + addr + "/mcp",
		"/events":          "http://" + addr + "/other/mcp",
		"/mcp/sse/message": "",
	} {
		res, err := http.Get("http://" + addr + "/.well-known/oauth-protected-resource" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if want == "" && res.StatusCode != http.StatusNotFound {
			t.Errorf("%s answers %d %s, want 404", path, res.StatusCode, body)
		}
		if want != "" && string(body) != fmt.Sprintf(`{"resource":%q}`, want) {
			t.Errorf("%s answers %d %s, want resource %s", path, res.StatusCode, body, want)
		}
	}
}

// Rule A10: both forms of the endpoint answer, and an upstream that redirects
// to its own other form is followed once, with the body.
func TestTrailingSlash(t *testing.T) {
	for _, wants := range []string{"/mcp", "/mcp/"} {
		t.Run("upstream wants "+wants, func(t *testing.T) {
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != wants {
					http.Redirect(w, r, "http://"+r.Host+wants+"?"+r.URL.RawQuery, http.StatusTemporaryRedirect)
					return
				}
				_, _ = io.Copy(w, r.Body)
			}))
			t.Cleanup(up.Close)
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, mcptest.AllowApp))
			for _, form := range []string{"/mcp?a=b", "/mcp/?a=b", "/mcp?a=b"} {
				got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", "http://"+testcaddy.Addr(port)+form, mcptest.Initialize))
				if got.Status != http.StatusOK || got.Body != mcptest.Initialize {
					t.Errorf("%s: got %d %q", form, got.Status, got.Body)
				}
			}
		})
	}
}
