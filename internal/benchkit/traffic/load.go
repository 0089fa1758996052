package traffic

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

// Load sends requests to a site and judges what comes back. The site has the endpoint First, in
// every second configuration the endpoint Second, and answers with NoEndpoint where neither is.
type Load struct {
	*benchkit.Tally
	site    string
	reloads *Reloads
	up      *Upstream
	// plain says that there is reverse_proxy in place of mcp_auth_bridge.
	plain  bool
	client *http.Client
	mu     sync.Mutex
	closed []*attempt
}

// New returns a load for a site that is reloaded as r says.
func New(site string, r *Reloads, up *Upstream, t *benchkit.Tally, plain bool) *Load {
	l := &Load{Tally: t, site: site, reloads: r, up: up, plain: plain}
	l.client = &http.Client{
		Timeout: 0, // streams have none
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 64,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				born := r.Settled()
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

// CloseIdle closes the connections that no request uses.
func (l *Load) CloseIdle() { l.client.CloseIdleConnections() }

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
func (l *Load) request(ctx context.Context, method, path, ask string, pad int) (*attempt, *http.Request, int) {
	a := &attempt{id: fmt.Sprintf("r%d", l.up.ids.Add(1)), method: method, born: l.reloads.Settled()}
	a.stream = ask == askStream || ask == askHold
	a.arrived = l.up.announce(a.id)
	var body io.Reader
	n := 0
	if method == http.MethodPost {
		text := message(a.id, pad)
		body, n = strings.NewReader(text), len(text)
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { a.reused, a.born = false, l.reloads.Settled() },
		GotConn: func(info httptrace.GotConnInfo) {
			a.conns++
			a.reused = info.Reused
			if conn, ok := info.Conn.(*bornConn); ok {
				a.born = conn.born
			}
		},
		GotFirstResponseByte: func() { a.answered.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, method, "http://"+l.site+path, body)
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
//   - the request has never reached the upstream (see SettleClosed).
//
// All else is a failure.
func (l *Load) unanswered(a *attempt, err error) {
	switch {
	case a.answered.Load():
		l.Fail("answer cut in its header", "%s: %v", a.id, err)
	case !benchkit.ClosedByServer(err):
		l.Fail("no answer", "%s: %v", a.id, err)
	case a.born >= l.reloads.Begun():
		l.Fail("connection closed without a reload", "%s: %v", a.id, err)
	case a.reused && a.method == http.MethodGet:
		l.Fail("connection closed where Go's client sends again", "%s: %v", a.id, err)
	default:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.closed = append(l.closed, a)
		return
	}
	l.up.forget(a.id)
}

// SettleClosed says, after the load, which of the requests whose connection
// was closed had reached the upstream, so that their answers were lost.
func (l *Load) SettleClosed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.closed {
		kind := closedKinds[a.stream][a.reused]
		if l.up.forget(a.id) > 0 {
			l.Fail("answer lost: the upstream had the request", "%s, %s", a.id, kind)
		} else {
			l.Count(kind)
		}
	}
	l.closed = nil
}

// settled counts a request that has got its answer.
func (l *Load) settled(a *attempt) {
	if a.conns > 1 {
		l.Count(sentAgain)
	}
	if times := l.up.forget(a.id); times > 1 && (a.conns == 1 || a.method == http.MethodPost) {
		l.Fail("request reached the upstream more than once", "%s: %d times", a.id, times)
	}
}

// Work sends one request after the other until ctx ends; the last one gets its
// answer still.
func (l *Load) Work(ctx context.Context) {
	for i := rand.IntN(16); ctx.Err() == nil; i++ {
		l.Request(i)
	}
}

// Request sends request i of a row of requests of all kinds, and waits for its answer.
func (l *Load) Request(i int) {
	switch i % 8 {
	case 4:
		l.call(First, askRefuse, 0)
	case 5:
		l.call(First, askBare, 0)
	case 6:
		l.call(Second, "", 0)
	case 7:
		l.metadata()
	case 3:
		l.call(First, "", (i/8%2)*largePad)
	default:
		l.call(First, "", rand.IntN(2000))
	}
}

// exchange sends a request and has its answer judged.
func (l *Load) exchange(method, path, ask string, pad int, judge func(a *attempt, sent int, res *http.Response, body string) error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	a, req, sent := l.request(ctx, method, path, ask, pad)
	l.Count(requestsSent)
	res, err := l.client.Do(req)
	if err != nil {
		l.unanswered(a, err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	l.settled(a)
	if err != nil {
		l.Fail("answer cut in its body", "%s: %d bytes, then %v", a.id, len(body), err)
		return
	}
	if err := judge(a, sent, res, string(body)); err != nil {
		kind := strings.TrimSpace("wrong answer to " + req.Method + " " + path + " " + ask)
		config, begun := res.Header.Get("X-Config"), l.reloads.Begun()
		if config != strconv.FormatInt(begun, 10) {
			kind += ", by a configuration that is being replaced"
		}
		l.Fail(kind, "%s, configuration %s, reload %d has begun: %v", a.id, config, begun, err)
		return
	}
	l.Count(requestsAnswered)
}

// call sends a message. What comes has to be its own.
func (l *Load) call(path, ask string, pad int) {
	l.exchange(http.MethodPost, path, ask, pad, func(a *attempt, sent int, res *http.Response, body string) error {
		status, lines := http.StatusOK, []string(nil)
		switch ask {
		case askRefuse:
			addr := l.site
			if l.plain {
				addr = l.up.Addr
			}
			status, lines = http.StatusUnauthorized, []string{challenge(a.id, addr, path)}
		case askBare:
			status = http.StatusUnauthorized
			if !l.plain {
				lines = []string{`Bearer resource_metadata="http://` + l.site + WellKnown + path + `"`}
			}
		}
		if path == Second && res.StatusCode == http.StatusNotFound && body == NoEndpoint {
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
func (l *Load) metadata() {
	addr := l.site
	if l.plain {
		addr = l.up.Addr
	}
	l.exchange(http.MethodGet, WellKnown+First, "", 0, func(_ *attempt, _ int, res *http.Response, body string) error {
		var doc struct{ Resource string }
		if err := json.Unmarshal([]byte(body), &doc); err != nil || res.StatusCode != http.StatusOK || doc.Resource != "http://"+addr+First {
			return fmt.Errorf("got status %d, body %.200q", res.StatusCode, body)
		}
		return nil
	})
}
