package hubtest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Hub is a hub, or what a test has in place of one.
type Hub interface {
	http.Handler
	Len() int
	Close()
}

// Kit makes hubs whose servers the tests speak for. The type of the hubs is that of the
// package under test.
type Kit[H Hub] struct {
	// New makes a hub. revision is what is known of the revision of its server, and wrap
	// puts a translator between a server and the client of its session.
	New func(cfg servers.Config, revision *translate.ServerRevision, wrap Wrap) H
}

// Wrap puts something between the server of a session and its client.
type Wrap = func(peer upstream.Peer, deliver upstream.Deliver) (upstream.Peer, upstream.Deliver)

// ServeHub serves a hub until the end of the test, when nothing may be left.
func (k Kit[H]) ServeHub(t *testing.T, cfg servers.Config) (H, string) {
	t.Helper()
	if cfg.Start == nil {
		cfg.Start = startServer(everything)
	}
	h := k.NewHub(cfg)
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

// Script serves a hub whose only session is with p.
func (k Kit[H]) Script(t *testing.T, cfg servers.Config) (p *Scripted, url, id string) {
	t.Helper()
	p = &Scripted{Got: make(chan string, 1000), Ended: make(chan struct{}), Initial: Initialized}
	cfg.Start = func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
		deliver := DeliverTo(to)
		p.Deliver = deliver
		return p, nil
	}
	_, url = k.ServeHub(t, cfg)
	id = BeginHub(t, url, "2025-11-25")
	if got := <-p.Got; !strings.Contains(got, "notifications/initialized") {
		t.Fatalf("the server got %s", got)
	}
	return p, url, id
}

// DirectHub returns a hub of one scripted server, with a session.
func (k Kit[H]) DirectHub(t *testing.T, cfg servers.Config) (h H, p *Scripted, id string) {
	t.Helper()
	p = &Scripted{Got: make(chan string, 1000), Ended: make(chan struct{}), Initial: Initialized}
	cfg.Start = func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
		deliver := DeliverTo(to)
		p.Deliver = deliver
		return p, nil
	}
	h = k.NewHub(cfg)
	w := Direct(t.Context(), h, "POST", "", fmt.Sprintf(InitializeBody, "2025-11-25"))
	if id = w.Header().Get("Mcp-Session-Id"); id == "" {
		t.Fatalf("initialize: %d %s", w.Code, w.Body)
	}
	return h, p, id
}

// Programs serves a hub of programs, and returns it and each program that is started.
func (k Kit[H]) Programs(t *testing.T, kind Nature, cfg servers.Config) (H, <-chan *Program) {
	t.Helper()
	started := make(chan *Program, 100)
	cfg.Start = func(_ context.Context, from *http.Request, to upstream.Receiver) (upstream.Peer, error) {
		deliver := DeliverTo(to)
		p := &Program{Deliver: deliver, Got: make(chan message.Message, 1000), Ended: make(chan struct{}), From: from.Header.Get("Authorization")}
		go p.begin(kind)
		started <- p
		return p, nil
	}
	h := k.NewHub(cfg)
	t.Cleanup(func() {
		h.Close()
		if n := h.Len(); n != 0 {
			t.Errorf("%d conversations are left", n)
		}
	})
	return h, started
}

// translated is the translator of the last session of a hub, and what it has delivered.
type translated struct {
	*translate.Translator
	mu        sync.Mutex
	delivered []message.Message
}

// Last returns the last message that the client was given.
func (t *translated) Last() message.Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.delivered[len(t.delivered)-1]
}

// translators has the *translated of each hub that NewHub has made.
var translators sync.Map

// NewHub returns a hub that translates for the clients of its sessions, as a hub
// of the product does: not for a server that speaks HTTP+SSE.
func (k Kit[H]) NewHub(cfg servers.Config) H {
	var made atomic.Pointer[translated]
	revision := translate.NewServerRevision(cfg.Remote)
	if cfg.Observer == nil {
		cfg.Observer = servers.Unobserved{}
	}
	wrap := translate.Wrap(translate.Config{Revision: revision, StartTimeout: cfg.StartTimeout, Warn: cfg.Observer.Warned})
	observed := func(peer upstream.Peer, deliver upstream.Deliver) (upstream.Peer, upstream.Deliver) {
		if strings.HasSuffix(fmt.Sprintf("%T", peer), ".ssePeer") {
			return peer, deliver
		}
		t := new(translated)
		to, receive := wrap(peer, func(m message.Message, about message.Key, cause *upstream.Refusal) {
			t.mu.Lock()
			t.delivered = append(t.delivered, m)
			t.mu.Unlock()
			deliver(m, about, cause)
		})
		t.Translator, _ = to.(*translate.Translator)
		made.Store(t)
		return to, receive
	}
	h := k.New(cfg, revision, observed)
	translators.Store(h, &made)
	return h
}

// TranslatorOf returns the translator of the last session of a hub.
func TranslatorOf(t *testing.T, h any) *translated {
	t.Helper()
	made, _ := translators.Load(h)
	last := made.(*atomic.Pointer[translated]).Load()
	if last == nil {
		t.Fatal("no session was begun")
	}
	return last
}

// ProgramsOf returns a hub and the programs that it starts. The tests play the programs.
func (k Kit[H]) ProgramsOf(t *testing.T) (H, <-chan *Program) {
	t.Helper()
	started := make(chan *Program, 100)
	h := k.NewHub(servers.Config{Start: func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
		deliver := DeliverTo(to)
		p := &Program{Deliver: deliver, Got: make(chan message.Message, 1000), Ended: make(chan struct{})}
		started <- p
		return p, nil
	}})
	t.Cleanup(h.Close)
	return h, started
}

// Behind begins a session of a client with a stateless program, which acknowledges the
// subscription.
func (k Kit[H]) Behind(t *testing.T, capabilities string) (H, *Program, string) {
	t.Helper()
	h, started := k.ProgramsOf(t)
	c := Post(t, h, "", InitializeOf(capabilities))
	p := <-started
	p.Emit(RefusesInitialize, p.Next(t, "initialize").RawID)
	p.Answer(p.Next(t, "server/discover"), DiscoverResult)
	synctest.Wait()
	id := c.Header().Get("Mcp-Session-Id")
	if id == "" {
		t.Fatalf("initialize: %d %s", c.Code, c.Body)
	}
	if c := Post(t, h, id, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); c.Code != http.StatusAccepted {
		t.Fatalf("initialized: %d %s", c.Code, c.Body)
	}
	p.Agree(t, "")
	return h, p, id
}

// RawServer is a hub whose server a test speaks for, which nothing answers for.
func (k Kit[H]) RawServer(t *testing.T, cfg servers.Config) (h H, p *Scripted, told *Reports) {
	t.Helper()
	told = new(Reports)
	cfg.Observer = told
	p = &Scripted{Got: make(chan string, 1000), Ended: make(chan struct{})}
	cfg.Start = func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
		deliver := DeliverTo(to)
		p.Deliver = deliver
		return p, nil
	}
	h = k.NewHub(cfg)
	t.Cleanup(h.Close)
	return h, p, told
}

// Begun is a session of a server that a test speaks for, which has a handshake behind it.
func (k Kit[H]) Begun(t *testing.T, cfg servers.Config) (h H, p *Scripted, told *Reports, id string) {
	t.Helper()
	h, p, told = k.RawServer(t, cfg)
	begin := StartPost(t, h, "", fmt.Sprintf(InitializeBody, "2025-11-25"))
	p.Deliver([]byte(`{"jsonrpc":"2.0","id":"i",` + InitResult + `}`))
	begin.Body()
	if id = begin.Got.Header().Get("Mcp-Session-Id"); id == "" {
		t.Fatalf("no session: %s", begin.Body())
	}
	StartPost(t, h, id, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return h, p, told, id
}

// Remote returns a hub in front of an upstream, with a session of a client that is
// initialized.
func (k Kit[H]) Remote(t *testing.T, b *Staged, start func(upstream.Backend, int) func(context.Context, *http.Request, upstream.Receiver) (upstream.Peer, error)) (H, string) {
	t.Helper()
	h := k.NewHub(servers.Config{Remote: true, Start: start(b, 1<<20)})
	w := Direct(t.Context(), h, "POST", "", fmt.Sprintf(InitializeBody, "2025-11-25"))
	id := w.Header().Get("Mcp-Session-Id")
	if id == "" {
		t.Fatalf("initialize: %d %s", w.Code, w.Body)
	}
	if w := Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); w.Code != http.StatusAccepted {
		t.Fatalf("initialized: %d %s", w.Code, w.Body)
	}
	return h, id
}

// Farm serves a hub with a scripted server for each session, and returns what begins one.
func (k Kit[H]) Farm(t *testing.T, cfg servers.Config) (h H, url string, begin func(version string) (p *Scripted, id string)) {
	t.Helper()
	version := "2025-11-25"
	started := make(chan *Scripted, 1)
	cfg.Start = func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
		deliver := DeliverTo(to)
		p := &Scripted{
			Deliver: deliver, Got: make(chan string, 20000), Ended: make(chan struct{}),
			Initial: strings.Replace(Initialized, "2025-11-25", version, 1),
		}
		started <- p
		return p, nil
	}
	h, url = k.ServeHub(t, cfg)
	return h, url, func(v string) (*Scripted, string) {
		t.Helper()
		version = v
		id := BeginHub(t, url, v)
		p := <-started
		<-p.Got // notifications/initialized
		return p, id
	}
}
