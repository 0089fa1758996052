package mcptest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// Frame is one JSON-RPC message as it passed a tap.
type Frame struct {
	Up  bool // from the client to the server
	Raw string
}

// Tap notes the messages that pass between a client and a server, to the byte, and
// what became of HTTP requests. It changes nothing.
type Tap struct {
	mu       sync.Mutex
	frames   []Frame
	statuses map[string]int // by method and status
}

func (t *Tap) add(up bool, raw []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.frames = append(t.frames, Frame{up, string(bytes.TrimSpace(raw))})
}

// Take returns what has passed, and forgets it.
func (t *Tap) Take() (frames []Frame, statuses map[string]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	frames, statuses = t.frames, t.statuses
	t.frames, t.statuses = nil, nil
	return frames, statuses
}

// Proxy returns a server in front of the origin target, as a tap: of Streamable HTTP
// and of HTTP+SSE.
func (t *Tap) Proxy(target string) http.Handler {
	client := &http.Client{
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.Method == http.MethodPost {
			t.add(true, body)
		}
		out, err := http.NewRequestWithContext(r.Context(), r.Method, target+r.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		out.Header = r.Header.Clone()
		res, err := client.Do(out)
		if err != nil {
			http.Error(w, "tap: "+err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close() // it was read
		t.mu.Lock()
		if t.statuses == nil {
			t.statuses = make(map[string]int)
		}
		t.statuses[fmt.Sprintf("%s %d", r.Method, res.StatusCode)]++
		t.mu.Unlock()
		for name, lines := range res.Header {
			w.Header()[name] = lines
		}
		if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
			w.WriteHeader(res.StatusCode)
			t.stream(w, res.Body)
			return
		}
		answer, _ := io.ReadAll(res.Body)
		// The messages of a GET are events. What refuses one, as one that comes after the end of
		// its session, is none.
		if r.Method == http.MethodPost && strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") && bytes.Contains(answer, []byte(`"jsonrpc"`)) {
			t.add(false, answer)
		}
		w.WriteHeader(res.StatusCode)
		_, _ = w.Write(answer)
	})
}

// stream passes events on. An event is noted before its end is.
func (t *Tap) stream(w http.ResponseWriter, from io.Reader) {
	flush := http.NewResponseController(w).Flush
	_ = flush()
	lines := bufio.NewReaderSize(from, 64<<10)
	name, data := "", []byte(nil)
	for {
		line, err := lines.ReadBytes('\n')
		text := bytes.TrimRight(line, "\r\n")
		switch {
		case err != nil:
		case bytes.HasPrefix(text, []byte("event:")):
			name = string(bytes.TrimSpace(text[6:]))
		case bytes.HasPrefix(text, []byte("data:")):
			data = append(data, bytes.TrimPrefix(text[5:], []byte(" "))...)
		case len(text) == 0:
			if len(data) > 0 && (name == "" || name == "message") {
				t.add(false, data)
			}
			name, data = "", nil
		}
		if _, werr := w.Write(line); werr != nil || err != nil {
			return
		}
		if len(text) == 0 {
			_ = flush()
		}
	}
}

// RunTap is a program between a client and the server that a command is, over
// standard input and output; what passes goes to a file.
func RunTap(file string, command []string) error {
	to, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var mu sync.Mutex
	pass := func(mark string, w io.Writer, r io.Reader) {
		for lines := bufio.NewReader(r); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			mu.Lock()
			_, _ = to.Write(append([]byte(mark), line...))
			mu.Unlock()
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	}
	go func() {
		defer in.Close() // the end of it
		pass(">", in, os.Stdin)
	}()
	pass("<", os.Stdout, out)
	return cmd.Wait()
}

// ReadTap returns what a program of RunTap has noted.
func ReadTap(file string) ([]Frame, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var frames []Frame
	for line := range strings.Lines(string(raw)) {
		frames = append(frames, Frame{line[0] == '>', strings.TrimSpace(line[1:])})
	}
	return frames, nil
}

// envelope is what Transcript has to know of a message.
type envelope struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Token     json.RawMessage `json:"progressToken"`
		RequestID json.RawMessage `json:"requestId"`
		Meta      struct {
			Token json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	} `json:"params"`
}

// Transcript is what was said at one end, in the order that transports keep. Every
// message is there, to the byte; the sequences are:
//
//   - the requests of a side, one after the other;
//   - the answer to a request, after the progress of it;
//   - the notifications of a side, one sequence for each method.
//
// Between these there is no order that Streamable HTTP promises: each POST has a
// stream of its own, and the session has another one.
//
// Left out is the answer to a request that was taken back: the receiver should send
// none, and the sender is to ignore it (MCP, "Cancellation"), so that a transport may
// end the request's stream.
type Transcript map[string][]string

// NewTranscript orders what passed a tap.
func NewTranscript(frames []Frame) Transcript {
	t := make(Transcript)
	tokens, wanted, cancelled := make(map[string]string), make(map[string]int), make(map[string]bool)
	side := map[bool]string{true: "client", false: "server"}
	for _, f := range frames {
		var m envelope
		_ = json.Unmarshal([]byte(f.Raw), &m) // params of another shape are of no interest
		switch {
		case m.Method == "notifications/cancelled":
			id := side[f.Up] + " " + string(m.Params.RequestID)
			wanted[id]--
			cancelled[id] = true
		case m.Method != "" && m.ID != nil:
			wanted[side[f.Up]+" "+string(m.ID)]++
		}
	}
	for _, f := range frames {
		var m envelope
		_ = json.Unmarshal([]byte(f.Raw), &m)
		from, other := side[f.Up], side[!f.Up]
		key := from + " " + m.Method
		switch {
		case m.Method != "" && m.ID != nil:
			key = from + " requests"
			if m.Params.Meta.Token != nil {
				tokens[from+" "+string(m.Params.Meta.Token)] = string(m.ID)
			}
		case m.Method == "notifications/progress":
			if id, ok := tokens[other+" "+string(m.Params.Token)]; ok {
				key = from + " answers " + id
			}
		case m.Method == "":
			id := other + " " + string(m.ID)
			if wanted[id]--; cancelled[id] && wanted[id] < 0 {
				continue
			}
			key = from + " answers " + string(m.ID)
		}
		t[key] = append(t[key], f.Raw)
	}
	return t
}

// Diff says how a transcript differs from another one; empty: not at all.
func (t Transcript) Diff(want Transcript) string {
	var b strings.Builder
	short := func(raw string) string {
		if len(raw) > 300 {
			return fmt.Sprintf("%s ... (%d bytes)", raw[:300], len(raw))
		}
		return raw
	}
	for key, lines := range want {
		got := t[key]
		if len(got) != len(lines) {
			fmt.Fprintf(&b, "%s: %d messages, want %d\n", key, len(got), len(lines))
		}
		for i := range max(len(lines), len(got)) {
			switch {
			case i >= len(got):
				fmt.Fprintf(&b, "- %s\n", short(lines[i]))
			case i >= len(lines):
				fmt.Fprintf(&b, "+ %s\n", short(got[i]))
			case got[i] != lines[i]:
				fmt.Fprintf(&b, "- %s\n+ %s\n", short(lines[i]), short(got[i]))
			default:
				continue
			}
			if b.Len() > 4000 {
				return b.String()
			}
		}
	}
	for key, lines := range t {
		if _, ok := want[key]; !ok {
			fmt.Fprintf(&b, "+ %s: %d messages, the first %s\n", key, len(lines), short(lines[0]))
		}
	}
	return b.String()
}
