package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

const (
	answerTimeout = 30 * time.Second
	largePad      = 200 << 10 // over what the bridge holds in memory
)

// tally counts what became of requests and streams, by kind.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
	failed map[string]int
	firsts map[string]string // of each kind of failure
}

func newTally() *tally {
	return &tally{counts: make(map[string]int), failed: make(map[string]int), firsts: make(map[string]string)}
}

func (t *tally) count(kind string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[kind]++
}

func (t *tally) fail(kind, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed[kind]++; t.failed[kind] == 1 {
		t.firsts[kind] = fmt.Sprintf(format, args...)
	}
}

// load sends requests to the site and judges what comes back.
type load struct {
	*tally
	caddy  *caddy
	up     *upstream
	client *http.Client
	mu     sync.Mutex
	closed []*attempt
}

func newLoad(c *caddy, up *upstream, t *tally) *load {
	l := &load{tally: t, caddy: c, up: up}
	l.client = &http.Client{
		Timeout: 0, // streams have none
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 64,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				born := c.settled()
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return &bornConn{conn, born}, nil
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return l
}

// bornConn knows how many reloads were over when it was dialled.
type bornConn struct {
	net.Conn
	born int64
}

// attempt is a request and what the client's transport did with it.
type attempt struct {
	id, method string
	arrived    <-chan struct{} // at the upstream
	conns      int             // connections that it was given
	reused     bool            // the last of them
	stream     bool
	born       int64       // its
	answered   atomic.Bool // a byte of an answer has come
}

// request prepares a request that asks for an answer.
func (l *load) request(ctx context.Context, method, path, ask string, pad int) (*attempt, *http.Request, int) {
	a := &attempt{id: fmt.Sprintf("r%d", l.up.ids.Add(1)), method: method, born: l.caddy.settled()}
	a.stream = ask == askStream || ask == askHold
	a.arrived = l.up.announce(a.id)
	var body io.Reader
	n := 0
	if method == http.MethodPost {
		text := message(a.id, pad)
		body, n = strings.NewReader(text), len(text)
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { a.reused, a.born = false, l.caddy.settled() },
		GotConn: func(info httptrace.GotConnInfo) {
			a.conns++
			a.reused = info.Reused
			if conn, ok := info.Conn.(*bornConn); ok {
				a.born = conn.born
			}
		},
		GotFirstResponseByte: func() { a.answered.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, method, "http://"+l.caddy.Site+path, body)
	if err != nil {
		panic(err) // of constants
	}
	req.Header.Set(idHeader, a.id)
	req.Header.Set(askHeader, ask)
	req.Header.Set("Accept", "application/json, text/event-stream")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return a, req, n
}

// unanswered judges a request that has got no answer although the client did
// not leave. At a reload Go's server closes the connections that are idle, and
// those on which it reads a request only now, without serving that (net/http,
// conn.serve); and the kernel resets those that nobody has accepted from the
// old configuration's listener. HTTP/1 cannot tell the client that its request
// was not served, so that Go's client sends it again by itself only where
// nothing of it was written, or where the connection was used before and the
// method is idempotent. What is left is a POST on a used connection, and
// anything on a fresh one. These are counted apart, and only if
//
//   - not a byte of an answer has come,
//   - a reload began after the connection was dialled, or while it was,
//   - the request has never reached the upstream (see settleClosed).
//
// All else is a failure.
func (l *load) unanswered(a *attempt, err error) {
	switch {
	case a.answered.Load():
		l.fail("answer cut in its header", "%s: %v", a.id, err)
	case !benchkit.ClosedByServer(err):
		l.fail("no answer", "%s: %v", a.id, err)
	case a.born >= l.caddy.begun.Load():
		l.fail("connection closed without a reload", "%s: %v", a.id, err)
	case a.reused && a.method == http.MethodGet:
		l.fail("connection closed where Go's client sends again", "%s: %v", a.id, err)
	default:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.closed = append(l.closed, a)
		return
	}
	l.up.forget(a.id)
}

// settleClosed says, after the load, which of the requests whose connection
// was closed had reached the upstream, so that their answers were lost.
func (l *load) settleClosed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.closed {
		kind := closedKinds[a.stream][a.reused]
		if l.up.forget(a.id) > 0 {
			l.fail("answer lost: the upstream had the request", "%s, %s", a.id, kind)
		} else {
			l.count(kind)
		}
	}
	l.closed = nil
}

// settled counts a request that has got its answer.
func (l *load) settled(a *attempt) {
	if a.conns > 1 {
		l.count(sentAgain)
	}
	if times := l.up.forget(a.id); times > 1 && (a.conns == 1 || a.method == http.MethodPost) {
		l.fail("request reached the upstream more than once", "%s: %d times", a.id, times)
	}
}

// work sends one request after the other until ctx ends; the last one gets its
// answer still.
func (l *load) work(ctx context.Context) {
	for i := rand.IntN(16); ctx.Err() == nil; i++ {
		switch i % 8 {
		case 4:
			l.call(first, askRefuse, 0)
		case 5:
			l.call(first, askBare, 0)
		case 6:
			l.call(second, "", 0)
		case 7:
			l.metadata()
		case 3:
			l.call(first, "", (i/8%2)*largePad)
		default:
			l.call(first, "", rand.IntN(2000))
		}
	}
}

// exchange sends a request and has its answer judged.
func (l *load) exchange(method, path, ask string, pad int, judge func(a *attempt, sent int, res *http.Response, body string) error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	a, req, sent := l.request(ctx, method, path, ask, pad)
	l.count(requestsSent)
	res, err := l.client.Do(req)
	if err != nil {
		l.unanswered(a, err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	l.settled(a)
	if err != nil {
		l.fail("answer cut in its body", "%s: %d bytes, then %v", a.id, len(body), err)
		return
	}
	if err := judge(a, sent, res, string(body)); err != nil {
		kind := strings.TrimSpace("wrong answer to " + req.Method + " " + path + " " + ask)
		config, begun := res.Header.Get("X-Config"), l.caddy.begun.Load()
		if config != strconv.FormatInt(begun, 10) {
			kind += ", by a configuration that is being replaced"
		}
		l.fail(kind, "%s, configuration %s, reload %d has begun: %v", a.id, config, begun, err)
		return
	}
	l.count(requestsAnswered)
}

// call sends a message. What comes has to be its own.
func (l *load) call(path, ask string, pad int) {
	l.exchange(http.MethodPost, path, ask, pad, func(a *attempt, sent int, res *http.Response, body string) error {
		status, lines := http.StatusOK, []string(nil)
		switch ask {
		case askRefuse:
			addr := l.caddy.Site
			if l.caddy.plain {
				addr = l.up.addr
			}
			status, lines = http.StatusUnauthorized, []string{challenge(a.id, addr, path)}
		case askBare:
			status = http.StatusUnauthorized
			if !l.caddy.plain {
				lines = []string{`Bearer resource_metadata="http://` + l.caddy.Site + wellKnown + path + `"`}
			}
		}
		if path == second && res.StatusCode == http.StatusNotFound && body == noEndpoint {
			return nil
		}
		if res.StatusCode != status {
			return fmt.Errorf("got status %d, want %d; body %.200q", res.StatusCode, status, body)
		}
		if got, want := res.Header["Www-Authenticate"], lines; fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("got challenge %q, want %q", got, want)
		}
		if want := answer(a.id, sent); body != want {
			return fmt.Errorf("got body %.100q (%d bytes), want %.100q (%d)", body, len(body), want, len(want))
		}
		return nil
	})
}

// metadata asks for the metadata of the first endpoint.
func (l *load) metadata() {
	addr := l.caddy.Site
	if l.caddy.plain {
		addr = l.up.addr
	}
	l.exchange(http.MethodGet, wellKnown+first, "", 0, func(_ *attempt, _ int, res *http.Response, body string) error {
		var doc struct{ Resource string }
		if err := json.Unmarshal([]byte(body), &doc); err != nil || res.StatusCode != http.StatusOK || doc.Resource != "http://"+addr+first {
			return fmt.Errorf("got status %d, body %.200q", res.StatusCode, body)
		}
		return nil
	})
}
