package sse

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// read feeds a stream in pieces of n bytes.
func read(t *testing.T, stream string, n, limit int) ([]string, error) {
	t.Helper()
	var events []string
	f := &Parser{Limit: limit, Each: func(e Event) error {
		events = append(events, fmt.Sprintf("%s|%s|%s", e.Name, e.ID, e.Data))
		return nil
	}}
	for piece := range slices.Chunk([]byte(stream), n) {
		if _, err := f.Write(piece); err != nil {
			return events, err
		}
	}
	return events, nil
}

func TestParser(t *testing.T) {
	tests := []struct {
		name, stream string
		want         []string
	}{
		{"one", "data: a\n\n", []string{"||a"}},
		{"name and id", "event: x\nid: 7\ndata: a\n\n", []string{"x|7|a"}},
		{"an id stays", "id: 7\ndata: a\n\ndata: b\n\n", []string{"|7|a", "|7|b"}},
		{"an id alone", "id: 7\n\ndata: b\n\n", []string{"|7|b"}},
		{"an id is taken back", "id: 7\ndata: a\n\nid\ndata: b\n\n", []string{"|7|a", "||b"}},
		{"an id with NUL", "id: 7\ndata: a\n\nid: \x00\ndata: b\n\n", []string{"|7|a", "|7|b"}},
		{"lines", "data: a\ndata: b\ndata:\n\n", []string{"||a\nb\n"}},
		{"CRLF", "data: a\r\ndata: b\r\n\r\n", []string{"||a\nb"}},
		{"CR", "data: a\r\rdata: b\r\r", []string{"||a", "||b"}},
		{"mixed", "data: a\r\n\ndata: b\r\r\n", []string{"||a", "||b"}},
		{"no space", "data:a\n\ndata:  b\n\n", []string{"||a", "|| b"}},
		{"comment", ": hello\ndata: a\n:\n\n", []string{"||a"}},
		{"unknown", "Data: no\nfoo: bar\ndata: a\n\n", []string{"||a"}},
		{"no data", "event: x\n\ndata: a\n\n", []string{"||a"}},
		{"empty data", "data\n\ndata:\n\n", []string{"||", "||"}},
		{"mark", "\xef\xbb\xbfdata: a\n\n", []string{"||a"}},
		{"unfinished", "data: a\n\ndata: b\n", []string{"||a"}},
		{"not even a line", "data: a\n\ndata: b", []string{"||a"}},
		{"colon in value", "data: a: b\n\n", []string{"||a: b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for n := 1; n <= len(tt.stream); n++ {
				got, err := read(t, tt.stream, n, 0)
				if err != nil || !slices.Equal(got, tt.want) {
					t.Fatalf("in pieces of %d: %q, %v, want %q", n, got, err, tt.want)
				}
			}
		})
	}
}

// Wherever a stream is cut, its last id is that of an event that was complete: the
// next one is asked for again.
func TestParserCut(t *testing.T) {
	for _, end := range []string{"\n", "\r\n", "\r"} {
		stream := strings.ReplaceAll("id: 1\ndata: a\n\nid: 2\n\nevent: x\nid: 3\ndata: b\n\n", "\n", end)
		for n := range len(stream) + 1 {
			last, seen := "", 0
			f := &Parser{Each: func(e Event) error { seen++; return nil }}
			if _, err := f.Write([]byte(stream[:n])); err != nil {
				t.Fatal(err)
			}
			// An event is complete with its last line's end, or that's first byte.
			for id, until := range map[string]string{"1": "a\n\n", "2": "2\n\n", "3": "b\n\n"} {
				until = strings.ReplaceAll(until, "\n", end)
				if at := strings.Index(stream, until) + len(until) - len(end) + 1; n >= at {
					last = max(last, id)
				}
			}
			if want := map[string]int{"": 0, "1": 1, "2": 1, "3": 2}[last]; f.LastID() != last || seen != want {
				t.Errorf("cut at %d (%q): last id %q after %d events, want %q", n, end, f.LastID(), seen, last)
			}
		}
	}
}

func TestParserRetry(t *testing.T) {
	for value, want := range map[string]int{"10": 10, "0": 0, "": 0, "+1": 0, "-1": 0, "1x": 0, "1.5": 0} {
		f := &Parser{}
		if _, err := f.Write([]byte("retry: " + value + "\n")); err != nil || f.Retry != want {
			t.Errorf("retry %q: %d, %v, want %d", value, f.Retry, err, want)
		}
	}
}

func TestParserLimit(t *testing.T) {
	for _, stream := range []string{
		strings.Repeat("x", 101),
		"data: " + strings.Repeat("x", 101) + "\n",
		strings.Repeat("data: xxxx\n", 30) + "\n",
		"data: " + strings.Repeat("x", 60) + "\ndata: " + strings.Repeat("x", 60) + "\n\n",
	} {
		for _, n := range []int{1, 7, len(stream)} {
			if got, err := read(t, stream, n, 100); !errors.Is(err, ErrDataTooLarge) || len(got) > 0 {
				t.Errorf("%.20q in pieces of %d: %q, %v", stream, n, got, err)
			}
		}
	}
	if got, err := read(t, strings.Repeat("data: xxxx\n\n", 100), 5, 100); err != nil || len(got) != 100 {
		t.Errorf("%d events, %v, want 100: the limit is of one", len(got), err)
	}
}

func TestParserEnds(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	f := &Parser{Each: func(Event) error { n++; return stop }}
	for range 3 {
		if _, err := f.Write([]byte("data: a\n\ndata: b\n\n")); !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d events after the end", n-1)
	}
}

// FuzzParser holds the parser against a reader of the whole text, and one piece
// against many.
func FuzzParser(f *testing.F) {
	f.Add([]byte("event: x\r\nid: 1\r\ndata: a\r\n\r\n: c\n\ndata: b\rdata\r\r"), 3)
	f.Add([]byte("\xef\xbb\xbfdata:a\n\n"), 1)
	f.Fuzz(func(t *testing.T, stream []byte, n int) {
		n = max(1, n&0xff)
		want := whole(stream)
		got, err := read(t, string(stream), n, 0)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: %q, %v, want %q", n, got, err, want)
		}
	})
}

// whole reads a complete text as the standard's grammar has it.
func whole(stream []byte) (events []string) {
	stream = bytes.TrimPrefix(stream, []byte("\xef\xbb\xbf"))
	stream = bytes.ReplaceAll(stream, []byte("\r\n"), []byte("\n"))
	stream = bytes.ReplaceAll(stream, []byte("\r"), []byte("\n"))
	lines := strings.Split(string(stream), "\n")
	var name, id string
	var data []string
	for _, line := range lines[:len(lines)-1] {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if data != nil {
				events = append(events, fmt.Sprintf("%s|%s|%s", name, id, strings.Join(data, "\n")))
			}
			name, data = "", nil
		case field == "data":
			data = append(data, value)
		case field == "event":
			name = value
		case field == "id" && !strings.Contains(value, "\x00"):
			id = value
		}
	}
	return events
}
