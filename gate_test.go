package mcpauthbridge_test

import (
	"bufio"
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

// arrival is one request as it came to the gate.
type arrival struct {
	method, path, query, auth, session string
	frame                              string // the body
}

// is reports whether the body has a text.
func (a arrival) is(text string) bool { return strings.Contains(a.frame, text) }

// verdict is how the gate refuses a request.
type verdict struct {
	status int
	header http.Header
	body   string
	hangs  bool // the body does not end
}

// gate is an MCP server that speaks Streamable HTTP at /mcp and HTTP+SSE at /sse,
// and refuses what a test wants to be refused. It notes whatever arrives.
type gate struct {
	url string

	mu       sync.Mutex
	changed  chan struct{}
	arrivals []arrival
	streams  map[int]*gateStream // open GET streams
	opened   int
	judge    func(arrival) *verdict // nil: nothing is refused
	held     map[string]chan struct{}
}

// gateStream is an open event stream of the gate.
type gateStream struct {
	auth  string
	send  chan string
	close chan struct{}
	once  sync.Once
}

func (s *gateStream) end() { s.once.Do(func() { close(s.close) }) }

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{changed: make(chan struct{}), streams: make(map[int]*gateStream), held: make(map[string]chan struct{})}
	server := httptest.NewServer(g)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	g.url = server.URL
	return g
}

// note changes the gate's state and wakes whoever waits for that.
func (g *gate) note(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	close(g.changed)
	g.changed = make(chan struct{})
}

// await waits until the gate's state is as it should be.
func (g *gate) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		g.mu.Lock()
		ok, changed := holds(), g.changed
		g.mu.Unlock()
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

// refuse has the gate refuse what judge wants refused.
func (g *gate) refuse(judge func(arrival) *verdict) { g.note(func() { g.judge = judge }) }

// since returns what has arrived after the first n requests.
func (g *gate) since(n int) []arrival {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.arrivals[n:])
}

func (g *gate) count() int { return len(g.since(0)) }

// each calls do for every open stream.
func (g *gate) each(do func(*gateStream)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.streams {
		do(s)
	}
}

// streamsOf counts the open streams that were opened with some credentials. It is
// for await.
func (g *gate) streamsOf(auth string) (n int) {
	for _, s := range g.streams {
		if s.auth == auth {
			n++
		}
	}
	return n
}

// challenge is what the gate sends with 401 and 403: two lines, with the metadata in
// the middle of the second.
func (g *gate) challenge(params string) []string {
	return []string{
		`DPoP algs="ES256 EdDSA"`,
		`Bearer realm="a, \"b\"", ` + params + `,  resource_metadata="` + g.url + `/.well-known/oauth-protected-resource/mcp",error_uri=https://x.example/, x=1`,
	}
}

func (g *gate) refusal(status int, params, body string) *verdict {
	return &verdict{status: status, body: body, header: http.Header{
		"Www-Authenticate": g.challenge(params), "Content-Type": {"application/problem+json"},
		"Retry-After": {"7"}, "Dpop-Nonce": {"n-1"}, "Access-Control-Allow-Origin": {"https://own.example"},
	}}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/.well-known/") {
		if !strings.HasSuffix(r.URL.Path, "/mcp") && !strings.HasSuffix(r.URL.Path, "/sse") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, path, _ := strings.Cut(r.URL.Path, "oauth-protected-resource")
		_ = json.NewEncoder(w).Encode(map[string]any{"resource": g.url + path, "authorization_servers": []string{"https://login.example.com"}})
		return
	}
	body, _ := io.ReadAll(r.Body)
	a := arrival{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Authorization"), r.Header.Get("Mcp-Session-Id"), string(body)}
	var v *verdict
	g.note(func() {
		g.arrivals = append(g.arrivals, a)
		if g.judge != nil {
			v = g.judge(a)
		}
	})
	if v != nil {
		for name, lines := range v.header {
			w.Header()[name] = lines
		}
		w.WriteHeader(v.status)
		_, _ = io.WriteString(w, v.body)
		if v.hangs {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
		return
	}
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/mcp" && a.session == "":
		http.Error(w, "no session", http.StatusBadRequest)
	case r.Method == http.MethodGet, r.URL.Path == "/mcp" && a.is(`"subscriptions/listen"`):
		g.stream(w, r, a.auth)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusOK)
	default:
		g.post(w, r, a)
	}
}

// stream serves a GET, or a POST of subscriptions/listen.
func (g *gate) stream(w http.ResponseWriter, r *http.Request, auth string) {
	s := &gateStream{auth: auth, send: make(chan string, 100), close: make(chan struct{})}
	var n int
	g.note(func() {
		g.opened++
		n = g.opened
		g.streams[n] = s
	})
	defer g.note(func() { delete(g.streams, n) })
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
		case frame := <-s.send:
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
func (g *gate) post(w http.ResponseWriter, r *http.Request, a arrival) {
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	_ = json.Unmarshal([]byte(a.frame), &m)
	result := `{"auth":` + fmt.Sprintf("%q", a.auth) + `}`
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
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, f := range frames {
				if s := g.streams[n]; s != nil {
					s.send <- f
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
func (g *gate) hold(ctx context.Context, id string) {
	let := make(chan struct{})
	g.note(func() { g.held[id] = let })
	select {
	case <-let:
	case <-time.After(20 * time.Second):
	case <-ctx.Done():
	}
}

// let answers a request that is held.
func (g *gate) let(t *testing.T, id string) {
	t.Helper()
	g.await(t, "nothing is held", func() bool { return g.held[id] != nil })
	g.note(func() {
		close(g.held[id])
		delete(g.held, id)
	})
}

// page is where the client of the test is served from.
const page = "https://app.example"

// gateSite is an endpoint in front of the gate, for every downstream.
func gateSite(port int, upstream string) string {
	return fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	mcp_auth_bridge {
		to %s
		legacy_sse
		cors {
			allow_origins %s
		}
	}
}`, port, upstream, page)
}

// caller is a client of either kind, without an SDK.
type caller struct {
	t       *testing.T
	client  *http.Client
	base    string
	legacy  bool
	at      string // what messages are posted to
	session string
	events  <-chan string // of the GET stream; closed with it
}

func (c *caller) request(method, at, token, body string) *http.Request {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+at, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	if method == http.MethodGet {
		req.Header.Set("Accept", "text/event-stream")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", page)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if c.session != "" {
		req.Header.Set("Mcp-Session-Id", c.session)
		req.Header.Set("Mcp-Protocol-Version", "2025-11-25")
	}
	return req
}

// send sends a request and returns the answer with its body read.
func (c *caller) send(method, at, token, body string) (*http.Response, string) {
	c.t.Helper()
	res, err := c.client.Do(c.request(method, at, token, body))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res, string(got)
}

// listen opens the GET stream.
func (c *caller) listen(token string) {
	c.t.Helper()
	res, err := c.client.Do(c.request(http.MethodGet, c.streamPath(), token, ""))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		c.t.Fatalf("GET: %d", res.StatusCode)
	}
	c.events = events(res.Body)
	if c.legacy {
		c.at = c.next()
	}
}

// events reads a stream to its end.
func events(from io.Reader) <-chan string {
	events := make(chan string, 100)
	go func() {
		defer close(events)
		lines := bufio.NewScanner(from)
		lines.Buffer(nil, 8<<20)
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				events <- data
			}
		}
	}()
	return events
}

// next is the next event of the GET stream; empty: it has ended.
func (c *caller) next() string {
	c.t.Helper()
	select {
	case data := <-c.events:
		return data
	case <-time.After(20 * time.Second):
		c.t.Fatal("no event in 20 s")
		return ""
	}
}

func (c *caller) streamPath() string {
	if c.legacy {
		return "/mcp/sse"
	}
	return "/mcp"
}

// ask sends a request and returns the answer to it, wherever that comes.
func (c *caller) ask(token, body string) string {
	c.t.Helper()
	res, got := c.send(http.MethodPost, c.at, token, body)
	want := http.StatusOK
	if c.legacy {
		want = http.StatusAccepted
	}
	if res.StatusCode != want {
		c.t.Fatalf("%s: %d %s, want %d", body, res.StatusCode, got, want)
	}
	if c.legacy {
		return c.next()
	}
	if rest, ok := strings.CutPrefix(got, "id: "); ok {
		_, got, _ = strings.Cut(rest, "data: ")
	}
	return got
}

// begin initializes a session.
func (c *caller) begin(token string) {
	c.t.Helper()
	if c.legacy {
		c.listen(token)
		if got := c.ask(token, matrixInitialize); !strings.Contains(got, `"gate"`) {
			c.t.Fatalf("initialize: %s", got)
		}
	} else {
		c.at = "/mcp"
		res, got := c.send(http.MethodPost, c.at, token, matrixInitialize)
		if c.session = res.Header.Get("Mcp-Session-Id"); c.session == "" {
			c.t.Fatalf("initialize: %d %s", res.StatusCode, got)
		}
	}
	if res, got := c.send(http.MethodPost, c.at, token, matrixInitialized); res.StatusCode != http.StatusAccepted {
		c.t.Fatalf("initialized: %d %s", res.StatusCode, got)
	}
}

// refused wants an answer to be a verdict of the gate's, to the letter but for the
// URL of the metadata, and readable by a page.
func (c *caller) refused(what string, g *gate, v *verdict, res *http.Response, body string) {
	c.t.Helper()
	want := v.header.Clone()
	for i, line := range want["Www-Authenticate"] {
		want["Www-Authenticate"][i] = strings.ReplaceAll(line, g.url, c.base)
	}
	want.Set("Access-Control-Allow-Origin", page)
	if res.StatusCode != v.status || body != v.body {
		c.t.Errorf("%s: %d %q, want %d %q", what, res.StatusCode, body, v.status, v.body)
	}
	for name, lines := range want {
		if !slices.Equal(res.Header[name], lines) {
			c.t.Errorf("%s: %s: %q, want %q", what, name, res.Header[name], lines)
		}
	}
	if exposed := res.Header["Access-Control-Expose-Headers"]; len(exposed) != 1 || !strings.Contains(exposed[0], "WWW-Authenticate") {
		c.t.Errorf("%s: exposes %q", what, exposed)
	}
	if vary := res.Header.Values("Vary"); !strings.Contains(strings.Join(vary, ","), "Origin") {
		c.t.Errorf("%s: varies with %q", what, vary)
	}
	if id := res.Header.Get("Mcp-Session-Id"); id != "" && c.session == "" {
		c.t.Errorf("%s: session %q", what, id)
	}
}
