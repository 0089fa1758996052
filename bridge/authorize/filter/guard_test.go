package filter_test

import (
	"errors"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/filter"
)

// words are those of answers that have to be read.
var words = []string{`"tools"`, `"x"`}

// E5: an answer that has none of the words crosses byte for byte with its header, also if nobody
// could read it. One that has a word is changed, or it is refused.
func TestGuard(t *testing.T) {
	const limit = 200
	long := strings.Repeat("y", 2*limit)
	for name, tc := range map[string]struct {
		status             int
		kind, coding, body string
		want               string // "" if nothing is changed
		err                error
	}{
		"JSON":                      {200, "application/json", "", `{"a":"y x"}`, "", nil},
		"JSON with a word":          {200, "application/json", "", `{"a":"x"}`, `{"a":"XX"}`, nil},
		"batch":                     {200, "application/json", "", `[{"a":"y"} ,{"b":1}]`, "", nil},
		"batch with a word":         {200, "application/json", "", `[{"a":"x"} ,{"b":1}]`, `[{"a":"XX"},{"b":1}]`, nil},
		"refused":                   {200, "application/json", "", `{"tools":"bad"}`, "502", errBad},
		"bad without a word":        {200, "application/json", "", `{"a":"bad"}`, "", nil},
		"a word, unchanged":         {200, "application/json", "", `{"tools": []}`, "", nil},
		"long JSON":                 {200, "application/json", "", `{"a":"` + long + `"}`, "", nil},
		"long JSON, a word first":   {200, "application/json", "", `{"tools":"` + long + `"}`, "502", filter.ErrTooLarge},
		"long JSON, a word later":   {200, "application/json", "", `{"a":"` + long + `","tools":[1,2]}`, "cut", filter.ErrTooLarge},
		"gzip":                      {200, "application/json", "gzip", `{"a":"y"}`, "502", filter.ErrEncoded},
		"HTML":                      {200, "text/html", "", `<x>`, "", nil},
		"HTML with a word":          {200, "text/html", "", `<"tools" bad>`, "502", errBad},
		"plain text that is JSON":   {200, "text/plain", "", `{"a":"x"}`, `{"a":"XX"}`, nil},
		"accepted":                  {202, "text/plain", "", `Accepted`, "", nil},
		"an error":                  {400, "application/json", "", `{"a":"x"}`, "", nil},
		"nothing at all":            {202, "", "", "", "", nil},
		"events":                    {200, "text/event-stream", "", ": c\n\ndata: {\"a\":\ndata: 1}\r\n\r\ndata: {bad}\r\rdata: q\n\ndata: {\"b\"", "", nil},
		"events with a word":        {200, "text/event-stream", "", "data: {bad}\n\nid: 3\ndata: {\"a\":\"x\"}\n\ndata: {}\n\n", "data: {bad}\n\nid: 3\ndata: {\"a\":\"XX\"}\n\ndata: {}\n\n", nil},
		"an event is refused":       {200, "text/event-stream", "", "data: {}\n\ndata: {\"x\":bad}\n\ndata: {}\n\n", "data: {}\n\n", errBad},
		"long event":                {200, "text/event-stream", "", "data: {}\n\ndata: " + long + "\n\ndata: {}\n\n", "", nil},
		"long event, a word":        {200, "text/event-stream", "", "data: {}\n\ndata: \"x\"" + long + "\n\ndata: {}\n\n", "data: {}\n\n", filter.ErrTooLarge},
		"a word after a long event": {200, "text/event-stream", "", "data: {}\n\ndata: " + long + "\n\ndata: {\"tools\":[]}\n\n", "cut", filter.ErrTooLarge},
		"a word, cut off":           {200, "text/event-stream", "", "data: {}\n\ndata: {\"x\"", "data: {}\n\n", nil},
		"endpoint":                  {200, "text/event-stream", "", "event: endpoint\ndata: /x\n\n", "", nil},
	} {
		for _, chunk := range []int{1, 3, 7, 150, 4 << 10} {
			if events := tc.kind == "text/event-stream"; events && tc.err == filter.ErrTooLarge && chunk > limit {
				continue // an event that is there at once is not too large
			}
			rec := httptest.NewRecorder()
			w := filter.Guard(rec, limit, words, upper, nil, []byte("7"))
			h := w.Header()
			h.Set("Content-Type", tc.kind)
			h.Set("Etag", `"e"`)
			if tc.coding != "" {
				h.Set("Content-Encoding", tc.coding)
			}
			w.WriteHeader(tc.status)
			for rest := tc.body; rest != ""; {
				n := min(chunk, len(rest))
				if _, err := io.WriteString(w, rest[:n]); err != nil {
					break
				}
				_ = w.FlushError()
				rest = rest[n:]
			}
			if err := w.Close(); !errors.Is(err, tc.err) {
				t.Errorf("%s: got %v; want %v", name, err, tc.err)
			}
			got, want, status := rec.Body.String(), tc.want, tc.status
			ok := got == want
			switch want {
			case "":
				events := tc.kind == "text/event-stream"
				ok = got == tc.body && (h.Get("Etag") != "" || events) && h.Get("Cache-Control") == ""
			case "502":
				status, ok = 502, !strings.Contains(got, "tools")
			case "cut":
				ok = len(got) < len(tc.body) && !slices.ContainsFunc(words, func(word string) bool { return strings.Contains(got, word) })
				if rec.Code == 502 && chunk > limit {
					status = 502 // the word was in the part that was too long
				}
			}
			if rec.Code != status || !ok {
				t.Errorf("%s, %d bytes at a time: got %d %v %.600q", name, chunk, rec.Code, h, got)
			}
			if changed := !strings.Contains(tc.kind, "event") && want != "" && want != "cut"; changed && h.Get("Etag") != "" {
				t.Errorf("%s: what is changed has the header %v", name, h)
			}
		}
	}
}

// E5: no division into writes lets a word through, and what has none crosses as it is.
func FuzzGuard(f *testing.F) {
	f.Add("id: 1\ndata: {\"a\":\"y\"}\n\n", 3, true)
	f.Add("data: {\ndata: \"x\":1}\r\n\r\n: c\n\ndata: [1]\r\r", 1, true)
	f.Add("\xef\xbb\xbfdata: {}\n\nretry: 5\ndata: {}\nid: 2", 2, true)
	f.Add("[{},1]", 2, false)
	f.Add(`{"a":"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy","tools":1}`, 9, false)
	f.Fuzz(func(t *testing.T, text string, chunk int, events bool) {
		if chunk < 1 {
			return
		}
		rec := httptest.NewRecorder()
		w := filter.Guard(rec, 40, words, func([]byte) ([]byte, error) { return nil, errBad }, nil, nil)
		w.Header().Set("Content-Type", "application/json")
		if events {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		var err error
		for rest := text; rest != "" && err == nil; {
			n := min(chunk, len(rest))
			_, err = io.WriteString(w, rest[:n])
			rest = rest[n:]
		}
		if e := w.Close(); err == nil {
			err = e
		}
		has := func(text string) bool {
			return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) })
		}
		switch got := rec.Body.String(); {
		case has(got) && !(events && err == nil):
			t.Errorf("%q becomes %q", text, got)
		case !has(text) && (err != nil || got != text):
			t.Errorf("%q becomes %q, %v", text, got, err)
		}
	})
}
