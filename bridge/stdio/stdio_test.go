package stdio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what has to happen.
const patience = time.Minute

// child configures a child process; what it writes to stderr is not read.
func child(mode string, args ...string) Config {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Config{Command: append([]string{exe, childArg, mode}, args...), Env: childEnv}
}

// start runs a child and checks that its end leaves nothing behind.
func start(t testing.TB, cfg Config) *Process {
	t.Helper()
	before := descriptors()
	p, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		nothingLeft(t, before)
	})
	return p
}

// nothingLeft checks that no goroutine of the package, no child and no pipe
// more than before is left. It is for tests that run alone.
func nothingLeft(t testing.TB, before []string) {
	t.Helper()
	if after := descriptors(); !slices.Equal(after, before) {
		t.Errorf("descriptors after: %v, before: %v", after, before)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("children left: %v", left)
	}
	stacks := make([]byte, 1<<20)
	for late := time.Now().Add(patience); ; runtime.Gosched() { // one that is done still has to end
		all := stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(all, []byte("stdio.(*")) && !bytes.Contains(all, []byte("stdio.awaitExit")) {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("goroutines left:\n%s", all)
		}
	}
}

// receive returns the next frame.
func receive(t testing.TB, p *Process) []byte {
	t.Helper()
	select {
	case frame, ok := <-p.Frames():
		if !ok {
			<-p.Done()
			t.Fatalf("no more frames: %v", p.Err())
		}
		return frame
	case <-time.After(patience):
		t.Fatal("no frame")
		return nil
	}
}

// rest returns all further frames, as text.
func rest(t testing.TB, p *Process) (frames []string) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case frame, ok := <-p.Frames():
			if !ok {
				return frames
			}
			frames = append(frames, string(frame))
		case <-late:
			t.Fatalf("no end after %d frames", len(frames))
		}
	}
}

// send sends a frame.
func send(t testing.TB, p *Process, frame []byte) {
	t.Helper()
	if err := p.Send(frame); err != nil {
		t.Fatal(err)
	}
}

// await waits for a channel to be closed.
func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s: waited in vain", what)
	}
}

// ended waits for the end of the process and checks how it came.
func ended(t testing.TB, p *Process, want string) {
	t.Helper()
	await(t, "done", p.Done())
	got := ""
	if err := p.Err(); err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("ended with %q, want %q", got, want)
	}
}

func TestEcho(t *testing.T) {
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

func TestLargeFramesInOrder(t *testing.T) {
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

// What a child writes before it exits is delivered, and nothing but messages.
func TestOutput(t *testing.T) {
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

// A consumer that stops stops the child, and no more than that.
func TestFloodOfFrames(t *testing.T) {
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
	case <-time.After(patience):
		t.Fatal("the child was not held up")
	}
	for i, frame := range rest(t, p) {
		if want := fmt.Sprintf(`{"i":%d,`, i+1); !strings.HasPrefix(frame, want) {
			t.Fatalf("got %.20q, want %q", frame, want)
		}
	}
	ended(t, p, "")
}

// A child that wrote all and exited does not wait for a consumer that never
// comes.
func TestNobodyReceives(t *testing.T) {
	cfg := child("raw", "{}\n{}\n{}\n", "0")
	cfg.Grace = 50 * time.Millisecond
	p := start(t, cfg)
	ended(t, p, "")
	if frames := rest(t, p); len(frames) > 0 {
		t.Errorf("frames after the end: %q", frames)
	}
}

// The lines of stderr that are not handed on are counted, and a function that
// does not return does not hold up the child.
func TestFloodOfStderr(t *testing.T) {
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

func TestChildNeverReads(t *testing.T) {
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
func TestChildClosesStdout(t *testing.T) {
	p := start(t, child("mute"))
	if frames := rest(t, p); len(frames) > 0 {
		t.Errorf("frames %q", frames)
	}
	ended(t, p, "exit status 6")
}

func TestEnvironment(t *testing.T) {
	t.Setenv("STDIO_TEST_SECRET", "not for the child")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		env, want []string
		dir       string
	}{
		{name: "none"},
		{name: "listed", env: []string{"A=1", "B=", "C=x=y z"}, want: []string{"A=1", "B=", "C=x=y z"}},
		{name: "directory", env: []string{"A=1"}, want: []string{"A=1"}, dir: dir},
		{name: "last counts", env: []string{"A=1", "B=2", "A=3"}, want: []string{"B=2", "A=3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("Windows adds SYSTEMROOT")
			}
			cfg := child("describe", "$HOME", "a b", "*", "")
			cfg.Env, cfg.Dir = tt.env, tt.dir
			d := describe(t, cfg)
			if !slices.Equal(d.Env, tt.want) {
				t.Errorf("environment %q, want %q", d.Env, tt.want)
			}
			if want := []string{"$HOME", "a b", "*", ""}; !slices.Equal(d.Args, want) {
				t.Errorf("arguments %q, want %q", d.Args, want)
			}
			if want, _ := os.Getwd(); d.Dir != cmpOr(tt.dir, want) {
				t.Errorf("directory %q, want %q", d.Dir, cmpOr(tt.dir, want))
			}
		})
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// describe runs a child that says what it sees.
func describe(t *testing.T, cfg Config) (d description) {
	t.Helper()
	p := start(t, cfg)
	if err := json.Unmarshal(receive(t, p), &d); err != nil {
		t.Fatal(err)
	}
	ended(t, p, "")
	return d
}

func TestStartFails(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("paths, modes and texts are those of Unix")
	}
	before := descriptors()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("#!/no/such/interpreter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	self := child("echo").Command
	ended, end := context.WithCancel(t.Context())
	end()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		cfg  Config
		want string
	}{
		{name: "no command", want: "no command"},
		{name: "empty command", cfg: Config{Command: []string{""}}, want: "no command"},
		{name: "relative path", cfg: Config{Command: []string{"./x"}}, want: `command "./x": neither an absolute path`},
		{name: "nowhere", cfg: Config{Command: []string{"/no/such/program", "s3cret"}}, want: "no such file"},
		{name: "no PATH", cfg: Config{Command: []string{"sh", "s3cret"}}, want: `command "sh": not found in the PATH`},
		{name: "not in PATH", cfg: Config{Command: []string{"sh"}, Env: []string{"PATH=" + dir + ":.:"}}, want: "not found"},
		{name: "last PATH", cfg: Config{Command: []string{"script"}, Env: []string{"PATH=" + dir, "PATH="}}, want: "not found"},
		{name: "not executable in PATH", cfg: Config{Command: []string{"file"}, Env: []string{"PATH=" + dir}}, want: "not found"},
		{name: "not executable", cfg: Config{Command: []string{file}}, want: "permission denied"},
		{name: "no interpreter", cfg: Config{Command: []string{"script"}, Env: []string{"PATH=" + dir}}, want: "starting \"script\": fork/exec " + script},
		{name: "NUL", cfg: Config{Command: append(self, "s3cret\x00")}, want: "invalid argument"},
		{name: "no directory", cfg: Config{Command: self, Dir: filepath.Join(dir, "none")}, want: "working directory: "},
		{name: "directory is a file", cfg: Config{Command: self, Dir: file}, want: "is not a directory"},
		{name: "environment without name", cfg: Config{Command: self, Env: []string{"A=1", "=s3cret"}}, want: "environment entry 1: "},
		{name: "environment without value", cfg: Config{Command: self, Env: []string{"s3cret"}}, want: "environment entry 0: "},
		{name: "environment with NUL", cfg: Config{Command: self, Env: []string{"A=s3cret\x00"}}, want: "environment entry 0: "},
		{name: "context over", ctx: ended, cfg: Config{Command: self}, want: context.Canceled.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.ctx == nil {
				tt.ctx = t.Context()
			}
			tt.cfg.Stderr = func([]byte, int) {}
			p, err := Start(tt.ctx, tt.cfg)
			if err == nil {
				_ = p.Close()
				t.Fatal("it started")
			}
			if got := err.Error(); !strings.Contains(got, tt.want) || strings.Contains(got, "s3cret") {
				t.Errorf("got %q, want %q and no secret", got, tt.want)
			}
			nothingLeft(t, before)
		})
	}
}

func TestCommandFromPath(t *testing.T) {
	exe := child("echo").Command[0]
	cfg := child("echo")
	cfg.Command[0] = filepath.Base(exe)
	cfg.Env = []string{"PATH=relative" + string(os.PathListSeparator) + "/no/such/dir" +
		string(os.PathListSeparator) + filepath.Dir(exe)}
	p := start(t, cfg)
	send(t, p, []byte("{}"))
	receive(t, p)
}

func TestContextEnds(t *testing.T) {
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

func TestCloseAgainAndWhileSending(t *testing.T) {
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

func TestMany(t *testing.T) {
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
