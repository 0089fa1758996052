package bridge

import (
	"context"
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
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// heard is an observer that keeps what it is told.
type heard struct {
	mu   sync.Mutex
	said []string
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

// health keeps what an exchange says of the health of the upstream.
func (h *heard) health(x *ClientRequest) {
	switch change := x.Health; {
	case change == nil:
	case change.Failure != "":
		h.say("failed", change.Address, string(change.Failure))
	default:
		h.say("back", change.Address, change.Down.String())
	}
}

func (h *heard) wants(t *testing.T, want ...string) {
	t.Helper()
	if got := h.take(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// observed returns an endpoint in front of 10.0.0.1:3000.
func observed(t *testing.T, cfg Config, known bool) *Endpoint {
	t.Helper()
	meta := metadata.Config{Dials: []string{"10.0.0.1:3000"}, UpstreamPath: "/mcp"}
	if known {
		meta.AuthorizationServers = []string{"https://login.example.com"}
	}
	store, err := metadata.New(meta)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Path, cfg.UpstreamPath, cfg.Kind, cfg.Metadata = "/mcp", "/mcp", KindHTTP, store
	cfg.Site.Hosts = map[string]bool{"mcp.example.com": true}
	return New(cfg)
}

// through has an upstream answer a request.
func through(e *Endpoint, client Client, answer func(*http.Request) (*http.Response, error)) (*ClientRequest, *http.Response, error) {
	r := httptest.NewRequest(http.MethodPost, "http://10.0.0.1:3000/mcp", nil)
	x := new(ClientRequest)
	x.Begin(e, r, client, TargetEndpoint, "/mcp")
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
	public := Client{Scheme: "https", Host: "mcp.example.com"}
	for name, tt := range map[string]struct {
		mode   Mode
		at     Client
		known  bool
		status int
		sent   []string
		want   stats.Outcome // of it Action, Reason and Given
		lines  []string
		kind   string
	}{
		"rewritten":        {ModeRewrite, public, false, 401, []string{with(private)}, stats.Outcome{Action: stats.ActionRewritten}, []string{with(own)}, "bearer invalid_token"},
		"already public":   {ModeRewrite, public, false, 401, []string{with(own)}, stats.Outcome{Action: stats.ActionRelayed, Reason: stats.ReasonPublic}, []string{with(own)}, "bearer invalid_token"},
		"foreign":          {ModeRewrite, public, false, 401, []string{with(foreign)}, stats.Outcome{Action: stats.ActionRelayed, Reason: stats.ReasonForeign}, []string{with(foreign)}, "bearer invalid_token"},
		"added":            {ModeRewrite, public, true, 403, []string{`DPoP error="use_dpop_nonce"`}, stats.Outcome{Action: stats.ActionAdded}, []string{`DPoP error="use_dpop_nonce", resource_metadata="` + own + `"`}, "dpop use_dpop_nonce"},
		"inserted":         {ModeRewrite, public, true, 401, []string{`Basic realm="x"`}, stats.Outcome{Action: stats.ActionInserted}, []string{`Bearer resource_metadata="` + own + `"`, `Basic realm="x"`}, "basic none"},
		"inserted bare":    {ModeRewrite, public, true, 401, nil, stats.Outcome{Action: stats.ActionInserted}, []string{`Bearer resource_metadata="` + own + `"`}, "none none"},
		"missing":          {ModeRewrite, public, false, 401, nil, stats.Outcome{Action: stats.ActionMissing, Reason: stats.ReasonUnknown}, nil, "none none"},
		"unknown":          {ModeRewrite, public, false, 401, []string{`Bearer`}, stats.Outcome{Action: stats.ActionRelayed, Reason: stats.ReasonUnknown}, []string{`Bearer`}, "bearer none"},
		"no bearer":        {ModeRewrite, public, true, 403, []string{`Basic realm="x"`}, stats.Outcome{Action: stats.ActionRelayed, Reason: stats.ReasonScheme}, []string{`Basic realm="x"`}, "basic none"},
		"status":           {ModeRewrite, public, true, 400, []string{`Bearer error="invalid_request"`}, stats.Outcome{Action: stats.ActionRelayed, Reason: stats.ReasonStatus}, []string{`Bearer error="invalid_request"`}, "bearer invalid_request"},
		"unparsable":       {ModeRewrite, public, false, 401, []string{`=, resource_metadata="` + private}, stats.Outcome{Action: stats.ActionUnparsable, Reason: stats.ReasonUnparsable}, []string{`=, resource_metadata="` + private}, "none none"},
		"no host":          {ModeRewrite, Client{}, true, 401, []string{with(private)}, stats.Outcome{Action: stats.ActionRelayed, Reason: stats.ReasonHost}, []string{with(private)}, "bearer invalid_token"},
		"relay":            {ModeRelay, public, true, 401, []string{with(private)}, stats.Outcome{Action: stats.ActionRelayed, Reason: stats.ReasonPolicy}, []string{with(private)}, "bearer invalid_token"},
		"relay, bare":      {ModeRelay, public, true, 401, nil, stats.Outcome{Action: stats.ActionMissing, Reason: stats.ReasonPolicy}, nil, "none none"},
		"dropped":          {ModeReplace, public, true, 403, []string{with(private)}, stats.Outcome{Action: stats.ActionDropped, Reason: stats.ReasonPolicy}, nil, "bearer invalid_token"},
		"replaced":         {ModeReplace, public, true, 401, []string{with(private)}, stats.Outcome{Action: stats.ActionReplaced, Reason: stats.ReasonPolicy, Given: 502}, nil, "bearer invalid_token"},
		"unknown words":    {ModeRelay, public, true, 401, []string{`Hawk error="confused"`}, stats.Outcome{Action: stats.ActionRelayed, Reason: stats.ReasonPolicy}, []string{`Hawk error="confused"`}, "other other"},
		"none is no error": {ModeRelay, public, true, 401, []string{`None error="none"`}, stats.Outcome{Action: stats.ActionRelayed, Reason: stats.ReasonPolicy}, []string{`None error="none"`}, "other other"},
		"the first error":  {ModeRelay, public, true, 401, []string{`Basic realm="x", Bearer`, `DPoP error="invalid_dpop_proof"`}, stats.Outcome{Action: stats.ActionRelayed, Reason: stats.ReasonPolicy}, []string{`Basic realm="x", Bearer`, `DPoP error="invalid_dpop_proof"`}, "dpop invalid_dpop_proof"},
	} {
		t.Run(name, func(t *testing.T) {
			e := observed(t, Config{Mode: tt.mode}, tt.known)
			x, res, err := through(e, tt.at, answers(tt.status, tt.sent...))
			if err != nil {
				t.Fatal(err)
			}
			if x.Outcome == nil {
				t.Fatal("the exchange has no outcome")
			}
			if tt.want.Given == 0 {
				tt.want.Given = tt.status
			}
			o := x.Outcome
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
		})
	}
}

// Answers without a challenge are no news.
func TestNoOutcome(t *testing.T) {
	e := observed(t, Config{}, true)
	for _, status := range []int{200, 403, 500} {
		if x, _, _ := through(e, Client{}, answers(status)); x.Outcome != nil {
			t.Errorf("%d: got %+v", status, x.Outcome)
		}
	}
}

// Rule F2: an upstream that gives no answer is told of once, and again when it does;
// a client that leaves is not its fault.
func TestUpstreamHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, h := observed(t, Config{}, true), new(heard)
		through := func(e *Endpoint, client Client, answer func(*http.Request) (*http.Response, error)) {
			x, _, _ := through(e, client, answer)
			h.health(x)
		}
		fails := func(err error) func(*http.Request) (*http.Response, error) {
			return func(*http.Request) (*http.Response, error) { return nil, err }
		}
		refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		through(e, Client{}, fails(refused))
		through(e, Client{}, fails(io.ErrUnexpectedEOF))
		h.wants(t, "failed 10.0.0.1:3000 refused")
		time.Sleep(time.Minute)
		through(e, Client{}, answers(500))
		through(e, Client{}, answers(200))
		h.wants(t, "back 10.0.0.1:3000 1m0s")
		through(e, Client{}, fails(&net.DNSError{Err: "no such host"}))
		through(e, Client{}, answers(200))
		through(e, Client{}, fails(context.DeadlineExceeded))
		through(e, Client{}, answers(200))
		for _, hidden := range []error{refused, &net.DNSError{Err: "no such host", Name: "x"}, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}} {
			through(e, Client{}, fails(errors.New(hidden.Error())))
			h.mu.Lock()
			h.said[len(h.said)-1] += " hidden"
			h.mu.Unlock()
			through(e, Client{}, answers(200))
		}
		through(e, Client{}, fails(errors.New("EOF")))
		h.wants(t, "failed 10.0.0.1:3000 name", "back 10.0.0.1:3000 0s", "failed 10.0.0.1:3000 timeout", "back 10.0.0.1:3000 0s",
			"failed 10.0.0.1:3000 refused hidden", "back 10.0.0.1:3000 0s", "failed 10.0.0.1:3000 name hidden", "back 10.0.0.1:3000 0s",
			"failed 10.0.0.1:3000 timeout hidden", "back 10.0.0.1:3000 0s", "failed 10.0.0.1:3000 broken")
		through(e, Client{}, answers(200))
		h.take()
		ctx, leave := context.WithCancel(t.Context())
		leave()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://10.0.0.1:3000/mcp", nil)
		x := new(ClientRequest)
		x.Begin(e, r, Client{}, TargetEndpoint, "/mcp")
		_, _ = x.RoundTrip(r, fails(ctx.Err()))
		h.health(x)
		h.wants(t)
	})
}

// Streams are counted when they begin and end, with their age; bytes and status are
// what the client was sent.
func TestWatchedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counts := stats.NewCounts()
		wants := func(open int, ended uint64, ages time.Duration) {
			t.Helper()
			if now, done := counts.Now(), counts.Totals().Streams(); now.Streams != open || done.Count != ended || done.Sum != ages {
				t.Errorf("got %d open streams and %d that have ended after %v; want %d, %d, %v", now.Streams, done.Count, done.Sum, open, ended, ages)
			}
		}
		e := observed(t, Config{Counts: counts}, true)
		begin := func() (*ClientRequest, http.ResponseWriter) {
			x := new(ClientRequest)
			x.Begin(e, httptest.NewRequest(http.MethodGet, "/mcp", nil), Client{}, TargetEndpoint, "/mcp")
			return x, x.Watch(httptest.NewRecorder())
		}
		x, w := begin()
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_ = http.NewResponseController(w).Flush()
		wants(1, 0, 0)
		_, _ = io.WriteString(w, ": \n\n")
		time.Sleep(time.Hour)
		_, _ = io.Copy(w, strings.NewReader("data: x\n\n"))
		x.Done()
		wants(0, 1, time.Hour)
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
		wants(0, 1, time.Hour)
	})
}
