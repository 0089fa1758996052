package filter_test

import (
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/filter"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/cputime"
)

var errBad = errors.New("bad")

// upper changes messages with "x" and refuses those with "bad".
func upper(raw []byte) ([]byte, error) {
	if bytes.Contains(raw, []byte("bad")) {
		return nil, errBad
	}
	return bytes.ReplaceAll(raw, []byte("x"), []byte("XX")), nil
}

// E5: the messages of an answer are changed in each form, and all else stays.
func TestMessagesAreChanged(t *testing.T) {
	const limit = 200
	for name, tc := range map[string]struct {
		status         int
		kind, coding   string
		body, want     string
		wantStatus     int
		wantErr        error
		changesHeaders bool
	}{
		"JSON":           {200, "application/json", "", `{"a":"x"}`, `{"a":"XX"}`, 200, nil, true},
		"JSON, charset":  {200, "application/json; charset=utf-8", "", `{"a":"x"}`, `{"a":"XX"}`, 200, nil, true},
		"batch":          {200, "application/json", "", `[{"a":"x"} , {"b":"x"}]`, `[{"a":"XX"},{"b":"XX"}]`, 200, nil, true},
		"refused":        {200, "application/json", "", `{"a":"bad"}`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"the answer of the server could not be read"}}`, 502, errBad, true},
		"one of a batch": {200, "application/json", "", `[{"a":"x"},{"a":"bad"}]`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"the answer of the server could not be read"}}`, 502, errBad, true},
		"too large":      {200, "application/json", "", `{"a":"` + strings.Repeat("y", limit) + `"}`, "", 502, filter.ErrTooLarge, true},
		"gzip":           {200, "application/json", "gzip", `{"a":"x"}`, "", 502, filter.ErrEncoded, true},
		"HTML":           {200, "text/html", "", `<x>`, "", 502, filter.ErrKind, true},
		"an error":       {401, "application/json", "", `{"a":"x"}`, `{"a":"x"}`, 401, nil, false},
		"accepted":       {202, "", "", "", "", 202, nil, false},
		"events":         {200, "text/event-stream", "", "id: 1\ndata: {\"a\":\"x\"}\n\ndata: {}\r\n\r\n: x\n\n", "id: 1\ndata: {\"a\":\"XX\"}\n\ndata: {}\r\n\r\n: x\n\n", 200, nil, true},
		"several lines":  {200, "text/event-stream", "", "data: {\"a\":\nevent: message\ndata: \"x\"}\n\n", "event: message\ndata: {\"a\":\ndata: \"XX\"}\n\n", 200, nil, true},
		"CR":             {200, "text/event-stream", "", "data:{\"a\":\"x\"}\r\rdata: {\"a\":\"x\"}\n\n", "data: {\"a\":\"XX\"}\n\ndata: {\"a\":\"XX\"}\n\n", 200, nil, true},
		"endpoint":       {200, "text/event-stream", "", "event: endpoint\ndata: /x\n\n", "event: endpoint\ndata: /x\n\n", 200, nil, true},
		"event refused":  {200, "text/event-stream", "", "data: {\"a\":\"x\"}\n\ndata: {\"a\":\"bad\"}\n\ndata: {}\n\n", "data: {\"a\":\"XX\"}\n\n", 200, errBad, true},
		"event too long": {200, "text/event-stream", "", "data: {}\n\ndata: " + strings.Repeat("y", limit), "data: {}\n\n", 200, filter.ErrTooLarge, true},
		"no blank line":  {200, "text/event-stream", "", "data: {}\n\ndata: {\"a\":\"x\"}\n", "data: {}\n\n", 200, nil, true},
	} {
		for _, chunk := range []int{1, 7, 1 << 10} {
			rec := httptest.NewRecorder()
			w := filter.New(rec, limit, upper, nil)
			w.Header().Set("Content-Type", tc.kind)
			w.Header().Set("Etag", `"e"`)
			if tc.coding != "" {
				w.Header().Set("Content-Encoding", tc.coding)
			}
			w.WriteHeader(tc.status)
			for rest := []byte(tc.body); len(rest) > 0; {
				n := min(chunk, len(rest))
				if _, err := w.Write(rest[:n]); err != nil {
					break
				}
				_ = w.FlushError()
				rest = rest[n:]
			}
			if err := w.Close(); !errors.Is(err, tc.wantErr) {
				t.Errorf("%s: got %v; want %v", name, err, tc.wantErr)
			}
			if rec.Code != tc.wantStatus || tc.want != "" && rec.Body.String() != tc.want {
				t.Errorf("%s, %d bytes at a time: got %d %q\nwant %d %q", name, chunk, rec.Code, rec.Body, tc.wantStatus, tc.want)
			}
			if changed := rec.Header().Get("Etag") == ""; changed != tc.changesHeaders {
				t.Errorf("%s: header %v", name, rec.Header())
			}
		}
	}
}

// G: an event that comes in small pieces is scanned once, not once for each piece: ten times
// the event is about ten times the work, not a hundred times.
func TestSlowEventIsScannedOnce(t *testing.T) {
	event := func(size int) func() {
		lines := strings.Repeat("data: 123456789012345\n", size/44) + "data: " + strings.Repeat("x", size/2)
		return func() {
			w := filter.New(httptest.NewRecorder(), 2*size, func(raw []byte) ([]byte, error) { return raw, nil }, nil)
			w.Header().Set("Content-Type", "text/event-stream")
			for rest := []byte(lines); len(rest) > 0; {
				n := min(16, len(rest))
				if _, err := w.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
		}
	}
	if got := cputime.Ratio(30, event(8<<10), event(80<<10)); got > 30 {
		t.Errorf("ten times the event took %.0f times the CPU time", got)
	}
}

// E5: a stream of which nothing is removed has the events that it had, in the same order and
// byte for byte, for every division into writes.
func FuzzEvents(f *testing.F) {
	f.Add("id: 1\ndata: {\"a\":\"x\"}\n\n", 3)
	f.Add("data: {\ndata: \"x\":1}\r\n\r\n: c\n\ndata: [1]\r\r", 1)
	f.Add("\xef\xbb\xbfdata: {}\n\nretry: 5\ndata: {}\nid: 2\n\n", 2)
	f.Add("data\rdata: [0]\r\r", 1)
	f.Add("data: [ {} ,\ndata: 1 ]\n\n", 2)
	f.Fuzz(func(t *testing.T, text string, chunk int) {
		if chunk < 1 {
			return
		}
		rec := httptest.NewRecorder()
		w := filter.New(rec, 1<<20, func(raw []byte) ([]byte, error) { return raw, nil }, nil)
		w.Header().Set("Content-Type", "text/event-stream")
		for rest := text; rest != ""; {
			n := min(chunk, len(rest))
			if _, err := io.WriteString(w, rest[:n]); err != nil {
				return // a batch that cannot be read
			}
			rest = rest[n:]
		}
		if w.Close() != nil {
			return
		}
		if got, want := eventsOf(rec.Body.String()), eventsOf(text); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func eventsOf(text string) string {
	var all strings.Builder
	p := sse.Parser{Each: func(e sse.Event) error {
		all.WriteString(e.Name + "|" + e.ID + "|" + string(e.Data) + "\n")
		return nil
	}}
	_, _ = p.Write([]byte(text))
	return all.String()
}
