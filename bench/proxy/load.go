package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// answerTimeout bounds one request and its answer.
const answerTimeout = 30 * time.Second

// load sends requests over a fixed number of keep-alive connections.
type load struct {
	clients [concurrency]client
}

// newLoad returns a load for what listens on an address; through is its configuration.
func newLoad(addr string, through int) *load {
	l := new(load)
	for i := range l.clients {
		l.clients[i].addr, l.clients[i].through = addr, through
		l.clients[i].buf = make([]byte, 64<<10)
	}
	return l
}

func (l *load) close() {
	for i := range l.clients {
		l.clients[i].close()
	}
}

// tally counts what became of requests of one case.
type tally struct {
	sent, short, failed int
	retried             int // on a new connection, for the old one was closed
	first               error
}

func (t *tally) add(o tally) {
	t.sent += o.sent
	t.short += o.short
	t.failed += o.failed
	t.retried += o.retried
	if t.first == nil {
		t.first = o.first
	}
}

// run sends n requests, in turn of each case, and returns a tally for each.
func (l *load) run(ctx context.Context, cases []*testCase, n int) []tally {
	tallies := make([]tally, len(cases))
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	for i := range l.clients {
		wg.Go(func() {
			own := make([]tally, len(cases))
			for ctx.Err() == nil {
				k := next.Add(1) - 1
				if k >= int64(n) {
					break
				}
				which := int(k % int64(len(cases)))
				var one tally
				l.clients[i].send(cases[which], &one)
				if ctx.Err() == nil { // else it was under way when the servers were ended
					own[which].add(one)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for j := range own {
				tallies[j].add(own[j])
			}
		})
	}
	wg.Wait()
	return tallies
}

// client is one connection.
type client struct {
	addr    string
	through int // the configuration
	conn    net.Conn
	r       *bufio.Reader
	reused  bool
	buf     []byte
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

var (
	errShort  = errors.New("short answer")
	errClosed = errors.New("connection was closed before the answer")
)

// send sends a request and counts what comes.
func (c *client) send(tc *testCase, t *tally) {
	t.sent++
	err := c.exchange(tc, nil)
	if errors.Is(err, errClosed) && c.reused {
		// A server may close an idle connection at any time; clients
		// send the request again.
		t.retried++
		c.close()
		err = c.exchange(tc, nil)
	}
	if err == nil {
		return
	}
	c.close()
	if errors.Is(err, errShort) {
		t.short++
	} else {
		t.failed++
	}
	if t.first == nil {
		t.first = err
	}
}

// exchange sends a request and reads the answer. Its body is given to whole,
// if there is one.
func (c *client) exchange(tc *testCase, whole func(*http.Response, []byte) error) error {
	c.reused = c.conn != nil
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			return err
		}
		c.conn, c.r = conn, bufio.NewReaderSize(conn, 32<<10)
	}
	_ = c.conn.SetDeadline(time.Now().Add(answerTimeout))
	written := c.write(tc)
	res, err := c.read(tc, whole)
	if err != nil {
		c.close() // ends the write
	}
	if writeErr := written(); err == nil && (writeErr != nil || res.Close) {
		c.close() // the answer is whole, but nothing can follow it
	}
	return err
}

// uploadPause is how long a large request pauses in the middle, as on a slow
// line.
const uploadPause = 2 * time.Millisecond

// write sends the request; a large one while the answer is read, which may
// come first. The function that it returns waits for the end.
func (c *client) write(tc *testCase) func() error {
	conn, request := c.conn, tc.next(c.through)
	if !tc.large {
		_, err := conn.Write(request)
		return func() error { return err }
	}
	done := make(chan error, 1)
	go func() {
		half := len(request) / 2
		_, err := conn.Write(request[:half])
		if err == nil {
			time.Sleep(uploadPause)
			_, err = conn.Write(request[half:])
		}
		done <- err
	}()
	return func() error { return <-done }
}

func (c *client) read(tc *testCase, whole func(*http.Response, []byte) error) (*http.Response, error) {
	if _, err := c.r.Peek(1); err != nil {
		return nil, fmt.Errorf("%w: %w", errClosed, err)
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if whole != nil {
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errShort, err)
		}
		return res, whole(res, body)
	}
	n := 0
	for {
		m, err := res.Body.Read(c.buf)
		n += m
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %d bytes, then %w", errShort, n, err)
		}
	}
	want := len(tc.wanted(c.through))
	switch {
	case res.StatusCode != tc.status:
		return nil, fmt.Errorf("got status %d, want %d", res.StatusCode, tc.status)
	case n < want:
		return nil, fmt.Errorf("%w: %d of %d bytes", errShort, n, want)
	case n > want:
		return nil, fmt.Errorf("got %d bytes, want %d", n, want)
	}
	return res, nil
}

// verify compares one answer in full.
func (t *target) verify(tc *testCase) error {
	c := &client{addr: t.addr, through: t.index}
	defer c.close()
	return c.exchange(tc, func(res *http.Response, body []byte) error {
		return tc.check(t.index, res, body)
	})
}
