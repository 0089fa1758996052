package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit/traffic"
)

const (
	grace     = 2 * time.Second // the site's grace_period
	keepalive = 2 * time.Second // of idle connections to the upstreams
	idle      = 2 * time.Second // of sessions that are left
	endMargin = 5 * time.Second // beyond the grace period
	// settling is about how long a pause lasts, settleLimit how long at most.
	settling    = 6 * time.Second
	settleLimit = 90 * time.Second
)

// The endpoints beside those of traffic.
const (
	programPath = "/program"
	keptPath    = "/kept" // of programs, too; its sessions are in use for the whole run
	oldPath     = "/old"
	mortalPath  = "/mortal"
	loginPath   = "/login"
)

// loginURL is the public URL of the endpoint with authorize.
const loginURL = "https://mcp.test" + loginPath

// site is the Caddy and the servers behind it.
type site struct {
	*benchkit.Caddy
	traffic.Reloads
	up     *traffic.Upstream
	mortal *mortal
	issuer *benchkit.Issuer
}

func newSite(ctx context.Context, binary, dir string) (*site, error) {
	process, err := benchkit.NewCaddy(dir)
	if err != nil {
		return nil, err
	}
	s := &site{Caddy: process}
	if s.up, err = traffic.StartUpstream(); err != nil {
		return nil, err
	}
	if s.mortal, err = newMortal(); err != nil {
		return nil, err
	}
	if s.issuer, err = benchkit.StartIssuer(); err != nil {
		return nil, err
	}
	return s, s.Start(ctx, binary, s.caddyfile(0))
}

// close ends what still runs.
func (s *site) close() {
	s.Kill()
	s.up.Close()
	s.mortal.die()
	s.issuer.Close()
}

// caddyfile is configuration n. The odd ones have the second endpoint of traffic.
func (s *site) caddyfile(n int64) string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "{\n\tadmin unix/%s\n\tpersist_config off\n\tauto_https off\n\tgrace_period %s\n\tlog {\n\t\tlevel ERROR\n\t}\n}\n", s.Socket, grace)
	fmt.Fprintf(&b, "http://%s {\n\tbind 127.0.0.1\n\troute {\n\t\theader X-Config %d\n", s.Site, n)
	endpoint := func(path, to string, more ...string) {
		fmt.Fprintf(&b, "\t\tmcp_auth_bridge %s %s {\n\t\t\t%s\n\t\t}\n", path, to, strings.Join(more, "\n\t\t\t"))
	}
	transport := fmt.Sprintf("transport http {\n\t\t\t\tkeepalive %s\n\t\t\t}", keepalive)
	sessions := fmt.Sprintf("sessions {\n\t\t\t\tmax 500\n\t\t\t\tidle_timeout %s\n\t\t\t}", idle)
	endpoint(traffic.First, "http://"+s.up.Addr, transport)
	if n%2 == 1 {
		endpoint(traffic.Second, "http://"+s.up.Addr, transport)
	}
	program := fmt.Sprintf("stdio %q {\n\t\t\t\tenv %s=1\n\t\t\t}", self, benchkit.ProgramMode)
	endpoint(programPath, "", program, sessions, "legacy_sse")
	endpoint(keptPath, "", program)
	endpoint(oldPath, "sse+http://"+s.mortal.addr+"/sse", sessions)
	endpoint(mortalPath, "http://"+s.mortal.addr, transport)
	endpoint(loginPath, "http://"+s.up.Addr, transport, "public_url "+loginURL, "authorize {\n\t\t\t\tissuer "+s.issuer.URL+"\n\t\t\t}")
	fmt.Fprintf(&b, "\t\trespond %q 404\n\t}\n}\n", traffic.NoEndpoint)
	return b.String()
}

// reload loads the next configuration.
func (s *site) reload(ctx context.Context) error {
	return s.Do(ctx, func(ctx context.Context, n int64) error { return s.Load(ctx, s.caddyfile(n)) })
}

// settle loads a configuration without the second endpoint, waits until Caddy holds the same
// for a while, and measures it.
func (s *site) settle(ctx context.Context) (benchkit.Usage, error) {
	for ok := true; ok; ok = s.Done()%2 == 1 {
		if err := s.reload(ctx); err != nil {
			return benchkit.Usage{}, err
		}
	}
	const looks = 20 // one every 20 ms, and what it takes
	pause := time.Now().Add(settling)
	var last benchkit.Usage
	same := 0
	err := benchkit.Poll(ctx, settleLimit, func() error {
		u, err := s.Count(ctx)
		if err != nil {
			return benchkit.Stop(err)
		}
		if same++; u.Goroutines != last.Goroutines || u.Descriptors != last.Descriptors || u.Children != last.Children {
			last, same = u, 0
		}
		if same < looks || time.Now().Before(pause) {
			return errors.New("what Caddy holds changes")
		}
		return nil
	})
	var final benchkit.Final
	if ctx.Err() != nil || errors.As(err, &final) {
		return benchkit.Usage{}, err
	}
	return s.Measure(ctx) // the table shows what does not settle
}

// mortal is an MCP server of both transports that dies and comes back at the same address.
type mortal struct {
	addr   string
	mu     sync.Mutex
	server *http.Server // nil: it is dead
}

func newMortal() (*mortal, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &mortal{addr: l.Addr().String()}
	m.serve(l)
	return m, nil
}

func (m *mortal) serve(l net.Listener) {
	mux := http.NewServeMux()
	mux.Handle("/", new(benchkit.SSEServer))
	mux.HandleFunc("POST "+mortalPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(pong))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	m.mu.Lock()
	m.server = server
	m.mu.Unlock()
	go func() { _ = server.Serve(l) }()
}

// die closes all connections.
func (m *mortal) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.server != nil {
		_ = m.server.Close()
	}
	m.server = nil
}

// revive has the server listen again.
func (m *mortal) revive(ctx context.Context) error {
	return benchkit.Poll(ctx, settleLimit, func() error {
		l, err := net.Listen("tcp", m.addr)
		if err == nil {
			m.serve(l)
		}
		return err
	})
}
