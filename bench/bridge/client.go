package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// concurrency is the number of sessions that calls are made in at once.
const concurrency = 8

// callTimeout bounds one request and its answer.
const callTimeout = 30 * time.Second

const protocolVersion = "2025-06-18"

// session is one client's session at a bridge, over a connection of its own.
type session struct {
	url    string
	header http.Header
	client *http.Client
	next   int
	stream io.Closer
}

// openSession initializes a session.
func openSession(ctx context.Context, url string, header http.Header) (*session, error) {
	s := &session{url: url, header: header.Clone(), client: &http.Client{Transport: &http.Transport{}}}
	if s.header == nil {
		s.header = make(http.Header)
	}
	// It is not sent: it has the client send a message again whose connection a
	// server closes for being idle (Node.js does so after 5 s).
	s.header["X-Idempotency-Key"] = nil
	s.header.Set("Accept", "application/json, text/event-stream")
	s.header.Set("Content-Type", "application/json")
	result, id, err := s.request(ctx, `"method":"initialize","params":{"protocolVersion":"`+protocolVersion+
		`","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}`)
	switch {
	case err != nil:
		s.leave()
		return nil, err
	case id == "" || !bytes.Contains(result, []byte(protocolVersion)):
		s.leave()
		return nil, fmt.Errorf("initialize gave session %q and %s", id, result)
	}
	s.header.Set("Mcp-Session-Id", id)
	s.header.Set("Mcp-Protocol-Version", protocolVersion)
	if _, _, err := s.post(ctx, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, 0); err != nil {
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

// request sends a request and returns its result, and the session that the answer
// names.
func (s *session) request(ctx context.Context, rest string) (result json.RawMessage, id string, err error) {
	s.next++
	return s.post(ctx, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,%s}`, s.next, rest), s.next)
}

// post sends a message; want is the id of the answer, 0 for none.
func (s *session) post(ctx context.Context, body string, want int) (json.RawMessage, string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	req.Header = s.header
	res, err := s.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, "", err
	}
	if want == 0 && res.StatusCode == http.StatusAccepted {
		return nil, "", nil
	}
	if res.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("%s: %s", res.Status, got)
	}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		got = lastData(got)
	}
	var m struct {
		ID     int
		Result json.RawMessage
	}
	if err := json.Unmarshal(got, &m); err != nil || m.ID != want || m.Result == nil {
		return nil, "", fmt.Errorf("answered with %s", got)
	}
	return m.Result, res.Header.Get("Mcp-Session-Id"), nil
}

// lastData returns the data of the last event.
func lastData(events []byte) []byte {
	var data []byte
	for line := range bytes.Lines(events) {
		if rest, ok := bytes.CutPrefix(line, []byte("data:")); ok && len(bytes.TrimSpace(rest)) > 0 {
			data = bytes.TrimSpace(rest)
		}
	}
	return data
}

// call calls the tool.
func (s *session) call(ctx context.Context) error {
	text := fmt.Sprintf("call %d of a short text", s.next)
	result, _, err := s.request(ctx, `"method":"tools/call","params":{"name":"echo","arguments":{"text":"`+text+`"}}`)
	if err == nil && !bytes.Contains(result, []byte(`"`+text+`"`)) {
		err = fmt.Errorf("the tool answered %s", result)
	}
	return err
}

// listen opens the session's GET stream.
func (s *session) listen(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	req.Header = s.header.Clone()
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Del("Content-Type")
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return fmt.Errorf("GET: %s", res.Status)
	}
	s.stream = res.Body
	go func() { _, _ = bufio.NewReader(res.Body).WriteTo(io.Discard) }()
	return nil
}

// close ends the session at the bridge.
func (s *session) close(ctx context.Context) {
	defer s.leave()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, s.url, nil)
	if err != nil {
		return
	}
	req.Header = s.header
	if res, err := s.client.Do(req); err == nil {
		_ = res.Body.Close()
	}
}

func (s *session) leave() {
	if s.stream != nil {
		_ = s.stream.Close()
	}
	s.client.CloseIdleConnections()
}

// makeCalls makes n calls, or, where n is 0, calls until the time is over, in all
// sessions in turn, of which concurrency at once.
func makeCalls(ctx context.Context, sessions []*session, n int, until time.Time) error {
	var made atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, concurrency)
	for i := range min(concurrency, len(sessions)) {
		wg.Go(func() {
			for at := i; ctx.Err() == nil; at += concurrency {
				if n > 0 && made.Add(1) > int64(n) || n == 0 && time.Now().After(until) {
					return
				}
				if at >= len(sessions) {
					at = i
				}
				if err := sessions[at].call(ctx); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(append(all, ctx.Err())...)
}
