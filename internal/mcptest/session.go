package mcptest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Session is a client with a session over Streamable HTTP, without an SDK. It is the client of
// tests that look at programs. [Caller] is for tests of servers that judge tokens, and also
// speaks HTTP+SSE and 2026-07-28. [LiteralClient] writes request lines that net/http would
// change. [RawClient] and [LoneClient] have whole conversations with one server each.
type Session struct {
	T       *testing.T
	c       *http.Client
	url, ID string
	n       int
}

// NewSession returns a client that has no session yet.
func NewSession(t *testing.T, c *http.Client, url string) *Session {
	return &Session{T: t, c: c, url: url}
}

// Post posts a message within the session, if there is one.
func (s *Session) Post(body string) Answer {
	s.T.Helper()
	r := NewRequest(s.T, "POST", s.url, body)
	if s.ID != "" {
		r.Header.Set("Mcp-Session-Id", s.ID)
	}
	return Do(s.T, s.c, r)
}

// Ask sends a request with an id and fails the test if there is no answer with this id. It
// reports whether the answer is a result. The method initialize begins the session.
func (s *Session) Ask(id, method string) (ok bool) {
	s.T.Helper()
	got := s.Post(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	if method == "initialize" {
		s.ID = got.Header.Get("Mcp-Session-Id")
	}
	if !strings.Contains(got.Body, `"id":`+id+`,`) || strings.Contains(got.Body, `"result"`) == strings.Contains(got.Body, `"error"`) {
		s.T.Errorf("%s %s: got %d %s", method, id, got.Status, got.Body)
	}
	return strings.Contains(got.Body, `"result"`)
}

// InitializeAs returns an initialize request of a client with a name.
func InitializeAs(name string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":%q,"version":"1"}}}`, name)
}

// BeginAs initializes a session as a client with a name.
func BeginAs(t *testing.T, c *http.Client, url, name string) *Session {
	t.Helper()
	s := NewSession(t, c, url)
	got := s.Post(InitializeAs(name))
	if s.ID = got.Header.Get("Mcp-Session-Id"); got.Status != 200 || s.ID == "" {
		t.Fatalf("initialize as %q: %d %s", name, got.Status, got.Body)
	}
	s.Post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return s
}

// Call calls the tool "do" of a program. The answer may be of any kind.
func (s *Session) Call(what string, n int) Answer {
	s.T.Helper()
	s.n++
	return s.Post(fmt.Sprintf(
		`{"jsonrpc":"2.0","id":"c%d","method":"tools/call","params":{"name":"do","_meta":{"progressToken":"t"},"arguments":{"do":%q,"n":%d}}}`, s.n, what, n))
}

// End deletes the session.
func (s *Session) End() {
	s.T.Helper()
	if got := Do(s.T, s.c, NewRequest(s.T, "DELETE", s.url, "", "Mcp-Session-Id", s.ID)); got.Status != 204 && got.Status != 404 {
		s.T.Errorf("DELETE: %d %s", got.Status, got.Body)
	}
}

// Text returns the text of a call's result, and whether the call failed.
func (s *Session) Text(a Answer) (text string, failed bool) {
	s.T.Helper()
	body := a.Body
	if i := strings.LastIndex(body, `data: {"jsonrpc":"2.0","id":"c`); i >= 0 {
		body = body[i+len("data: "):]
	}
	var m struct {
		ID     string
		Result *struct{ Content []struct{ Text string } }
		Error  *struct{ Code int }
	}
	line, _, _ := strings.Cut(body, "\n")
	if err := json.Unmarshal([]byte(line), &m); err != nil || m.ID != fmt.Sprintf("c%d", s.n) || (m.Result == nil) == (m.Error == nil) {
		s.T.Fatalf("call %d got %d %.300s (%v)", s.n, a.Status, a.Body, err)
	}
	if m.Error != nil {
		return "", true
	}
	return m.Result.Content[0].Text, false
}
