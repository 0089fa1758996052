package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMessagesCrossInBothDirections(t *testing.T) {
	p := start(t, child("echo"))
	if p.Pid() <= 0 {
		t.Errorf("pid %d", p.Pid())
	}
	for _, tt := range []struct{ name, frame, want string }{
		{name: "request", frame: `{"jsonrpc":"2.0","id":1,"method":"ping"}`},
		{name: "batch", frame: `[{},{}]`},
		{name: "other scripts", frame: `{"a":"é√😀\u0000"}`},
		{name: "line breaks between tokens", frame: "{\r\n\t\"a\": 1,\n\n\"b\":2\r}", want: "{  \t\"a\": 1,  \"b\":2 }"},
		{name: "space around", frame: "\n {\"a\":1}\t\n", want: `{"a":1}`},
		{name: "line breaks as escapes", frame: `{"a":"\r\n"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frame := []byte(tt.frame)
			send(t, p, frame)
			clear(frame) // the caller may use it again
			want := tt.want
			if want == "" {
				want = tt.frame
			}
			if got := string(receive(t, p)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if err := p.Err(); err != nil {
		t.Errorf("Err of a running process: %v", err)
	}
}

func TestLargeFramesArriveInOrder(t *testing.T) {
	const count, size = 8, 4 << 20
	cfg := child("echo")
	cfg.MaxQueued = count * (size + 100)
	p := start(t, cfg)
	var want [][]byte
	for i := range count {
		frame := fmt.Appendf(nil, `{"i":%d,"pad":"`, i)
		for len(frame) < size {
			frame = fmt.Appendf(frame, "%d é ", len(frame))
		}
		want = append(want, append(frame, `"}`...))
		send(t, p, want[i])
		send(t, p, fmt.Appendf(nil, "[%d]", i))
	}
	for i := range count {
		if got := receive(t, p); !bytes.Equal(got, want[i]) {
			t.Fatalf("frame %d differs: %d bytes, want %d", i, len(got), len(want[i]))
		}
		if got, want := string(receive(t, p)), fmt.Sprintf("[%d]", i); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

// All messages that a child writes before it exits are delivered, and nothing else.
func TestOnlyMessagesAreDelivered(t *testing.T) {
	long := `"` + strings.Repeat("x", 200<<10) + `"`
	for _, tt := range []struct {
		name, out string
		status    int
		frames    []string
		invalid   []string
		end       string
	}{
		{name: "nothing"},
		{name: "nothing but a status", status: 3, end: "exit status 3"},
		{name: "frame and status", out: "{}\n", status: 255, frames: []string{"{}"}, end: "exit status 255"},
		{name: "two frames", out: "{\"a\":1}\n[]\n", frames: []string{`{"a":1}`, "[]"}},
		{name: "CRLF", out: "{}\r\n\r\n[]\r\n", frames: []string{"{}", "[]"}},
		{name: "empty lines", out: "\n\n{}\n \t\n\n", frames: []string{"{}"}},
		{name: "last line without end", out: "{}\n[1]", frames: []string{"{}", "[1]"}},
		{name: "half a frame", out: "{}\n{\"a\":", frames: []string{"{}"}, invalid: []string{InvalidJSON}},
		{
			name: "no JSON", out: "[INFO] listening\n{ foo: 1 }\nhello\n\"text\"\n1\nnull\n{} {}\n{}\n",
			frames: []string{"{}"}, invalid: slices.Repeat([]string{InvalidJSON}, 7),
		},
		{name: "invalid UTF-8", out: "{\"a\":\"\xff\"}\n{}\n", frames: []string{"{}"}, invalid: []string{InvalidUTF8}},
		{name: "byte order mark", out: "\ufeff{}\n{}\n", frames: []string{"{}"}, invalid: []string{InvalidJSON}},
		{name: "as long as may be", out: "[" + long[:1000-3] + "\"]\n", frames: []string{"[" + long[:1000-3] + "\"]"}},
		{name: "too long by one", out: "[" + long[:1000-2] + "\"]\n[]\n", frames: []string{"[]"}, invalid: []string{InvalidTooLong}},
		{name: "much too long", out: "[" + long[:100<<10] + "\n{}\n", frames: []string{"{}"}, invalid: []string{InvalidTooLong}},
		{name: "too long to the end", out: "{}\n[" + long[:100<<10], frames: []string{"{}"}, invalid: []string{InvalidTooLong}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := child("raw", tt.out, fmt.Sprint(tt.status))
			var invalid []string
			cfg.Invalid = func(reason string) { invalid = append(invalid, reason) }
			cfg.MaxFrame = 1000
			p := start(t, cfg)
			if got := rest(t, p); !slices.Equal(got, tt.frames) {
				t.Errorf("frames %q, want %q", got, tt.frames)
			}
			ended(t, p, tt.end)
			if !slices.Equal(invalid, tt.invalid) {
				t.Errorf("invalid %q, want %q", invalid, tt.invalid)
			}
			if err := p.Send([]byte("{}")); !errors.Is(err, ErrClosed) {
				t.Errorf("Send after the end: %v", err)
			}
		})
	}
}

// If the consumer does not receive, the child waits. Nothing else does.
func TestAConsumerThatStopsStopsTheChild(t *testing.T) {
	const count = 5000 // 20 MB
	stalled := make(chan string, 1)
	cfg := child("flood", fmt.Sprint(count))
	cfg.Stderr = func(line []byte, _ int) { stalled <- string(line) }
	p := start(t, cfg)
	receive(t, p)
	select {
	case written := <-stalled:
		// The pipe, the read buffer, a frame, and what a pipe's size is
		// rounded to.
		if n := number(written); n > 256<<10 {
			t.Errorf("the child wrote %d bytes that nobody asked for", n)
		}
	case <-time.After(testTimeout):
		t.Fatal("the child was not held up")
	}
	for i, frame := range rest(t, p) {
		if want := fmt.Sprintf(`{"i":%d,`, i+1); !strings.HasPrefix(frame, want) {
			t.Fatalf("got %.20q, want %q", frame, want)
		}
	}
	ended(t, p, "")
}

// A child that has exited does not stay because its last frames have no consumer.
func TestAChildWithoutAConsumerEnds(t *testing.T) {
	cfg := child("raw", "{}\n{}\n{}\n", "0")
	cfg.Grace = 50 * time.Millisecond
	p := start(t, cfg)
	ended(t, p, "")
	if frames := rest(t, p); len(frames) > 0 {
		t.Errorf("frames after the end: %q", frames)
	}
}

// Lines of stderr that are skipped are counted, and a slow function does not stop the child.
func TestSkippedLinesOfStderrAreCounted(t *testing.T) {
	const count = 300_000 // 30 MB
	release := make(chan struct{})
	var lines, dropped int
	cfg := child("noise", fmt.Sprint(count))
	cfg.Stderr = func(line []byte, n int) {
		<-release
		if want := fmt.Sprintf("line %d %080[1]d", lines+dropped+n); line != nil && string(line) != want {
			t.Errorf("got %q, want %q", line, want)
		}
		if line != nil {
			lines++
		}
		dropped += n
	}
	p := start(t, cfg)
	if got := string(receive(t, p)); got != `["loud"]` {
		t.Errorf("got %s", got)
	}
	close(release)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if lines+dropped != count || lines < stderrBurst || lines > 2*maxStderrWait {
		t.Errorf("%d lines and %d dropped, want %d in all", lines, dropped, count)
	}
}

func TestTheQueueToAChildThatDoesNotReadIsBounded(t *testing.T) {
	cfg := child("deaf")
	cfg.MaxFrame, cfg.MaxQueued = 2<<20, 1<<20
	cfg.Grace = time.Second // a busy machine may take a while to deliver SIGTERM
	p := start(t, cfg)
	receive(t, p)
	frame := []byte(`{"pad":"` + strings.Repeat("x", 10_000) + `"}`)
	sent := 0
	err := p.Send(frame)
	for ; err == nil; err = p.Send(frame) {
		sent += len(frame) + 1
	}
	if !errors.Is(err, ErrQueueFull) {
		t.Errorf("got %v, want ErrQueueFull", err)
	}
	if low, high := cfg.MaxQueued-2*len(frame), cfg.MaxQueued+2*pieceOut; sent < low || sent > high {
		t.Errorf("%d bytes were queued, want %d to %d", sent, low, high)
	}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  error
	}{
		{"empty", nil, ErrEmptyFrame},
		{"longer than the queue", make([]byte, cfg.MaxQueued+1), ErrFrameTooLong},
		{"longer than a frame", make([]byte, cfg.MaxFrame+1), ErrFrameTooLong},
	} {
		if err := p.Send(tt.frame); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	ended(t, p, "signal: terminated")
}

// Close lets the child read what was queued.
func TestCloseSendsWhatIsQueued(t *testing.T) {
	var got []string
	cfg := child("last")
	cfg.Stderr = func(line []byte, _ int) { got = append(got, string(line)) }
	p := start(t, cfg)
	frame := []byte(`["` + strings.Repeat("x", 1<<20) + `"]`)
	for range 8 {
		send(t, p, frame)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if want := []string{fmt.Sprint(8 * (len(frame) + 1))}; !slices.Equal(got, want) {
		t.Errorf("the child read %q bytes, want %q", got, want)
	}
	ended(t, p, "")
}

// A server that cannot answer any more is ended.
func TestAChildThatClosesItsStdoutIsEnded(t *testing.T) {
	p := start(t, child("mute"))
	if frames := rest(t, p); len(frames) > 0 {
		t.Errorf("frames %q", frames)
	}
	ended(t, p, "exit status 6")
}

func TestTheEndOfTheContextEndsTheChild(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	before := descriptors()
	cfg := child("signals")
	p, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	receive(t, p)
	cancel()
	ended(t, p, "exit status 7")
	nothingLeft(t, before)
}

func TestCloseMayBeCalledAgainAndWhileSending(t *testing.T) {
	p := start(t, child("echo"))
	var wg sync.WaitGroup
	started := make(chan struct{}, 4)
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				switch err := p.Send([]byte(`{"a":"b"}`)); {
				case errors.Is(err, ErrClosed):
					return
				case err != nil && !errors.Is(err, ErrQueueFull):
					t.Errorf("Send: %v", err)
					return
				}
				if i == 100 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	receive(t, p)
	for range 4 {
		wg.Go(func() {
			if err := p.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	if err := p.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	await(t, "done", p.Done())
}

func TestManyChildrenRunAtOnce(t *testing.T) {
	const count = 200
	before := descriptors()
	processes := make([]*Process, count)
	var wg sync.WaitGroup
	for i := range count {
		cfg := child("echo")
		cfg.Stderr = func([]byte, int) {}
		p, err := Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		processes[i] = p
		send(t, p, fmt.Appendf(nil, "[%d]", i))
	}
	for i, p := range processes {
		if got, want := string(receive(t, p)), fmt.Sprintf("[%d]", i); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for _, p := range processes {
		wg.Go(func() {
			if err := p.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	nothingLeft(t, before)
}
