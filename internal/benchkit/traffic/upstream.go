package traffic

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

// What the client, the upstream and the configuration agree on.
const (
	First     = "/mcp"        // the endpoint that every configuration has
	Second    = "/second/mcp" // the one that every second has
	WellKnown = "/.well-known/oauth-protected-resource"

	// NoEndpoint is the body of the site's own 404.
	NoEndpoint = "no such endpoint"

	idHeader  = "X-Id"  // names a request
	askHeader = "X-Ask" // says what to answer, one of the following
	askStream = "stream"
	askHold   = "hold" // no answer until the client leaves
	askRefuse = "refuse"
	askBare   = "bare" // 401 without a challenge

	// Tick is the time between the events of a stream.
	Tick = 100 * time.Millisecond
)

// closeLimit is how long handlers may run when their clients have left.
const closeLimit = 90 * time.Second

// Upstream is an MCP server that counts what reaches it.
type Upstream struct {
	Addr   string
	server *http.Server
	Open   atomic.Int64 // handlers that run
	Conns  atomic.Int64 // connections that are open
	ids    atomic.Int64 // given to requests
	mu     sync.Mutex
	seen   map[string]*arrival
}

// arrival is what has come of a request that a client has announced.
type arrival struct {
	times int
	first chan struct{} // closed when it has come
}

// StartUpstream starts an upstream at a loopback address.
func StartUpstream() (*Upstream, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &Upstream{Addr: l.Addr().String(), seen: make(map[string]*arrival)}
	u.server = &http.Server{Handler: u, ReadHeaderTimeout: time.Minute, ConnState: func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			u.Conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			u.Conns.Add(-1)
		default:
		}
	}}
	go func() { _ = u.server.Serve(l) }()
	return u, nil
}

// Close ends the upstream.
func (u *Upstream) Close() { _ = u.server.Close() }

// announce says that a request is about to be sent. The channel is closed when
// it arrives.
func (u *Upstream) announce(id string) <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := &arrival{first: make(chan struct{})}
	u.seen[id] = a
	return a.first
}

// forget returns how often an announced request has arrived.
func (u *Upstream) forget(id string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := u.seen[id]
	delete(u.seen, id)
	if a == nil {
		return 0
	}
	return a.times
}

func (u *Upstream) arrived(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if a := u.seen[id]; a != nil {
		if a.times++; a.times == 1 {
			close(a.first)
		}
	}
}

// WaitClosed waits until no handler runs.
func (u *Upstream) WaitClosed(ctx context.Context) error {
	return benchkit.Poll(ctx, closeLimit, func() error {
		if n := u.Open.Load(); n > 0 {
			return fmt.Errorf("%d handlers of the upstream are still open", n)
		}
		return nil
	})
}

// ServeHTTP implements http.Handler.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.Open.Add(1)
	defer u.Open.Add(-1)
	if path, ok := strings.CutPrefix(r.URL.Path, WellKnown); ok {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"resource":"http://%s%s","authorization_servers":["https://login.example.com"]}`, u.Addr, path)
		return
	}
	id := r.Header.Get(idHeader)
	u.arrived(id)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has left
	}
	if r.Method == http.MethodPost {
		var message struct{ ID string }
		if err := json.Unmarshal(body, &message); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		id = message.ID
	}
	switch r.Header.Get(askHeader) {
	case askStream:
		stream(w, r, id)
	case askHold:
		<-r.Context().Done()
	case askRefuse:
		w.Header().Set("WWW-Authenticate", challenge(id, u.Addr, r.URL.Path))
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, answer(id, len(body)))
	case askBare:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, answer(id, len(body)))
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer(id, len(body)))
	}
}

// stream sends events until the client leaves.
func stream(w http.ResponseWriter, r *http.Request, id string) {
	w.Header().Set("Content-Type", "text/event-stream")
	t := time.NewTicker(Tick)
	defer t.Stop()
	for n := 1; ; n++ {
		_, _ = io.WriteString(w, event(id, n))
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-t.C:
		case <-r.Context().Done():
			return
		}
	}
}

func event(id string, n int) string { return fmt.Sprintf("data: %s %d\n\n", id, n) }

func message(id string, pad int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"%s","method":"tools/call","params":{"text":"%s"}}`, id, strings.Repeat("x", pad))
}

// answer is the answer to a message of n bytes.
func answer(id string, n int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"%s","result":{"received":%d,"text":"%s"}}`, id, n, strings.Repeat("y", n/2))
}

// challenge is a challenge of one request, with the metadata URL of an
// endpoint at addr.
func challenge(id, addr, path string) string {
	return fmt.Sprintf(`Bearer realm="%s", error="invalid_token", resource_metadata="http://%s%s%s"`, id, addr, WellKnown, path)
}
