package hubtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
)

// Ask is a stateless request; params are members of params but _meta.
func Ask(id, method, params string, meta ...string) string {
	inner := `"` + mcp.MetaVersion + `":"2026-07-28","` + mcp.MetaCapabilities + `":{"elicitation":{},"roots":{}}`
	for _, m := range meta {
		inner += "," + m
	}
	if params != "" {
		params += ","
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":{%s"_meta":{%s}}}`, id, method, params, inner)
}

// Pending is a request under way.
type Pending struct {
	*httptest.ResponseRecorder
	Leave context.CancelFunc
	Done  chan struct{}
}

// Send posts a stateless request, with the fields that its body wants.
func Send(t *testing.T, h http.Handler, body string, header ...string) *Pending {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://h/", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	var m struct {
		Method string
		Params struct{ Name, URI string }
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Mcp-Method", m.Method)
	if name := m.Params.Name + m.Params.URI; name != "" {
		req.Header.Set("Mcp-Name", mcp.EncodeField(name))
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Del(header[i])
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	p := &Pending{httptest.NewRecorder(), cancel, make(chan struct{})}
	go func() {
		defer close(p.Done)
		h.ServeHTTP(p, req)
	}()
	return p
}

// Messages returns what a client has been sent so far. It is for when nothing moves.
func (p *Pending) Messages() (all []string) {
	synctest.Wait()
	body := p.Body.String()
	if p.Header().Get("Content-Type") != "text/event-stream" {
		if body == "" {
			return nil
		}
		return []string{body}
	}
	for _, e := range strings.Split(body, "\n\n") {
		if _, data, ok := strings.Cut(e, "event: message\ndata: "); ok {
			all = append(all, data)
		}
	}
	return all
}

// Over reports whether the answer is complete. It is for when nothing moves.
func (p *Pending) Over() bool {
	synctest.Wait()
	select {
	case <-p.Done:
		return true
	default:
		return false
	}
}

// Wants fails where a client was not sent just these messages, or not with the status.
func (p *Pending) Wants(t *testing.T, status int, want ...string) {
	t.Helper()
	got := p.Messages()
	if len(got) != len(want) || p.Code != status {
		t.Fatalf("got %d %q, want %d %q", p.Code, got, status, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

// InputOf returns what a client is asked for, by key, and the state to come back with.
func InputOf(t *testing.T, p *Pending) (requests map[string]json.RawMessage, state string) {
	t.Helper()
	all := p.Messages()
	if len(all) == 0 {
		t.Fatal("the client got nothing")
	}
	var got struct {
		Result struct {
			ResultType    string
			InputRequests map[string]json.RawMessage
			RequestState  string
		}
	}
	last := all[len(all)-1]
	if err := json.Unmarshal([]byte(last), &got); err != nil || got.Result.ResultType != "input_required" || got.Result.RequestState == "" || !p.Over() {
		t.Fatalf("the client got %s", last)
	}
	return got.Result.InputRequests, got.Result.RequestState
}

// Get opens a session's own stream.
func Get(t *testing.T, h http.Handler, id string) *Pending {
	t.Helper()
	return open(t, h, http.MethodGet, id, "")
}

// Post sends a request in a session.
func Post(t *testing.T, h http.Handler, id, body string) *Pending {
	t.Helper()
	return open(t, h, http.MethodPost, id, body)
}

func open(t *testing.T, h http.Handler, method, id, body string) *Pending {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, method, "http://h/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if id != "" {
		r.Header.Set("Mcp-Session-Id", id)
	}
	p := &Pending{httptest.NewRecorder(), cancel, make(chan struct{})}
	go func() {
		defer close(p.Done)
		h.ServeHTTP(p, r)
	}()
	synctest.Wait()
	return p
}

// IDsOf returns the ids of the server's requests that a client has been sent, by their
// methods.
func IDsOf(t *testing.T, c *Pending) map[string]string {
	t.Helper()
	ids := make(map[string]string)
	for _, raw := range c.Messages() {
		var m struct {
			ID     json.RawMessage
			Method string
		}
		if json.Unmarshal([]byte(raw), &m) == nil && m.Method != "" && m.ID != nil {
			ids[m.Method] = string(m.ID)
		}
	}
	return ids
}
