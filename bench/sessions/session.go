package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// session is a client's.
type session struct {
	c       *caddy
	client  *http.Client
	path    string
	id      string
	pid     int
	retried int // requests sent again: the connection was closed around a reload
}

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request. One whose connection closes unanswered is sent again: the
// listener of a configuration that goes may still accept connections, and close them.
func (s *session) ask(ctx context.Context, method, body string) (a answer, err error) {
	for attempts := 0; ; attempts++ {
		var req *http.Request
		if req, err = http.NewRequestWithContext(ctx, method, "http://"+s.c.Site+s.path, strings.NewReader(body)); err != nil {
			return a, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		if s.id != "" {
			req.Header.Set("Mcp-Session-Id", s.id)
		}
		var res *http.Response
		if res, err = s.client.Do(req); err == nil {
			var raw []byte
			raw, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err == nil {
				return answer{res.StatusCode, res.Header, string(raw)}, nil
			}
		}
		if attempts == 5 || ctx.Err() != nil {
			return a, err
		}
		s.retried++
		time.Sleep(10 * time.Millisecond)
	}
}

// begin begins a session. The error is that of the request; a refusal is an answer.
func begin(ctx context.Context, c *caddy, client *http.Client, path string) (*session, answer, error) {
	s := &session{c: c, client: client, path: path}
	a, err := s.ask(ctx, http.MethodPost, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`)
	if err != nil || a.status != http.StatusOK || a.header.Get("Mcp-Session-Id") == "" {
		return nil, a, err
	}
	s.id = a.header.Get("Mcp-Session-Id")
	if a, err = s.ask(ctx, http.MethodPost, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); err != nil {
		return nil, a, err
	}
	s.pid, a, err = s.call(ctx, "")
	if err != nil || s.pid == 0 {
		return nil, a, err
	}
	return s, a, nil
}

// call asks for the number of the process; 0: the answer is none.
func (s *session) call(ctx context.Context, do string) (pid int, a answer, err error) {
	a, err = s.ask(ctx, http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"x","params":{"do":%q}}`, do))
	var m struct{ Result struct{ Pid int } }
	_ = json.Unmarshal([]byte(a.body), &m)
	return m.Result.Pid, a, err
}

// failed reports whether an answer says that a session or endpoint is over: 404, 502,
// 503, or an error as the answer to what was pending.
func (a answer) failed() bool {
	switch a.status {
	case http.StatusNotFound, http.StatusBadGateway, http.StatusServiceUnavailable:
		return true
	}
	return a.status == http.StatusOK && (strings.Contains(a.body, `"error"`) || a.body == "")
}
