package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// loneSpeakers are the clients of 2026-07-28 that have the conversation.
var loneSpeakers = []struct {
	name    string
	servers []string
	speak   func(t *testing.T, url string) error
}{
	{"go", []string{"go", "typescript"}, func(t *testing.T, url string) error {
		tr := &http.Transport{}
		t.Cleanup(tr.CloseIdleConnections)
		lines, err := mcptest.Converse(t.Context(), &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: tr}}, stateless)
		if err != nil {
			return fmt.Errorf("%w after:\n%s", err, strings.Join(lines, "\n"))
		}
		return nil
	}},
	{"typescript", []string{"go", "typescript"}, func(t *testing.T, url string) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "node", "converse-v2.mjs", url)
		cmd.Dir = integration.NeedNode(t)
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte(`"grown":"small"`)) || !bytes.Contains(out, []byte(`"version":"2026-07-28"`)) {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}},
	{"raw", []string{"raw"}, func(t *testing.T, url string) error {
		return (&mcptest.LoneClient{URL: url}).Converse(t.Context())
	}},
}

// startLone starts a server of 2026-07-28 over HTTP and returns its origin.
func startLone(t *testing.T, server string) string {
	t.Helper()
	switch server {
	case "typescript":
		return startNodeTalk(t, "talk-server-v2.mjs")
	case "go":
		s := mcptest.NewServer() // all requests share it
		return serveHandler(t, mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true}))
	}
	return serveHandler(t, mcptest.NewLoneServer(false))
}

// loneUpstream is how the endpoint speaks to the server.
type loneUpstream struct {
	name string
	// handshake says that the server begins with one: the bridge translates.
	handshake bool
	// servers are those that speak so.
	servers []string
	start   func(t *testing.T, server string) (directive string, passed func() ([]mcptest.Frame, error))
}

var loneUpstreams = []loneUpstream{
	{"http", false, []string{"go", "typescript", "raw"}, func(t *testing.T, server string) (string, func() ([]mcptest.Frame, error)) {
		tap := new(mcptest.Tap)
		return "to " + serveHandler(t, tap.Proxy(startLone(t, server))) + "/mcp", tapped(tap)
	}},
	{"stdio", false, []string{"go", "typescript", "raw"}, func(t *testing.T, server string) (string, func() ([]mcptest.Frame, error)) {
		switch server {
		case "typescript":
			return tappedProgram(t, "node", filepath.Join(integration.NeedNode(t), "talk-server-v2.mjs"), "stdio")
		case "raw":
			server = "lone"
		}
		return tappedProgram(t, command(t, server)...)
	}},
	{"stdio with a handshake", true, []string{"typescript", "raw"}, func(t *testing.T, server string) (string, func() ([]mcptest.Frame, error)) {
		if server == "raw" {
			server = "lone handshake"
		}
		return tappedProgram(t, command(t, server)...)
	}},
	{"legacy SSE", true, []string{"go", "typescript", "raw"}, func(t *testing.T, server string) (string, func() ([]mcptest.Frame, error)) {
		tap := new(mcptest.Tap)
		origin := ""
		if server == "raw" {
			origin = serveHandler(t, mcptest.NewLoneServer(true))
		} else {
			origin = startTalk(t, server)
		}
		return "to sse+" + serveHandler(t, tap.Proxy(origin)) + "/sse", tapped(tap)
	}},
}

// Rules D1, D3, D5: the conversation of 2026-07-28, with every kind of server. At the
// client's end passes the same as with no bridge between these peers and HTTP between
// them. At the server's end passes the same as at the client's: to the byte where that
// is Streamable HTTP; but for ids, and for who asks for a subscription, where clients
// share a program, see [mcptest.Numbered] and [mcptest.InNobodysName];
// and but for what is translated where the server begins with a handshake, see
// [mcptest.Crossing] and [mcptest.WithoutChoices].
func TestConversationAlone(t *testing.T) {
	for _, s := range loneSpeakers {
		for _, server := range s.servers {
			for _, up := range loneUpstreams {
				if !slices.Contains(up.servers, server) {
					continue
				}
				t.Run(s.name+" to "+server+" over "+up.name, func(t *testing.T) {
					if s.name == "typescript" || server == "typescript" {
						integration.NeedNode(t)
					}
					want := nativeAlone(t, s.name, server, s.speak)
					directive, passed := up.start(t, server)
					addr := testcaddy.Addr(testcaddy.FreePort(t))
					testcaddy.Run(t, conversationSite(addr, directive))
					tap := new(mcptest.Tap)
					if err := s.speak(t, serveHandler(t, tap.Proxy("http://"+addr))+"/mcp"); err != nil {
						t.Fatalf("%v\nlog:\n%s", err, strings.Join(testcaddy.Logs(), "\n"))
					}
					client, _ := tap.Take()
					atServer, err := passed()
					if err != nil {
						t.Fatal(err)
					}
					up.compare(t, s.name+" to "+server, client, atServer, want)
				})
			}
		}
	}
}

// transcriptOf is the transcript of requests that each stand for themselves. Left out is
// how a subscription ends: clients close its stream, and say so or not, in any order
// and as late as their own end; a server answers to nobody.
func transcriptOf(frames []mcptest.Frame) mcptest.Transcript {
	type message struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			RequestID json.RawMessage `json:"requestId"`
		} `json:"params"`
	}
	listens := make(map[string]bool) // ids of the newest requests
	return mcptest.NewTranscript(slices.DeleteFunc(slices.Clone(frames), func(f mcptest.Frame) bool {
		var m message
		_ = json.Unmarshal([]byte(f.Raw), &m) // params of another shape are of no interest
		switch {
		case f.Up && m.Method == "notifications/cancelled":
			return listens[string(m.Params.RequestID)]
		case f.Up && m.Method != "":
			listens[string(m.ID)] = m.Method == "subscriptions/listen"
		case !f.Up && m.Method == "":
			return listens[string(m.ID)]
		}
		return false
	}))
}

// compare compares both ends with each other, and the client's with the conversation
// without a bridge.
func (up loneUpstream) compare(t *testing.T, pair string, client, atServer, want []mcptest.Frame) {
	t.Helper()
	same := func(what string, got, want []mcptest.Frame) {
		t.Helper()
		if diff := transcriptOf(got).Diff(transcriptOf(want)); diff != "" {
			t.Errorf("%s:\n%s", what, diff)
		}
	}
	const atClient, ends = "at the client's end it differs from the one without a bridge", "the server's end differs from the client's"
	switch {
	case up.handshake:
		same(atClient, mcptest.WithoutChoices(client), mcptest.WithoutChoices(withoutRefusedNotifications(want)))
		same(ends, mcptest.Crossing(atServer), mcptest.Crossing(client))
	case up.name == "http":
		same(atClient, client, want)
		same(ends, atServer, client)
	default:
		same(atClient, client, withoutRefusedNotifications(want))
		same(ends, mcptest.Numbered(withoutProbe(atServer)), mcptest.Numbered(mcptest.InNobodysName(client)))
	}
}

// withoutRefusedNotifications leaves out the errors that answer no request: the Go SDK's
// server wants fields of notifications that the TypeScript SDK's client does not send.
// The bridge wants none, for the revision has no notifications of clients over HTTP.
func withoutRefusedNotifications(frames []mcptest.Frame) []mcptest.Frame {
	return slices.DeleteFunc(slices.Clone(frames), func(f mcptest.Frame) bool {
		return !f.Up && strings.Contains(f.Raw, `"error"`) && !strings.Contains(f.Raw, `"id"`)
	})
}

// withoutProbe leaves out the first request to a program, and its answer: the bridge
// asks it for its revision.
func withoutProbe(frames []mcptest.Frame) []mcptest.Frame {
	if len(frames) < 2 || !strings.Contains(frames[0].Raw, `"server/discover"`) || !strings.Contains(frames[1].Raw, `"supportedVersions"`) {
		return frames
	}
	return frames[2:]
}

// nativesAlone are the conversations without a bridge.
var nativesAlone = make(map[string][]mcptest.Frame)

// whatIsSaidAlone is what the conversation has to have in it.
var whatIsSaidAlone = map[bool][]said{
	false: {
		{true, `"server/discover"`},
		{true, `"tools/list"`},
		{true, `"tools/call"`},
		{false, `"notifications/progress"`},
		{false, `"input_required"`},
		{false, `"sampling/createMessage"`},
		{false, `"elicitation/create"`},
		{false, `"roots/list"`},
		{true, `"inputResponses"`},
		{true, `"subscriptions/listen"`},
		{false, `"notifications/subscriptions/acknowledged"`},
		{false, `"notifications/resources/updated"`},
		{false, `"notifications/tools/list_changed"`},
		{false, `"notifications/message"`},
		{true, `"completion/complete"`},
		{false, `"code":-31999`},
		{true, strings.Repeat("x", 2<<20)},
		{false, strings.Repeat("0123456789abcdef", 4<<20/16)},
	},
	true: {
		{true, `"server/discover"`},
		{true, `"tools/list"`},
		{true, `"id":9007199254740993`},
		{false, `"id":9007199254740993`},
		{true, `"id":1.5`},
		{false, `"id":1.5`},
		{true, `"id":""`},
		{false, `"id":123456789012345678901234567890`},
		{false, `"progressToken":1.5`},
		{false, `"progressToken":9007199254740993`},
		{false, `"io.modelcontextprotocol/subscriptionId":9007199254740993`},
		{true, `"vendor/touch"`},
		{false, `-32601`},
		{false, `1e400`},
		{false, `"data":{"why":[1,2.50,9007199254740993,null]}`},
		{false, `"n":1999.0`},
		{false, `"input_required"`},
		{false, `"elicitation/create"`},
		{false, `"sampling/createMessage"`},
		{true, `"inputResponses"`},
		{false, `"big":"0123456789abcdef`},
	},
}

// nativeAlone returns what passes between the same peers with nothing between them.
func nativeAlone(t *testing.T, speaker, server string, speak func(*testing.T, string) error) []mcptest.Frame {
	t.Helper()
	key := speaker + " " + server
	if nativesAlone[key] == nil {
		tap := new(mcptest.Tap)
		if err := speak(t, serveHandler(t, tap.Proxy(startLone(t, server)))+"/mcp"); err != nil {
			t.Fatalf("without a bridge: %v", err)
		}
		frames, _ := tap.Take()
		if len(frames) < 1000 {
			t.Fatalf("without a bridge %d messages have passed", len(frames))
		}
		for _, text := range whatIsSaidAlone[server == "raw"] {
			if !slices.ContainsFunc(frames, func(f mcptest.Frame) bool { return f.Up == text.up && strings.Contains(f.Raw, text.text) }) {
				t.Errorf("without a bridge: nobody says %.100s", text.text)
			}
		}
		nativesAlone[key] = frames
	}
	return nativesAlone[key]
}
