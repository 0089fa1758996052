package mcpauthbridge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/table"
)

// provisioned are the routes of the only server of a Caddyfile: with tables, and as they are
// configured.
func provisioned(tb testing.TB, caddyfile string) (server *caddyhttp.Server, tables, configured caddyhttp.RouteList) {
	tb.Helper()
	server = testcaddy.Provision(tb, caddyfile)
	if sub, ok := server.Routes[0].Handlers[0].(*caddyhttp.Subroute); ok {
		return server, sub.Routes, table.Expand(sub.Routes)
	}
	return server, server.Routes, table.ServerRoutes(server)
}

// answerOf serves a request with routes, and returns what the client sees.
func answerOf(server *caddyhttp.Server, routes caddyhttp.RouteList, method string, u url.URL, origin string) string {
	r := httptest.NewRequest(method, "/", http.NoBody)
	r.URL, r.RequestURI, r.Host = &u, u.RequestURI(), "mcp.example.com"
	if origin != "" {
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", http.MethodPost)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := &streamRecorder{httptest.NewRecorder(), cancel}
	r = r.WithContext(ctx)
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, server)
	end := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		if table.Rows(server.Routes) == 0 { // else nothing follows the routes of the server
			w.Header().Set("X-End", "reached")
		}
		return nil
	})
	if err := routes.Compile(end).ServeHTTP(w, r); err != nil {
		return fmt.Sprintf("%d by error, %v", errorStatus(err), w.Header())
	}
	w.Header().Del("Date")
	if w.isStream() {
		return fmt.Sprintf("%d %v", w.Code, w.Header())
	}
	return fmt.Sprintf("%d %v %s", w.Code, w.Header(), w.Body)
}

// streamRecorder leaves an event stream when it begins.
type streamRecorder struct {
	*httptest.ResponseRecorder
	leave context.CancelFunc
}

func (w *streamRecorder) isStream() bool {
	return strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream")
}

// Flush implements http.Flusher.
func (w *streamRecorder) Flush() {
	w.ResponseRecorder.Flush()
	if w.isStream() {
		w.leave()
	}
}

// tableSite has endpoints of all kinds, that go into tables and that do not. Each upstream says
// where it was asked.
const tableSite = `{
	auto_https off
	admin off
}
http://mcp.example.com:1 {
	rewrite /old/* /a/mcp
	@tenant header X-Tenant a
	mcp_auth_bridge /a/mcp {up}/a
	mcp_auth_bridge /A/mcp {up}/upper
	mcp_auth_bridge /a/mcp/deep {up}/deep {
		root_metadata
	}
	mcp_auth_bridge /b/mcp {up}/b
	mcp_auth_bridge /c {up}/c {
		legacy_sse /c-events /c-post
	}
	mcp_auth_bridge @tenant /tenant {up}/tenant
	mcp_auth_bridge /token {up}/token
	mcp_auth_bridge /register {up}/register
	mcp_auth_bridge /d/mcp sse+{up}/d
	mcp_auth_bridge /ü/mcp {up}/umlaut
	mcp_auth_bridge /off {up}/off {
		metadata off
		cors off
	}
	mcp_auth_bridge /s {up}/s {
		authorization_server bridge
	}
	mcp_auth_bridge /k/mcp {up}/k
	mcp_auth_bridge /l/mcp {up}/l {
		cors {
			allow_origins https://app.example.com
		}
	}
	handle /site/* {
		respond "the website"
	}
	handle /a/* {
		respond "behind a"
	}
}
`

func newTableUpstream(tb testing.TB) string {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "well-known") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, r.Method+" "+r.URL.Path)
	}))
	tb.Cleanup(up.Close)
	return up.URL
}

var tablePaths = []string{
	"/", "/a/mcp", "/a/mcp/", "/A/MCP", "/A/mcp", "/a/MCP/", "//a/mcp", "/a//mcp", "/a/./mcp", "/x/../a/mcp", "/a/mcp/deep", "/a/mcp/deep/", "/a/mcp/other",
	"/a/mcp.", "/a/mcp ", "/a%2fmcp", "/%61/mcp", "/b/mcp", "/b/mcp/", "/c", "/c/", "/c/x", "/c-events", "/c-post", "/C-EVENTS", "/d/mcp", "/d/mcp/messages/x", "/d/mcp/../token",
	"/token", "/TOKEN", "/token/", "/register", "/authorize", "/%C3%BC/mcp", "/%C3%9C/mcp", "/\u212a/mcp", "/k/mcp", "/off", "/off/x", "/s", "/s/x", "/tenant", "/old/x", "/site/x", "/none",
	"/.well-known/mcp/x", "/.well-known/mcp/y", "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/", "/.well-known/oauth-protected-resource/a/mcp",
	"/.well-known/oauth-protected-resource/a/mcp/", "/.well-known/oauth-protected-resource/A/mcp", "/.well-known/oauth-protected-resource/c-events", "/.well-known/oauth-protected-resource/off",
	"/.well-known/OAuth-protected-resource/a/mcp", "//.well-known/oauth-protected-resource/l/mcp", "/.well-known/oauth-protected-resource/l/mcp", "/a/mcp/.well-known/oauth-protected-resource",
	"/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/a/mcp", "/l/mcp/.well-known/openid-configuration", "/.well-known/openid-configuration",
	"/a/mcp/../../.well-known/oauth-protected-resource/k/mcp", "/.well-known/oauth-protected-resource/d/mcp", "/k/mcp/../../.well-known/mcp/x", "/..", "*", "",
}

// sameWithTables compares the answers to a request with and without tables.
func sameWithTables(tb testing.TB, server *caddyhttp.Server, tables, configured caddyhttp.RouteList, method string, u url.URL, origin string) {
	tb.Helper()
	got := answerOf(server, tables, method, u, origin)
	if want := answerOf(server, configured, method, u, origin); got != want {
		tb.Errorf("%s %q (%q), Origin %q:\nwith tables:    %s\nwithout tables: %s", method, u.Path, u.RawPath, origin, got, want)
	}
}

var tableMethods = []string{http.MethodPost, http.MethodGet, http.MethodOptions, http.MethodDelete, http.MethodHead}

// Rule A12: the same endpoint answers with tables as without, however the path is written.
func TestTablesChangeNoAnswer(t *testing.T) {
	t.Run("site with a host", func(t *testing.T) { tablesChangeNoAnswer(t, tableSite) })
	t.Run("site without a host", func(t *testing.T) {
		tablesChangeNoAnswer(t, strings.Replace(tableSite, "http://mcp.example.com:1 {", "http://:1 {", 1))
	})
}

func tablesChangeNoAnswer(t *testing.T, caddyfile string) {
	server, tables, configured := provisioned(t, strings.ReplaceAll(caddyfile, "{up}", newTableUpstream(t)))
	if n := table.Rows(tables); n != 3 {
		t.Fatalf("%d rows of endpoints are in tables, want 3", n)
	}
	reached := make(map[string]bool)
	for _, path := range tablePaths {
		u := url.URL{Path: path}
		if unescaped, err := url.PathUnescape(path); err == nil && unescaped != path {
			u.Path, u.RawPath = unescaped, path
		}
		for _, method := range tableMethods {
			for _, origin := range []string{"", "https://app.example.com"} {
				sameWithTables(t, server, tables, configured, method, u, origin)
			}
		}
		reached[answerOf(server, tables, http.MethodPost, u, "")] = true
	}
	for _, upstream := range []string{"/a", "/upper", "/deep", "/b", "/c", "/token", "/umlaut", "/off", "/s", "/k"} {
		if !slices.ContainsFunc(sorted(reached), func(answer string) bool { return strings.HasSuffix(answer, "POST "+upstream) }) {
			t.Errorf("no path has reached the upstream %s", upstream)
		}
	}
}

func sorted(set map[string]bool) (all []string) {
	for text := range set {
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

func FuzzTables(f *testing.F) {
	server, tables, configured := provisioned(f, strings.ReplaceAll(tableSite, "{up}", newTableUpstream(f)))
	for i, path := range tablePaths {
		f.Add(path, byte(i))
	}
	f.Fuzz(func(t *testing.T, path string, how byte) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			u = &url.URL{Path: path}
		}
		origin := ""
		if how&8 != 0 {
			origin = "https://app.example.com"
		}
		sameWithTables(t, server, tables, configured, tableMethods[int(how&7)%len(tableMethods)], url.URL{Path: u.Path, RawPath: u.RawPath}, origin)
	})
}

// siteOf is a Caddyfile of a site with n endpoints.
func siteOf(n int, upstream string) string {
	var b strings.Builder
	b.WriteString("{\n\tauto_https off\n\tadmin off\n\tlog {\n\t\tlevel ERROR\n\t}\n}\nhttp://mcp.example.com:1 {\n")
	for i := range n {
		fmt.Fprintf(&b, "\tmcp_auth_bridge /s%05d/mcp %s/mcp\n", i, upstream)
	}
	b.WriteString("}\n")
	return b.String()
}

// manyNames is a Caddyfile of a site with n endpoints in one directive.
func manyNames(n int, upstream string) string {
	var names strings.Builder
	for i := range n {
		fmt.Fprintf(&names, " s%05d", i)
	}
	return fmt.Sprintf("{\n\tauto_https off\n\tadmin off\n\tlog {\n\t\tlevel ERROR\n\t}\n}\nhttp://mcp.example.com:1 {\n\tmcp_auth_bridge /{name}/mcp %s/mcp {\n\t\tnames%s\n\t}\n}\n", upstream, names.String())
}

// manyHosts is a Caddyfile of n sites with an endpoint each.
func manyHosts(n int, upstream string) string {
	var b strings.Builder
	b.WriteString("{\n\tauto_https off\n\tadmin off\n\tlog {\n\t\tlevel ERROR\n\t}\n}\n")
	for i := range n {
		fmt.Fprintf(&b, "http://s%05d.example.com:1 {\n\tmcp_auth_bridge %s/mcp\n}\n", i, upstream)
	}
	return b.String()
}

func BenchmarkLoad(b *testing.B) {
	for name, caddyfile := range map[string]func(int, string) string{"directives": siteOf, "names": manyNames, "hosts": manyHosts} {
		for _, n := range []int{1, 1000, 10_000} {
			text := caddyfile(n, "http://127.0.0.1:9")
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					if err := testcaddy.Validate(b, text); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
