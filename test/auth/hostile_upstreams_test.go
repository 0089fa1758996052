package auth_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// bomb is a hundred MiB in gzip, packed once: the search that it is for has little time.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.Copy(z, io.LimitReader(mcptest.Endless{}, 100<<20))
	_ = z.Close()
	return b.Bytes()
})

// hostileDocuments are what an upstream may serve as metadata, and what a
// client gets of it.
var hostileDocuments = map[string]struct {
	serve func(w http.ResponseWriter, r *http.Request, trap string)
	want  int
}{
	"a hundred megabytes": {want: 404, serve: func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"resource":"`)
		_, _ = io.Copy(w, io.LimitReader(mcptest.Endless{}, 100<<20))
	}},
	"without an end": {want: 404, serve: func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, mcptest.Endless{})
	}},
	"a byte at a time": {want: 503, serve: func(w http.ResponseWriter, r *http.Request, _ string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}},
	"a bomb": {want: 404, serve: func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb())
	}},
	"a redirect to another server": {want: 404, serve: func(w http.ResponseWriter, r *http.Request, trap string) {
		http.Redirect(w, r, trap, http.StatusFound)
	}},
	"no JSON": {want: 404, serve: func(w http.ResponseWriter, _ *http.Request, _ string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"resource":`)
	}},
	"UTF-16": {want: 404, serve: func(w http.ResponseWriter, r *http.Request, _ string) { // TestMetadataCharsets has what clients read
		w.Header().Set("Content-Type", "application/json")
		for _, c := range fmt.Sprintf("{\"resource\":%q}", "http://"+r.Host+"/mcp") {
			_, _ = w.Write([]byte{byte(c), 0})
		}
	}},
	"resource twice": {want: 404, serve: func(w http.ResponseWriter, r *http.Request, _ string) {
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
	bomb() // before the time of a search counts
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
			testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, mcptest.AllowApp+"\nlimits {\n metadata_timeout 500ms\n challenge_timeout 500ms\n}"))
			base := "http://" + testcaddy.Addr(port)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c := mcptest.NewClient(t)
			got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, base+"/.well-known/oauth-protected-resource/mcp", "", "Origin", mcptest.AppOrigin))
			runtime.ReadMemStats(&after)
			if got.Status != tc.want || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("got %d, header %v", got.Status, got.Header)
			}
			// C2: only what waiting can change asks to come back.
			if (tc.want == 503) != (got.Header.Get("Retry-After") != "") || got.Header.Get("Cache-Control") != "no-store" || !strings.Contains(got.Body, "The server behind") && !strings.Contains(got.Body, "the server behind") {
				t.Errorf("got %s, header %v", got.Body, got.Header)
			}
			// The serving side is in this process too; it reuses one buffer.
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
				t.Errorf("%d bytes were allocated for it", grown)
			}
			// The endpoint works on, with its status untouched.
			if got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, base+"/mcp", mcptest.Initialize, "Origin", mcptest.AppOrigin)); got.Status != http.StatusUnauthorized {
				t.Errorf("endpoint: got %d", got.Status)
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
			testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, ""))
			c := mcptest.NewClient(t)
			got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, base+"/.well-known/oauth-protected-resource/mcp", ""))
			if want := fmt.Sprintf(`"resource":%q`, foreign); got.Status != http.StatusOK || !strings.Contains(got.Body, want) {
				t.Errorf("got %d %s, want %s", got.Status, got.Body, want)
			}
			challenge := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, base+"/mcp", mcptest.Initialize)).Header["Www-Authenticate"]
			if len(challenge) != 1 || challenge[0] != fmt.Sprintf(`Bearer resource_metadata="%s"`, named.Load()) {
				t.Errorf("got challenge %q", challenge)
			}
		})
	}
}

// rawUpstream answers every request with the bytes.
func rawUpstream(t *testing.T, answer string) string {
	t.Helper()
	return mcptest.ListenRaw(t, func(conn net.Conn) {
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
			testcaddy.Run(t, mcptest.BridgeTo(port, rawUpstream(t, tc.answer), mcptest.AllowApp))
			c := mcptest.NewClient(t)
			c.Transport.(*http.Transport).MaxResponseHeaderBytes = 4 << 20
			got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize, "Origin", mcptest.AppOrigin))
			if got.Status != tc.status || got.Header.Get("Access-Control-Allow-Origin") != mcptest.AppOrigin {
				t.Errorf("got %d, want %d; CORS %q", got.Status, tc.status, got.Header["Access-Control-Allow-Origin"])
			}
			if got.Header.Get("Set-Cookie") != "" {
				t.Errorf("a cookie was injected: %q", got.Header["Set-Cookie"])
			}
			lines := got.Header["Www-Authenticate"]
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
