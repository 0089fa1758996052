package mcptest

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
)

// LoneServer is a server without an SDK for [LoneClient], whose requests each stand
// for themselves (MCP specification 2026-07-28).
type LoneServer struct {
	// Handshake has it be one of before: it begins with initialize, asks its client
	// itself, and knows subscriptions to resources. What it says is otherwise the same.
	Handshake bool

	mu        sync.Mutex
	listeners map[string]func(string) // by subscription id, as written
	ended     chan struct{}           // calls that were taken back, and subscriptions
	lines     map[string]*loneLine    // of HTTP+SSE
}

// NewLoneServer returns a server.
func NewLoneServer(handshake bool) *LoneServer {
	return &LoneServer{
		Handshake: handshake, listeners: make(map[string]func(string)), ended: make(chan struct{}, 100), lines: make(map[string]*loneLine),
	}
}

const (
	loneInfo         = `{"name":"lone","version":"1","more":9007199254740993}`
	loneCapabilities = `{"vendor":{"deep":[{}]},"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}}`
	loneInstructions = `"say \"anything\""`
)

// asker sends a request of the server's and returns the answer's result.
type asker func(ctx context.Context, id, method, params string) string

// asked handles a request, until it is taken back; send writes what belongs to it.
func (s *LoneServer) asked(ctx context.Context, m rawMessage, send func(string), ask asker) {
	id := string(m.ID)
	result := func(text string) {
		send(`{"vendor":{"b":1,"a":[1.0,1e400,-0]},"jsonrpc":"2.0","id":` + id + `,"result":` + text + `,"_":null}`)
	}
	// bare is a result that a bridge gives in the server's place.
	bare := func(text string) { send(`{"jsonrpc":"2.0","id":` + id + `,"result":` + text + `}`) }
	// signed is a result with these members.
	signed := func(members string) {
		if s.Handshake {
			result(`{` + members + `}`)
			return
		}
		result(`{` + members + `,"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":` + loneInfo + `}}`)
	}
	cacheable := func(members string) {
		if !s.Handshake {
			members += `,"ttlMs":0,"cacheScope":"private"`
		}
		signed(members)
	}
	var p struct {
		Name string `json:"name"`
		Meta struct {
			Token json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
		Arguments json.RawMessage            `json:"arguments"`
		State     string                     `json:"requestState"`
		Responses map[string]json.RawMessage `json:"inputResponses"`
		URI       string                     `json:"uri"`
	}
	_ = json.Unmarshal(m.Params, &p) // params of another shape are of no interest
	progress := func(n int) {
		send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d.50,"x":{}}}`, p.Meta.Token, n))
	}
	switch method := m.Method + " " + p.Name; {
	case m.Method == "initialize" && s.Handshake:
		result(`{"protocolVersion":"2025-11-25","capabilities":` + loneCapabilities + `,"serverInfo":` + loneInfo + `,"instructions":` + loneInstructions + `}`)
	case m.Method == "server/discover" && !s.Handshake:
		bare(`{"supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26"],"capabilities":` + loneCapabilities + `,"instructions":` + loneInstructions +
			`,"resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":` + loneInfo + `}}`)
	case m.Method == "subscriptions/listen" && !s.Handshake:
		s.listen(ctx, id, send)
	case m.Method == "resources/subscribe" && s.Handshake:
		s.mu.Lock()
		s.listeners[""] = send
		s.mu.Unlock()
		result(`{}`)
	case m.Method == "resources/unsubscribe" && s.Handshake:
		s.unlisten("")
		result(`{}`)
	case m.Method == "tools/list":
		cacheable(`"tools":[{"name":"ask","inputSchema":{"type":"object"},"x":[1.0]}],"more":{"n":9007199254740993}`)
	case m.Method == "resources/read":
		cacheable(`"contents":[{"uri":"` + p.URI + `","text":"\u00e4"}]`)
	case method == "tools/call ask":
		s.ask(ctx, p.State, p.Responses, ask, bare, signed)
	case method == "tools/call wait":
		progress(1)
		<-ctx.Done()
		s.ended <- struct{}{}
	case m.Method == "vendor/ended":
		select {
		case <-s.ended:
			signed(`"ended":true`)
		case <-ctx.Done():
		}
	case m.Method == "vendor/echo":
		signed(`"said":` + string(p.Arguments))
	case m.Method == "vendor/touch":
		s.touch()
		signed(`"touched":1.0`)
	case m.Method == "vendor/steps":
		for n := range 10 {
			progress(n)
		}
		signed(`"steps":10.0`)
	case m.Method == "vendor/flood":
		for n := range 2000 {
			send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"n":%d.0,"text":"\u00e4\ud83d\ude00"}},"id2":null}`, n))
		}
		signed(`"lines":2000`)
	case m.Method == "vendor/big":
		signed(`"big":"` + strings.Repeat("0123456789abcdef", 4<<20/16) + `"`)
	case m.Method == "vendor/fail":
		send(`{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-31999,"message":"so \"it\" is \u2028","data":{"why":[1,2.50,9007199254740993,null]},"more":1},"x":1}`)
	default:
		send(`{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-32601,"message":"no such method"}}`)
	}
}

// What the tool ask wants to know of the client, one after the other.
var loneQuestions = []struct{ method, params string }{
	{"elicitation/create", `{"message":"who \"are\" you","requestedSchema":{"type":"object","properties":{"n":{"type":"number","maximum":1e3}}}}`},
	{"sampling/createMessage", `{"maxTokens":7,"messages":[{"role":"user","content":{"type":"text","text":"\u2028"}}]}`},
}

// ask is the tool that asks: with a handshake by requests, else by its results.
func (s *LoneServer) ask(ctx context.Context, state string, responses map[string]json.RawMessage, ask asker, bare, signed func(string)) {
	var got []string
	if s.Handshake {
		for i, q := range loneQuestions {
			got = append(got, ask(ctx, []string{`9007199254740993`, `1.5`}[i], q.method, q.params))
		}
	} else {
		for _, earlier := range strings.Fields(state) {
			raw, _ := hex.DecodeString(earlier) // it was ours
			got = append(got, string(raw))
		}
		if round := len(got) + 1; state != "" || len(responses) > 0 {
			got = append(got, string(responses[fmt.Sprintf("input-%d", round)]))
		}
		if len(got) < len(loneQuestions) {
			state = ""
			for _, g := range got {
				state += hex.EncodeToString([]byte(g)) + " "
			}
			q := loneQuestions[len(got)]
			bare(fmt.Sprintf(`{"resultType":"input_required","requestState":%q,"inputRequests":{"input-%d":{"method":%q,"params":%s}},"_meta":{"io.modelcontextprotocol/serverInfo":%s}}`,
				state, len(got)+1, q.method, q.params, loneInfo))
			return
		}
	}
	signed(`"content":[],"structuredContent":{"got":[` + strings.Join(got, ",") + `]}`)
}

// listen serves a subscriptions/listen.
func (s *LoneServer) listen(ctx context.Context, id string, send func(string)) {
	s.mu.Lock()
	send(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["lone:now"]},"_meta":{"io.modelcontextprotocol/subscriptionId":` + id + `}}}`)
	s.listeners[id] = send
	s.mu.Unlock()
	<-ctx.Done()
	s.unlisten(id)
}

func (s *LoneServer) unlisten(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, id)
	s.ended <- struct{}{}
}

// touch tells who listens of changes.
func (s *LoneServer) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, send := range s.listeners {
		meta := ""
		if id != "" {
			meta = `"_meta":{"io.modelcontextprotocol/subscriptionId":` + id + `},`
		}
		send(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{` + meta + `"uri":"lone:now"},"x":1.0}`)
		send(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{` + meta + `"x":1.0}}`)
	}
}

// loneLine is one client over a transport that has a stream for all messages.
type loneLine struct {
	server *LoneServer
	ctx    context.Context // of the stream
	write  func(string)

	mu    sync.Mutex
	calls map[string]context.CancelFunc
	back  map[string]chan string
}

func (s *LoneServer) line(ctx context.Context, write func(string)) *loneLine {
	return &loneLine{server: s, ctx: ctx, write: write, calls: make(map[string]context.CancelFunc), back: make(map[string]chan string)}
}

// send writes a frame after what was written before.
func (l *loneLine) send(frame string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(frame)
}

// take takes a message of the client's.
func (l *loneLine) take(raw string) {
	var m struct {
		rawMessage
		Result json.RawMessage `json:"result"`
	}
	_ = json.Unmarshal([]byte(raw), &m)
	switch {
	case m.Method == "notifications/cancelled":
		var p struct {
			RequestID json.RawMessage `json:"requestId"`
		}
		_ = json.Unmarshal(m.Params, &p)
		l.mu.Lock()
		cancel := l.calls[string(p.RequestID)]
		l.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	case m.Method == "":
		l.mu.Lock()
		back := l.back[string(m.ID)]
		l.mu.Unlock()
		if back != nil {
			back <- string(m.Result)
		}
	case m.ID != nil:
		ctx, cancel := context.WithCancel(l.ctx)
		l.mu.Lock()
		l.calls[string(m.ID)] = cancel
		l.mu.Unlock()
		go l.server.asked(ctx, m.rawMessage, l.send, l.ask)
	}
}

// ask sends a request of the server's.
func (l *loneLine) ask(ctx context.Context, id, method, params string) string {
	back := make(chan string, 1)
	l.mu.Lock()
	l.back[id] = back
	l.mu.Unlock()
	l.send(`{"x":[],"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":` + params + `}`)
	select {
	case got := <-back:
		return got
	case <-ctx.Done():
		return "null"
	}
}

// ServeStdio is the server on standard input and output.
func (s *LoneServer) ServeStdio() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l := s.line(ctx, func(frame string) { _, _ = io.WriteString(os.Stdout, frame+"\n") })
	for lines := bufio.NewReader(os.Stdin); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		l.take(strings.TrimSuffix(line, "\n"))
	}
}

// ServeHTTP is the server over Streamable HTTP at /mcp, and over HTTP+SSE, with a
// handshake, at /sse.
func (s *LoneServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.URL.Path != "/mcp" {
		s.serveSSE(w, r, string(body))
		return
	}
	var m rawMessage
	_ = json.Unmarshal(body, &m)
	switch {
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case m.ID == nil:
		w.WriteHeader(http.StatusAccepted)
		return
	case r.Header.Get("Mcp-Method") != m.Method || r.Header.Get("Mcp-Protocol-Version") != loneVersion:
		http.Error(w, "the fields are not those of the body", http.StatusBadRequest)
		return
	}
	var mu sync.Mutex
	begun := false
	s.asked(r.Context(), m, func(frame string) {
		mu.Lock()
		defer mu.Unlock()
		if !begun && strings.Contains(frame, `"code":-32601`) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, frame)
			return
		}
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "text/event-stream")
		}
		_, _ = io.WriteString(w, "data: "+frame+"\n\n")
		_ = http.NewResponseController(w).Flush()
	}, nil)
}

// serveSSE is HTTP+SSE.
func (s *LoneServer) serveSSE(w http.ResponseWriter, r *http.Request, body string) {
	if r.Method == http.MethodPost {
		s.mu.Lock()
		l := s.lines[r.URL.RawQuery]
		s.mu.Unlock()
		if l == nil {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		l.take(body)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	l := s.line(r.Context(), func(frame string) {
		_, _ = io.WriteString(w, "data: "+frame+"\n\n")
		_ = http.NewResponseController(w).Flush()
	})
	s.mu.Lock()
	query := fmt.Sprintf("s=%d", len(s.lines))
	s.lines[query] = l
	s.mu.Unlock()
	_, _ = io.WriteString(w, "event: endpoint\ndata: messages?"+query+"\n\n")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
	l.mu.Lock() // nothing writes any more
	l.write = func(string) {}
	l.mu.Unlock()
}
