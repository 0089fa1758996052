package edge_test

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// plainServer is the environment variable that makes the test binary a plain server on
// standard input and output. It has the file that the messages are noted in.
const plainServer = "MCP_AUTH_BRIDGE_TEST_PLAIN"

// answersTo returns what a plain server answers to a body: the frames, one for each request.
// It believes everything, and understands requests of every revision.
func answersTo(body string) []string {
	var all []json.RawMessage
	if json.Unmarshal([]byte(body), &all) != nil {
		all = []json.RawMessage{json.RawMessage(body)}
	}
	var frames []string
	for _, raw := range all {
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct {
				Name      string
				Arguments json.RawMessage
				Task      json.RawMessage
				Meta      json.RawMessage `json:"_meta"`
			}
		}
		if err := json.Unmarshal(raw, &m); err != nil || m.ID == nil || m.Method == "" {
			continue
		}
		const what = `"capabilities":{"tools":{},"prompts":{},"resources":{"subscribe":true},"completions":{}},"serverInfo":{"name":"plain","version":"1"}`
		result := `{}`
		switch m.Method {
		case "initialize":
			revision := "2025-11-25"
			if strings.Contains(string(raw), `"2025-03-26"`) {
				revision = "2025-03-26" // which has batches
			}
			result = `{"protocolVersion":"` + revision + `",` + what + `}`
		case "server/discover":
			result = `{"supportedVersions":["2026-07-28"],` + what + `}`
		case "tools/call":
			switch p := m.Params; {
			case p.Name == "echo": // repeats what it can
				result = `{"content":[],"structuredContent":` + string(p.Arguments) + `,"_meta":` + string(p.Meta) + `}`
			case p.Name == "begin" && p.Task != nil: // makes a task with the id that the test wants
				result = `{"task":{"taskId":` + string(p.Arguments[len(`{"id":`):len(p.Arguments)-1]) + `,"status":"working"}}`
			case p.Name == "begin":
				result = `{"resultType":"task","status":"working","taskId":` + string(p.Arguments[len(`{"id":`):])
			}
		case "tasks/get", "tasks/result", "tasks/cancel", "tasks/update":
			result = `{"resultType":"complete","status":"working","secret":"sesame"}`
		case "tools/list":
			result = `{"tools":[{"name":"open","inputSchema":{"type":"object"}}]}`
		case "subscriptions/listen":
			frames = append(frames, `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{},"_meta":{"io.modelcontextprotocol/subscriptionId":`+string(m.ID)+`}}}`)
		}
		frames = append(frames, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":`+result+`}`)
	}
	return frames
}

// servePlain is the plain server on standard input and output.
func servePlain(file string) {
	notes, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	for lines := bufio.NewReader(os.Stdin); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		_, _ = notes.WriteString(line)
		for _, frame := range answersTo(line) {
			fmt.Println(frame)
		}
	}
}

// plain is what plain servers of each transport have seen.
type plain struct {
	*httptest.Server
	notes string // file of the programs

	mu      sync.Mutex
	seen    strings.Builder // bodies, and the field markerField
	streams map[string]chan string
}

// markerField is a header field of the client that crosses to a server over HTTP.
const markerField = "X-Marker"

// newPlain starts plain servers: over Streamable HTTP at /mcp, with answers in JSON at /json, and
// over HTTP+SSE at /sse.
func newPlain(t *testing.T) *plain {
	t.Helper()
	p := &plain{streams: map[string]chan string{}, notes: filepath.Join(t.TempDir(), "messages")}
	p.Server = httptest.NewUnstartedServer(p)
	p.Start()
	t.Cleanup(p.Close)
	return p
}

// program is the option for the plain server as a program.
func (p *plain) program(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("stdio %s -test.run=^$ {\n\t\t\tenv %s=%s\n\t\t}", self, plainServer, p.notes)
}

// reached returns everything that has reached a server.
func (p *plain) reached(t *testing.T) string {
	t.Helper()
	lines, err := os.ReadFile(p.notes)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen.String() + string(lines)
}

func (p *plain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.seen.WriteString(r.Header.Get(markerField) + "\n" + string(body) + "\n")
	stream := p.streams[r.URL.Query().Get("stream")]
	p.mu.Unlock()
	switch {
	case r.URL.Path == "/sse":
		p.stream(w, r)
	case r.URL.Path == "/message":
		w.WriteHeader(http.StatusAccepted)
		for _, frame := range answersTo(string(body)) {
			stream <- frame
		}
	case r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	default:
		frames := answersTo(string(body))
		if len(frames) == 0 {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		if strings.Contains(string(body), `"initialize"`) {
			w.Header().Set("Mcp-Session-Id", rand.Text())
		}
		if r.URL.Path == "/json" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, frames[0])
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, frame := range frames {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", frame)
		}
	}
}

// stream is the event stream of HTTP+SSE.
func (p *plain) stream(w http.ResponseWriter, r *http.Request) {
	id, frames := rand.Text(), make(chan string, 100)
	p.mu.Lock()
	p.streams[id] = frames
	p.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = fmt.Fprintf(w, "event: endpoint\ndata: /message?stream=%s\n\n", id)
	for {
		_ = http.NewResponseController(w).Flush()
		select {
		case frame := <-frames:
			_, _ = fmt.Fprintf(w, "event: message\ndata: %s\n\n", frame)
		case <-r.Context().Done():
			return
		}
	}
}
