package http_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// turning is an upstream that redirects /mcp to /mcp/, or the other way round, and answers
// there with what it was sent, or with a challenge where no token came.
type turning struct {
	status int
	to     func(r *http.Request, path string) string // the Location
	serves string                                    // the path that answers
}

func (u turning) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch {
	case r.URL.Path == u.serves && r.Header.Get("Authorization") == "":
		w.Header().Set("WWW-Authenticate", `Bearer realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == u.serves:
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.RawQuery, body)
	case strings.TrimSuffix(r.URL.Path, "/") == strings.TrimSuffix(u.serves, "/"):
		w.Header().Set("Location", u.to(r, u.serves))
		w.WriteHeader(u.status)
	default:
		http.NotFound(w, r)
	}
}

// locations are the ways in which a server writes its own URL. up is its address, port
// that of Caddy.
var locations = map[string]func(r *http.Request, path string) string{
	"relative":        func(_ *http.Request, path string) string { return path },
	"the Host":        func(r *http.Request, path string) string { return "http://" + r.Host + path },
	"https":           func(r *http.Request, path string) string { return "https://" + r.Host + path },
	"scheme-relative": func(r *http.Request, path string) string { return "//" + r.Host + path },
	"its own port": func(r *http.Request, path string) string {
		host, _, _ := strings.Cut(r.Host, ":")
		_, port, _ := strings.Cut(r.Context().Value(http.LocalAddrContextKey).(interface{ String() string }).String(), ":")
		return "http://" + host + ":" + port + path
	},
	"the default port": func(r *http.Request, path string) string {
		host, _, _ := strings.Cut(r.Host, ":")
		return "http://" + host + path
	},
	"dialled": func(r *http.Request, path string) string {
		return "http://" + r.Context().Value(http.LocalAddrContextKey).(interface{ String() string }).String() + path
	},
	"another port":   func(_ *http.Request, path string) string { return "http://localhost:8000" + path },
	"its pod's name": func(_ *http.Request, path string) string { return "http://mcp-7f9c:8000" + path },
	"listed":         func(_ *http.Request, path string) string { return "https://listed.example:8000" + path },
}

// Rules A5, A10: a redirect that only adds or removes the final slash, with any status and
// by any name of the server, is followed inside, once, with method, query and body; for
// requests of every method, in front of an address and as a middleware.
func TestSlashRedirects(t *testing.T) {
	for name, to := range locations {
		for _, status := range []int{301, 302, 307, 308} {
			for _, serves := range []string{"/mcp/", "/mcp"} {
				t.Run(fmt.Sprintf("%s, %d, %s", name, status, serves), func(t *testing.T) {
					up := httptest.NewServer(turning{status, func(r *http.Request, path string) string {
						if r.URL.RawQuery != "" {
							path += "?" + r.URL.RawQuery
						}
						return to(r, path)
					}, serves})
					t.Cleanup(up.Close)
					port := testcaddy.FreePort(t)
					configured := "/mcp"
					if serves == configured {
						configured = "/mcp/"
					}
					testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%[1]d, http://mcp.test:%[1]d {
	bind 127.0.0.1
	mcp_auth_bridge %[2]s%[3]s {
		challenge {
			origins https://listed.example:8000
		}
	}
	route /middle/* {
		uri strip_prefix /middle
		mcp_auth_bridge {
			challenge {
				origins https://listed.example:8000
			}
		}
		reverse_proxy %[2]s
	}
}`, port, up.URL, configured))
					c := mcptest.NewClient(t)
					for _, host := range []string{"127.0.0.1", "mcp.test"} {
						for _, path := range []string{"/mcp", "/mcp/", "/middle/mcp", "/middle/mcp/"} {
							for _, method := range []string{"POST", "GET", "DELETE"} {
								r := mcptest.NewRequest(t, method, "http://"+testcaddy.Addr(port)+path+"?a=b", "{}")
								r.Host = fmt.Sprintf("%s:%d", host, port)
								if got := mcptest.Do(t, c, r); got.Status != http.StatusUnauthorized || got.Header.Get("Location") != "" || got.Header.Get("WWW-Authenticate") == "" {
									t.Errorf("%s %s%s: got %d to %q", method, host, path, got.Status, got.Header.Get("Location"))
								}
								r = mcptest.NewRequest(t, method, "http://"+testcaddy.Addr(port)+path+"?a=b", "{}")
								r.Host = fmt.Sprintf("%s:%d", host, port)
								r.Header.Set("Authorization", "Bearer x")
								if got := mcptest.Do(t, c, r); got.Status != http.StatusOK || got.Body != method+" a=b {}" {
									t.Errorf("%s %s%s: got %d %q to %q", method, host, path, got.Status, got.Body, got.Header.Get("Location"))
								}
							}
						}
					}
				})
			}
		}
	}
}

// Rule A10: 303 has a client go on with GET. For GET it is followed inside; for POST it is
// an answer, whose Location is mapped.
func TestSeeOther(t *testing.T) {
	up := httptest.NewServer(turning{http.StatusSeeOther, locations["dialled"], "/mcp/"})
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, ""))
	base := "http://" + testcaddy.Addr(port)
	if got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize)); got.Status != http.StatusSeeOther || got.Header.Get("Location") != base+"/mcp/" {
		t.Errorf("POST: got %d to %q", got.Status, got.Header.Get("Location"))
	}
	if got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", base+"/mcp", "")); got.Status != http.StatusUnauthorized {
		t.Errorf("GET: got %d to %q", got.Status, got.Header.Get("Location"))
	}
}

// Rule A10: a redirect is one of its method. A server that serves a directory beside its
// messages redirects GET there, and takes messages where they come.
func TestSlashRedirectOfOneMethod(t *testing.T) {
	for _, redirected := range []string{"GET", "DELETE", "HEAD", "POST"} {
		t.Run(redirected, func(t *testing.T) {
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == redirected && r.URL.Path == "/mcp":
					w.Header().Set("Location", "/mcp/")
					w.WriteHeader(http.StatusMovedPermanently)
				case r.Method == redirected == (r.URL.Path == "/mcp/"):
					w.WriteHeader(http.StatusUnauthorized)
				default:
					http.NotFound(w, r)
				}
			}))
			t.Cleanup(up.Close)
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, mcptest.BridgeTo(port, up.URL+"/mcp", ""))
			c := mcptest.NewClient(t)
			for range 2 {
				for _, method := range []string{redirected, "POST", "GET", "DELETE", "HEAD"} {
					if got := mcptest.Do(t, c, mcptest.NewRequest(t, method, "http://"+testcaddy.Addr(port)+"/mcp", "")); got.Status != http.StatusUnauthorized {
						t.Errorf("%s: got %d to %q", method, got.Status, got.Header.Get("Location"))
					}
				}
			}
		})
	}
}

// Rule A10: a body that is not held cannot be sent again, and a client is not sent back to
// the URL that it asked for: it is told to send it again, which works, and the operator
// which line spares that.
func TestSlashRedirectOfLargeBody(t *testing.T) {
	up := httptest.NewServer(turning{http.StatusPermanentRedirect, locations["dialled"], "/mcp/"})
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, "limits {\n\t\t\tmax_held_body 1KiB\n\t\t}"))
	base, large := "http://"+testcaddy.Addr(port)+"/mcp", strings.Repeat("x", 4<<10)
	send := func() mcptest.Answer {
		r := mcptest.NewRequest(t, "POST", base, large)
		r.Header.Set("Authorization", "Bearer x")
		return mcptest.Do(t, mcptest.NewClient(t), r)
	}
	got := send()
	var body struct{ Error struct{ Message string } }
	if err := json.Unmarshal([]byte(got.Body), &body); err != nil || body.Error.Message == "" {
		t.Errorf("body %q: %v", got.Body, err)
	}
	if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || got.Header.Get("Location") != "" || got.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("got %d, header %v", got.Status, got.Header)
	}
	if got := send(); got.Status != http.StatusOK || !strings.HasSuffix(got.Body, large) {
		t.Errorf("sent again: got %d to %q", got.Status, got.Header.Get("Location"))
	}
	testcaddy.WantAdvice(t, "redirect of the MCP server not followed: large request body", "upstream_path /mcp/")
}

// Rule A10: a client is never sent back to the URL that it asked for, in whatever form the
// server writes it, and the operator is told what fixes it.
func TestRedirectsInCircles(t *testing.T) {
	for name, tc := range map[string]struct {
		upstream string // its path
		to       func(r *http.Request) string
		add      string
	}{
		"to itself":           {"/mcp", func(r *http.Request) string { return "http://" + r.Host + r.URL.RequestURI() }, ""},
		"relative, to itself": {"/mcp", func(r *http.Request) string { return r.URL.RequestURI() }, ""},
		"query alone":         {"/mcp", func(r *http.Request) string { return "?" + r.URL.RawQuery }, ""},
		"to https":            {"/mcp", func(r *http.Request) string { return "https://" + r.Host + r.URL.RequestURI() }, ""},
		"to both slash forms": {"/mcp", func(r *http.Request) string {
			return "http://localhost:8000" + map[string]string{"/mcp": "/mcp/", "/mcp/": "/mcp"}[r.URL.Path] + "?" + r.URL.RawQuery
		}, ""},
		"to the public path": {"/inner", func(r *http.Request) string { return "http://" + r.Host + "/mcp?" + r.URL.RawQuery }, "upstream_path /mcp"},
		"relative":           {"/inner", func(r *http.Request) string { return "mcp/?" + r.URL.RawQuery }, "upstream_path /mcp/"},
	} {
		t.Run(name, func(t *testing.T) {
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", tc.to(r))
				w.Header().Set("WWW-Authenticate", "Bearer")
				w.Header().Set("Content-Length", "5")
				w.WriteHeader(http.StatusTemporaryRedirect)
				_, _ = io.WriteString(w, "moved")
			}))
			t.Cleanup(up.Close)
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, mcptest.BridgeTo(port, up.URL+tc.upstream, ""))
			for range 2 {
				got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", "http://"+testcaddy.Addr(port)+"/mcp?a=b", mcptest.Initialize))
				var body struct{ Error struct{ Message string } }
				if err := json.Unmarshal([]byte(got.Body), &body); err != nil || body.Error.Message == "" {
					t.Errorf("body %q: %v", got.Body, err)
				}
				if got.Status != http.StatusBadGateway || got.Header.Get("Location") != "" || got.Header.Get("WWW-Authenticate") != "" {
					t.Errorf("got %d, header %v", got.Status, got.Header)
				}
			}
			testcaddy.WantAdvice(t, "MCP server redirects to the requested URL", tc.add)
		})
	}
}

// Rule A10: as a middleware, a circle is refused as well, with a body of the length that is
// said.
func TestRedirectsInCirclesOfMiddleware(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	route {
		mcp_auth_bridge
		redir /mcp /mcp/ 308
		redir /mcp/ /mcp 308
		respond 404
	}
}`, port))
	for _, method := range []string{"POST", "GET", "HEAD"} {
		got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, method, "http://"+testcaddy.Addr(port)+"/mcp", ""))
		if got.Status != http.StatusBadGateway || got.Header.Get("Location") != "" || (method != "HEAD") != json.Valid([]byte(got.Body)) {
			t.Errorf("%s: got %d %q, header %v", method, got.Status, got.Body, got.Header)
		}
	}
}

// Rules A5, A10: no Location or Content-Location with another name of the server than the
// public one reaches a client; foreign ones stay, and a redirect there is told once, with
// the line that makes the origin the server's.
func TestReferencesAreMapped(t *testing.T) {
	var status int
	var to string
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.Header().Set("Content-Location", to)
		w.WriteHeader(status)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
	admin 127.0.0.1:%d
}
http://mcp.test:%d {
	bind 127.0.0.1
	mcp_auth_bridge %s/inner {
		challenge {
			origins https://listed.example:8000
		}
	}
	handle /status {
		mcp_auth_bridge status
	}
}`, testcaddy.FreePort(t), port, up.URL))
	base := fmt.Sprintf("http://mcp.test:%d", port)
	_, upPort, _ := strings.Cut(strings.TrimPrefix(up.URL, "http://"), ":")
	ask := func(method, path string) mcptest.Answer {
		r := mcptest.NewRequest(t, method, "http://"+testcaddy.Addr(port)+path, "")
		r.Host = strings.TrimPrefix(base, "http://")
		return mcptest.Do(t, mcptest.NewClient(t), r)
	}
	foreign := []string{
		"https://team.example.com/login?kid=1", "https://mcp.test.evil.example/x", "http://a@127.0.0.1:" + upPort + "/x", "http://mcp.test:9/inner/?x",
		"http://listed.example:8000/mcp", "mailto:a@b.example", "http://team.example.com:" + upPort + "/inner/",
	}
	mapped := map[string]string{
		up.URL + "/other?a#b":                 base + "/other?a#b",
		"/other":                              base + "/other",
		"sub":                                 base + "/sub",
		up.URL:                                base,
		up.URL + "/inner?other":               base + "/mcp?other",
		"http://mcp.test:" + upPort + "/x":    base + "/x",
		"https://mcp.test/x":                  base + "/x",
		"https://MCP.test./x":                 base + "/x",
		"http://localhost:8000/x":             base + "/x",
		"http://[::1]/x":                      base + "/x",
		"http://10.1.2.3:8000/x":              base + "/x",
		"http://mcp.internal/x":               base + "/x",
		"http://pod-1:8000/inner/?q":          base + "/mcp/?q",
		"https://listed.example:8000/x//y":    base + "/x//y",
		"https://listed.example:8000/inner?q": base + "/mcp?q",
	}
	for _, s := range foreign {
		mapped[s] = s
	}
	for _, status = range []int{201, 300, 301, 302, 303, 307, 308} {
		for in, want := range mapped {
			to = in
			for _, method := range []string{"POST", "GET", "DELETE"} {
				got := ask(method, "/mcp")
				if l, c := got.Header.Get("Location"), got.Header.Get("Content-Location"); got.Status != status || l != want || c != want {
					t.Errorf("%s, %d to %s: got %d to %q and %q, want %q", method, status, in, got.Status, l, c, want)
				}
			}
		}
	}
	var state struct {
		Endpoints []struct {
			Notices []struct {
				Subject, Add string
				Count        int
			}
		}
	}
	if err := json.Unmarshal([]byte(ask("GET", "/status?json").Body), &state); err != nil || len(state.Endpoints) != 1 {
		t.Fatalf("status: %v, %+v", err, state)
	}
	var lines []string
	for _, n := range state.Endpoints[0].Notices {
		if n.Add == "" {
			continue // it is a login, or no line makes it the server's
		}
		lines = append(lines, n.Add)
		if n.Count < 2 || !strings.HasSuffix(n.Add, n.Subject) {
			t.Errorf("notice %+v", n)
		}
		if logged := strings.Count(strings.Join(testcaddy.Logs(), ""), `"add":"`+n.Add+`"`); logged != 1 {
			t.Errorf("%s is logged %d times", n.Add, logged)
		}
	}
	slices.Sort(lines)
	want := []string{
		"origins http://listed.example:8000", "origins http://mcp.test:9", "origins http://team.example.com:" + upPort,
		// Another path of the server: clients are led there, and the site does not serve it.
		"upstream_path /", "upstream_path /other", "upstream_path /sub", "upstream_path /x", "upstream_path /x//y",
	}
	slices.Sort(want)
	if !slices.Equal(lines, want) {
		t.Errorf("lines to add %q, want %q", lines, want)
	}
}
