// Command demo compares an OAuth login behind reverse_proxy and behind
// mcp_auth_bridge. It starts an MCP server, its authorization server, Caddy in
// front of both, and a page to look at, all on loopback, in plain HTTP.
//
// With -server it starts only the MCP server on 127.0.0.1:3000 and the
// authorization server on 127.0.0.1:9000, for a Caddy of your own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/stage"
)

const (
	ping       = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}`
)

func main() {
	port := flag.Int("port", 8080, "the first of three consecutive `ports`: bridge, plain reverse_proxy, page")
	server := flag.Bool("server", false, "start only the MCP server and its authorization server")
	program := flag.Bool("program", false, "be an MCP server that speaks over standard input and output; this is how the endpoint /stdio starts it")
	public := flag.String("public", "http://localhost:8080/mcp,http://127.0.0.1:8080/mcp,http://localhost:8080/sse,http://127.0.0.1:8080/sse",
		"with -server: the `URLs` that clients use, comma-separated; tokens are issued for them (with -cohosted: for the server's own)")
	cohosted := flag.Bool("cohosted", false, "put the authorization server on the MCP server's own origin")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := func() error { return runStage(ctx, *port, *cohosted) }
	if *program {
		run = func() error { return demo.ServeProgram(ctx) }
	}
	if *server {
		run = func() error { return runServer(ctx, strings.Split(*public, ","), *cohosted) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func runServer(ctx context.Context, public []string, cohosted bool) error {
	if cohosted {
		public = nil
	}
	d, err := demo.Start(ctx, demo.Options{Addr: "127.0.0.1:3000", IssuerAddr: "127.0.0.1:9000", Public: public, SameOrigin: cohosted})
	if err != nil {
		return err
	}
	if cohosted {
		public = []string{d.MCPURL(), d.SSEURL()}
	}
	fmt.Printf("MCP server            %s and %s\nauthorization server  %s\ntokens are for        %s\nCtrl-C ends it.\n",
		d.MCPURL(), d.SSEURL(), d.Issuer(), strings.Join(public, " "))
	<-ctx.Done()
	return d.Close()
}

func runStage(ctx context.Context, port int, cohosted bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s, err := stage.Start(ctx, stage.Options{Port: port, Program: []string{self, "-program"}, Demo: demo.Options{SameOrigin: cohosted}})
	if err != nil {
		return err
	}
	fmt.Printf("An MCP server that requires a login listens on %s. The same server over stdio requires none, except behind authorize.\n", s.Private())
	fmt.Printf("Caddy runs in front of both with this Caddyfile:\n\n%s\n", s.Caddyfile)
	origin := strings.TrimSuffix(s.Page, "/")
	err = errors.Join(
		show(ctx, "What a script in a browser gets through mcp_auth_bridge:", s.Bridge, origin),
		show(ctx, "What it gets through mcp_auth_bridge from the HTTP+SSE server:", s.SSE, origin),
		show(ctx, "What it gets through reverse_proxy:", s.Plain, origin),
	)
	if err == nil {
		fmt.Printf("Open   %s   to compare them and to log in.\n", s.Page)
		for _, try := range []struct{ endpoint, of, message string }{
			{s.Bridge, "the server over Streamable HTTP", ping}, {s.SSE, "over HTTP+SSE", ping}, {s.Program, "as a program", initialize},
		} {
			fmt.Printf("Try    curl -i %s -H 'Content-Type: application/json' -d '%s'   # %s\n", try.endpoint, try.message, try.of)
		}
		fmt.Println("Ctrl-C ends it.")
		<-ctx.Done()
	}
	return errors.Join(err, s.Close())
}

// show asks as a page would and prints what a script may read of the answer.
func show(ctx context.Context, title, url, origin string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(ping))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Origin", origin)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	fmt.Printf("%s\n\n    %s %s\n", title, res.Proto, res.Status)
	for _, name := range []string{"WWW-Authenticate", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"} {
		value := res.Header.Get(name)
		if value == "" {
			value = "(missing)"
		}
		fmt.Printf("    %s: %s\n", name, value)
	}
	fmt.Println()
	return nil
}
