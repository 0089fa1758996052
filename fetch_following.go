package mcpauthbridge

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// fetchFollowing is fetch for a middleware: it asks the handlers that follow. They
// are known once a request has come by.
func (h *Handler) fetchFollowing(ctx context.Context, fr metadata.FetchRequest) (metadata.FetchResponse, error) {
	if fr.Origin != "" { // there is no transport to another place
		return metadata.FetchResponse{Status: http.StatusNotFound}, nil
	}
	next := h.follows.Load()
	if next == nil {
		return metadata.FetchResponse{}, errors.New("no request came by yet")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := h.newRequest(ctx, fr)
	if err != nil {
		return metadata.FetchResponse{}, err
	}
	w := &answerWriter{header: make(http.Header), limit: fr.MaxBody, enough: cancel}
	err = serveFollowing(*next, w, r)
	got := w.answer(r.Host)
	switch {
	case got.Status != 0:
		return got, nil
	case err != nil && errorStatus(err) < http.StatusInternalServerError:
		return metadata.FetchResponse{Status: errorStatus(err), Header: w.header, SentHost: r.Host}, nil
	case err != nil:
		return metadata.FetchResponse{}, err
	}
	return metadata.FetchResponse{Status: http.StatusNotFound, SentHost: r.Host}, nil // nobody answers
}

// serveFollowing serves a request; a proxy panics where its answer is cut off.
func serveFollowing(next caddyhttp.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // a panic's value
				panic(p)
			}
			err = http.ErrAbortHandler
		}
	}()
	return next.ServeHTTP(w, r)
}

// errEnough ends an answer of which no more is wanted.
var errEnough = errors.New("no more is wanted")

// answerWriter keeps an answer, and of its body limit bytes at most.
type answerWriter struct {
	header http.Header
	limit  int64
	enough func()

	mu  sync.Mutex
	got metadata.FetchResponse
}

// Header implements http.ResponseWriter.
func (w *answerWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *answerWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.got.Status != 0 || status < 200 {
		return
	}
	w.got.Status, w.got.Header = status, w.header.Clone()
	if w.limit <= 0 {
		w.enough()
	}
}

// Write implements http.ResponseWriter.
func (w *answerWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit <= 0 {
		return 0, errEnough
	}
	if int64(len(w.got.Body)+len(p)) > w.limit {
		w.got.TooLarge, w.got.Body = true, nil
		w.limit = 0
		w.enough()
		return 0, errEnough
	}
	w.got.Body = append(w.got.Body, p...)
	return len(p), nil
}

// answer returns what came of an answer for host.
func (w *answerWriter) answer(host string) metadata.FetchResponse {
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.got
	got.SentHost = host
	return got
}
