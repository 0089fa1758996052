package mcpauthbridge_test

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// hostileDocuments are what an upstream may serve as metadata, and what a
// client gets of it.
var hostileDocuments = map[string]struct {
	serve func(w http.ResponseWriter, r *http.Request, trap string)
	want  int
}{
	"a hundred megabytes": {want: 503, serve: func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"resource":"`)
		_, _ = io.Copy(w, io.LimitReader(endless{}, 100<<20))
	}},
	"without an end": {want: 503, serve: func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, endless{})
	}},
	"a byte at a time": {want: 503, serve: func(w http.ResponseWriter, r *http.Request, _ string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}},
	"a bomb": {want: 503, serve: func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.Copy(z, io.LimitReader(endless{}, 64<<20))
		_ = z.Close()
	}},
	"a redirect to another server": {want: 503, serve: func(w http.ResponseWriter, r *http.Request, trap string) {
		http.Redirect(w, r, trap, http.StatusFound)
	}},
	"no JSON": {want: 503, serve: func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"resource":`)
	}},
	"no UTF-8": {want: 503, serve: func(w http.ResponseWriter, r *http.Request, _ string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, "{\"resource\":%q,\"resource_name\":\"\xff\"}", "http://"+r.Host+"/mcp")
	}},
	"resource twice": {want: 503, serve: func(w http.ResponseWriter, r *http.Request, _ string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"resource":%q,"resource":"https://evil.example"}`, "http://"+r.Host+"/mcp")
	}},
	"a page": {want: 404, serve: func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>")
	}},
}

// Rules C1, C3, C4, G: whatever an upstream serves as metadata, the client
// gets a clear answer in time, the bridge asks nobody else, and its memory
// stays bounded.
func TestHostileMetadata(t *testing.T) {
	var trapped atomic.Int32
	trap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trapped.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"resource":"http://%s/mcp"}`, r.Host)
	}))
	t.Cleanup(trap.Close)
	for name, tc := range hostileDocuments {
		t.Run(name, func(t *testing.T) {
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/.well-known/") {
					tc.serve(w, r, trap.URL+"/metadata")
					return
				}
				w.WriteHeader(http.StatusUnauthorized)
			}))
			t.Cleanup(up.Close)
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, bridgeTo(port, up.URL, allowApp+"\nlimits {\n metadata_timeout 500ms\n challenge_wait 500ms\n}"))
			base := "http://" + testcaddy.Addr(port)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c := newClient(t)
			got := do(t, c, newRequest(t, http.MethodGet, base+"/.well-known/oauth-protected-resource/mcp", "", "Origin", origin))
			runtime.ReadMemStats(&after)
			if got.status != tc.want || got.header.Get("Content-Type") != "application/json" || got.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("got %d, header %v", got.status, got.header)
			}
			if tc.want == 503 && (got.header.Get("Retry-After") == "" || got.header.Get("Cache-Control") != "no-store") {
				t.Errorf("got header %v", got.header)
			}
			// The serving side is in this process too; it reuses one buffer.
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
				t.Errorf("%d bytes were allocated for it", grown)
			}
			// The endpoint works on, with its status untouched.
			if got := do(t, c, newRequest(t, http.MethodPost, base+"/mcp", initReq, "Origin", origin)); got.status != http.StatusUnauthorized {
				t.Errorf("endpoint: got %d", got.status)
			}
		})
	}
	if n := trapped.Load(); n > 0 {
		t.Errorf("%d requests reached a server that only the upstream named", n)
	}
}

// A document whose resource names another server, on the same private network
// or elsewhere, stays visibly wrong (rule C3), and challenges that name a
// foreign host stay as they are (rule A5).
func TestImpostors(t *testing.T) {
	var resource, named atomic.Value
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"resource":%q,"authorization_servers":["https://login.example.com"]}`, resource.Load())
			return
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer resource_metadata="%s"`, named.Load()))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	for _, foreign := range []string{
		"https://evil.example/mcp", "http://10.0.0.9:8443/mcp", "http://127.0.0.1:1/mcp", "http://other-server/mcp",
		up.URL + "/other", up.URL + "/mcp/deeper", up.URL + "@evil.example/mcp", up.URL + ".evil.example/mcp",
		base + "/other", "//evil.example/mcp", "http:/evil.example/mcp", `http:\\evil.example/mcp`,
	} {
		t.Run(foreign, func(t *testing.T) {
			resource.Store(foreign)
			named.Store("https://evil.example/.well-known/oauth-protected-resource/mcp?from=" + base)
			testcaddy.Run(t, bridgeTo(port, up.URL, ""))
			c := newClient(t)
			got := do(t, c, newRequest(t, http.MethodGet, base+"/.well-known/oauth-protected-resource/mcp", ""))
			if want := fmt.Sprintf(`"resource":%q`, foreign); got.status != http.StatusOK || !strings.Contains(got.body, want) {
				t.Errorf("got %d %s, want %s", got.status, got.body, want)
			}
			challenge := do(t, c, newRequest(t, http.MethodPost, base+"/mcp", initReq)).header["Www-Authenticate"]
			if len(challenge) != 1 || challenge[0] != fmt.Sprintf(`Bearer resource_metadata="%s"`, named.Load()) {
				t.Errorf("got challenge %q", challenge)
			}
		})
	}
}

// rawUpstream answers every request with the bytes.
func rawUpstream(t *testing.T, answer string) string {
	t.Helper()
	return rawListener(t, func(conn net.Conn) {
		if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(conn, answer)
		}
	})
}

// Rules A3, G: challenges that no sane server sends cross as they are or are
// refused as a whole; nothing of them ends up in another header.
func TestHostileChallenges(t *testing.T) {
	answer := func(header string) string {
		return "HTTP/1.1 401 Unauthorized\r\n" + header + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	}
	huge := `Bearer realm="` + strings.Repeat("x", 200<<10) + `"`
	megabyte := `Bearer realm="` + strings.Repeat("x", 1_000_000) + `"`
	many := strings.Repeat("WWW-Authenticate: Bearer realm=\"x\"\r\n", 10_000)
	for name, tc := range map[string]struct {
		answer string
		status int
		want   []string // nil: not compared
	}{
		"200 KiB in one line":     {answer("WWW-Authenticate: " + huge), 401, []string{huge}},
		"over the header limit":   {answer("WWW-Authenticate: " + strings.Repeat("x", 2<<20)), 502, nil},
		"a megabyte in one line":  {answer("WWW-Authenticate: " + megabyte), 401, []string{megabyte}},
		"ten thousand in a line":  {answer("WWW-Authenticate: " + strings.Repeat(`Bearer realm="x", `, 10_000)), 401, nil},
		"ten thousand lines":      {answer(strings.TrimSuffix(many, "\r\n")), 401, nil},
		"a control character":     {answer("WWW-Authenticate: Bearer realm=\"\x01\", resource_metadata=\"http://localhost/\""), 502, nil},
		"a quote without an end":  {answer(`WWW-Authenticate: Bearer resource_metadata="http://localhost/`), 401, nil},
		"an injected line":        {answer(`WWW-Authenticate: Bearer resource_metadata="http://localhost/%0d%0aSet-Cookie: a=b"`), 401, nil},
		"a line end inside":       {answer("WWW-Authenticate: Bearer realm=\"a\nX-Injected: yes\""), 401, nil},
		"a header without a name": {answer(": Bearer"), 502, nil},
	} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, bridgeTo(port, rawUpstream(t, tc.answer), allowApp))
			c := newClient(t)
			c.Transport.(*http.Transport).MaxResponseHeaderBytes = 4 << 20
			got := do(t, c, newRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp", initReq, "Origin", origin))
			if got.status != tc.status || got.header.Get("Access-Control-Allow-Origin") != origin {
				t.Errorf("got %d, want %d; CORS %q", got.status, tc.status, got.header["Access-Control-Allow-Origin"])
			}
			if got.header.Get("Set-Cookie") != "" {
				t.Errorf("a cookie was injected: %q", got.header["Set-Cookie"])
			}
			lines := got.header["Www-Authenticate"]
			if tc.want != nil && (len(lines) != len(tc.want) || lines[0] != tc.want[0]) {
				t.Errorf("got %d lines of %d bytes", len(lines), len(strings.Join(lines, "")))
			}
			for _, line := range lines {
				if strings.ContainsAny(line, "\r\n\x00\x01") {
					t.Errorf("got a control character in %.80q", line)
				}
			}
		})
	}
}

// Rules B1, C4, C6, G: hosts and origins that a client makes up neither grow
// the cache nor are let in.
func TestForgedHostsAndOrigins(t *testing.T) {
	var searches atomic.Int32
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			searches.Add(1)
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"resource":"http://%s/mcp"}`, r.Host)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\nauto_https off\n}\n:%d {\nbind 127.0.0.1\nmcp_auth_bridge %s\n}", port, up.URL))
	base := "http://" + testcaddy.Addr(port)
	c := newClient(t)
	n := 3000
	if testing.Short() {
		n = 300
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		r := newRequest(t, http.MethodPost, base+"/mcp", initReq, "X-Forwarded-Host", fmt.Sprintf("h%d.evil.example", i), "X-Forwarded-Proto", "https")
		r.Host = fmt.Sprintf("h%d.example", i)
		got := do(t, c, r)
		if want := "http://" + r.Host + "/.well-known/"; got.status != http.StatusUnauthorized || strings.Contains(got.header.Get("WWW-Authenticate"), "evil") ||
			!strings.Contains(got.header.Get("WWW-Authenticate"), want) {
			t.Fatalf("got %d, %q, want a URL on the Host that was named and not on a forwarded one", got.status, got.header["Www-Authenticate"])
		}
		r = newRequest(t, http.MethodPost, base+"/mcp", initReq, "Origin", fmt.Sprintf("https://h%d.evil.example", i))
		r.Host = fmt.Sprintf("h%d.example", i)
		if got := do(t, c, r); got.status != http.StatusForbidden || got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Fatalf("origin %d: got %d, %v", i, got.status, got.header)
		}
	}
	c.CloseIdleConnections()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap grew by %d bytes over %d hosts and origins", grown, n)
	}
	if lines := testcaddy.Logs(); len(lines) > 20*n {
		t.Errorf("%d log lines", len(lines))
	}
	if searches.Load() == 0 {
		t.Error("no metadata was asked for: the test proves nothing")
	}
}

// Rule G: bodies that never come hold no other request up.
func TestSlowBodiesHoldNobodyUp(t *testing.T) {
	up := newAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, bridgeTo(port, up.URL, allowApp))
	base := "http://" + testcaddy.Addr(port)
	for range 200 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", testcaddy.Addr(port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "POST /mcp HTTP/1.1\r\nHost: "+testcaddy.Addr(port)+"\r\nContent-Length: 1000\r\n\r\n{")
	}
	if got := do(t, newClient(t), newRequest(t, http.MethodPost, base+"/mcp?answer=200", initReq)); got.status != http.StatusOK {
		t.Errorf("got %d", got.status)
	}
}
