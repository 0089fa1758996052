package integration_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// startConformanceServer starts the server for the suite on Streamable HTTP and
// returns its address. It ends with the test.
func startConformanceServer(t *testing.T, program string, flags ...string) string {
	t.Helper()
	addr := testcaddy.Addr(testcaddy.FreePort(t))
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, append(flags, "-http", addr)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	mcptest.Poll(t, patience, func() string {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err.Error()
		}
		_ = conn.Close()
		return ""
	})
	return addr
}

// sseServer puts a program that speaks over standard input and output on HTTP+SSE,
// with the SDK's transports on both sides: one process for each stream.
type sseServer struct {
	program string
	streams sync.Map // session to *mcp.SSEServerTransport
}

// serveAsSSE returns the URL of the event stream. The server ends with the test.
func serveAsSSE(t *testing.T, program string) string {
	t.Helper()
	server := httptest.NewServer(&sseServer{program: program})
	t.Cleanup(server.Close)
	return server.URL + "/sse"
}

// ServeHTTP implements http.Handler.
func (s *sseServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		stream, ok := s.streams.Load(r.URL.Query().Get("session"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		stream.(*mcp.SSEServerTransport).ServeHTTP(w, r)
		return
	}
	if err := s.stream(w, r); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (s *sseServer) stream(w http.ResponseWriter, r *http.Request) error {
	child, err := (&mcp.CommandTransport{Command: exec.Command(s.program)}).Connect(r.Context())
	if err != nil {
		return err
	}
	id := rand.Text()
	transport := &mcp.SSEServerTransport{Endpoint: "/messages?session=" + id, Response: w}
	s.streams.Store(id, transport)
	defer s.streams.Delete(id)
	w.Header().Set("Content-Type", "text/event-stream")
	client, err := transport.Connect(r.Context())
	if err != nil {
		return errors.Join(err, child.Close())
	}
	var pumps sync.WaitGroup
	pump := func(from, to mcp.Connection) {
		for {
			m, err := from.Read(r.Context())
			if err != nil || to.Write(r.Context(), m) != nil {
				return
			}
		}
	}
	pumps.Go(func() { pump(client, child) })
	pumps.Go(func() { pump(child, client) })
	<-r.Context().Done()
	_, _ = client.Close(), child.Close()
	pumps.Wait()
	return nil
}

// What TestConformanceOfClients tells this program when the suite runs it.
const (
	conformanceClient  = "MCP_AUTH_BRIDGE_CONFORMANCE_CLIENT"
	conformanceOptions = "MCP_AUTH_BRIDGE_CONFORMANCE_OPTIONS"
)

// runBehindBridge has a client talk to a bridge in front of a server.
func runBehindBridge(program, server string) error {
	at, err := url.Parse(server)
	if err != nil {
		return err
	}
	options := func(string) (string, error) { return os.Getenv(conformanceOptions), nil }
	if os.Getenv(conformanceOptions) == authorizeOfSuite {
		options = func(public string) (string, error) { return edgeOfSuite(server, public) }
	}
	path := at.Path
	if path == "" {
		path = "/"
	}
	var public string
	for range 5 { // another program may take the port first
		if public, err = bridge(at.Host, path, options); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "http://"+public+at.Path)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return errors.Join(cmd.Run(), caddy.Stop())
}

// bridge runs a bridge on a port of its own and returns its host. options are those of its
// directive, for the public URL of the endpoint. The suite's servers share one thread, and may be
// slow while all clients start.
func bridge(upstream, path string, options func(public string) (string, error)) (host string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	host = fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port)
	_ = l.Close()
	chosen, err := options("http://" + host + path)
	if err != nil {
		return "", err
	}
	config, err := testcaddy.Adapt(fmt.Sprintf(`{
	auto_https off
	admin off
	persist_config off
	log {
		level ERROR
	}
}
http://%s {
	bind 127.0.0.1
	mcp_auth_bridge %s http://%s%[2]s {
		limits {
			metadata_timeout 1m
			challenge_timeout 1m
		}
		%[4]s
	}
}`, host, path, upstream, chosen))
	if err != nil {
		return "", err
	}
	return host, caddy.Load(config, true)
}
