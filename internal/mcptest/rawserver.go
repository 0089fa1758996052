package mcptest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
)

// RawServer is a server without an SDK, which says what none of them can: vendor
// methods, members that nobody knows, ids and numbers of every kind.
type RawServer struct {
	mu       sync.Mutex
	sessions map[string]*rawSession
}

// rawSession is one client's.
type rawSession struct {
	mu      sync.Mutex
	general chan string            // what belongs to no request
	back    map[string]chan string // answers to the server's requests, by id
	stop    map[string]chan struct{}
	later   chan struct{}
	end     chan struct{}
	once    sync.Once
}

func newRawSession() *rawSession {
	return &rawSession{
		general: make(chan string, 10000), back: make(map[string]chan string), stop: make(map[string]chan struct{}),
		later: make(chan struct{}), end: make(chan struct{}),
	}
}

func (s *rawSession) close() { s.once.Do(func() { close(s.end) }) }

// rawMessage is what the server reads of a message.
type rawMessage struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// begun makes room for a request before it is handled in a goroutine of its own.
func (s *rawSession) begun(m rawMessage) {
	if m.Method == "vendor/wait" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stop[string(m.ID)] = make(chan struct{})
	}
}

// take handles a notification or an answer.
func (s *rawSession) take(m rawMessage, raw string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.Method == "notifications/cancelled":
		var p struct {
			RequestID json.RawMessage `json:"requestId"`
		}
		_ = json.Unmarshal(m.Params, &p)
		if stop := s.stop[string(p.RequestID)]; stop != nil {
			close(stop)
			delete(s.stop, string(p.RequestID))
		}
	case m.Method != "":
		s.general <- `{"jsonrpc":"2.0","method":"vendor/heard","params":[` + raw + `],"to":"nobody's request"}`
	default:
		if back := s.back[string(m.ID)]; back != nil {
			back <- raw
		}
	}
}

// asked handles a request; send writes what belongs to it, until gone is closed.
func (s *rawSession) asked(gone <-chan struct{}, m rawMessage, raw string, send func(string)) {
	id := string(m.ID)
	answer := func(result string) {
		send(`{"vendor":{"b":1,"a":[1.0,1e400,-0]},"jsonrpc":"2.0","id":` + id + `,"result":` + result + `,"_":null}`)
	}
	var p struct {
		Meta struct {
			Token json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
		ID  json.RawMessage `json:"id"`
		Ask json.RawMessage `json:"ask"`
	}
	_ = json.Unmarshal(m.Params, &p)
	progress := func(n int) {
		send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d.50,"x":{}}}`, p.Meta.Token, n))
	}
	switch m.Method {
	case "initialize":
		answer(`{"protocolVersion":"2025-11-25","capabilities":{"vendor":{"deep":[{}]},"experimental":{"x":{}}},"serverInfo":{"name":"raw","version":"1","more":9007199254740993}}`)
	case "vendor/echo":
		answer(raw)
	case "vendor/fail":
		send(`{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-31999,"message":"so \"it\" is \u2028","data":{"why":[1,2.50,9007199254740993,null]},"more":1},"x":1}`)
	case "vendor/big":
		answer(`"` + strings.Repeat("0123456789abcdef", 4<<20/16) + `"`)
	case "vendor/flood":
		for n := range 2000 {
			send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"vendor/drop","params":{"n":%d.0,"text":"\u00e4\ud83d\ude00"},"id2":null}`, n))
		}
		answer(`2000`)
	case "vendor/steps":
		for n := range 10 {
			progress(n)
		}
		answer(`{}`)
	case "vendor/back":
		back := make(chan string, 1)
		s.mu.Lock()
		s.back[string(p.ID)] = back
		s.mu.Unlock()
		send(`{"x":[],"jsonrpc":"2.0","id":` + string(p.ID) + `,"method":` + string(p.Ask) + `,"params":{"y":1.0}}`)
		select {
		case got := <-back:
			answer(`[` + got + `]`)
		case <-gone:
		}
	case "vendor/wait":
		s.mu.Lock()
		stop := s.stop[id]
		s.mu.Unlock()
		progress(1)
		select {
		case <-stop:
			s.general <- `{"jsonrpc":"2.0","method":"vendor/stopped","params":{"id":` + id + `}}`
			answer(`"too late"`)
		case <-gone:
		}
	case "vendor/later":
		progress(1)
		select {
		case <-s.later:
			answer(`"later"`)
		case <-gone:
		}
	case "vendor/now":
		answer(`"now"`)
		s.later <- struct{}{}
	case "ping":
		answer(`{}`)
	default:
		send(`{"jsonrpc":"2.0","id":` + id + `,"error":{"code":-32601,"message":"no such method"}}`)
	}
}

// ServeStdio is the server on standard input and output.
func (r *RawServer) ServeStdio() {
	s := newRawSession()
	var mu sync.Mutex
	send := func(frame string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(os.Stdout, frame+"\n")
	}
	go func() {
		for frame := range s.general {
			send(frame)
		}
	}()
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			s.close()
			return
		}
		raw := strings.TrimSuffix(line, "\n")
		var m rawMessage
		_ = json.Unmarshal([]byte(raw), &m)
		if m.Method != "" && m.ID != nil {
			s.begun(m)
			go s.asked(s.end, m, raw, send)
		} else {
			s.take(m, raw)
		}
	}
}

// session finds a session, or makes one.
func (r *RawServer) session(id string) (*rawSession, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions == nil {
		r.sessions = make(map[string]*rawSession)
	}
	if id == "" {
		id = fmt.Sprintf("raw-%d", len(r.sessions))
		r.sessions[id] = newRawSession()
	}
	return r.sessions[id], id
}

// ServeHTTP is the server over Streamable HTTP at /mcp, and over HTTP+SSE at /sse.
func (r *RawServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	flush := http.NewResponseController(w).Flush
	var mu sync.Mutex
	event := func(frame string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(w, "data: "+frame+"\n\n")
		_ = flush()
	}
	legacy := req.URL.Path != "/mcp"
	id := req.Header.Get("Mcp-Session-Id")
	if legacy {
		id = req.URL.Query().Get("s")
	}
	if req.Method == http.MethodGet {
		if !legacy && id == "" {
			http.Error(w, "no session", http.StatusBadRequest)
			return
		}
		s, id := r.session(id)
		w.Header().Set("Content-Type", "text/event-stream")
		if legacy {
			defer s.close()
			_, _ = io.WriteString(w, "event: endpoint\ndata: messages?s="+id+"\n\n")
		}
		_ = flush()
		for {
			select {
			case frame := <-s.general:
				event(frame)
			case <-req.Context().Done():
				return
			}
		}
	}
	body, _ := io.ReadAll(req.Body)
	raw := string(body)
	var m rawMessage
	_ = json.Unmarshal(body, &m)
	if id == "" && m.Method != "initialize" {
		http.Error(w, "no session", http.StatusBadRequest)
		return
	}
	s, id := r.session(id)
	switch {
	case s == nil:
		http.Error(w, "no such session", http.StatusNotFound)
	case req.Method == http.MethodDelete:
		s.close()
		w.WriteHeader(http.StatusOK)
	case m.Method == "" || m.ID == nil:
		s.take(m, raw)
		w.WriteHeader(http.StatusAccepted)
	case legacy:
		s.begun(m)
		w.WriteHeader(http.StatusAccepted)
		go s.asked(s.end, m, raw, func(frame string) { s.general <- frame })
	default:
		s.begun(m)
		w.Header().Set("Mcp-Session-Id", id)
		w.Header().Set("Content-Type", "text/event-stream")
		_ = flush()
		s.asked(req.Context().Done(), m, raw, event)
	}
}
