package observe_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// runAdmin runs a site in front of an upstream, with the admin API on.
func runAdmin(t *testing.T, upstream, block string) (in *testcaddy.Instance, base, admin string) {
	t.Helper()
	port := testcaddy.FreePort(t)
	admin = testcaddy.Addr(testcaddy.FreePort(t))
	in = testcaddy.Run(t, strings.Replace(mcptest.BridgeTo(port, upstream, block), "auto_https off", "auto_https off\n\tadmin "+admin, 1))
	return in, "http://" + testcaddy.Addr(port), admin
}

// Rule F2: the admin API is read-only but for the end of a session; methods and paths
// that it does not have get the status that says so, and Caddy guards it as the rest.
func TestAdminAPI(t *testing.T) {
	up := mcptest.NewChallenging(t, http.StatusUnauthorized, `Bearer realm="x"`)
	_, base, admin := runAdmin(t, strings.TrimPrefix(up.URL, "http://"), "")
	c := mcptest.NewClient(t)
	at := "http://" + admin + "/mcp_auth_bridge"
	for _, tt := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/", 200, ""},
		{"HEAD", "/", 200, ""},
		{"GET", "/sessions", 200, ""},
		{"GET", "/sessions/", 200, ""},
		{"GET", "/?endpoint=" + base + "/mcp", 200, ""},
		{"GET", "/?endpoint=other", 404, ""},
		{"GET", "/sessions?endpoint=", 404, ""},
		{"POST", "/", 405, "GET, HEAD"},
		{"DELETE", "/", 405, "GET, HEAD"},
		{"DELETE", "/sessions", 405, "GET, HEAD"},
		{"PUT", "/sessions/0123456789abcdef", 405, "GET, HEAD, DELETE"},
		{"GET", "/sessions/0123456789abcdef", 404, ""},
		{"DELETE", "/sessions/0123456789abcdef", 404, ""},
		{"GET", "/other", 404, ""},
	} {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, tt.method, at+tt.path, ""))
		if got.Status != tt.status || got.Header.Get("Allow") != tt.allow {
			t.Errorf("%s %s: got %d, Allow %q, want %d, %q", tt.method, tt.path, got.Status, got.Header.Get("Allow"), tt.status, tt.allow)
		}
		if tt.method != "HEAD" && !json.Valid([]byte(got.Body)) {
			t.Errorf("%s %s: got %s", tt.method, tt.path, got.Body)
		}
		if got.Status == 200 && (got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Cache-Control") != "no-store") {
			t.Errorf("%s %s: got %v", tt.method, tt.path, got.Header)
		}
	}
	for _, how := range []func(*http.Request){
		func(r *http.Request) { r.Host = "rebound.example.com" },
		func(r *http.Request) { r.Header.Set("Origin", "null") },
		func(r *http.Request) { r.Header.Set("Sec-Fetch-Mode", "no-cors") },
	} {
		r := mcptest.NewRequest(t, http.MethodGet, at+"/", "")
		how(r)
		if got := mcptest.Do(t, c, r); got.Status < 400 || strings.Contains(got.Body, "endpoints") {
			t.Errorf("Host %s, %v: got %d", r.Host, r.Header, got.Status)
		}
	}
}

// Rule F2: sessions are listed by their hash, and one of them can be ended; its client
// is told to begin again. Rule F1: its id is nowhere to be seen.
func TestAdminSessions(t *testing.T) {
	port, admin := testcaddy.FreePort(t), testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, strings.Replace(mcptest.SiteOfProgram(t, port, "", ""), "auto_https off", "auto_https off\n\tadmin "+admin, 1))
	s := mcptest.Connect(t, "http://"+testcaddy.Addr(port)+"/mcp")
	c, at := mcptest.NewClient(t), "http://"+admin+"/mcp_auth_bridge/sessions"
	got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, at, ""))
	var list struct {
		Version  int
		Sessions []struct{ ID, Endpoint, Transport, Protocol, Begun, Used string }
	}
	if err := json.Unmarshal([]byte(got.Body), &list); err != nil || list.Version != 1 || len(list.Sessions) != 1 {
		t.Fatalf("got %v %s", err, got.Body)
	}
	one := list.Sessions[0]
	if one.Transport != "http" || one.Protocol != "2025-11-25" || one.Begun == "" || len(one.ID) != 16 || !strings.HasSuffix(one.Endpoint, "/mcp") {
		t.Errorf("got %+v", one)
	}
	if strings.Contains(got.Body, s.ID()) {
		t.Errorf("the id of the session is shown: %s", got.Body)
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, at+"/"+one.ID, "")); got.Status != 200 || !strings.Contains(got.Body, one.ID) {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodDelete, at+"/"+one.ID, "")); got.Status != http.StatusNoContent {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
	r := mcptest.NewRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp", `{"jsonrpc":"2.0","id":9,"method":"ping"}`, "Mcp-Session-Id", s.ID(), "Accept", "application/json, text/event-stream")
	if got := mcptest.Do(t, c, r); got.Status != http.StatusNotFound {
		t.Errorf("the session goes on: %d %s", got.Status, got.Body)
	}
	status, body := waitFor(t, c, admin, func(s statusNow) bool { return s.Endpoints[0].Now.Servers == 0 })
	if ended := status.Endpoints[0].Load.Ended; len(ended) != 1 || ended[0].Reason != "operator" {
		t.Errorf("got %s", body)
	}
}

// Rule F2: an upstream that does not answer is shown with why, and until it does.
func TestAdminUpstream(t *testing.T) {
	addr := testcaddy.Addr(testcaddy.FreePort(t))
	_, base, admin := runAdmin(t, addr, "")
	c := mcptest.NewClient(t)
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, base+"/mcp", mcptest.Initialize)); got.Status != http.StatusBadGateway {
		t.Fatalf("got %d", got.Status)
	}
	s, body := askAdmin(t, c, admin)
	up := s.Endpoints[0].Upstreams
	if len(up) != 1 || up[0].Address != addr || up[0].Why != "refused" || up[0].Failing == nil || up[0].Failures != 1 || s.Endpoints[0].Load.Status["POST"]["5xx"] != 1 {
		t.Fatalf("got %s", body)
	}
	out := testcaddy.RunStatus(t, admin)
	if !strings.Contains(out, "\nfailing  "+base+"/mcp  "+addr+" (http)") || !strings.Contains(out, "upstream "+addr+" does not answer (refused), since") {
		t.Errorf("got %s", out)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	back := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(mcptest.ServeMixed)}}
	back.Start()
	t.Cleanup(back.Close)
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, base+"/mcp", mcptest.Initialize)); got.Status != http.StatusOK {
		t.Fatalf("got %d", got.Status)
	}
	if s, body := askAdmin(t, c, admin); s.Endpoints[0].Upstreams[0].Failing != nil || s.Endpoints[0].Upstreams[0].Failures != 1 {
		t.Errorf("got %s", body)
	}
}

// Rule F2: `caddy mcp status` shows what the admin API says, and nothing that a
// terminal would act on. Rule F1: nothing in it is secret.
func TestStatusShows(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="`+"\u009b31m\u202e"+` no `+r.Header.Get("Authorization")+`", nonce="n0nce", resource_metadata="http://localhost:1/.well-known/oauth-protected-resource/mcp?`+r.URL.RawQuery+`"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(up.Close)
	_, base, admin := runAdmin(t, strings.TrimPrefix(up.URL, "http://"), "")
	c := mcptest.NewClient(t)
	mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, base+"/mcp?key=query-secret", mcptest.Initialize, "Authorization", "Bearer token-secret", "Mcp-Session-Id", "session-secret"))
	mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, base+"/mcp", mcptest.Initialize, "Origin", "https://evil.example.com"))
	_, body := askAdmin(t, c, admin)
	out := testcaddy.RunStatus(t, admin)
	for _, want := range []string{
		base + "/mcp", "rewritten", "POST 401", "server sent", "client got",
		`resource_metadata="http://localhost:1/.well-known/oauth-protected-resource/mcp"`,
		`resource_metadata="` + base + `/.well-known/oauth-protected-resource/mcp"`,
		"allow_origins https://evil.example.com",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	raw := testcaddy.RunStatus(t, admin, "--json")
	var answer statusNow
	if err := json.Unmarshal([]byte(raw), &answer); err != nil || answer.Version != 1 || answer.Endpoints[0].Load.Challenges != 1 {
		t.Errorf("got %v %s", err, raw)
	}
	for name, text := range map[string]string{"admin API": body, "table": out, "JSON": raw, "metrics": fmt.Sprint(metricsOf(t, c, admin))} {
		for _, bad := range []string{"secret", "n0nce", "\u009b", "\u202e\n", "\x1b"} {
			if name != "table" && bad[0] != 's' && bad[0] != 'n' {
				continue // JSON is for programs
			}
			if strings.Contains(text, bad) {
				t.Errorf("%s has %q:\n%s", name, bad, text)
			}
		}
	}
	if out, err := testcaddy.TryStatus(testcaddy.Addr(testcaddy.FreePort(t))); err == nil || !strings.Contains(out, "admin API") {
		t.Errorf("got %v, %s", err, out)
	}
}
