package hubtest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Staged is a backend whose upstream is a function; nothing is dialled, so that its
// time is the test's.
type Staged struct {
	Answer func(w http.ResponseWriter, r *http.Request) error
	mu     sync.Mutex
	calls  []string // method, session and last event id
}

// Detach implements [upstream.Backend].
func (b *Staged) Detach(from *http.Request) *http.Request {
	r := from.Clone(context.WithoutCancel(from.Context()))
	r.Body = http.NoBody
	return r
}

// Call implements [upstream.Backend].
func (b *Staged) Call(w http.ResponseWriter, c upstream.Call) error {
	b.mu.Lock()
	b.calls = append(b.calls, strings.TrimSpace(c.Request.Method+" "+c.Request.Header.Get("Last-Event-Id")))
	b.mu.Unlock()
	if c.Announced != nil {
		c.Announced("/messages", "")
	}
	return b.Answer(w, c.Request)
}

// Count says how many calls there were of a kind.
func (b *Staged) Count(call string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.calls {
		if c == call {
			n++
		}
	}
	return n
}

// ErrReset is what a connection that breaks reads like.
var ErrReset = errors.New("connection reset by peer")

// StreamTo answers with events and ends in some way.
func StreamTo(w http.ResponseWriter, text string, end error) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	return end
}

// Until answers with events and stays open until the call is over.
func Until(w http.ResponseWriter, r *http.Request, text string) error {
	_ = StreamTo(w, text, nil)
	<-r.Context().Done()
	return r.Context().Err()
}

// Streamable is an upstream that speaks Streamable HTTP; what it answers to calls and
// to GETs of the session's stream is the test's.
func Streamable(call, listen func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Method == http.MethodGet && r.Header.Get(mcp.SessionHeader) == "": // the probe
			w.WriteHeader(http.StatusMethodNotAllowed)
		case r.Method == http.MethodGet:
			return listen(w, r)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case strings.Contains(string(body), `"initialize"`):
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set(mcp.SessionHeader, "up")
			_, _ = io.WriteString(w, Initialized)
		case strings.Contains(string(body), `"tools/call"`):
			return call(w, r)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
		return nil
	}
}

// NoStream refuses the session's stream.
func NoStream(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusMethodNotAllowed)
	return nil
}
