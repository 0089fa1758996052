package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// heard is an observer that keeps what it is told.
type heard struct {
	mu       sync.Mutex
	outcomes []Outcome
	said     []string
}

func (h *heard) say(words ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, strings.Join(words, " "))
}

func (h *heard) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	said := h.said
	h.said = nil
	return said
}

func (h *heard) Challenged(_ *Exchange, o *Outcome) { h.outcomes = append(h.outcomes, *o) }
func (h *heard) UpstreamFailed(address string, why Failure) {
	h.say("failed", address, string(why))
}

func (h *heard) UpstreamBack(address string, d time.Duration) { h.say("back", address, d.String()) }
func (h *heard) StreamOpened(*Exchange)                       { h.say("opened") }
func (h *heard) StreamClosed(_ *Exchange, age time.Duration)  { h.say("closed", age.String()) }
func (h *heard) SessionBegun(s SessionInfo)                   { h.say("begun", string(s.Transport)) }

func (h *heard) SessionEnded(s SessionInfo, why EndReason) {
	h.say("ended", string(s.Transport), string(why))
}

func (h *heard) ServerStarted(again bool) { h.say("started", map[bool]string{true: "again"}[again]) }
func (h *heard) ServerFailed(error)       { h.say("not started") }
func (h *heard) ServerEnded(byItself bool) {
	h.say("gone", map[bool]string{true: "by itself"}[byItself])
}
func (h *heard) BackingOff(wait time.Duration) { h.say("waits", wait.String()) }
func (h *heard) wants(t *testing.T, want ...string) {
	t.Helper()
	if got := h.take(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// at is a public URL.
type at struct{ url metadata.Public }

func (a at) Public() (metadata.Public, bool) { return a.url, a.url.Origin != "" }

// observed returns an endpoint in front of 10.0.0.1:3000, and who observes it.
func observed(t *testing.T, cfg Config, known bool) (*Endpoint, *heard) {
	t.Helper()
	meta := metadata.Config{Dials: []string{"10.0.0.1:3000"}, UpstreamPath: "/mcp"}
	if known {
		meta.AuthorizationServers = []string{"https://login.example.com"}
	}
	store, err := metadata.New(meta)
	if err != nil {
		t.Fatal(err)
	}
	h := new(heard)
	cfg.Path, cfg.UpstreamPath, cfg.Kind, cfg.Metadata, cfg.Observer = "/mcp", "/mcp", KindHTTP, store, h
	cfg.UpstreamHosts = []string{"10.0.0.1:3000"}
	return New(cfg), h
}

// through has an upstream answer a request.
func through(e *Endpoint, public at, answer func(*http.Request) (*http.Response, error)) (*Exchange, *http.Response, error) {
	r := httptest.NewRequest(http.MethodPost, "http://10.0.0.1:3000/mcp", nil)
	x := new(Exchange)
	e.Begin(x, r, TargetEndpoint, "/mcp", public)
	res, err := x.RoundTrip(r, answer)
	return x, res, err
}

func answers(status int, lines ...string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{}
		if lines != nil {
			h["Www-Authenticate"] = lines
		}
		return &http.Response{StatusCode: status, Header: h, Body: http.NoBody, Request: r}, nil
	}
}

// Rule F2: of each answer with a challenge it is told what the upstream sent, what
// the client got, what was done, and why no more.
func TestOutcomes(t *testing.T) {
	const (
		own     = `https://mcp.example.com/.well-known/oauth-protected-resource/mcp`
		private = `http://10.0.0.1:3000/.well-known/oauth-protected-resource/mcp`
		foreign = `https://elsewhere.example.net/.well-known/oauth-protected-resource`
	)
	with := func(url string) string { return `Bearer error="invalid_token", resource_metadata="` + url + `"` }
	public := at{metadata.Public{Origin: "https://mcp.example.com", Path: "/mcp", Fixed: true}}
	for name, tt := range map[string]struct {
		mode   Mode
		at     at
		known  bool
		status int
		sent   []string
		want   Outcome // of it Action, Reason and Given
		lines  []string
		kind   string
	}{
		"rewritten":        {ModeRewrite, public, false, 401, []string{with(private)}, Outcome{Action: ActionRewritten}, []string{with(own)}, "bearer invalid_token"},
		"already public":   {ModeRewrite, public, false, 401, []string{with(own)}, Outcome{Action: ActionRelayed, Reason: ReasonPublic}, []string{with(own)}, "bearer invalid_token"},
		"foreign":          {ModeRewrite, public, false, 401, []string{with(foreign)}, Outcome{Action: ActionRelayed, Reason: ReasonForeign}, []string{with(foreign)}, "bearer invalid_token"},
		"added":            {ModeRewrite, public, true, 403, []string{`DPoP error="use_dpop_nonce"`}, Outcome{Action: ActionAdded}, []string{`DPoP error="use_dpop_nonce", resource_metadata="` + own + `"`}, "dpop use_dpop_nonce"},
		"inserted":         {ModeRewrite, public, true, 401, []string{`Basic realm="x"`}, Outcome{Action: ActionInserted}, []string{`Bearer resource_metadata="` + own + `"`, `Basic realm="x"`}, "basic none"},
		"inserted bare":    {ModeRewrite, public, true, 401, nil, Outcome{Action: ActionInserted}, []string{`Bearer resource_metadata="` + own + `"`}, "none none"},
		"missing":          {ModeRewrite, public, false, 401, nil, Outcome{Action: ActionMissing, Reason: ReasonUnknown}, nil, "none none"},
		"unknown":          {ModeRewrite, public, false, 401, []string{`Bearer`}, Outcome{Action: ActionRelayed, Reason: ReasonUnknown}, []string{`Bearer`}, "bearer none"},
		"no bearer":        {ModeRewrite, public, true, 403, []string{`Basic realm="x"`}, Outcome{Action: ActionRelayed, Reason: ReasonScheme}, []string{`Basic realm="x"`}, "basic none"},
		"status":           {ModeRewrite, public, true, 400, []string{`Bearer error="invalid_request"`}, Outcome{Action: ActionRelayed, Reason: ReasonStatus}, []string{`Bearer error="invalid_request"`}, "bearer invalid_request"},
		"unparsable":       {ModeRewrite, public, false, 401, []string{`=, resource_metadata="` + private}, Outcome{Action: ActionUnparsable, Reason: ReasonUnparsable}, []string{`=, resource_metadata="` + private}, "none none"},
		"no host":          {ModeRewrite, at{}, true, 401, []string{with(private)}, Outcome{Action: ActionRelayed, Reason: ReasonHost}, []string{with(private)}, "bearer invalid_token"},
		"relay":            {ModeRelay, public, true, 401, []string{with(private)}, Outcome{Action: ActionRelayed, Reason: ReasonPolicy}, []string{with(private)}, "bearer invalid_token"},
		"relay, bare":      {ModeRelay, public, true, 401, nil, Outcome{Action: ActionMissing, Reason: ReasonPolicy}, nil, "none none"},
		"dropped":          {ModeReplace, public, true, 403, []string{with(private)}, Outcome{Action: ActionDropped, Reason: ReasonPolicy}, nil, "bearer invalid_token"},
		"replaced":         {ModeReplace, public, true, 401, []string{with(private)}, Outcome{Action: ActionReplaced, Reason: ReasonPolicy, Given: 502}, nil, "bearer invalid_token"},
		"unknown words":    {ModeRelay, public, true, 401, []string{`Hawk error="confused"`}, Outcome{Action: ActionRelayed, Reason: ReasonPolicy}, []string{`Hawk error="confused"`}, "other other"},
		"none is no error": {ModeRelay, public, true, 401, []string{`None error="none"`}, Outcome{Action: ActionRelayed, Reason: ReasonPolicy}, []string{`None error="none"`}, "other other"},
		"the first error":  {ModeRelay, public, true, 401, []string{`Basic realm="x", Bearer`, `DPoP error="invalid_dpop_proof"`}, Outcome{Action: ActionRelayed, Reason: ReasonPolicy}, []string{`Basic realm="x", Bearer`, `DPoP error="invalid_dpop_proof"`}, "dpop invalid_dpop_proof"},
	} {
		t.Run(name, func(t *testing.T) {
			e, h := observed(t, Config{Mode: tt.mode}, tt.known)
			x, res, err := through(e, tt.at, answers(tt.status, tt.sent...))
			if err != nil {
				t.Fatal(err)
			}
			if len(h.outcomes) != 1 {
				t.Fatalf("told of %d answers", len(h.outcomes))
			}
			if tt.want.Given == 0 {
				tt.want.Given = tt.status
			}
			o := h.outcomes[0]
			if o.Action != tt.want.Action || o.Reason != tt.want.Reason || o.Given != tt.want.Given || o.Status != tt.status {
				t.Errorf("got %+v, want %+v", o, tt.want)
			}
			if !reflect.DeepEqual(o.Sent, tt.sent) || !reflect.DeepEqual(o.Lines, tt.lines) || !reflect.DeepEqual(res.Header["Www-Authenticate"], tt.lines) {
				t.Errorf("got %q and %q, want %q and %q", o.Sent, o.Lines, tt.sent, tt.lines)
			}
			if res.StatusCode != o.Given {
				t.Errorf("told %d, the client gets %d", o.Given, res.StatusCode)
			}
			scheme, code := o.Kind()
			if got := scheme + " " + code; got != tt.kind {
				t.Errorf("got kind %q, want %q", got, tt.kind)
			}
			if x.Outcome == nil || x.Outcome.Action != o.Action {
				t.Errorf("the exchange has %+v", x.Outcome)
			}
		})
	}
}

// Answers without a challenge are no news.
func TestNoOutcome(t *testing.T) {
	e, h := observed(t, Config{}, true)
	for _, status := range []int{200, 403, 500} {
		if x, _, _ := through(e, at{}, answers(status)); x.Outcome != nil || len(h.outcomes) > 0 {
			t.Errorf("%d: told of %+v", status, x.Outcome)
		}
	}
}

// Rule F2: an upstream that gives no answer is told of once, and again when it does;
// a client that leaves is not its fault.
func TestUpstreamHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, h := observed(t, Config{}, true)
		fails := func(err error) func(*http.Request) (*http.Response, error) {
			return func(*http.Request) (*http.Response, error) { return nil, err }
		}
		refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		_, _, _ = through(e, at{}, fails(refused))
		_, _, _ = through(e, at{}, fails(io.ErrUnexpectedEOF))
		h.wants(t, "failed 10.0.0.1:3000 refused")
		time.Sleep(time.Minute)
		_, _, _ = through(e, at{}, answers(500))
		_, _, _ = through(e, at{}, answers(200))
		h.wants(t, "back 10.0.0.1:3000 1m0s")
		_, _, _ = through(e, at{}, fails(&net.DNSError{Err: "no such host"}))
		_, _, _ = through(e, at{}, answers(200))
		_, _, _ = through(e, at{}, fails(context.DeadlineExceeded))
		_, _, _ = through(e, at{}, answers(200))
		for _, hidden := range []error{refused, &net.DNSError{Err: "no such host", Name: "x"}, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}} {
			_, _, _ = through(e, at{}, fails(errors.New(hidden.Error())))
			h.mu.Lock()
			h.said[len(h.said)-1] += " hidden"
			h.mu.Unlock()
			_, _, _ = through(e, at{}, answers(200))
		}
		_, _, _ = through(e, at{}, fails(errors.New("EOF")))
		h.wants(t, "failed 10.0.0.1:3000 name", "back 10.0.0.1:3000 0s", "failed 10.0.0.1:3000 timeout", "back 10.0.0.1:3000 0s",
			"failed 10.0.0.1:3000 refused hidden", "back 10.0.0.1:3000 0s", "failed 10.0.0.1:3000 name hidden", "back 10.0.0.1:3000 0s",
			"failed 10.0.0.1:3000 timeout hidden", "back 10.0.0.1:3000 0s", "failed 10.0.0.1:3000 broken")
		_, _, _ = through(e, at{}, answers(200))
		h.take()
		ctx, leave := context.WithCancel(t.Context())
		leave()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://10.0.0.1:3000/mcp", nil)
		x := new(Exchange)
		e.Begin(x, r, TargetEndpoint, "/mcp", at{})
		_, _ = x.RoundTrip(r, fails(ctx.Err()))
		h.wants(t)
	})
}

// Streams are told of when they begin and end, with their age; bytes and status are
// what the client was sent.
func TestWatchedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, h := observed(t, Config{}, true)
		begin := func() (*Exchange, http.ResponseWriter) {
			x := new(Exchange)
			e.Begin(x, httptest.NewRequest(http.MethodGet, "/mcp", nil), TargetEndpoint, "/mcp", at{})
			return x, x.Watch(httptest.NewRecorder())
		}
		x, w := begin()
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_ = http.NewResponseController(w).Flush()
		h.wants(t, "opened")
		_, _ = io.WriteString(w, ": \n\n")
		time.Sleep(time.Hour)
		_, _ = io.Copy(w, strings.NewReader("data: x\n\n"))
		x.Done()
		h.wants(t, "closed 1h0m0s")
		if status, sent := x.Answered(); status != 200 || sent != 13 {
			t.Errorf("got %d with %d bytes", status, sent)
		}
		x, w = begin()
		w.WriteHeader(http.StatusNotFound)
		w.WriteHeader(http.StatusOK)
		x.Done()
		if status, _ := x.Answered(); status != 404 || x.IsStream() {
			t.Errorf("got %d, stream %v", status, x.IsStream())
		}
		x, w = begin()
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusEarlyHints)
		if status, _ := x.Answered(); status != 0 || x.IsStream() {
			t.Errorf("a header that only announces is taken for the answer: %d", status)
		}
		h.wants(t)
	})
}

// A session is told of when it begins and when it ends, with the reason, and its
// server with it.
func TestHubIsObserved(t *testing.T) {
	h := new(heard)
	hub, started := programs(t, handshakes, HubConfig{Observer: h})
	initialize := func() (id string) {
		t.Helper()
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}`))
		r.Header.Set("Content-Type", "application/json")
		hub.ServeHTTP(w, r)
		return w.Header().Get(sessionHeader)
	}
	id := initialize()
	<-started
	list := hub.List()
	if len(list) != 1 || list[0].ID != HashID(id) || list[0].Transport != TransportHTTP || list[0].Version == "" {
		t.Fatalf("got %+v", list)
	}
	if raw, _ := json.Marshal(list); strings.Contains(string(raw), id) {
		t.Error("the id of the session is shown")
	}
	if hub.EndSession("0000000000000000") || !hub.EndSession(list[0].ID) || hub.EndSession(list[0].ID) {
		t.Error("a session is not ended by its hash, once")
	}
	if hub.find(id) != nil {
		t.Error("the session goes on")
	}
	hub.Close()
	h.wants(t, "started ", "begun http", "ended http operator", "gone ")
}
