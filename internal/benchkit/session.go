package benchkit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"
)

// Session is a client's session of Streamable HTTP.
type Session struct {
	Client *http.Client
	Site   string // its address
	Path   string // of the endpoint
	ID     string
	PID    int // of the program, see Program
	// Header has further fields of each request.
	Header http.Header
	// Retried counts requests that were sent again: the connection was closed around a reload.
	Retried int
}

// Answer is what came of a request.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Ask sends a request. One whose connection closes unanswered is sent again: the
// listener of a configuration that goes may still accept connections, and close them.
func (s *Session) Ask(ctx context.Context, method, body string) (a Answer, err error) {
	for attempts := 0; ; attempts++ {
		var req *http.Request
		if req, err = http.NewRequestWithContext(ctx, method, "http://"+s.Site+s.Path, strings.NewReader(body)); err != nil {
			return a, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		maps.Copy(req.Header, s.Header)
		if s.ID != "" {
			req.Header.Set("Mcp-Session-Id", s.ID)
		}
		var res *http.Response
		if res, err = s.Client.Do(req); err == nil {
			var raw []byte
			raw, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err == nil {
				return Answer{res.StatusCode, res.Header, string(raw)}, nil
			}
		}
		if attempts == 5 || ctx.Err() != nil {
			return a, err
		}
		s.Retried++
		time.Sleep(10 * time.Millisecond)
	}
}

// Open begins a session: initialize, and the notification after it. The error is that of a
// request; a refusal is an answer, without a session.
func Open(ctx context.Context, client *http.Client, site, path string) (*Session, Answer, error) {
	s := &Session{Client: client, Site: site, Path: path}
	a, err := s.Ask(ctx, http.MethodPost, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`)
	if err != nil || a.Status != http.StatusOK || a.Header.Get("Mcp-Session-Id") == "" {
		return nil, a, err
	}
	s.ID = a.Header.Get("Mcp-Session-Id")
	if a, err = s.Ask(ctx, http.MethodPost, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); err != nil {
		return nil, a, err
	}
	return s, a, nil
}

// Begin is Open for a Program, which it asks for its number.
func Begin(ctx context.Context, client *http.Client, site, path string) (*Session, Answer, error) {
	s, a, err := Open(ctx, client, site, path)
	if s == nil {
		return nil, a, err
	}
	s.PID, a, err = s.Call(ctx, "")
	if err != nil || s.PID == 0 {
		return nil, a, err
	}
	return s, a, nil
}

// Call has a Program do something, and returns the number in its answer; 0: there is none.
func (s *Session) Call(ctx context.Context, do string) (pid int, a Answer, err error) {
	a, err = s.Ask(ctx, http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"x","params":{"do":%q}}`, do))
	var m struct{ Result struct{ Pid int } }
	_ = json.Unmarshal([]byte(a.Body), &m)
	return m.Result.Pid, a, err
}

// Failed reports whether an answer says that a session or endpoint is over: 404, 502,
// 503, or an error as the answer to what was pending.
func (a Answer) Failed() bool {
	switch a.Status {
	case http.StatusNotFound, http.StatusBadGateway, http.StatusServiceUnavailable:
		return true
	}
	return a.Status == http.StatusOK && (strings.Contains(a.Body, `"error"`) || a.Body == "")
}
