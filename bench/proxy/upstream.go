package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// upstreamFlag has the program be the upstream.
const upstreamFlag = "as-upstream"

const sessionID = "4f0c1f5e-7d0b-4c2f-9b57-2f4f3b8a1c11"

// events is the number of events of a stream.
const events = 20

// eventPauses are the pauses between the events of each stream. With a pause each event reaches
// the proxy by itself.
var eventPauses = map[string]time.Duration{"sse-burst": 0, "sse": time.Millisecond, "sse-5ms": 5 * time.Millisecond}

// answer is what the upstream answers.
type answer struct {
	status      int
	contentType string
	body        []byte
}

// answers are prepared, so that the upstream takes little of the machine.
var answers = withStreams(map[string]*answer{
	"json-300": {200, "application/json", []byte(pad(300))},
	"json-64k": {200, "application/json", []byte(pad(64 << 10))},
	"json-1m":  {200, "application/json", []byte(pad(1 << 20))},
	"challenge": {
		401, "application/json",
		[]byte(`{"error":"invalid_token","error_description":"Authentication required"}`),
	},
	"preflight": {status: 204},
})

// withStreams adds the event streams to other answers.
func withStreams(all map[string]*answer) map[string]*answer {
	for name := range eventPauses {
		all[name] = &answer{200, "text/event-stream", stream()}
	}
	return all
}

func init() {
	for _, n := range listSizes {
		answers["list-"+strconv.Itoa(n)] = &answer{200, "application/json", []byte(toolList(n, true))}
	}
}

// The modes in which the upstream answers before it has read the request body.
// Afterwards it reads the body, as Node.js does, or closes the connection.
const (
	early   = "early-"
	closing = "closing-"
)

// split takes the mode off what the upstream is asked for.
func split(asked string) (name, mode string) {
	for _, mode := range []string{early, closing} {
		if name, ok := strings.CutPrefix(asked, mode); ok {
			return name, mode
		}
	}
	return asked, ""
}

// pad returns a JSON-RPC result of n bytes.
func pad(n int) string {
	const head, tail = `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"`, `"}]}}`
	const text = "The quick brown fox jumps over the lazy dog. "
	n -= len(head) + len(tail)
	return head + strings.Repeat(text, n/len(text)+1)[:n] + tail
}

func stream() []byte {
	var b []byte
	for i := range events {
		b = append(b, event(i)...)
	}
	return b
}

func event(i int) string {
	return fmt.Sprintf("event: message\nid: %d\ndata: "+
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":%d,"total":%d}}`+"\n\n", i, i, events)
}

// challenge is a challenge in the form that the MCP SDKs send.
func challenge(metadata string) string {
	return `Bearer error="invalid_token", error_description="Authentication required", resource_metadata="` + metadata + `"`
}

// metadataDocument is the protected resource metadata at an origin.
func metadataDocument(origin string) string {
	return `{"resource":"` + origin + endpoint + `","authorization_servers":["https://login.example.com"],"scopes_supported":["mcp"],"bearer_methods_supported":["header"]}`
}

// serveUpstream serves until standard input ends, which it does with the
// program that started it.
func serveUpstream() error {
	runtime.GOMAXPROCS(1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	u := &upstream{addr: l.Addr().String()}
	s := &http.Server{Handler: u, ReadHeaderTimeout: time.Minute}
	return s.Serve(l)
}

// upstream is an MCP server that knows only its private address.
type upstream struct{ addr string }

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if strings.HasPrefix(r.URL.Path, "/.well-known/") {
		if r.URL.Path != wellKnown {
			http.NotFound(w, r)
			return
		}
		h["Content-Type"] = []string{"application/json"}
		_, _ = io.WriteString(w, metadataDocument("http://"+u.addr))
		return
	}
	name, mode := split(strings.TrimPrefix(r.URL.RawQuery, "answer="))
	if name == "" {
		name = "json-300" // a ping
	}
	if r.Method == http.MethodOptions {
		name = "preflight"
	}
	a := answers[name]
	if a == nil {
		http.NotFound(w, r)
		return
	}
	if mode == "" {
		_, _ = io.Copy(io.Discard, r.Body)
	} else {
		_ = http.NewResponseController(w).EnableFullDuplex()
		if mode == closing {
			h["Connection"] = []string{"close"}
		}
	}
	h["Access-Control-Allow-Origin"] = []string{"*"}
	h["Access-Control-Expose-Headers"] = []string{"Mcp-Session-Id"}
	h["Cache-Control"] = []string{"no-store"}
	h["Mcp-Session-Id"] = []string{sessionID}
	if a.status == http.StatusUnauthorized {
		h["Www-Authenticate"] = []string{challenge("http://" + u.addr + wellKnown)}
	}
	if a.contentType != "" {
		h["Content-Type"] = []string{a.contentType}
	}
	if pause, ok := eventPauses[name]; ok {
		sendEvents(w, pause)
	} else {
		if a.status != http.StatusNoContent {
			h["Content-Length"] = []string{strconv.Itoa(len(a.body))}
		}
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body)
	}
	if mode != "" {
		_ = http.NewResponseController(w).Flush()
	}
	if mode == early {
		_, _ = io.Copy(io.Discard, r.Body)
	}
}

func sendEvents(w http.ResponseWriter, pause time.Duration) {
	c := http.NewResponseController(w)
	for i := range events {
		if i > 0 {
			time.Sleep(pause)
		}
		if _, err := io.WriteString(w, event(i)); err != nil {
			return
		}
		if err := c.Flush(); err != nil {
			return
		}
	}
}
