//lint:file-ignore SA1019 sampling is deprecated, and served for as long as clients and servers have it

package bridge

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// pipePeer is an MCP server of the SDK at the other end of two pipes.
type pipePeer struct {
	in   *io.PipeWriter
	out  *io.PipeReader
	done chan struct{}
	once sync.Once
	stop context.CancelFunc
	send chan []byte
}

func (p *pipePeer) Send(_ *http.Request, frame []byte) error {
	select {
	case p.send <- append(append([]byte(nil), frame...), '\n'):
		return nil
	case <-p.done:
		return errors.New("ended")
	default:
		return errors.New("queue is full")
	}
}

func (p *pipePeer) Done() <-chan struct{} { return p.done }

func (p *pipePeer) Close() error {
	p.once.Do(func() {
		p.stop()
		_ = p.in.Close()
		_ = p.out.Close()
	})
	<-p.done
	return nil
}

// startServer returns a HubConfig.Start for an SDK server.
func startServer(newServer func() *mcp.Server) func(context.Context, *http.Request, func([]byte)) (Peer, error) {
	return func(_ context.Context, _ *http.Request, deliver func([]byte)) (Peer, error) {
		toServer, in := io.Pipe()
		out, fromServer := io.Pipe()
		ctx, stop := context.WithCancel(context.Background())
		p := &pipePeer{in: in, out: out, done: make(chan struct{}), stop: stop, send: make(chan []byte, 1024)}
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = newServer().Run(ctx, &mcp.IOTransport{Reader: toServer, Writer: fromServer})
			_ = fromServer.Close()
			_ = toServer.Close()
		})
		wg.Go(func() {
			for {
				select {
				case frame := <-p.send:
					if _, err := in.Write(frame); err != nil {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		})
		wg.Go(func() {
			lines := bufio.NewReader(out)
			for {
				line, err := lines.ReadBytes('\n')
				if err != nil {
					stop()
					return
				}
				deliver(line[:len(line)-1])
			}
		})
		go func() {
			wg.Wait()
			close(p.done)
		}()
		return p, nil
	}
}

// everything is a server that uses what MCP has.
func everything() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "everything", Version: "1"}, nil)
	type input struct {
		N int `json:"n"`
	}
	mcp.AddTool(s, &mcp.Tool{Name: "big"}, func(_ context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: strings.Repeat("x", in.N)}}}, nil, nil
	})
	mcp.AddTool(s, &mcp.Tool{Name: "steps"}, func(ctx context.Context, req *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		for i := range in.N {
			if err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: float64(i + 1)}); err != nil {
				return nil, nil, err
			}
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "done"}}}, nil, nil
	})
	mcp.AddTool(s, &mcp.Tool{Name: "ask"}, func(ctx context.Context, req *mcp.CallToolRequest, _ input) (*mcp.CallToolResult, any, error) {
		sampled, err := req.Session.CreateMessage(ctx, &mcp.CreateMessageParams{MaxTokens: 1, Messages: []*mcp.SamplingMessage{}})
		if err != nil {
			return nil, nil, err
		}
		elicited, err := req.Session.Elicit(ctx, &mcp.ElicitParams{Message: "who?", RequestedSchema: map[string]any{"type": "object"}})
		if err != nil {
			return nil, nil, err
		}
		text := sampled.Content.(*mcp.TextContent).Text + " " + elicited.Action
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	})
	mcp.AddTool(s, &mcp.Tool{Name: "wait"}, func(ctx context.Context, _ *mcp.CallToolRequest, _ input) (*mcp.CallToolResult, any, error) {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	})
	mcp.AddTool(s, &mcp.Tool{Name: "grow"}, func(_ context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		mcp.AddTool(s, &mcp.Tool{Name: fmt.Sprintf("grown%d", in.N)}, func(context.Context, *mcp.CallToolRequest, input) (*mcp.CallToolResult, any, error) {
			return nil, nil, nil
		})
		return &mcp.CallToolResult{}, nil, nil
	})
	return s
}

// serveHub serves a hub until the end of the test, when nothing may be left.
func serveHub(t *testing.T, cfg HubConfig) (*Hub, string) {
	t.Helper()
	if cfg.Start == nil {
		cfg.Start = startServer(everything)
	}
	h := NewHub(cfg)
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		h.Close()
		server.Close()
		if n := h.Len(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
	return h, server.URL
}

func connectHub(t *testing.T, url string, opts *mcp.ClientOptions) *mcp.ClientSession {
	t.Helper()
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, opts).
		Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: url}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func callTool(ctx context.Context, s *mcp.ClientSession, name string, n int) (string, error) {
	params := &mcp.CallToolParams{Name: name, Arguments: map[string]any{"n": n}}
	params.SetProgressToken("p-" + name)
	res, err := s.CallTool(ctx, params)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, c := range res.Content {
		text.WriteString(c.(*mcp.TextContent).Text)
	}
	if res.IsError {
		return "", errors.New(text.String())
	}
	return text.String(), nil
}

// Rules D3, D6: a conversation of the SDK's client with the SDK's server, with
// everything that either says.
func TestHubConversation(t *testing.T) {
	h, url := serveHub(t, HubConfig{})
	progress, changed := make(chan float64, 100), make(chan struct{}, 10)
	s := connectHub(t, url, &mcp.ClientOptions{
		CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			return &mcp.CreateMessageResult{Model: "m", Role: "assistant", Content: &mcp.TextContent{Text: "sampled"}}, nil
		},
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "decline"}, nil
		},
		ProgressNotificationHandler: func(_ context.Context, req *mcp.ProgressNotificationClientRequest) {
			progress <- req.Params.Progress
		},
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { changed <- struct{}{} },
	})
	if h.Len() != 1 {
		t.Errorf("%d sessions, want 1", h.Len())
	}
	if err := s.Ping(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if tools, err := s.ListTools(t.Context(), nil); err != nil || len(tools.Tools) != 5 {
		t.Errorf("got %v, %v", tools, err)
	}
	if got, err := callTool(t.Context(), s, "steps", 20); err != nil || got != "done" {
		t.Errorf("steps: %q, %v", got, err)
	}
	for i := range 20 {
		if got := <-progress; got != float64(i+1) {
			t.Errorf("progress %v, want %d", got, i+1)
		}
	}
	if got, err := callTool(t.Context(), s, "ask", 0); err != nil || got != "sampled decline" {
		t.Errorf("ask: %q, %v", got, err)
	}
	if got, err := callTool(t.Context(), s, "big", 4<<20); err != nil || len(got) != 4<<20 {
		t.Errorf("big: %d bytes, %v", len(got), err)
	}
	if _, err := callTool(t.Context(), s, "grow", 1); err != nil {
		t.Error(err)
	}
	<-changed
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error)
	go func() {
		_, err := callTool(ctx, s, "wait", 0)
		waited <- err
	}()
	if _, err := callTool(t.Context(), s, "steps", 1); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was cancelled ended with %v", err)
	}
	if err := s.Ping(t.Context(), nil); err != nil {
		t.Errorf("after a cancelled call: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if h.Len() != 0 {
		t.Errorf("%d sessions after DELETE", h.Len())
	}
}

// exchangeHub sends one raw request.
func exchangeHub(t *testing.T, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(got)
}

const initializeBody = `{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"%s","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

// beginHub initializes a session and returns its id.
func beginHub(t *testing.T, url, version string) string {
	t.Helper()
	res, body := exchangeHub(t, "POST", url, fmt.Sprintf(initializeBody, version))
	id := res.Header.Get("Mcp-Session-Id")
	if res.StatusCode != 200 || len(id) < 22 {
		t.Fatalf("initialize: %d %s, session %q", res.StatusCode, body, id)
	}
	if res, body := exchangeHub(t, "POST", url, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Mcp-Session-Id", id); res.StatusCode != 202 || body != "" {
		t.Fatalf("initialized: %d %s", res.StatusCode, body)
	}
	return id
}

// Rules A7, D6: each mistake of a client gets its status and a JSON-RPC error,
// with the id of the request where there is one.
func TestHubRefuses(t *testing.T) {
	_, url := serveHub(t, HubConfig{})
	id := beginHub(t, url, "2025-11-25")
	ping := `{"jsonrpc":"2.0","id":7,"method":"ping"}`
	for name, tc := range map[string]struct {
		method, body string
		header       []string
		status       int
	}{
		"no session":               {"POST", ping, nil, 400},
		"an unknown session":       {"POST", ping, []string{"Mcp-Session-Id", "x"}, 404},
		"a stream of no session":   {"GET", "", nil, 400},
		"a stream of an unknown":   {"GET", "", []string{"Mcp-Session-Id", "x"}, 404},
		"the end of an unknown":    {"DELETE", "", []string{"Mcp-Session-Id", "x"}, 404},
		"no JSON":                  {"POST", "{", []string{"Mcp-Session-Id", id}, 400},
		"no message":               {"POST", "{}", []string{"Mcp-Session-Id", id}, 400},
		"a member twice":           {"POST", `{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`, []string{"Mcp-Session-Id", id}, 400},
		"an id that is null":       {"POST", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, []string{"Mcp-Session-Id", id}, 400},
		"an empty batch":           {"POST", `[]`, []string{"Mcp-Session-Id", id}, 400},
		"a batch of a later era":   {"POST", "[" + ping + "]", []string{"Mcp-Session-Id", id}, 400},
		"another media type":       {"POST", ping, []string{"Mcp-Session-Id", id, "Content-Type", "text/plain"}, 415},
		"no event stream accepted": {"POST", ping, []string{"Mcp-Session-Id", id, "Accept", "application/json"}, 406},
		"a version to come":        {"POST", ping, []string{"Mcp-Session-Id", id, "MCP-Protocol-Version", "2026-07-28"}, 400},
		"an unknown version":       {"POST", ping, []string{"Mcp-Session-Id", id, "MCP-Protocol-Version", "1"}, 400},
		"another method":           {"PUT", ping, []string{"Mcp-Session-Id", id}, 405},
		"an event that never was":  {"GET", "", []string{"Mcp-Session-Id", id, "Last-Event-ID", "99-1"}, 400},
		"a made-up event":          {"GET", "", []string{"Mcp-Session-Id", id, "Last-Event-ID", "x"}, 400},
		"a batch with initialize":  {"POST", "[" + fmt.Sprintf(initializeBody, "2025-03-26") + "," + ping + "]", nil, 400},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := exchangeHub(t, tc.method, url, tc.body, tc.header...)
			var e struct {
				JSONRPC string
				ID      any
				Error   struct {
					Code    int
					Message string
				}
			}
			if err := json.Unmarshal([]byte(body), &e); err != nil || res.StatusCode != tc.status || e.JSONRPC != "2.0" || e.Error.Code >= 0 || e.Error.Message == "" {
				t.Errorf("got %d %s (%v), want %d with an error", res.StatusCode, body, err, tc.status)
			}
			if res.Header.Get("Mcp-Session-Id") != "" {
				t.Errorf("a refusal names session %q", res.Header.Get("Mcp-Session-Id"))
			}
		})
	}
	if res, body := exchangeHub(t, "POST", url, ping, "Mcp-Session-Id", id); res.StatusCode != 200 || body != `{"jsonrpc":"2.0","id":7,"result":{}}` {
		t.Errorf("after all: %d %s", res.StatusCode, body)
	}
	if res, _ := exchangeHub(t, "DELETE", url, "", "Mcp-Session-Id", id); res.StatusCode != 204 {
		t.Errorf("DELETE: %d", res.StatusCode)
	}
	if res, _ := exchangeHub(t, "POST", url, ping, "Mcp-Session-Id", id); res.StatusCode != 404 {
		t.Errorf("after DELETE: %d", res.StatusCode)
	}
}

// Rule D6: a session belongs to the host that it was begun at.
func TestHubSessionOfAnotherHost(t *testing.T) {
	_, url := serveHub(t, HubConfig{})
	id := beginHub(t, url, "2025-11-25")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "other.example"
	req.Header = http.Header{"Content-Type": {"application/json"}, "Mcp-Session-Id": {id}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("got %d", res.StatusCode)
	}
}

// scripted is a peer that a test speaks for.
type scripted struct {
	deliver  func([]byte)
	got      chan string
	done     chan struct{}
	once     sync.Once
	initial  string // its answer to initialize; empty: none
	sendFail bool
}

func (p *scripted) Send(_ *http.Request, frame []byte) error {
	if p.sendFail {
		return errors.New("full")
	}
	if p.initial != "" && strings.Contains(string(frame), `"initialize"`) {
		go p.deliver([]byte(p.initial))
		return nil
	}
	p.got <- string(frame)
	return nil
}
func (p *scripted) Done() <-chan struct{} { return p.done }
func (p *scripted) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

const initialized = `{"jsonrpc":"2.0","id":"i","result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}`

// script serves a hub whose only session is with p.
func script(t *testing.T, cfg HubConfig) (p *scripted, url, id string) {
	t.Helper()
	p = &scripted{got: make(chan string, 1000), done: make(chan struct{}), initial: initialized}
	cfg.Start = func(_ context.Context, _ *http.Request, deliver func([]byte)) (Peer, error) {
		p.deliver = deliver
		return p, nil
	}
	_, url = serveHub(t, cfg)
	id = beginHub(t, url, "2025-11-25")
	if got := <-p.got; !strings.Contains(got, "notifications/initialized") {
		t.Fatalf("the server got %s", got)
	}
	return p, url, id
}

// events opens a request and returns a function that reads its next event.
func events(t *testing.T, method, url, id, body string, header ...string) (res *http.Response, next func() (id, data string)) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Mcp-Session-Id", id)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	lines := bufio.NewReaderSize(res.Body, 1<<20)
	return res, func() (id, data string) {
		for {
			line, err := lines.ReadString('\n')
			line = strings.TrimSuffix(line, "\n")
			if rest, ok := strings.CutPrefix(line, "id: "); ok {
				id = rest
			}
			if rest, ok := strings.CutPrefix(line, "data: "); ok {
				data = rest
			}
			if err != nil || line == "" && data != "" {
				return id, data
			}
		}
	}
}

// Rule D3: ids of every JSON type, unknown members and methods cross as they are.
func TestHubLeavesBytesAlone(t *testing.T) {
	p, url, id := script(t, HubConfig{})
	for _, rawID := range []string{`"a"`, `9007199254740993`, `1.5`, `-7`, `"\u0061b"`, `1e2`, `123456789012345678901234567890`, `""`} {
		sent := `{ "x":{"b":1,"a":[1.0,1e5]}, "method":"vendor/odd" ,"id":` + rawID + `,"params":[1,{"method":"y"}],"jsonrpc":"2.0"}`
		answer := `{"id":` + rawID + `,"jsonrpc":"2.0","result":{"n":12345678901234567890,"s":"\u2028"},"_x":null}`
		done := make(chan string)
		go func() {
			_, body := exchangeHub(t, "POST", url, sent, "Mcp-Session-Id", id)
			done <- body
		}()
		if got := <-p.got; got != sent {
			t.Errorf("the server got %s, want %s", got, sent)
		}
		p.deliver([]byte(answer))
		if got := <-done; got != answer {
			t.Errorf("the client got %s, want %s", got, answer)
		}
	}
}

// The policy for what a server does not tie to a request, as deliver states it.
func TestHubRoutes(t *testing.T) {
	p, url, id := script(t, HubConfig{})
	call := func(n int, token string) (next func() (string, string)) {
		p.deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"n":%d}}`, n))) // to nobody's call
		started := make(chan struct{})
		go func() {
			<-p.got
			p.deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + token + `,"progress":0}}`))
			close(started)
		}()
		_, next = events(t, "POST", url, id, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"_meta":{"progressToken":%s}}}`, n, token))
		<-started
		if _, data := next(); !strings.Contains(data, `"progress":0`) {
			t.Fatalf("got %s", data)
		}
		return next
	}
	sampling := func(n int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":"s%d","method":"sampling/createMessage"}`, n)
	}
	one := call(1, `"t"`)
	p.deliver([]byte(sampling(1)))
	if _, data := one(); data != sampling(1) {
		t.Errorf("with one call in flight its stream got %s", data)
	}
	two := call(2, "1.0")
	p.deliver([]byte(sampling(2)))
	if _, data := two(); data != sampling(2) {
		t.Errorf("with two calls in flight and no GET the newest got %s", data)
	}
	p.deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":5}}`))
	if _, data := two(); !strings.Contains(data, `"progress":5`) {
		t.Errorf("progress went elsewhere: %s", data)
	}
	_, general := events(t, "GET", url, id, "")
	for n := 1; n <= 2; n++ {
		if _, data := general(); !strings.Contains(data, fmt.Sprintf(`"n":%d`, n)) {
			t.Errorf("the GET stream got %s, want what was queued for it", data)
		}
	}
	p.deliver([]byte(sampling(3)))
	if _, data := general(); data != sampling(3) {
		t.Errorf("with two calls in flight the GET stream got %s", data)
	}
	p.deliver([]byte(`{"jsonrpc":"2.0","id":2,"result":2}`))
	p.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":1}`))
	if _, data := one(); data != `{"jsonrpc":"2.0","id":1,"result":1}` {
		t.Errorf("got %s", data)
	}
	if _, data := two(); data != `{"jsonrpc":"2.0","id":2,"result":2}` {
		t.Errorf("got %s", data)
	}
	if _, data := two(); data != "" {
		t.Errorf("after the answer: %s", data)
	}
	answer := `{"jsonrpc":"2.0","id":"s1","result":{}}`
	if res, _ := exchangeHub(t, "POST", url, answer, "Mcp-Session-Id", id); res.StatusCode != 202 {
		t.Errorf("a response was answered %d", res.StatusCode)
	}
	if got := <-p.got; got != answer {
		t.Errorf("the server got %s", got)
	}
}

// Rule D6: a stream whose connection broke is resumed where it broke, on the same
// stream alone.
func TestHubResumes(t *testing.T) {
	p, url, id := script(t, HubConfig{})
	progress := func(n int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":%d}}`, n)
	}
	go func() {
		<-p.got
		p.deliver([]byte(progress(1)))
		p.deliver([]byte(progress(2)))
	}()
	res, next := events(t, "POST", url, id, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"t"}}}`)
	at, data := next()
	if data != progress(1) {
		t.Fatalf("got %s", data)
	}
	_ = res.Body.Close()
	p.deliver([]byte(progress(3)))
	p.deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":1}`))
	_, again := events(t, "GET", url, id, "", "Last-Event-ID", at)
	for _, want := range []string{progress(2), progress(3), `{"jsonrpc":"2.0","id":1,"result":1}`, ""} {
		if _, data := again(); data != want {
			t.Errorf("got %s, want %s", data, want)
		}
	}
	// The session's own stream; a second reader takes it over.
	_, first := events(t, "GET", url, id, "")
	p.deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":1}}`))
	at, _ = first()
	p.deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":2}}`))
	if _, data := first(); !strings.Contains(data, `"n":2`) {
		t.Errorf("got %s", data)
	}
	_, second := events(t, "GET", url, id, "", "Last-Event-ID", at)
	if _, data := second(); !strings.Contains(data, `"n":2`) {
		t.Errorf("got %s", data)
	}
	if _, data := first(); data != "" {
		t.Errorf("the old reader got %s", data)
	}
}

// Rule D5: a server that ends fails what is pending, and its session is 404 after.
func TestHubServerEnds(t *testing.T) {
	p, url, id := script(t, HubConfig{})
	done := make(chan string)
	go func() {
		_, body := exchangeHub(t, "POST", url, `{"jsonrpc":"2.0","id":"x","method":"tools/call"}`, "Mcp-Session-Id", id)
		done <- body
	}()
	<-p.got
	_, general := events(t, "GET", url, id, "")
	_ = p.Close()
	if got := <-done; !strings.Contains(got, `"id":"x","error"`) {
		t.Errorf("got %s", got)
	}
	if _, data := general(); data != "" {
		t.Errorf("got %s", data)
	}
	if res, _ := exchangeHub(t, "POST", url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Mcp-Session-Id", id); res.StatusCode != 404 {
		t.Errorf("got %d", res.StatusCode)
	}
}

// Rule A8: an initialize that fails makes no session and leaves no server.
func TestHubInitializeFails(t *testing.T) {
	for name, tc := range map[string]struct {
		peer   *scripted
		status int
	}{
		"refused":     {&scripted{initial: `{"jsonrpc":"2.0","id":"i","error":{"code":-32602,"message":"no"}}`}, 200},
		"no answer":   {&scripted{}, 504},
		"takes none":  {&scripted{sendFail: true}, 502},
		"ends":        {nil, 502},
		"not started": {nil, 502},
	} {
		t.Run(name, func(t *testing.T) {
			p := tc.peer
			if p == nil {
				p = new(scripted)
			}
			p.got, p.done = make(chan string, 10), make(chan struct{})
			h, url := serveHub(t, HubConfig{StartTimeout: 100 * time.Millisecond, Start: func(_ context.Context, _ *http.Request, deliver func([]byte)) (Peer, error) {
				p.deliver = deliver
				switch name {
				case "not started":
					return nil, errors.New("no such program")
				case "ends":
					_ = p.Close()
				}
				return p, nil
			}})
			res, body := exchangeHub(t, "POST", url, fmt.Sprintf(initializeBody, "2025-11-25"))
			if res.StatusCode != tc.status || !strings.Contains(body, `"error"`) || !strings.Contains(body, `"id":"i"`) || res.Header.Get("Mcp-Session-Id") != "" {
				t.Errorf("got %d %s, session %q", res.StatusCode, body, res.Header.Get("Mcp-Session-Id"))
			}
			if name != "not started" {
				<-p.done
			}
			if h.Len() != 0 {
				t.Errorf("%d sessions", h.Len())
			}
		})
	}
}
