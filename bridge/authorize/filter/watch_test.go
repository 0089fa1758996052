package filter_test

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/filter"
)

// E7: an answer that is only looked at crosses byte for byte with its header, and each message is
// seen before the client has all of it.
func TestWatch(t *testing.T) {
	long := strings.Repeat("y", 70<<10)
	for name, tc := range map[string]struct {
		status             int
		kind, coding, body string
		want               string // what is seen
	}{
		"JSON":             {200, "application/json", "", `{"a":"x"}`, `{"a":"x"}`},
		"batch":            {200, "application/json", "", `[{"a":"x"} ,{"b":1}]`, `{"a":"x"} {"b":1}`},
		"no JSON":          {200, "application/json", "", `{"a`, `{"a`},
		"a batch, broken":  {200, "application/json", "", `[{"a`, ""},
		"long JSON":        {200, "application/json", "", `{"a":"` + long + `"}`, ""},
		"gzip":             {200, "application/json", "gzip", `{"a":"x"}`, ""},
		"HTML":             {200, "text/html", "", `<x>`, ""},
		"an error":         {400, "application/json", "", `{"a":"x"}`, ""},
		"events":           {200, "text/event-stream", "", ": c\n\ndata: {\"a\":\ndata: 1}\r\n\r\ndata: {}\r\rdata: x\n\ndata: {\"b\"", "{\"a\":\n1} {}"},
		"long event":       {200, "text/event-stream", "", "data: {}\n\ndata: " + long + "\n\ndata: {}\n\n", "{}"},
		"endpoint":         {200, "text/event-stream", "", "event: endpoint\ndata: /x\n\n", ""},
		"event, broken":    {200, "text/event-stream", "", "data: [{\n\ndata: {}\n\n", "{}"},
		"nothing at all":   {202, "", "", "", ""},
		"JSON, accepted":   {202, "application/json", "", `{"a":"x"}`, `{"a":"x"}`},
		"events, CR alone": {200, "text/event-stream", "", "data: {}\r\r", "{}"},
	} {
		for _, chunk := range []int{1, 7, 4 << 10} {
			if chunk == 1 && len(tc.body) > 1<<10 {
				continue
			}
			rec := httptest.NewRecorder()
			var seen []string
			w := filter.Watch(rec, func(raw []byte) {
				if rec.Body.Len() >= len(tc.body) {
					t.Errorf("%s: the client has the answer before it is seen", name)
				}
				seen = append(seen, string(raw))
			}, nil)
			h := w.Header()
			h.Set("Content-Type", tc.kind)
			h.Set("Etag", `"e"`)
			h.Set("Content-Length", "7")
			if tc.coding != "" {
				h.Set("Content-Encoding", tc.coding)
			}
			w.WriteHeader(tc.status)
			for rest := tc.body; rest != ""; {
				n := min(chunk, len(rest))
				if _, err := io.WriteString(w, rest[:n]); err != nil {
					t.Fatal(err)
				}
				_ = w.FlushError()
				rest = rest[n:]
			}
			if err := w.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if rec.Code != tc.status || rec.Body.String() != tc.body || h.Get("Etag") == "" || h.Get("Content-Length") == "" || h.Get("Cache-Control") != "" {
				t.Errorf("%s, %d bytes at a time: got %d %v %.300q", name, chunk, rec.Code, h, rec.Body)
			}
			if got := strings.Join(seen, " "); got != tc.want {
				t.Errorf("%s, %d bytes at a time: saw %q, want %q", name, chunk, got, tc.want)
			}
		}
	}
}

// E7: looking at an answer changes no byte of it, for every division into writes.
func FuzzWatch(f *testing.F) {
	f.Add("id: 1\ndata: {\"a\":\"x\"}\n\n", 3, true)
	f.Add("data: {\ndata: \"x\":1}\r\n\r\n: c\n\ndata: [1]\r\r", 1, true)
	f.Add("\xef\xbb\xbfdata: {}\n\nretry: 5\ndata: {}\nid: 2", 2, true)
	f.Add("[{},1]", 2, false)
	f.Fuzz(func(t *testing.T, text string, chunk int, events bool) {
		if chunk < 1 {
			return
		}
		rec := httptest.NewRecorder()
		w := filter.Watch(rec, func([]byte) {}, nil)
		w.Header().Set("Content-Type", "application/json")
		if events {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		for rest := text; rest != ""; {
			n := min(chunk, len(rest))
			if _, err := io.WriteString(w, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil || rec.Body.String() != text {
			t.Errorf("%q becomes %q, %v", text, rec.Body, err)
		}
	})
}
