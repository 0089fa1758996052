package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit/traffic"
)

const (
	atOnce       = 48              // things under way at a time, at most
	keptSessions = 3               // of programs, for the whole run
	keptEvery    = 2 * time.Second // longer than goroutines wait for more, and what is counted settles
	floodOf      = 20              // tokens at once
	users        = 200
	answerLimit  = 30 * time.Second
)

// load sends what comes and goes.
type load struct {
	*traffic.Load
	site   *site
	o      *options
	client *http.Client
	forger *benchkit.Forger
	tokens []string // of users
	begun  atomic.Int64
	kept   []*benchkit.Session
	stop   context.CancelFunc // of what stays
	work   sync.WaitGroup
	watch  *traffic.Watchers
}

// newLoad opens the streams and sessions that stay.
func newLoad(ctx context.Context, s *site, o *options) (*load, error) {
	l := &load{
		Load: traffic.New(s.Site, &s.Reloads, s.up, benchkit.NewTally(), false), site: s, o: o,
		client: &http.Client{Timeout: answerLimit, Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}},
	}
	var err error
	if l.forger, err = s.issuer.Forger(loginURL); err != nil {
		return nil, err
	}
	for k := range users {
		token, err := s.issuer.Token(fmt.Sprintf("user-%d", k), loginURL, "mcp")
		if err != nil {
			return nil, err
		}
		l.tokens = append(l.tokens, token)
	}
	ctx, l.stop = context.WithCancel(ctx)
	if l.watch, err = l.Watch(ctx); err != nil {
		return nil, err
	}
	for range keptSessions {
		// Its connection is its own, so that it is never idle for long.
		client := &http.Client{Timeout: answerLimit, Transport: &http.Transport{}}
		k, a, err := benchkit.Begin(ctx, client, s.Site, keptPath)
		if k == nil {
			return nil, fmt.Errorf("a session to keep: %d %.200s %w", a.Status, a.Body, err)
		}
		l.kept = append(l.kept, k)
		l.work.Go(func() { l.use(ctx, k) })
	}
	return l, nil
}

// use calls in a session until ctx ends.
func (l *load) use(ctx context.Context, k *benchkit.Session) {
	tick := time.NewTicker(keptEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		pid, a, err := k.Call(context.WithoutCancel(ctx), "")
		if pid != k.PID {
			l.Fail("session that is kept", "%d %.200s %v", a.Status, a.Body, err)
			return
		}
		l.Count("calls of sessions that are kept")
	}
}

// leave ends what was kept and waits until no process is left.
func (l *load) leave(ctx context.Context) error {
	l.stop()
	l.work.Wait()
	for range l.watch.Stop() {
		l.Count("streams open for the whole run")
	}
	var pids []int
	for _, k := range l.kept {
		l.end(k)
		pids = append(pids, k.PID)
	}
	if err := benchkit.WaitGone(ctx, settleLimit, pids...); err != nil {
		return err
	}
	l.SettleClosed()
	return benchkit.Poll(ctx, settleLimit, func() error {
		u, err := l.site.Count(ctx)
		if err == nil && u.Children > 0 {
			err = fmt.Errorf("%d processes are left", u.Children)
		}
		return err
	})
}

// things are what comes and goes, in turn. Each gets a number of its own.
func (l *load) things() []func(ctx context.Context, n int) {
	request := func(_ context.Context, n int) { l.Request(n) }
	stream := func(_ context.Context, n int) { l.Abort(n) }
	return []func(context.Context, int){
		request, stream, l.deleted, request, l.upload, request, l.dies, stream, request, l.mortal,
		request, l.old, request, stream, l.left, l.legacy, request, l.stateless, l.hangs, l.flood,
	}
}

// cycle begins things for the time of a cycle, and waits for their ends. It returns the most that
// Caddy held meanwhile.
func (l *load) cycle(ctx context.Context, show *progress) (most benchkit.Usage, err error) {
	things := l.things()
	var work, beside sync.WaitGroup
	working, stop := context.WithTimeout(ctx, l.o.cycle)
	defer stop()
	beside.Go(func() { most, err = l.look(ctx, working, show) })
	beside.Go(func() { l.reloads(ctx, working) })
	beside.Go(func() { l.death(ctx, working) })
	slots := make(chan struct{}, atOnce)
	tick := time.NewTicker(time.Duration(float64(time.Second) / l.o.rate))
	defer tick.Stop()
	for working.Err() == nil {
		select {
		case <-tick.C:
		case <-working.Done():
			continue
		}
		n := int(l.begun.Add(1) - 1)
		slots <- struct{}{}
		work.Go(func() {
			// The number of a kind of things runs through all of its own variants.
			things[n%len(things)](ctx, n/len(things)+n%len(things))
			<-slots
		})
	}
	work.Wait()
	beside.Wait()
	l.CloseIdle()
	l.client.CloseIdleConnections()
	return most, errors.Join(err, ctx.Err())
}

// look keeps the most that Caddy holds.
func (l *load) look(ctx, working context.Context, show *progress) (most benchkit.Usage, err error) {
	for working.Err() == nil {
		u, err := l.site.Count(ctx)
		if err != nil {
			return most, err
		}
		if u.RSS, err = l.site.RSS(); err != nil {
			return most, err
		}
		most.Goroutines, most.Descriptors = max(most.Goroutines, u.Goroutines), max(most.Descriptors, u.Descriptors)
		most.Children, most.RSS = max(most.Children, u.Children), max(most.RSS, u.RSS)
		show.say(fmt.Sprintf("%d things, %d reloads, %d MiB resident, %d goroutines", l.begun.Load(), l.site.Done(), u.RSS>>10, u.Goroutines))
		select {
		case <-working.Done():
		case <-time.After(time.Second):
		}
	}
	return most, nil
}

// reloads loads configurations, every other one right after another.
func (l *load) reloads(ctx, working context.Context) {
	tick := time.NewTicker(l.o.reload)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-working.Done():
			return
		}
		for range 1 + n%2 {
			if err := l.site.reload(ctx); err != nil {
				l.Fail("reload", "%v", err)
			}
		}
	}
}

// death has the mortal server die in the middle of a cycle, and come back.
func (l *load) death(ctx, working context.Context) {
	wait := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-working.Done():
		}
	}
	wait(l.o.cycle / 2)
	l.site.mortal.die()
	l.Count("deaths of a server")
	wait(l.o.cycle / 10)
	if err := l.site.mortal.revive(ctx); err != nil {
		l.Fail("reviving a server", "%v", err)
	}
}

// begin begins a session of a program, which counts as failed if there is none.
func (l *load) begin(ctx context.Context) *benchkit.Session {
	s, a, err := benchkit.Begin(ctx, l.client, l.site.Site, programPath)
	if s == nil {
		l.Fail("session that does not begin", "%d %.200s %v", a.Status, a.Body, err)
		return nil
	}
	l.Count("sessions of programs")
	return s
}

// end deletes a session.
func (l *load) end(s *benchkit.Session) {
	a, err := s.Ask(context.Background(), http.MethodDelete, "")
	if err != nil || a.Status != http.StatusNoContent && a.Status != http.StatusNotFound {
		l.Fail("DELETE", "%d %.200s %v", a.Status, a.Body, err)
	}
}

// deleted is a session with calls that its client deletes.
func (l *load) deleted(ctx context.Context, _ int) {
	s := l.begin(ctx)
	if s == nil {
		return
	}
	for range 3 {
		if pid, a, err := s.Call(ctx, ""); pid != s.PID {
			l.Fail("call", "%d %.200s %v", a.Status, a.Body, err)
		}
	}
	l.end(s)
}

// left is a session that its client leaves. It ends when idle.
func (l *load) left(ctx context.Context, _ int) { l.begin(ctx) }

// dies is a session whose program dies with a request.
func (l *load) dies(ctx context.Context, _ int) {
	if s := l.begin(ctx); s != nil {
		if pid, a, err := s.Call(ctx, "die"); pid != 0 || err != nil || !a.Failed() {
			l.Fail("call that its program dies of", "%d %.200s %v", a.Status, a.Body, err)
		}
	}
}

// hangs is a session that is deleted while a request has no answer; of every other one the client
// has gone before.
func (l *load) hangs(ctx context.Context, n int) {
	s := l.begin(ctx)
	if s == nil {
		return
	}
	asking, leave := context.WithCancel(ctx)
	defer leave()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if pid, a, err := s.Call(asking, "hang"); pid != 0 || err == nil && !a.Failed() {
			l.Fail("call without an answer", "%d %.200s", a.Status, a.Body)
		}
	}()
	if n%2 == 1 {
		time.Sleep(200 * time.Millisecond)
		leave()
		<-done
	}
	l.end(s)
	<-done
}

const echo = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"text":"echoed"}}}`

// old is a session of the HTTP+SSE server, which may die. Every other one is left.
func (l *load) old(ctx context.Context, n int) {
	s, a, err := benchkit.Open(ctx, l.client, l.site.Site, oldPath)
	if s == nil {
		if err != nil || !a.Failed() {
			l.Fail("session of HTTP+SSE that does not begin", "%d %.200s %v", a.Status, a.Body, err)
		}
		return
	}
	l.Count("sessions of an HTTP+SSE server")
	if a, err := s.Ask(ctx, http.MethodPost, echo); err != nil || !strings.Contains(a.Body, "echoed") && !a.Failed() {
		l.Fail("call over HTTP+SSE", "%d %.200s %v", a.Status, a.Body, err)
	}
	if n%2 == 0 {
		l.end(s)
	}
}

const pong = `{"jsonrpc":"2.0","id":1,"result":{}}`

// mortal is a message to the server that dies.
func (l *load) mortal(ctx context.Context, _ int) {
	s := &benchkit.Session{Client: l.client, Site: l.site.Site, Path: mortalPath}
	switch a, err := s.Ask(ctx, http.MethodPost, `{"jsonrpc":"2.0","id":1,"method":"ping"}`); {
	case err == nil && a.Status == http.StatusOK && a.Body == pong:
		l.Count("answers of the server that dies")
	case err == nil && a.Failed():
		l.Count("requests to it while it was dead")
	default:
		l.Fail("message to a server that dies", "%d %.200s %v", a.Status, a.Body, err)
	}
}

// stateless is a request of a client without a session.
func (l *load) stateless(ctx context.Context, _ int) {
	const message = `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	s := &benchkit.Session{Client: l.client, Site: l.site.Site, Path: programPath, Header: http.Header{
		"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"x"},
	}}
	if a, err := s.Ask(ctx, http.MethodPost, message); err != nil || !strings.Contains(a.Body, `"pid"`) {
		l.Fail("stateless request", "%d %.200s %v", a.Status, a.Body, err)
		return
	}
	l.Count("stateless requests")
}

// upload is a client that goes in the middle of a large message.
func (l *load) upload(ctx context.Context, _ int) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.site.Site)
	if err != nil {
		l.Fail("connection", "%v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n%s",
		traffic.First, l.site.Site, strings.Repeat("x", 300_000))
	l.Count("uploads whose client went")
}

// legacy is a client of HTTP+SSE: it opens the event stream, sends a message to where the stream
// says, reads the answer, and goes.
func (l *load) legacy(ctx context.Context, _ int) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	// Around a reload, a connection may be closed before it is served.
	var err error
	for range 5 {
		if err = l.converse(ctx); err == nil {
			l.Count("sessions of HTTP+SSE clients")
			return
		}
		if !benchkit.ClosedByServer(err) {
			break
		}
	}
	l.Fail("client of HTTP+SSE", "%v", err)
}

func (l *load) converse(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.site.Site+programPath+"/sse", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	res, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	events := bufio.NewReader(res.Body)
	to, err := data(events)
	if err != nil {
		return err
	}
	// It names the whole URL, or the path.
	s := &benchkit.Session{Client: l.client, Site: l.site.Site, Path: strings.TrimPrefix(to, "http://"+l.site.Site)}
	a, err := s.Ask(ctx, http.MethodPost, `{"jsonrpc":"2.0","id":"legacy","method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`)
	if err != nil {
		return err
	}
	if a.Status != http.StatusAccepted {
		return fmt.Errorf("%d %.200s", a.Status, a.Body)
	}
	got, err := data(events)
	if err == nil && !strings.Contains(got, `"legacy"`) {
		err = fmt.Errorf("got %.200s", got)
	}
	return err
}

// data returns the data of the next event.
func data(events *bufio.Reader) (string, error) {
	for {
		line, err := events.ReadString('\n')
		if err != nil {
			return "", err
		}
		if rest, ok := strings.CutPrefix(line, "data:"); ok {
			return strings.TrimSpace(rest), nil
		}
	}
}

// flood sends tokens of users and forged ones, one right after the other.
func (l *load) flood(ctx context.Context, n int) {
	s := &benchkit.Session{Client: l.client, Site: l.site.Site, Path: loginPath}
	for i := range floodOf {
		k := n*floodOf + i
		token, want := l.tokens[k%users], http.StatusOK
		switch k % 3 {
		case 1:
			token, want = l.forger.OtherSignature(k), http.StatusUnauthorized
		case 2:
			token, want = l.forger.UnknownKey(k), http.StatusUnauthorized
		}
		s.Header = http.Header{"Authorization": {"Bearer " + token}}
		a, err := s.Ask(ctx, http.MethodPost, `{"jsonrpc":"2.0","id":"1","method":"ping"}`)
		if err != nil || a.Status != want {
			l.Fail("token", "got %d %.200s %v, want %d", a.Status, a.Body, err, want)
			return
		}
	}
	l.Count("floods of tokens")
}

// print prints what came and went.
func (l *load) print() {
	fmt.Println()
	for _, kind := range slices.Sorted(maps.Keys(l.Counts)) {
		fmt.Printf("%8d  %s\n", l.Counts[kind], kind)
	}
}

// failures returns what went wrong.
func (l *load) failures() error {
	var errs []error
	for _, kind := range slices.Sorted(maps.Keys(l.Failed)) {
		errs = append(errs, fmt.Errorf("%d times %s, first: %s", l.Failed[kind], kind, l.Firsts[kind]))
	}
	return errors.Join(errs...)
}
