package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// downstream is how a client speaks to the endpoint: a row of the table of pairs.
type downstream struct {
	name string
	path string // below the site
	kind transport
	// native is where a server itself offers the same, for the conversation
	// without anything between.
	native string
}

var downstreams = []downstream{
	{"sessions", "/mcp", streamable, "/mcp"},
	{"legacy SSE", "/mcp/sse", legacySSE, "/sse"},
}

// speaker is a client that has the conversation.
type speaker struct {
	name string
	// servers are those that understand it.
	servers []string
	speak   func(t *testing.T, down downstream, url string) error
}

var speakers = []speaker{
	{"go", []string{"go", "typescript"}, func(t *testing.T, down downstream, url string) error {
		tr := &http.Transport{}
		t.Cleanup(tr.CloseIdleConnections)
		over := map[transport]mcp.Transport{
			streamable: &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: tr}},
			legacySSE:  &mcp.SSEClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: tr}},
		}[down.kind]
		_, err := mcptest.ConverseInSession(t.Context(), over)
		return err
	}},
	{"typescript", []string{"go", "typescript"}, func(t *testing.T, down downstream, url string) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "node", "converse.mjs", map[transport]string{streamable: "streamable", legacySSE: "sse"}[down.kind], url)
		cmd.Dir = integration.NeedNode(t)
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte(`"grown":"small"`)) {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}},
	{"raw", []string{"raw"}, func(t *testing.T, down downstream, url string) error {
		return (&mcptest.RawClient{URL: url, Legacy: down.kind == legacySSE}).Converse(t.Context())
	}},
}

// startTalk starts a server of the conversation over HTTP and returns its origin.
func startTalk(t *testing.T, server string) string {
	t.Helper()
	var h http.Handler = new(mcptest.RawServer)
	switch server {
	case "typescript":
		return startNodeTalk(t, "talk-server.mjs")
	case "go":
		newServer := func(*http.Request) *mcp.Server { return mcptest.NewServer() }
		mux := http.NewServeMux()
		mux.Handle("/mcp", mcp.NewStreamableHTTPHandler(newServer, nil))
		mux.Handle("/sse", mcp.NewSSEHandler(newServer, nil))
		h = mux
	}
	return serveHandler(t, h)
}

func serveHandler(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

func startNodeTalk(t *testing.T, program string) string {
	t.Helper()
	_, out := startNode(t, program, "http")
	origin, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(origin)
}

// command is what a server of the conversation is started with as a program.
func command(t *testing.T, server string) []string {
	t.Helper()
	if server == "typescript" {
		return []string{"node", filepath.Join(integration.NeedNode(t), "talk-server.mjs"), "stdio"}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{self, "serve", server}
}

// upstream is how the endpoint speaks to the server: a column of the table of pairs.
// It returns what the directive says of a server of the conversation, behind a tap,
// and what has passed the tap.
type upstream struct {
	name  string
	start func(t *testing.T, server string) (directive string, passed func() ([]mcptest.Frame, error))
}

var upstreams = []upstream{
	{"http", func(t *testing.T, server string) (string, func() ([]mcptest.Frame, error)) {
		tap := new(mcptest.Tap)
		return "to " + serveHandler(t, tap.Proxy(startTalk(t, server))) + "/mcp", tapped(tap)
	}},
	{"legacy SSE", func(t *testing.T, server string) (string, func() ([]mcptest.Frame, error)) {
		tap := new(mcptest.Tap)
		return "to sse+" + serveHandler(t, tap.Proxy(startTalk(t, server))) + "/sse", tapped(tap)
	}},
	{"stdio", func(t *testing.T, server string) (string, func() ([]mcptest.Frame, error)) {
		return tappedProgram(t, command(t, server)...)
	}},
}

// tappedProgram returns what the directive says of a program behind a tap.
func tappedProgram(t *testing.T, command ...string) (directive string, passed func() ([]mcptest.Frame, error)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tap")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var quoted strings.Builder
	for _, a := range append([]string{self, "tap", file}, command...) {
		fmt.Fprintf(&quoted, " %q", a)
	}
	return "stdio" + quoted.String() + " {\n\t\tenv PATH\n\t}", func() ([]mcptest.Frame, error) {
		frames, err := mcptest.ReadTap(file)
		if err == nil {
			err = os.Remove(file)
		}
		return frames, err
	}
}

func tapped(tap *mcptest.Tap) func() ([]mcptest.Frame, error) {
	return func() ([]mcptest.Frame, error) {
		frames, _ := tap.Take()
		return frames, nil
	}
}

// withoutOwn leaves out what a bridge asks a server itself: a ping with an id that
// the client never used, before it opens a GET stream or takes a DELETE for a server
// of HTTP+SSE, which would otherwise not be asked whether it still takes the client's
// credentials (rule D4). Its answer may come after the session.
func withoutOwn(server, client []mcptest.Frame) []mcptest.Frame {
	type message struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	read := func(f mcptest.Frame) (m message) {
		_ = json.Unmarshal([]byte(f.Raw), &m) // params of another shape are of no interest
		return m
	}
	asked := make(map[string]bool)
	for _, f := range client {
		if m := read(f); f.Up && m.Method != "" && m.ID != nil {
			asked[string(m.ID)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(server), func(f mcptest.Frame) bool {
		m := read(f)
		ping, answer := f.Up && m.Method == "ping", !f.Up && m.Method == ""
		return (ping || answer) && !asked[string(m.ID)]
	})
}

// Rules D1, D3: one conversation, with everything that either side may say, over
// every pair of transports. At either end of the bridge passes the same, to the byte,
// and the same as with no bridge between these peers; see [mcptest.Transcript] for the
// order, and [withoutOwn] for what a bridge asks itself.
func TestConversation(t *testing.T) {
	for _, s := range speakers {
		for _, server := range s.servers {
			for _, up := range upstreams {
				t.Run(s.name+" to "+server+" over "+up.name, func(t *testing.T) {
					if s.name == "typescript" || server == "typescript" {
						integration.NeedNode(t)
					}
					directive, passed := up.start(t, server)
					addr := testcaddy.Addr(testcaddy.FreePort(t))
					testcaddy.Run(t, conversationSite(addr, directive))
					for _, down := range downstreams {
						t.Run("from "+down.name, func(t *testing.T) {
							converse(t, s, server, down, "http://"+addr, passed)
						})
					}
				})
			}
		}
	}
}

// conversationSite is a site with an endpoint for every downstream.
func conversationSite(addr, directive string) string {
	return fmt.Sprintf(`{
	auto_https off
}
http://%s {
	bind 127.0.0.1
	mcp_auth_bridge {
		%s
		legacy_sse
	}
}`, addr, directive)
}

// converse has one conversation through the bridge, and compares it.
func converse(t *testing.T, s speaker, server string, down downstream, bridge string, passed func() ([]mcptest.Frame, error)) {
	t.Helper()
	want := native(t, s, server, down)
	tap := new(mcptest.Tap)
	if err := s.speak(t, down, serveHandler(t, tap.Proxy(bridge))+down.path); err != nil {
		t.Errorf("%v\nlog:\n%s", err, strings.Join(testcaddy.Logs(), "\n"))
	}
	client, statuses := tap.Take()
	atServer, err := passed()
	if err != nil {
		t.Fatal(err)
	}
	got := mcptest.NewTranscript(client)
	if diff := got.Diff(want); diff != "" {
		t.Errorf("at the client's end it differs from the one without a bridge:\n%s", diff)
	}
	if diff := mcptest.NewTranscript(withoutOwn(atServer, client)).Diff(got); diff != "" {
		t.Errorf("the server's end differs from the client's:\n%s", diff)
	}
	if down.kind == streamable && statuses["DELETE 204"]+statuses["DELETE 200"] != 1 {
		t.Errorf("the session was not ended: %v", statuses)
	}
	// The TypeScript SDK asks again for a stream that ends without an answer, such as that of a
	// call that was cancelled.
	if down.kind == streamable && statuses["GET 200"] > 1 {
		t.Errorf("the client opened more than one GET stream: %v", statuses)
	}
}

// said is a text that a message has to have.
type said struct {
	up   bool
	text string
}

// whatIsSaid is what the conversation of the SDKs has to have in it.
var whatIsSaid = []said{
	{true, `"initialize"`},
	{true, `"notifications/initialized"`},
	{true, `"tools/list"`},
	{true, `"tools/call"`},
	{false, `"notifications/progress"`},
	{true, `"notifications/cancelled"`},
	{false, `"sampling/createMessage"`},
	{false, `"elicitation/create"`},
	{false, `"roots/list"`},
	{true, `"notifications/roots/list_changed"`},
	{true, `"resources/subscribe"`},
	{false, `"notifications/resources/updated"`},
	{true, `"resources/unsubscribe"`},
	{false, `"notifications/tools/list_changed"`},
	{true, `"logging/setLevel"`},
	{false, `"notifications/message"`},
	{true, `"completion/complete"`},
	{true, `"ping"`},
	{false, `"ping"`},
	{false, `"code":-31999`},
	{true, strings.Repeat("x", 2<<20)},
	{false, strings.Repeat("0123456789abcdef", 4<<20/16)},
}

// whatIsSaidRaw is what the conversation without SDKs has to have in it.
var whatIsSaidRaw = []said{
	{true, `"id":9007199254740993`},
	{false, `"id":9007199254740993`},
	{true, `"id":1.5`},
	{false, `"id":1.5`},
	{true, `"id":""`},
	{true, `"id":123456789012345678901234567890`},
	{true, `"requestId":9007199254740993`},
	{true, `"progressToken":1.5`},
	{false, `"progressToken":1.5`},
	{true, `"vendor/tell"`},
	{false, `"vendor/heard"`},
	{false, `"vendor/asks"`},
	{true, `"n":1.0`},
	{false, `1e400`},
	{false, `"data":{"why":[1,2.50,9007199254740993,null]}`},
	{true, `"error":{"data":{"n":9007199254740993}`},
	{false, `"vendor/drop","params":{"n":1999.0`},
	{false, `"result":"0123456789abcdef`},
	{false, `"elicitation/create"`},
	{false, `"ping"`},
}

// natives are the conversations without a bridge.
var natives = make(map[string]mcptest.Transcript)

// native returns the transcript of the same peers with nothing between them, over the
// transport of the client's.
func native(t *testing.T, s speaker, server string, down downstream) mcptest.Transcript {
	t.Helper()
	key := s.name + " " + server + " " + down.name
	if natives[key] == nil {
		tap := new(mcptest.Tap)
		if err := s.speak(t, down, serveHandler(t, tap.Proxy(startTalk(t, server)))+down.native); err != nil {
			t.Fatalf("without a bridge: %v", err)
		}
		frames, _ := tap.Take()
		if len(frames) < 1000 {
			t.Fatalf("without a bridge %d messages have passed", len(frames))
		}
		said := whatIsSaid
		if s.name == "raw" {
			said = whatIsSaidRaw
		}
		for _, text := range said {
			if !slices.ContainsFunc(frames, func(f mcptest.Frame) bool { return f.Up == text.up && strings.Contains(f.Raw, text.text) }) {
				t.Errorf("without a bridge: nobody says %s", text.text)
			}
		}
		natives[key] = mcptest.NewTranscript(frames)
	}
	return natives[key]
}

// Rules D3, D6: conversations with the same ids at the same time are each as one
// alone.
func TestConversationsAtOnce(t *testing.T) {
	const clients = 3
	raw := speakers[slices.IndexFunc(speakers, func(s speaker) bool { return s.name == "raw" })]
	for _, up := range upstreams {
		t.Run("over "+up.name, func(t *testing.T) {
			directive, _ := up.start(t, "raw")
			addr := testcaddy.Addr(testcaddy.FreePort(t))
			testcaddy.Run(t, conversationSite(addr, directive))
			var wg sync.WaitGroup
			for _, down := range downstreams {
				want := native(t, raw, "raw", down)
				for range clients {
					tap := new(mcptest.Tap)
					at := serveHandler(t, tap.Proxy("http://"+addr)) + down.path
					wg.Go(func() {
						err := raw.speak(t, down, at)
						frames, _ := tap.Take()
						if diff := mcptest.NewTranscript(frames).Diff(want); err != nil || diff != "" {
							t.Errorf("from %s: %v\n%s", down.name, err, diff)
						}
					})
				}
			}
			wg.Wait()
		})
	}
}
