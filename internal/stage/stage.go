// Package stage sets the whole demonstration up in one process: an MCP server
// that requires a login, its authorization server, Caddy in front of both
// with mcp_auth_bridge and, beside it, with nothing but reverse_proxy, and
// the page that calls the two. Everything listens on loopback, in plain HTTP.
package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	// The Caddyfile adapter, reverse_proxy and the file storage.
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge" // what is shown
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/command"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo/page"
)

const host = "127.0.0.1"

// Options of a stage.
type Options struct {
	// Port of the bridge; plain reverse_proxy listens on the next one and
	// the page on the one after it. 0: free ports.
	Port int
	// Program is the command of an MCP server that speaks over standard input and
	// output. Empty: there is no endpoint for one.
	Program []string
	// Demo is passed on; its Public is set to the endpoints of the bridge,
	// unless the authorization server is on the MCP server's own origin.
	Demo demo.Options
}

// Stage is a running demonstration. There can be one in a process, for
// Caddy has one configuration.
type Stage struct {
	// Bridge and Plain are the URLs of the MCP server behind the bridge and
	// behind plain reverse_proxy; Page is the page's.
	Bridge, Plain, Page string
	// SSE is the URL of the same server, spoken to over HTTP+SSE, and Program that
	// of the program, behind the bridge; the latter is empty where there is none.
	SSE, Program string
	// Edge is the URL of the program behind `authorize`, with the authorization server of the
	// MCP server; empty where there is no program, or no authorization server on its own
	// origin.
	Edge string
	// Caddyfile is what Caddy runs, beside global options that keep it from leaving files.
	Caddyfile string

	demo    *demo.Demo
	page    *http.Server
	storage string
}

// Start starts everything. It runs until Close.
func Start(ctx context.Context, opts Options) (_ *Stage, err error) {
	ports, err := choosePorts(opts.Port, 3)
	if err != nil {
		return nil, err
	}
	s := &Stage{
		Bridge: "http://" + addr(ports[0]) + "/mcp",
		SSE:    "http://" + addr(ports[0]) + "/sse",
		Plain:  "http://" + addr(ports[1]) + "/mcp",
		Page:   "http://" + addr(ports[2]) + "/",
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr(ports[2]))
	if err != nil {
		return nil, fmt.Errorf("starting the page: %w", err)
	}
	targets := []page.Target{
		{ID: "plain", Title: "reverse_proxy", URL: s.Plain},
		{ID: "bridge", Title: "mcp_auth_bridge", URL: s.Bridge},
		{ID: "sse", Title: "mcp_auth_bridge, HTTP+SSE server", URL: s.SSE},
	}
	program := ""
	if len(opts.Program) > 0 {
		s.Program = "http://" + addr(ports[0]) + "/stdio"
		targets = append(targets, page.Target{ID: "stdio", Title: "mcp_auth_bridge, stdio server", URL: s.Program, Open: true})
		program = "\tmcp_auth_bridge /stdio {\n\t\tstdio"
		for _, word := range opts.Program {
			program += " " + command.Quote(word)
		}
		program += "\n\t}\n"
		if !opts.Demo.SameOrigin {
			s.Edge = "http://" + addr(ports[0]) + "/edge"
			targets = append(targets, page.Target{ID: "edge", Title: "mcp_auth_bridge, stdio server behind authorize", URL: s.Edge, StepUp: true})
		}
	}
	s.page = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: page.Handler(targets...)}
	go func() { _ = s.page.Serve(l) }()

	if !opts.Demo.SameOrigin { // else its tokens are for its own, private URLs
		opts.Demo.Public = []string{s.Bridge, s.SSE}
		if s.Edge != "" {
			opts.Demo.Public = append(opts.Demo.Public, s.Edge)
		}
	}
	if s.demo, err = demo.Start(ctx, opts.Demo); err != nil {
		return nil, err
	}
	if s.storage, err = os.MkdirTemp("", "mcp-auth-bridge-demo-"); err != nil {
		return nil, err
	}
	if s.Edge != "" {
		program += edgeOf(opts.Program, s.demo.Issuer())
	}
	server := ""
	if opts.Demo.SameOrigin {
		server = ` {
		authorization_server bridge {
			paths /authorize/*
		}
	}`
	}
	s.Caddyfile = fmt.Sprintf(`http://%[1]s {
	bind %[7]s
	mcp_auth_bridge %[3]s%[5]s
	mcp_auth_bridge /sse sse+%[4]s%[5]s
%[6]s}

http://%[2]s {
	bind %[7]s
	reverse_proxy %[3]s
}
`, addr(ports[0]), addr(ports[1]), s.demo.Origin(), s.demo.SSEURL(), server, program, host)
	if err = s.load(); err != nil {
		return nil, fmt.Errorf("starting Caddy: %w", err)
	}
	return s, nil
}

// edgeOf is a program behind `authorize`.
func edgeOf(words []string, issuer string) string {
	var quoted []string
	for _, word := range words {
		quoted = append(quoted, command.Quote(word))
	}
	return fmt.Sprintf(`	mcp_auth_bridge /edge {
		stdio %s
		authorize {
			issuer %s
			scope %s
			tools admin_* {
				scope %s
			}
		}
	}
`, strings.Join(quoted, " "), issuer, demo.ScopeRead, demo.ScopeAdmin)
}

// load runs Caddy with nothing that outlives the process: no admin API, no
// certificates, no saved configuration.
func (s *Stage) load() error {
	global := fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	storage file_system %q
	log {
		level ERROR
	}
}
`, s.storage)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(global+s.Caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	return caddy.Load(adapted, true)
}

// Close ends everything.
func (s *Stage) Close() error {
	var errs []error
	if s.page != nil {
		errs = append(errs, s.page.Close())
	}
	if s.storage != "" {
		errs = append(errs, caddy.Stop(), os.RemoveAll(s.storage))
	}
	if s.demo != nil {
		errs = append(errs, s.demo.Close())
	}
	return errors.Join(errs...)
}

// Private is where the MCP server itself listens, and Issuer its
// authorization server.
func (s *Stage) Private() string { return s.demo.MCPURL() }

// Issuer is the issuer identifier of the authorization server.
func (s *Stage) Issuer() string { return s.demo.Issuer() }

func addr(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// choosePorts returns n ports that nothing listens on: consecutive ones from
// first, or, where it is 0, any.
func choosePorts(first, n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		at := 0
		if first != 0 {
			at = first + i
		}
		l, err := net.Listen("tcp", addr(at))
		if err != nil {
			return nil, fmt.Errorf("port %d is not free, choose others with -port: %w", at, err)
		}
		defer func() { _ = l.Close() }()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
