package integration_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// consult runs the doctor.
func consult(t *testing.T, opts doctor.Options) *doctor.Report {
	t.Helper()
	r, err := doctor.Run(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// says asserts what the doctor says first, and that it has the texts.
func says(t *testing.T, r *doctor.Report, state doctor.State, rule string, texts ...string) {
	t.Helper()
	var text strings.Builder
	if err := r.WriteText(&text, doctor.TextOptions{Verbose: true}); err != nil {
		t.Fatal(err)
	}
	got := ""
	if r.Verdict.Finding != nil {
		got = r.Verdict.Finding.Rule
	}
	if r.Verdict.State != state || got != rule {
		t.Errorf("got %s, %q, want %s, %q\n%s", r.Verdict.State, got, state, rule, text.String())
	}
	joined := strings.Join(strings.Fields(text.String()), " ")
	for _, want := range texts {
		if !strings.Contains(joined, want) {
			t.Errorf("it does not say %q\n%s", want, text.String())
		}
	}
}

// anyPage is the origin of a page.
const anyPage = "https://app.example.com"

// Rule F3: the demo behind a real Caddy with this module is healthy, through
// the login to a session, for a page too; behind nothing but reverse_proxy it is
// not, and the doctor says on which side the cause is.
func TestDoctorDemo(t *testing.T) {
	for _, kind := range transports {
		t.Run(string(kind), func(t *testing.T) {
			f := plainFront(t)
			run(t, f, kind, demo.Options{AutoConsent: true}, "cors {\n\t\t\tallow_origins "+anyPage+"\n\t\t}")
			r := consult(t, doctor.Options{URL: f.public, Origin: anyPage, Login: true, Browse: agree(t)})
			says(t, r, doctor.Healthy, "", "Login works: signed in, opened a session with \"demo 1\"", "4 tools", "PKCE with S256", "the token is accepted", "tools/list is answered")
		})
	}
	t.Run("plain reverse_proxy", func(t *testing.T) {
		plain := testcaddy.Addr(testcaddy.FreePort(t))
		d, err := demo.Start(t.Context(), demo.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		testcaddy.Run(t, "{\n\tauto_https off\n}\nhttp://"+plain+" {\n\treverse_proxy "+d.Origin()+"\n}")
		r := consult(t, doctor.Options{URL: "http://" + plain + "/mcp", Upstream: d.MCPURL(), Origin: anyPage})
		says(t, r, doctor.Broken, "preflight.answered", "The cause is the server", "the OAuth metadata says this server is "+d.MCPURL()+", but clients use")
	})
}

// Rules C7 and F3: a server that wants another audience than its authorization
// server gives answers 401 right after the login.
func TestDoctorAudience(t *testing.T) {
	f := plainFront(t)
	d, err := demo.Start(t.Context(), demo.Options{AutoConsent: true, Public: []string{f.public}, NamesPublic: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	origin, err := url.Parse(d.Origin())
	if err != nil {
		t.Fatal(err)
	}
	proxy := mcptest.Front(func(r *httputil.ProxyRequest) {
		r.SetURL(origin)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	testcaddy.Run(t, strings.NewReplacer("UPSTREAM", server.URL, "OPTIONS", "challenge rewrite").Replace(f.caddyfile))
	says(t, consult(t, doctor.Options{URL: f.public, Login: true, Browse: agree(t)}), doctor.Broken, "token.audience", "right after the login")
}

// agree is a user who opens the login and agrees.
func agree(t *testing.T) func(string) error {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	return func(at string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
}

// Rule F3: the doctor tells the truth of servers that others wrote, and of what
// is no MCP server at all.
func TestDoctorElsewhere(t *testing.T) {
	sdk := "node_modules/@modelcontextprotocol/sdk/dist/esm/examples/server/"
	everything := "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
	port := func(t *testing.T) string { return strconv.Itoa(testcaddy.FreePort(t)) }
	for name, tc := range map[string]struct {
		script []string
		env    string // the variable that has the port
		path   string
		rule   string // of the first warning
		says   []string
	}{
		"server-everything":           {[]string{everything, "streamableHttp"}, "PORT", "/mcp", "", []string{"No login required: opened a session with \"mcp-servers/everything", "the session is kept", "pass server/discover"}},
		"server-everything, HTTP+SSE": {[]string{everything, "sse"}, "PORT", "/sse", "", []string{"No login required:", "an HTTP+SSE server (2024-11-05) answers"}},
		"SDK, with a login":           {[]string{sdk + "simpleStreamableHttp.js", "--oauth"}, "MCP_PORT", "/mcp", "challenge.error", []string{"Clients can start the login.", "no token was sent", "PKCE with S256", "clients register dynamically"}},
		"SDK, without a login":        {[]string{sdk + "simpleStreamableHttp.js"}, "MCP_PORT", "/mcp", "preflight.origin", []string{"No login required: opened a session with \"simple-streamable-http-server"}},
		"SDK, wrong path":             {[]string{sdk + "simpleStreamableHttp.js"}, "MCP_PORT", "/wrong", "endpoint.path", []string{"there is no MCP endpoint at this path"}},
	} {
		t.Run(name, func(t *testing.T) {
			at := port(t)
			env := []string{tc.env + "=" + at, "MCP_AUTH_PORT=" + port(t)}
			cmd := exec.CommandContext(t.Context(), "node", tc.script...)
			cmd.Dir = integration.NeedNode(t)
			startServer(t, cmd, env, at)
			state := doctor.Healthy
			if tc.rule == "endpoint.path" {
				state = doctor.Broken
			}
			says(t, consult(t, doctor.Options{URL: "http://localhost:" + at + tc.path}), state, tc.rule, tc.says...)
		})
	}
	t.Run("go-sdk's everything server", func(t *testing.T) {
		program := filepath.Join(t.TempDir(), "everything")
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/modelcontextprotocol/go-sdk/examples/server/everything").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		at := port(t)
		startServer(t, exec.CommandContext(t.Context(), program, "-http", "127.0.0.1:"+at), nil, at)
		r := consult(t, doctor.Options{URL: "http://127.0.0.1:" + at + "/"})
		says(t, r, doctor.Healthy, "preflight.answered", "No login required: opened a session with \"everything", "ok: everything answers", "the session is kept", "gets 405")
	})
	t.Run("a website", func(t *testing.T) {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "index.html"), []byte("<!doctype html><title>Welcome</title>"), 0o600); err != nil {
			t.Fatal(err)
		}
		addr := testcaddy.Addr(testcaddy.FreePort(t))
		testcaddy.Run(t, "{\n\tauto_https off\n}\nhttp://"+addr+" {\n\troot "+folder+"\n\tfile_server\n\t@page path /app*\n\trewrite @page /index.html\n\trespond /hello \"hello\"\n}")
		for path, rule := range map[string]string{"/": "endpoint.path", "/mcp": "endpoint.path", "/app/mcp": "endpoint.path", "/hello": "endpoint.mcp"} {
			says(t, consult(t, doctor.Options{URL: "http://" + addr + path}), doctor.Broken, rule, "MCP endpoint")
		}
	})
}

// startServer starts a program and waits until it listens. It ends with the
// test.
func startServer(t *testing.T, cmd *exec.Cmd, env []string, port string) {
	t.Helper()
	cmd.Env = append(os.Environ(), env...)
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	deadline := time.Now().Add(patience)
	for {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "localhost:"+port)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ended:
			t.Fatal("the server ended")
		case <-time.After(20 * time.Millisecond): // there is no event to wait for
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not listen: %v", err)
		}
	}
}
