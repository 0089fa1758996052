package hub

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// countedServer is an MCP server that counts what it sends.
type countedServer struct {
	stateless bool
	sent      atomic.Int64
}

// answers returns what the server sends in answer to a message.
func (s *countedServer) answers(text string) (all []string) {
	defer func() { s.sent.Add(int64(len(all))) }()
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			Meta struct {
				Token json.RawMessage `json:"progressToken"`
			} `json:"_meta"`
		} `json:"params"`
	}
	if json.Unmarshal([]byte(text), &m) != nil || m.ID == nil || m.Method == "" {
		return nil
	}
	id := string(m.ID)
	result := func(result string) string { return `{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}` }
	unknown := `{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-32601,"message":"unknown"}}`
	switch m.Method {
	case "initialize":
		if s.stateless {
			return []string{unknown}
		}
		return []string{result(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}`)}
	case "server/discover":
		if !s.stateless {
			return []string{unknown}
		}
		return []string{result(`{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"resultType":"complete"}`)}
	case "tools/call":
		if m.Params.Meta.Token != nil {
			all = append(all, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`+string(m.Params.Meta.Token)+`,"progress":1}}`)
		}
		return append(all, result(`{"content":[]}`))
	}
	return []string{result(`{"tools":[]}`)}
}

// countedProcess is the server as a process: its lines are parsed where they are read.
type countedProcess struct {
	*upstream.Ending
	server *countedServer
	to     upstream.Receiver
	closed atomic.Bool
}

func (p *countedProcess) Send(_ *http.Request, m message.Message) error {
	for _, line := range p.server.answers(string(m.Raw)) {
		all, err := message.ParseAll([]byte(line), message.MaxBatch)
		if err != nil {
			return err
		}
		for _, m := range all {
			p.to.Message(m)
		}
	}
	return nil
}

func (p *countedProcess) Close() error {
	if p.closed.CompareAndSwap(false, true) {
		p.End()
	}
	return nil
}

// overHTTP is the server over Streamable HTTP.
func (s *countedServer) overHTTP(w http.ResponseWriter, r *http.Request) error {
	body, _ := io.ReadAll(r.Body)
	switch r.Method {
	case http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	case http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	answers := s.answers(string(body))
	if strings.Contains(string(body), `"initialize"`) {
		w.Header().Set(mcp.SessionHeader, "up")
	}
	switch len(answers) {
	case 0:
		w.WriteHeader(http.StatusAccepted)
		return nil
	case 1:
		w.Header().Set("Content-Type", "application/json")
		_, err := io.WriteString(w, answers[0])
		return err
	}
	return hubtest.StreamTo(w, "data: "+strings.Join(answers, "\n\ndata: ")+"\n\n", nil)
}

// overSSE is the server over HTTP+SSE.
func (s *countedServer) overSSE() func(w http.ResponseWriter, r *http.Request) error {
	events := make(chan string, 100)
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			for _, text := range s.answers(string(body)) {
				events <- text
			}
			w.WriteHeader(http.StatusAccepted)
			return nil
		}
		_ = hubtest.StreamTo(w, "", nil)
		for {
			select {
			case text := <-events:
				_, _ = io.WriteString(w, "data: "+text+"\n\n")
			case <-r.Context().Done():
				return r.Context().Err()
			}
		}
	}
}

// connect returns the configuration of a hub in front of the server.
func (s *countedServer) connect(transport string) servers.Config {
	switch transport {
	case "http":
		return servers.Config{Remote: true, Start: upstream.StartHTTP(&hubtest.Staged{Answer: s.overHTTP}, 1<<20)}
	case "sse":
		return servers.Config{Remote: true, Start: upstream.StartSSE(&hubtest.Staged{Answer: s.overSSE()}, 1<<20)}
	}
	return servers.Config{Start: func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
		return &countedProcess{Ending: upstream.NewEnding(), server: s, to: to}, nil
	}}
}

const (
	countedList = `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`
	countedCall = `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":"p"}}}`
)

// countedClients are the transports of clients. Each sends a few messages, gets the answer to
// its call, and says how many it has sent.
var countedClients = map[string]func(t *testing.T, h *Hub) int{
	"streamable": func(t *testing.T, h *Hub) int {
		w := hubtest.Direct(t.Context(), h, "POST", "", countedInitialize("2025-11-25"))
		id := w.Header().Get(mcp.SessionHeader)
		hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
		hubtest.Direct(t.Context(), h, "POST", id, countedList)
		if w = hubtest.Direct(t.Context(), h, "POST", id, countedCall); !strings.Contains(w.Body.String(), `"content":[]`) || !strings.Contains(w.Body.String(), `"progress":1`) {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		return 4
	},
	"sse": func(t *testing.T, h *Hub) int {
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		stream := httptest.NewRecorder()
		over := make(chan struct{})
		go func() {
			defer close(over)
			h.ServeSSE(stream, httptest.NewRequestWithContext(ctx, "GET", "http://h/sse", nil), "/m")
		}()
		synctest.Wait()
		_, at, _ := strings.Cut(stream.Body.String(), "data: ")
		at, _, _ = strings.Cut(at, "\n")
		for _, text := range []string{countedInitialize("2024-11-05"), `{"jsonrpc":"2.0","method":"notifications/initialized"}`, countedList, countedCall} {
			req := httptest.NewRequestWithContext(ctx, "POST", "http://h"+at, strings.NewReader(text))
			req.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			if h.ServeMessage(w, req); w.Code != http.StatusAccepted {
				t.Errorf("%s: %d %s", text, w.Code, w.Body)
			}
			synctest.Wait()
		}
		leave()
		<-over
		if got := stream.Body.String(); !strings.Contains(got, `"content":[]`) || !strings.Contains(got, `"progress":1`) {
			t.Errorf("got %s", got)
		}
		return 4
	},
	"stateless": func(t *testing.T, h *Hub) int {
		meta := `"` + mcp.MetaVersion + `":"` + mcp.StatelessRevision + `","` + mcp.MetaCapabilities + `":{}`
		hubtest.Direct(t.Context(), h, "POST", "", `{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"_meta":{`+meta+`}}}`,
			mcp.VersionHeader, mcp.StatelessRevision, mcp.MethodHeader, "tools/list")
		w := hubtest.Direct(t.Context(), h, "POST", "", `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":"p",`+meta+`}}}`,
			mcp.VersionHeader, mcp.StatelessRevision, mcp.MethodHeader, "tools/call", mcp.NameHeader, "t")
		if !strings.Contains(w.Body.String(), `"content":[]`) || !strings.Contains(w.Body.String(), `"progress":1`) {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		return 2
	},
}

func countedInitialize(version string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"` + version + `","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`
}

// Each message is parsed once, where it enters: what a client posts, and what a server sends.
// Nothing that the bridge writes or edits is parsed on its way.
func TestMessagesAreParsedOnce(t *testing.T) {
	for _, server := range []struct {
		name, transport string
		stateless       bool
	}{
		{"http", "http", false},
		{"sse", "sse", false},
		{"process", "process", false},
		{"stateless process", "process", true},
		{"stateless http", "http", true},
	} {
		for client, talk := range countedClients {
			if server.name == "stateless http" && client == "stateless" {
				continue // it crosses as it is
			}
			t.Run(client+" to "+server.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var parsed atomic.Int64
					message.OnParse = func([]byte) { parsed.Add(1) }
					defer func() { message.OnParse = nil }()
					s := &countedServer{stateless: server.stateless}
					cfg := s.connect(server.transport)
					newHub := func(cfg servers.Config) *Hub { return New(Config{Servers: cfg}) }
					if server.transport != "sse" {
						newHub = kit.NewHub
					}
					h := newHub(cfg)
					sent := talk(t, h)
					synctest.Wait()
					h.Close()
					synctest.Wait()
					if got, want := parsed.Load(), int64(sent)+s.sent.Load(); got != want {
						t.Errorf("%d messages were parsed; the client has sent %d, and the server %d", got, sent, s.sent.Load())
					}
				})
			})
		}
	}
}
