package hubtest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Reports is an observer that keeps what a server sends that is not a message, or answers no
// request.
type Reports struct {
	servers.Unobserved

	mu  sync.Mutex
	all []upstream.Unmatched
}

// Warnings is an observer that keeps what an operator should see.
type Warnings struct {
	servers.Unobserved

	mu  sync.Mutex
	all []string
}

// Warned implements [servers.Observer].
func (w *Warnings) Warned(msg, cause string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, msg+": "+cause)
}

// All returns what was told, as message and cause.
func (w *Warnings) All() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// Unmatched implements [servers.Observer].
func (r *Reports) Unmatched(u upstream.Unmatched) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, u)
}

// Took returns what was told since, as odd/fate.
func (r *Reports) Took() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.all {
		all = append(all, string(u.Odd)+"/"+string(u.Fate))
	}
	r.all = nil
	return all
}

// Waiting is a POST under way.
type Waiting struct {
	done chan *httptest.ResponseRecorder
	Got  *httptest.ResponseRecorder
}

// StartPost posts a message, and returns when nothing moves.
func StartPost(t *testing.T, h http.Handler, session, body string) *Waiting {
	t.Helper()
	p := &Waiting{done: make(chan *httptest.ResponseRecorder, 1)}
	go func() { p.done <- Direct(t.Context(), h, "POST", session, body) }()
	synctest.Wait()
	return p
}

// Body is what the client got so far; empty: it waits.
func (p *Waiting) Body() string {
	synctest.Wait()
	if p.Got == nil {
		select {
		case p.Got = <-p.done:
		default:
			return ""
		}
	}
	return p.Got.Body.String()
}

// InitResult is the result of initialize, as a member of an answer.
const InitResult = `"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}`

// Mute is a server that says what is known of its silence.
type Mute struct{ *Scripted }

// Silence says what is known of its silence.
func (Mute) Silence() string { return "it wrote nothing" }
