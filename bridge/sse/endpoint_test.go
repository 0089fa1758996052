package sse

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func upper(s string) (string, error) { return "/mapped?" + strings.ToUpper(s), nil }

var streams = []struct{ name, in, want string }{
	{"plain", "event: endpoint\ndata: /m?a=1\n\ndata: x\n\n", "event: endpoint\ndata: /mapped?/M?A=1\n\ndata: x\n\n"},
	{"no space", "event:endpoint\ndata:/m\n\n", "event:endpoint\ndata: /mapped?/M\n\n"},
	{"data before event", "data: /m\nevent: endpoint\nid: 1\n\n", "data: /mapped?/M\nevent: endpoint\nid: 1\n\n"},
	{"CRLF", "event: endpoint\r\ndata: /m\r\n\r\nrest", "event: endpoint\r\ndata: /mapped?/M\r\n\r\nrest"},
	{"CR alone", "event: endpoint\rdata: /m\r\rrest", "event: endpoint\rdata: /mapped?/M\r\rrest"},
	{"comment and other event first", ": hi\n\nevent: ping\ndata: endpoint\n\nevent: endpoint\ndata: /m\n\n", ": hi\n\nevent: ping\ndata: endpoint\n\nevent: endpoint\ndata: /mapped?/M\n\n"},
	{"comment within", "event: endpoint\n: note\ndata: /m\n\n", "event: endpoint\n: note\ndata: /mapped?/M\n\n"},
	{"byte order mark", "\xef\xbb\xbfevent: endpoint\ndata: /m\n\n", "\xef\xbb\xbfevent: endpoint\ndata: /mapped?/M\n\n"},
	{"byte order mark of another event", "data: x\n\n\xef\xbb\xbfevent: endpoint\ndata: /x\n\nevent: endpoint\ndata: /m\n\n", "data: x\n\n\xef\xbb\xbfevent: endpoint\ndata: /x\n\nevent: endpoint\ndata: /mapped?/M\n\n"},
	{"only the first", "event: endpoint\ndata: /a\n\nevent: endpoint\ndata: /b\n\n", "event: endpoint\ndata: /mapped?/A\n\nevent: endpoint\ndata: /b\n\n"},
	{"a name that begins alike", "event: endpoints\ndata: /a\n\nevent: endpoint\ndata: /m\n\n", "event: endpoints\ndata: /a\n\nevent: endpoint\ndata: /mapped?/M\n\n"},
	{"a name with a space behind", "event: endpoint \ndata: /a\n\n", "event: endpoint \ndata: /a\n\n"},
	{"two data lines", "event: endpoint\ndata: /a\ndata: b\n\n", "event: endpoint\ndata: /mapped?/A\nB\n\n"},
	{"last event field counts", "event: endpoint\nevent: message\ndata: /a\n\n", "event: endpoint\nevent: message\ndata: /a\n\n"},
	{"no data", "event: endpoint\n\nevent: endpoint\ndata: /m\n\n", "event: endpoint\n\nevent: endpoint\ndata: /mapped?/M\n\n"},
	{"message data that looks like it", "data: event: endpoint\ndata: x\n\n", "data: event: endpoint\ndata: x\n\n"},
	{"unfinished event is no event", "event: endpoint\ndata: /m\n", "event: endpoint\ndata: /m\n"},
	{"no event at all", "hello", "hello"},
	{"empty", "", ""},
}

// Rule D2: the first endpoint event, and only that, is mapped; every other
// byte passes, however the stream is cut into reads.
func TestEndpointEvent(t *testing.T) {
	for _, tc := range streams {
		readers := map[string]io.Reader{
			"whole":       strings.NewReader(tc.in),
			"byte":        iotest.OneByteReader(strings.NewReader(tc.in)),
			"half":        iotest.HalfReader(strings.NewReader(tc.in)),
			"data+error":  iotest.DataErrReader(strings.NewReader(tc.in)),
			"byte, short": iotest.DataErrReader(iotest.OneByteReader(strings.NewReader(tc.in))),
		}
		for how, in := range readers {
			t.Run(tc.name+"/"+how, func(t *testing.T) {
				got, err := io.ReadAll(NewEndpointReader(io.NopCloser(in), 0, upper))
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != tc.want {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			})
		}
	}
}

// Rule D2: an endpoint on a foreign origin ends the stream with an error, and
// nothing of the event gets through.
func TestEndpointEventRefused(t *testing.T) {
	refusal := errors.New("foreign")
	r := NewEndpointReader(io.NopCloser(strings.NewReader(": hi\n\nevent: endpoint\ndata: //evil\n\ndata: x\n\n")), 0,
		func(string) (string, error) { return "", refusal })
	got, err := io.ReadAll(r)
	if !errors.Is(err, refusal) {
		t.Errorf("got error %v, want %v", err, refusal)
	}
	if string(got) != ": hi\n\n" {
		t.Errorf("got %q before the error", got)
	}
}

// Rule G: a stream that never completes an event is not held for ever.
func TestEndpointEventBound(t *testing.T) {
	const limit = 1 << 10
	in := &countingReader{r: neverEnding('x')}
	_, err := io.ReadAll(NewEndpointReader(io.NopCloser(in), limit, upper))
	if !errors.Is(err, ErrEventTooLarge) {
		t.Errorf("got error %v, want %v", err, ErrEventTooLarge)
	}
	if in.n > limit+8<<10 {
		t.Errorf("read %d bytes of an event bounded to %d", in.n, limit)
	}
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// Rule D1: an event is handed on when it is complete, not when the next read
// brings more.
func TestEndpointEventIsNotDelayed(t *testing.T) {
	pr, pw := io.Pipe()
	r := NewEndpointReader(pr, 0, upper)
	events := []string{"event: endpoint\ndata: /m\n\n", "data: one\n\n", "data: two\n\n"}
	wants := []string{"event: endpoint\ndata: /mapped?/M\n\n", "data: one\n\n", "data: two\n\n"}
	for i, event := range events {
		go func() { _, _ = pw.Write([]byte(event)) }()
		buf := make([]byte, 4<<10)
		got := ""
		for len(got) < len(wants[i]) {
			n, err := r.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += string(buf[:n])
		}
		if got != wants[i] {
			t.Errorf("event %d: got %q, want %q", i, got, wants[i])
		}
	}
	_ = pw.Close()
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v at the end, want EOF", err)
	}
}

// event is what a client makes of a stream.
type event struct{ name, data, id string }

// clientEvents reads a stream as the HTML standard has clients do (section 9.2.6),
// a line at a time.
func clientEvents(stream string) []event {
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	var all []event
	var now event
	id, hasData := "", false
	lines := strings.Split(stream, "\n")
	for _, line := range lines[:len(lines)-1] {
		if line == "" {
			if now.id = id; hasData {
				all = append(all, now)
			}
			now, hasData = event{}, false
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			now.name = value
		case "id":
			id = value
		case "data":
			if hasData {
				now.data += "\n"
			}
			now.data, hasData = now.data+value, true
		}
	}
	return all
}

// FuzzEndpointEvent: to a client the stream is the same but for the data of the
// first endpoint event, which alone is mapped, once, and what precedes it is the
// same to the byte; cut anywhere, the stream is as when it comes whole (rule D2).
func FuzzEndpointEvent(f *testing.F) {
	for _, tc := range streams {
		for cut := range len(tc.in) {
			f.Add([]byte(tc.in), cut)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		want := clientEvents(string(in))
		at := slices.IndexFunc(want, func(e event) bool { return e.name == "endpoint" })
		var asked []string
		mapData := func(s string) (string, error) {
			asked = append(asked, s)
			return "/x", nil
		}
		whole, err := io.ReadAll(NewEndpointReader(io.NopCloser(bytes.NewReader(in)), 1<<20, mapData))
		if err != nil {
			t.Fatal(err)
		}
		if at < 0 {
			if len(asked) > 0 || !bytes.Equal(whole, in) {
				t.Fatalf("%q has no endpoint event, yet %q was mapped and it became %q", in, asked, whole)
			}
			return
		}
		if !slices.Equal(asked, []string{want[at].data}) {
			t.Fatalf("of %q %q was mapped, want %q", in, asked, want[at].data)
		}
		want[at].data = "/x"
		if got := clientEvents(string(whole)); !slices.Equal(got, want) {
			t.Fatalf("%q became %q, which is %q to clients, want %q", in, whole, got, want)
		}
		same := 0
		for same < min(len(in), len(whole)) && in[same] == whole[same] {
			same++
		}
		if before := len(clientEvents(string(in[:same]))); before < at {
			t.Fatalf("%q became %q, which differs before event %d", in, whole, at)
		}
		if cut < 0 || cut > len(in) {
			return
		}
		parts := io.MultiReader(bytes.NewReader(in[:cut]), bytes.NewReader(in[cut:]))
		again, err := io.ReadAll(NewEndpointReader(io.NopCloser(parts), 1<<20, mapData))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, whole) {
			t.Errorf("cut at %d: got %q, want %q", cut, again, whole)
		}
	})
}
