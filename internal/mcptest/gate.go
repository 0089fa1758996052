package mcptest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Arrival is one request as it came to the gate.
type Arrival struct {
	Method, Path, query, Auth, session string
	Frame                              string // the body
}

// Is reports whether the body has a text.
func (a Arrival) Is(text string) bool { return strings.Contains(a.Frame, text) }

// Verdict is how the gate refuses a request.
type Verdict struct {
	Status int
	header http.Header
	body   string
	Hangs  bool // the body does not end
}

// Gate is an MCP server with Streamable HTTP at /mcp and HTTP+SSE at /sse. It refuses what
// a test wants it to refuse, and notes every request.
type Gate struct {
	URL string

	Mu       sync.Mutex
	changed  chan struct{}
	Arrivals []Arrival
	Streams  map[int]*GateStream // open GET streams
	opened   int
	judge    func(Arrival) *Verdict // nil: nothing is refused
	Held     map[string]chan struct{}
}

// GateStream is an open event stream of the gate.
type GateStream struct {
	Auth  string
	Send  chan string
	close chan struct{}
	once  sync.Once
}

// End ends the stream.
func (s *GateStream) End() { s.once.Do(func() { close(s.close) }) }

// NewGate starts a Gate.
func NewGate(t *testing.T) *Gate {
	t.Helper()
	g := &Gate{changed: make(chan struct{}), Streams: make(map[int]*GateStream), Held: make(map[string]chan struct{})}
	server := httptest.NewServer(g)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	g.URL = server.URL
	return g
}

// note changes the gate's state and wakes those who wait for that.
func (g *Gate) note(change func()) {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	change()
	close(g.changed)
	g.changed = make(chan struct{})
}

// Await waits until the gate's state is as it should be.
func (g *Gate) Await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		g.Mu.Lock()
		ok, changed := holds(), g.changed
		g.Mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("after 20 s: %s", what)
		}
	}
}

// Refuse has the gate refuse what judge wants refused.
func (g *Gate) Refuse(judge func(Arrival) *Verdict) { g.note(func() { g.judge = judge }) }

// Since returns what has arrived after the first n requests.
func (g *Gate) Since(n int) []Arrival {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	return slices.Clone(g.Arrivals[n:])
}

// Count returns the number of requests that have arrived.
func (g *Gate) Count() int { return len(g.Since(0)) }

// Each calls do for every open stream.
func (g *Gate) Each(do func(*GateStream)) {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	for _, s := range g.Streams {
		do(s)
	}
}

// StreamsOf counts the open streams that were opened with some credentials. It is
// for await.
func (g *Gate) StreamsOf(auth string) (n int) {
	for _, s := range g.Streams {
		if s.Auth == auth {
			n++
		}
	}
	return n
}

// challenge is what the gate sends with 401 and 403: two lines, with the metadata in
// the middle of the second.
func (g *Gate) challenge(params string) []string {
	return []string{
		`DPoP algs="ES256 EdDSA"`,
		`Bearer realm="a, \"b\"", ` + params + `,  resource_metadata="` + g.URL + `/.well-known/oauth-protected-resource/mcp",error_uri=https://x.example/, x=1`,
	}
}

// Refusal returns a verdict with the gate's challenge.
func (g *Gate) Refusal(status int, params, body string) *Verdict {
	return &Verdict{Status: status, body: body, header: http.Header{
		"Www-Authenticate": g.challenge(params), "Content-Type": {"application/problem+json"},
		"Retry-After": {"7"}, "Dpop-Nonce": {"n-1"}, "Access-Control-Allow-Origin": {"https://own.example"},
	}}
}

func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/.well-known/") {
		if !strings.HasSuffix(r.URL.Path, "/mcp") && !strings.HasSuffix(r.URL.Path, "/sse") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, path, _ := strings.Cut(r.URL.Path, "oauth-protected-resource")
		_ = json.NewEncoder(w).Encode(map[string]any{"resource": g.URL + path, "authorization_servers": []string{"https://login.example.com"}})
		return
	}
	body, _ := io.ReadAll(r.Body)
	a := Arrival{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Authorization"), r.Header.Get("Mcp-Session-Id"), string(body)}
	var v *Verdict
	g.note(func() {
		g.Arrivals = append(g.Arrivals, a)
		if g.judge != nil {
			v = g.judge(a)
		}
	})
	if v != nil {
		for name, lines := range v.header {
			w.Header()[name] = lines
		}
		w.WriteHeader(v.Status)
		_, _ = io.WriteString(w, v.body)
		if v.Hangs {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
		return
	}
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/mcp" && a.session == "":
		http.Error(w, "no session", http.StatusBadRequest)
	case r.Method == http.MethodGet, r.URL.Path == "/mcp" && a.Is(`"subscriptions/listen"`):
		g.stream(w, r, a.Auth)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusOK)
	default:
		g.post(w, r, a)
	}
}

// stream serves a GET, or a POST of subscriptions/listen.
func (g *Gate) stream(w http.ResponseWriter, r *http.Request, auth string) {
	s := &GateStream{Auth: auth, Send: make(chan string, 100), close: make(chan struct{})}
	var n int
	g.note(func() {
		g.opened++
		n = g.opened
		g.Streams[n] = s
	})
	defer g.note(func() { delete(g.Streams, n) })
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	switch {
	case r.URL.Path == "/sse":
		_, _ = io.WriteString(w, fmt.Sprintf("event: endpoint\ndata: /messages?s=%d\n\n", n))
	case r.Method == http.MethodPost:
		_, _ = io.WriteString(w, `data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}`+"\n\n")
	default:
		_, _ = io.WriteString(w, "retry: 20\n\n")
	}
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case frame := <-s.Send:
			_, _ = io.WriteString(w, "data: "+frame+"\n\n")
			_ = http.NewResponseController(w).Flush()
		case <-s.close:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// post answers a message: a request by its result, on the stream where that is
// HTTP+SSE; "ask" after a request of its own; "hold" once the test lets go.
func (g *Gate) post(w http.ResponseWriter, r *http.Request, a Arrival) {
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	_ = json.Unmarshal([]byte(a.Frame), &m)
	result := `{"auth":` + fmt.Sprintf("%q", a.Auth) + `}`
	if m.Method == "initialize" {
		result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}},"serverInfo":{"name":"gate","version":"1"}}`
	}
	var frames []string
	if m.Method == "ask" {
		frames = append(frames, `{"jsonrpc":"2.0","id":"of-the-server","method":"sampling/createMessage","params":{}}`)
	}
	frames = append(frames, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":`+result+`}`)
	if r.URL.Path != "/mcp" {
		w.WriteHeader(http.StatusAccepted)
		if m.ID == nil || m.Method == "" {
			return
		}
		go func() {
			if m.Method == "hold" {
				g.hold(context.Background(), string(m.ID))
			}
			n, _ := strconv.Atoi(strings.TrimPrefix(a.query, "s="))
			g.Mu.Lock()
			defer g.Mu.Unlock()
			for _, f := range frames {
				if s := g.Streams[n]; s != nil {
					s.Send <- f
				}
			}
		}()
		return
	}
	if m.ID == nil || m.Method == "" {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if m.Method == "initialize" {
		w.Header().Set("Mcp-Session-Id", "of-the-gate")
	}
	if m.Method != "hold" && len(frames) == 1 {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, frames[0])
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	if m.Method == "hold" {
		g.hold(r.Context(), string(m.ID))
	}
	for _, f := range frames {
		_, _ = io.WriteString(w, "data: "+f+"\n\n")
	}
}

// hold waits until the test lets a request go.
func (g *Gate) hold(ctx context.Context, id string) {
	let := make(chan struct{})
	g.note(func() { g.Held[id] = let })
	select {
	case <-let:
	case <-time.After(20 * time.Second):
	case <-ctx.Done():
	}
}

// Let answers a request that is held.
func (g *Gate) Let(t *testing.T, id string) {
	t.Helper()
	g.Await(t, "nothing is held", func() bool { return g.Held[id] != nil })
	g.note(func() {
		close(g.Held[id])
		delete(g.Held, id)
	})
}

// Verdicts are how servers refuse.
func Verdicts(g *Gate) map[string]*Verdict {
	return map[string]*Verdict{
		"no token":      g.Refusal(401, `scope="a b"`, `{"why":"log in"}`),
		"expired":       g.Refusal(401, `error="invalid_token", error_description="it \"expired\", at 12:00"`, ``),
		"step-up":       g.Refusal(403, `error="insufficient_scope", scope="a c"`, strings.Repeat("0123456789abcdef", 4096)),
		"proxy's":       {407, http.Header{"Content-Type": {"text/html"}}, "<p>log in", false},
		"too many":      {429, http.Header{"Retry-After": {"120"}, "Content-Type": {"application/json"}}, `{"jsonrpc":"2.0","id":"x","error":{"code":-32000,"message":"slow down"}}`, false},
		"does not know": {404, http.Header{"Content-Type": {"text/plain"}}, "no such thing", false},
		"is down":       {503, http.Header{"Retry-After": {"3"}}, "", false},
	}
}

// SameVerdict wants all requests that match to be refused with one verdict.
func SameVerdict(v *Verdict, match func(Arrival) bool) func(Arrival) *Verdict {
	return func(a Arrival) *Verdict {
		if match(a) {
			return v
		}
		return nil
	}
}

// Sent wants so many requests to have arrived with some credentials since the first
// n, and none with others, but for those that a stream is read with.
func (g *Gate) Sent(t *testing.T, what string, n int, auth string, want int) {
	t.Helper()
	got := 0
	for _, a := range g.Since(n) {
		if a.Method != http.MethodPost && a.Auth == "Bearer good" {
			continue // the stream of another session, which may come and go at any time
		}
		if a.Auth != auth {
			t.Errorf("%s: %s %s with %q: %s", what, a.Method, a.Path, a.Auth, a.Frame)
		}
		got++
	}
	if got != want {
		t.Errorf("%s: %d requests with %s arrived, want %d", what, got, auth, want)
	}
}
