package filter_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
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
		"JSON":            {200, "application/json", "", `{"a":"x"}`, `{"a":"XX"}`, 200, nil, true},
		"JSON, charset":   {200, "application/json; charset=utf-8", "", `{"a":"x"}`, `{"a":"XX"}`, 200, nil, true},
		"batch":           {200, "application/json", "", `[{"a":"x"} , {"b":"x"}]`, `[{"a":"XX"},{"b":"XX"}]`, 200, nil, true},
		"refused":         {200, "application/json", "", `{"a":"bad"}`, `{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"the answer of the server could not be read"}}`, 502, errBad, true},
		"one of a batch":  {200, "application/json", "", `[{"a":"x"},{"a":"bad"}]`, `{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"the answer of the server could not be read"}}`, 502, errBad, true},
		"too large":       {200, "application/json", "", `{"a":"` + strings.Repeat("y", limit) + `"}`, "", 502, filter.ErrTooLarge, true},
		"gzip":            {200, "application/json", "gzip", `{"a":"x"}`, "", 502, filter.ErrEncoded, true},
		"HTML":            {200, "text/html", "", `<x>`, "", 502, filter.ErrKind, true},
		"an error":        {401, "application/json", "", `{"a":"x"}`, `{"a":"x"}`, 401, nil, false},
		"accepted":        {202, "", "", "", "", 202, nil, false},
		"accepted, JSON":  {202, "application/json", "", "", "", 202, nil, true},
		"no content":      {204, "", "", "", "", 204, nil, false},
		"a 202 with it":   {202, "application/json", "", `{"a":"x"}`, `{"a":"XX"}`, 202, nil, true},
		"a 203 of events": {203, "text/event-stream", "", "data: {\"a\":\"x\"}\n\n", "data: {\"a\":\"XX\"}\n\n", 203, nil, true},
		"a 206":           {206, "application/json", "", `{"a":"bad`, "", 502, errBad, true},
		"a 202 of text":   {202, "text/plain", "", `{"a":"x"}`, "", 502, filter.ErrKind, true},
		"a 202 of gzip":   {202, "application/json", "gzip", `{"a":"x"}`, "", 502, filter.ErrEncoded, true},
		"events":          {200, "text/event-stream", "", "id: 1\ndata: {\"a\":\"x\"}\n\ndata: {}\r\n\r\n: x\n\n", "id: 1\ndata: {\"a\":\"XX\"}\n\ndata: {}\r\n\r\n: x\n\n", 200, nil, true},
		"several lines":   {200, "text/event-stream", "", "data: {\"a\":\nevent: message\ndata: \"x\"}\n\n", "event: message\ndata: {\"a\":\ndata: \"XX\"}\n\n", 200, nil, true},
		"CR":              {200, "text/event-stream", "", "data:{\"a\":\"x\"}\r\rdata: {\"a\":\"x\"}\n\n", "data: {\"a\":\"XX\"}\n\ndata: {\"a\":\"XX\"}\n\n", 200, nil, true},
		"endpoint":        {200, "text/event-stream", "", "event: endpoint\ndata: /x\n\n", "event: endpoint\ndata: /x\n\n", 200, nil, true},
		"event refused":   {200, "text/event-stream", "", "data: {\"a\":\"x\"}\n\ndata: {\"a\":\"bad\"}\n\ndata: {}\n\n", "data: {\"a\":\"XX\"}\n\n", 200, errBad, true},
		"event too long":  {200, "text/event-stream", "", "data: {}\n\ndata: " + strings.Repeat("y", limit), "data: {}\n\n", 200, filter.ErrTooLarge, true},
		"no blank line":   {200, "text/event-stream", "", "data: {}\n\ndata: {\"a\":\"x\"}\n", "data: {}\n\n", 200, nil, true},
	} {
		for _, chunk := range []int{1, 7, 1 << 10} {
			rec := httptest.NewRecorder()
			w := filter.New(rec, limit, upper, nil, []byte(`7`))
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

// E5: an error in place of an answer has no field of the server, which are about another body, and
// keeps those that were there before.
func TestErrorHasNoFieldsOfTheServer(t *testing.T) {
	for name, tc := range map[string]struct{ kind, coding, body string }{
		"a list that cannot be read": {"application/json", "", "bad"},
		"a long list":                {"application/json", "", strings.Repeat("y", 300)},
		"a compressed list":          {"application/json", "gzip", "x"},
		"a page":                     {"text/html", "", "<p>"},
		"events that are compressed": {"text/event-stream", "br", "x"},
	} {
		rec := httptest.NewRecorder()
		own := rec.Header()
		own.Set("Access-Control-Allow-Origin", "https://a.example")
		own.Set("Vary", "Origin")
		w := filter.New(rec, 200, upper, func(http.Header) {}, []byte("7"))
		h := w.Header()
		h["Content-Type"] = []string{tc.kind}
		if tc.coding != "" {
			h.Set("Content-Encoding", tc.coding)
		}
		h.Add("Vary", "Accept")
		for _, field := range []string{
			"Etag", "Last-Modified", "Content-Length", "Content-Language", "Content-Digest", "Digest", "Accept-Ranges", "Set-Cookie", "Expires", "Link",
			"Mcp-Session-Id", "Www-Authenticate", "Content-Disposition",
		} {
			h.Set(field, "1")
		}
		w.WriteHeader(200)
		_, _ = io.WriteString(w, tc.body)
		if err := w.Close(); err == nil {
			t.Errorf("%s: no error", name)
		}
		const body = `{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"the answer of the server could not be read"}}`
		want := http.Header{
			"Access-Control-Allow-Origin": {"https://a.example"}, "Vary": {"Origin"}, "Cache-Control": {"no-store"},
			"Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(rec.Body.Len())},
		}
		if got := rec.Result(); got.StatusCode != 502 || !reflect.DeepEqual(got.Header, want) || strings.TrimSpace(rec.Body.String()) != body {
			t.Errorf("%s: got %d %v %s", name, got.StatusCode, got.Header, rec.Body)
		}
	}
}

// E5: a list that is changed keeps no field that is about the bytes that the server has sent.
func TestChangedAnswerHasNoDigest(t *testing.T) {
	rec := httptest.NewRecorder()
	w := filter.New(rec, 200, upper, nil, nil)
	for _, field := range []string{"Etag", "Last-Modified", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5", "Accept-Ranges"} {
		w.Header().Set(field, "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Set-Cookie", "a=b")
	_, _ = io.WriteString(w, `{"a":"x"}`)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if want := (http.Header{"Content-Type": {"application/json"}, "Set-Cookie": {"a=b"}, "Cache-Control": {"no-store"}}); !reflect.DeepEqual(rec.Result().Header, want) {
		t.Errorf("got %v, want %v", rec.Result().Header, want)
	}
}

// G: an event that comes in small pieces is scanned once, not once for each piece: ten times
// the event is about ten times the work, not a hundred times.
func TestSlowEventIsScannedOnce(t *testing.T) {
	event := func(size int) func() {
		lines := strings.Repeat("data: 123456789012345\n", size/44) + "data: " + strings.Repeat("x", size/2)
		return func() {
			w := filter.New(httptest.NewRecorder(), 2*size, func(raw []byte) ([]byte, error) { return raw, nil }, nil, nil)
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
		w := filter.New(rec, 1<<20, func(raw []byte) ([]byte, error) { return raw, nil }, nil, nil)
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
