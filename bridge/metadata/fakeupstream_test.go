package metadata

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// fakeUpstream is a Fetch with an answer for each "METHOD origin+target". Any other POST
// is answered with a bare challenge, and all else with 404. Its methods may be called from several goroutines at once.
type fakeUpstream struct {
	answers map[string]FetchResponse
	fail    map[string]error
	before  func(context.Context, FetchRequest) // called first
	answer  func(FetchRequest) FetchResponse    // in place of answers

	mu    sync.Mutex
	asked []FetchRequest
}

func (u *fakeUpstream) fetch(ctx context.Context, req FetchRequest) (FetchResponse, error) {
	u.mu.Lock()
	u.asked = append(u.asked, req)
	u.mu.Unlock()
	if u.before != nil {
		u.before(ctx, req)
	}
	if ctx.Err() != nil {
		return FetchResponse{}, ctx.Err()
	}
	name := requestName(req)
	if err := u.fail[name]; err != nil {
		return FetchResponse{}, err
	}
	if u.answer != nil {
		return u.answer(req), nil
	}
	if res, ok := u.answers[name]; ok {
		return res, nil
	}
	if req.Method == http.MethodPost {
		return challenged("Bearer"), nil
	}
	return FetchResponse{Status: http.StatusNotFound}, nil
}

func requestName(req FetchRequest) string { return req.Method + " " + req.Origin + req.Path }

// received returns the requests so far. A background discovery may add more meanwhile, so
// tests do not read the field.
func (u *fakeUpstream) received() []FetchRequest {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.asked)
}

func (u *fakeUpstream) requests() []string {
	var names []string
	for _, req := range u.received() {
		names = append(names, requestName(req))
	}
	return names
}

func (u *fakeUpstream) count() int { return len(u.requests()) }

// log collects events. Its methods may be called from several goroutines.
type log struct {
	mu     sync.Mutex
	events []Event
}

func (l *log) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *log) all() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

func (l *log) kinds() []EventKind {
	var kinds []EventKind
	for _, e := range l.all() {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// challengeMetadata takes a line for the URL that it names.
func challengeMetadata(lines []string) (string, bool) {
	for _, line := range lines {
		if raw, ok := strings.CutPrefix(line, "URL "); ok {
			return raw, true
		}
	}
	return "", false
}

func doc(body string) FetchResponse {
	return FetchResponse{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}
}

func media(contentType string) FetchResponse {
	res := doc(upstreamDoc)
	res.Header.Set("Content-Type", contentType)
	return res
}

// packed is a document in gzip.
func packed(body string) FetchResponse {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, body)
	_ = w.Close()
	res := doc(b.String())
	res.Header.Set("Content-Encoding", "gzip")
	return res
}

// page is what a site answers every path with.
var page = FetchResponse{Status: 200, Header: http.Header{"Content-Type": {"text/html"}}, Body: []byte("<!doctype html>")}

func only(status int) FetchResponse { return FetchResponse{Status: status} }

func challenged(lines ...string) FetchResponse {
	return FetchResponse{Status: 401, Header: http.Header{"Www-Authenticate": lines}}
}

func redirect(status int, location string) FetchResponse {
	return FetchResponse{Status: status, Header: http.Header{"Location": {location}}, SentHost: "sent.example:8080"}
}

type answers = map[string]FetchResponse
