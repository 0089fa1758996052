package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

const (
	// Silence is how long a stream may say nothing before it counts as hanging.
	Silence = 20 * time.Second
	middle  = 12 // the last event that a stream is aborted after
)

var errSilent = errors.New("silent")

// Abort opens stream k, a quarter of them of the second endpoint where that is
// there, and leaves it. It returns false where the server left first.
func (l *Load) Abort(k int) bool {
	method := [...]string{http.MethodGet, http.MethodPost}[k%2]
	n := 1
	switch k / 2 % 3 {
	case 0:
		return l.leaveEarly(method, k/6%2 == 0)
	case 1:
		n = 2 + rand.IntN(middle-1)
	}
	return k%8 >= 6 && l.Follow(context.Background(), method, Second, n, nil) ||
		l.Follow(context.Background(), method, First, n, nil)
}

// leaveEarly leaves before there is a header: when the upstream holds the
// request, or somewhere on the way there.
func (l *Load) leaveEarly(method string, held bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	ask, leave := askStream, time.After(time.Duration(rand.IntN(3000))*time.Microsecond)
	if held {
		ask, leave = askHold, nil
	}
	a, req, _ := l.request(ctx, method, First, ask, 0)
	go func() {
		arrived := a.arrived
		if !held {
			arrived = nil
		}
		select {
		case <-arrived:
		case <-leave:
		case <-ctx.Done():
		}
		cancel()
	}()
	res, err := l.client.Do(req)
	switch {
	case err == nil && held:
		_ = res.Body.Close()
		l.Fail("answer that the upstream did not give", "%s: %s", a.id, res.Status)
	case err == nil:
		_ = res.Body.Close()
		l.Count(leftOther) // before the first event
	case errors.Is(err, context.Canceled):
		l.Count(leftBefore)
	default:
		l.unanswered(a, err)
		return false
	}
	l.up.forget(a.id)
	return true
}

// Follow opens a stream, checks its events, and leaves after n of them (0:
// when ctx ends). It keeps in fresh how many have come since the last reload.
// It returns false where the server has left first, or has no such endpoint.
func (l *Load) Follow(ctx context.Context, method, path string, n int, fresh *atomic.Int64) bool {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(Silence, func() { cancel(errSilent) })
	defer timer.Stop()
	a, req, _ := l.request(inner, method, path, askStream, 0)
	res, err := l.client.Do(req)
	switch {
	case err == nil:
	case context.Cause(inner) == errSilent:
		l.Fail("stream without a header", "%s", a.id)
		return false
	case ctx.Err() != nil:
		l.up.forget(a.id)
		return true
	default:
		l.unanswered(a, err)
		return false
	}
	defer func() { _ = res.Body.Close() }()
	l.settled(a)
	if path == Second && res.StatusCode == http.StatusNotFound {
		return false
	}
	if res.StatusCode != http.StatusOK {
		l.Fail("stream refused: "+method+" "+path, "%s of configuration %s: %s", a.id, res.Header.Get("X-Config"), res.Status)
		return false
	}
	survived, err := l.read(ctx, inner, a, res.Body, n, func() { timer.Reset(Silence) }, fresh)
	cancel(nil)
	if survived {
		l.Count(path + throughSurvived)
	}
	switch {
	case err == nil:
	case context.Cause(inner) == errSilent:
		l.Fail("stream hangs", "%s: no event for %s", a.id, Silence)
		return false
	case errors.Is(err, io.EOF):
		l.Count(path + ThroughEnded)
		return false
	default:
		l.Fail("stream broken: "+path, "%s of configuration %s: %v", a.id, res.Header.Get("X-Config"), err)
		return false
	}
	switch n {
	case 0:
	case 1:
		l.Count(leftFirst)
	default:
		l.Count(leftMiddle)
	}
	return true
}

// read reads the events of a stream. The end of ctx is no error. It reports
// whether events have come after a reload that began when the stream was open.
func (l *Load) read(ctx, inner context.Context, a *attempt, body io.Reader, n int, alive func(), fresh *atomic.Int64) (survived bool, err error) {
	r := bufio.NewReader(body)
	var opened, last, after int64
	for i := 1; n == 0 || i <= n; i++ {
		want := event(a.id, i)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil {
			if ctx.Err() != nil && context.Cause(inner) != errSilent {
				err = nil
			}
			return survived, err
		}
		if string(got) != want {
			return survived, fmt.Errorf("got event %q, want %q", got, want)
		}
		alive()
		done := l.reloads.Done()
		if i == 1 {
			opened, last = l.reloads.Begun(), done
		}
		if after++; done != last {
			last, after = done, 0
		}
		if fresh != nil {
			fresh.Store(after)
		}
		// One event may have been on its way.
		survived = survived || done > opened && after >= 1
	}
	return survived, nil
}

// Watchers are streams that stay open through all reloads.
type Watchers struct {
	l      *Load
	cancel context.CancelFunc
	wg     sync.WaitGroup
	first  []*watcher // of the first endpoint
}

type watcher struct {
	fresh atomic.Int64
	ended atomic.Bool
}

// Watch opens streams and waits until those of the first endpoint are open.
func (l *Load) Watch(ctx context.Context) (*Watchers, error) {
	w := &Watchers{l: l}
	ctx, w.cancel = context.WithCancel(ctx)
	for i := range 12 {
		method := [...]string{http.MethodGet, http.MethodPost}[i%2]
		if i >= 8 {
			w.wg.Go(func() {
				for ctx.Err() == nil && !l.Follow(ctx, method, Second, 0, nil) {
					time.Sleep(Tick / 10) // it comes with a reload
				}
			})
			continue
		}
		one := new(watcher)
		w.first = append(w.first, one)
		w.wg.Go(func() {
			l.Follow(ctx, method, First, 0, &one.fresh)
			one.ended.Store(true)
		})
	}
	return w, w.WaitFresh(ctx, 1)
}

// WaitFresh waits until each stream of the first endpoint that has not ended
// has had n events since the last reload.
func (w *Watchers) WaitFresh(ctx context.Context, n int64) error {
	return benchkit.Poll(ctx, time.Duration(n)*Tick+Silence, func() error {
		for _, one := range w.first {
			if !one.ended.Load() && one.fresh.Load() < n {
				return errors.New("a stream that was open through the reloads has no new events")
			}
		}
		return nil
	})
}

// Stop leaves the streams and returns how many of the first endpoint were
// still open.
func (w *Watchers) Stop() (open int) {
	for _, one := range w.first {
		if !one.ended.Load() {
			open++
		}
	}
	w.cancel()
	w.wg.Wait()
	return open
}
