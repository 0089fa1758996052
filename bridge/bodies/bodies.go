// Package bodies reads request bodies that have to be in memory as a whole, and bounds how much
// memory those of all requests take together.
package bodies

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

const (
	// Small is how many bytes of each body are read without a look at other requests.
	Small = 64 << 10
	// waitWithin bounds how long a request waits for room.
	waitWithin = 10 * time.Second
	// slowest is how many bytes a second a client that takes room has to send, on average and
	// after startWithin: whoever takes room may keep others waiting.
	slowest     = 16 << 10
	startWithin = 30 * time.Second
)

// How much room there is, as a multiple of the longest body: for the clients of one endpoint that are
// known, by a session or by their credentials, and in [Strangers].
const (
	TimesKnown     = 16
	TimesStrangers = 8
)

var (
	// ErrNoRoom says that other bodies take all the room. The client may try again.
	ErrNoRoom = errors.New("there is no room for the body now")
	// ErrSlow says that the client sends its body too slowly.
	ErrSlow = errors.New("the body arrives too slowly")
)

// Strangers is the room for the bodies of unknown clients. All endpoints share it, because they share
// the memory of the process.
var Strangers Room

// Room is memory for bodies that are not small. The zero value is ready.
type Room struct {
	mu    sync.Mutex
	used  int64
	freed chan struct{} // closed when there may be room; nil if nobody waits
}

// Used returns how many bytes are taken.
func (m *Room) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// take takes n bytes of room of which there are limit. It waits for others to leave.
func (m *Room) take(ctx context.Context, n, limit int64) error {
	ctx, cancel := context.WithTimeout(ctx, waitWithin)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.used+n > limit {
		if m.freed == nil {
			m.freed = make(chan struct{})
		}
		freed := m.freed
		m.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
		}
		m.mu.Lock()
		if ctx.Err() != nil {
			return ErrNoRoom
		}
	}
	m.used += n
	return nil
}

func (m *Room) leave(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= n
	if m.freed != nil {
		close(m.freed)
		m.freed = nil
	}
}

// Read reads the body of a request, of at most most bytes. What is longer than [Small] takes room as
// it arrives, of which there is times most, until the context of the request ends.
//
// The error is [record.ErrBodyTooLarge], also for an announced length; [ErrNoRoom] after ten seconds;
// [ErrSlow] below 16 KiB a second, after 30 seconds; or that of reading. w is where the answer is
// written to.
func (m *Room) Read(w http.ResponseWriter, r *http.Request, most, times int) ([]byte, error) {
	body, rest, err := Begin(r, most)
	if err != nil || !rest {
		return body, err
	}
	return m.Finish(w, r, body, most, times)
}

// Begin reads the body of a request if it is [Small]. rest is true if it is not: then body is its
// beginning.
func Begin(r *http.Request, most int) (body []byte, rest bool, err error) {
	if r.ContentLength > int64(most) {
		return nil, false, record.ErrBodyTooLarge
	}
	body, err = io.ReadAll(io.LimitReader(r.Body, int64(min(Small, most))+1))
	switch {
	case err != nil:
		return nil, false, err
	case len(body) > most:
		return nil, false, record.ErrBodyTooLarge
	}
	return body, len(body) > Small, nil
}

// Finish reads the rest of a body that [Begin] has begun, as [Room.Read] does.
func (m *Room) Finish(w http.ResponseWriter, r *http.Request, body []byte, most, times int) ([]byte, error) {
	ctx, control, start, held := r.Context(), http.NewResponseController(w), time.Now(), 0
	if !bounded(r) {
		defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	}
	for {
		if size := cap(body); held < size || len(body) == size {
			if len(body) == size {
				size = min(2*size, most+1)
				if all := r.ContentLength + 1; all > int64(len(body)) {
					size = min(size, int(all))
				}
			}
			taken := int64(size - held)
			if err := m.take(ctx, taken, int64(times)*int64(most)); err != nil {
				return nil, err
			}
			context.AfterFunc(ctx, func() { m.leave(taken) })
			if held = size; held > cap(body) {
				body = append(make([]byte, 0, size), body...)
			}
		}
		if !bounded(r) {
			_ = control.SetReadDeadline(start.Add(startWithin + time.Duration(len(body)/slowest)*time.Second))
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case len(body) > most:
			return nil, record.ErrBodyTooLarge
		case err == io.EOF:
			return body, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, ErrSlow
		case err != nil:
			return nil, err
		}
	}
}

// bounded reports whether the operator has bounded how long requests take to arrive (`read_body`
// of Caddy).
func bounded(r *http.Request) bool {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	return ok && server.ReadTimeout > 0
}
