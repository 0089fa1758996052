package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo/democlient"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// The test binary is Caddy with the plugins, and the programs that the tests start.
func TestMain(m *testing.M) { mcptest.Main(m, nil) }

// front is a Caddyfile in which a plugin is in front of the endpoint /mcp. In its texts UP is
// the origin of an HTTP server, and PROGRAM the option that starts a program.
type front struct {
	global  string // options, or nothing
	http    string // the site, in front of an HTTP server
	program string // the site, in front of a program
	// whole returns the Caddyfile with a site, for clients that use TLS. It is nil for a
	// Caddyfile with global and one site in plain HTTP.
	whole func(t *testing.T, port int, site string) string
}

// run runs Caddy with a site, and returns the URL of the endpoint.
func (f front) run(t *testing.T, port int, site string) string {
	t.Helper()
	if f.whole != nil {
		testcaddy.Run(t, f.whole(t, port, site))
	} else {
		testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n\t%s\n}\nhttp://%s {\n\tbind 127.0.0.1\n\t%s\n}\n", f.global, testcaddy.Addr(port), site))
	}
	return f.endpoint(port)
}

// endpoint is the URL of the endpoint.
func (f front) endpoint(port int) string {
	if f.whole != nil {
		return fmt.Sprintf("https://localhost:%d/mcp", port)
	}
	return endpointAt(port)
}

// inFrontOf runs Caddy in front of an HTTP server, and returns the URL of the endpoint.
func (f front) inFrontOf(t *testing.T, port int, origin string) string {
	t.Helper()
	return f.run(t, port, strings.ReplaceAll(f.http, "UP", origin))
}

// inFrontOfProgram is inFrontOf for a program: the test binary.
func (f front) inFrontOfProgram(t *testing.T, port int) string {
	t.Helper()
	return f.run(t, port, strings.ReplaceAll(f.program, "PROGRAM", program(t)))
}

// endpointAt is the URL of an endpoint in plain HTTP.
func endpointAt(port int) string { return "http://" + testcaddy.Addr(port) + "/mcp" }

// newClient returns a client that follows no redirect and trusts every certificate.
func newClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: mcptest.TrustAnyone.Clone(), ForceAttemptHTTP2: true, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return mcptest.WithTransport(tr)
}

// program is the option that starts [mcptest.ServeChild].
func program(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("stdio %q -test.run=^$ {\n\t\t\tenv %s=1\n\t\t}", self, mcptest.ChildServer)
}

// drive runs a login, an event stream and a program through a plugin.
func drive(t *testing.T, f front) {
	t.Run("login", func(t *testing.T) { driveLogin(t, f) })
	t.Run("stream", func(t *testing.T) { driveStream(t, f) })
	t.Run("program", func(t *testing.T) { driveProgram(t, f) })
}

// driveLogin logs a client in at the server, whose challenge and metadata have to arrive
// whole, with the public URL.
func driveLogin(t *testing.T, f front) {
	port := testcaddy.FreePort(t)
	d, err := demo.Start(t.Context(), demo.Options{Public: []string{f.endpoint(port)}, AnyHost: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	url := f.inFrontOf(t, port, d.Origin())
	wantChallenge(t, newClient(t), url, d.Issuer())
	logIn(t, newClient(t), url)
}

// wantChallenge checks that a client without a token gets a challenge with the public URL of
// the metadata, and that the metadata names the endpoint and the authorization server.
func wantChallenge(t *testing.T, c *http.Client, url, issuer string) {
	t.Helper()
	origin, path := strings.TrimSuffix(url, "/mcp"), "/.well-known/oauth-protected-resource/mcp"
	got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", url, mcptest.Initialize))
	lines := got.Header.Values("WWW-Authenticate")
	if got.Status != 401 || len(lines) != 1 || !strings.Contains(lines[0], fmt.Sprintf(`resource_metadata="%s%s"`, origin, path)) || !strings.HasPrefix(lines[0], "Bearer ") {
		t.Errorf("without a token: got %d %q", got.Status, lines)
	}
	got = mcptest.Do(t, c, mcptest.NewRequest(t, "GET", origin+path, ""))
	var document struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	if err := json.Unmarshal([]byte(got.Body), &document); got.Status != 200 || err != nil || document.Resource != url || !slices.Equal(document.Servers, []string{issuer}) {
		t.Errorf("metadata: got %d %s", got.Status, got.Body)
	}
}

// logIn logs the SDK's client in at a demo, and calls a tool.
func logIn(t *testing.T, c *http.Client, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	session, err := democlient.Connect(ctx, url, c)
	if err != nil {
		t.Fatalf("logging in: %v", err)
	}
	defer func() { _ = session.Close() }()
	res, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "whoami"})
	if err != nil {
		t.Fatalf("calling a tool: %v", err)
	}
	if text := res.Content[0].(*mcp.TextContent).Text; text == "" || text == "somebody" {
		t.Errorf("logged in as %q", text)
	}
}

// driveStream reads event streams, of a GET and in answer to a POST, whose server sends each
// event only after the client has the one before. If anything on the way holds an event back,
// they never end.
func driveStream(t *testing.T, f front) {
	up, arrived := newStreaming(t)
	url := f.inFrontOf(t, testcaddy.FreePort(t), up.URL)
	readStream(t, newClient(t), mcptest.NewRequest(t, "GET", url, "", "Mcp-Session-Id", "s1"), arrived)
	readStream(t, newClient(t), mcptest.NewRequest(t, "POST", url, call, "Mcp-Session-Id", "s1"), arrived)
}

// call calls a tool.
const call = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"do","_meta":{"progressToken":"p"}}}`

// events is how many events a stream has.
const events = 3

// newStreaming starts a server that answers with an event stream. It goes on when arrived says
// that the client has an event.
func newStreaming(t *testing.T) (up *httptest.Server, arrived chan struct{}) {
	t.Helper()
	arrived = make(chan struct{})
	up = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/mcp" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for n := range events {
			_, _ = fmt.Fprintf(w, "data: {\"n\":%d}\n\n", n)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-arrived:
			case <-r.Context().Done():
				return
			}
		}
	}))
	up.Start()
	t.Cleanup(up.Close)
	return up, arrived
}

// readStream reads a stream of newStreaming.
func readStream(t *testing.T, c *http.Client, r *http.Request, arrived chan<- struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if r.Method == http.MethodGet {
		r.Header.Set("Accept", "text/event-stream")
	}
	res, err := c.Do(r.WithContext(ctx))
	if err != nil {
		t.Fatalf("%s: %v", r.Method, err)
	}
	defer func() { _ = res.Body.Close() }()
	if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("%s: got %d %q", r.Method, res.StatusCode, kind)
	}
	n := 0
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if lines.Text() == fmt.Sprintf(`data: {"n":%d}`, n) {
			n++
			arrived <- struct{}{}
		}
	}
	if n != events {
		t.Errorf("%s: %d of %d events have arrived", r.Method, n, events)
	}
}

// driveProgram has a session with a program.
func driveProgram(t *testing.T, f front) {
	url := f.inFrontOfProgram(t, testcaddy.FreePort(t))
	session := connect(t, url)
	first, again := mcptest.DoIn(t, session, "pid", 0), mcptest.DoIn(t, session, "pid", 0)
	if first == "" || first != again {
		t.Errorf("the calls of one session were answered by the processes %q and %q", first, again)
	}
	if text := mcptest.DoIn(t, session, "big", 100_000); len(text) != 100_000 {
		t.Errorf("an answer of 100000 bytes arrived as %d", len(text))
	}
	other := connect(t, url)
	if pid := mcptest.DoIn(t, other, "pid", 0); pid == first {
		t.Errorf("two sessions share the process %s", pid)
	}
}

// connect connects the SDK's client, with a session.
func connect(t *testing.T, url string) *mcp.ClientSession {
	t.Helper()
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: newClient(t)}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
