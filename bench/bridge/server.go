package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/benchkit"
)

// Arguments that have this program be the server behind the bridges.
const (
	asProgram = "as-program"
	asSSE     = "as-sse"
)

// serveProgram speaks over standard input and output until the input ends.
func serveProgram() error {
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if out := benchkit.Reply(line); out != nil {
			if _, err := os.Stdout.Write(append(out, '\n')); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// ssePath and httpPath are the paths of the server of both HTTP transports.
const ssePath, httpPath = "/sse", "/mcp"

// serveSSE speaks HTTP+SSE and Streamable HTTP until standard input ends, which it does with the
// program that started it. It prints the address of the event stream.
func serveSSE() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s%s\n", l.Addr(), ssePath)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	mux := http.NewServeMux()
	mux.Handle("/", new(benchkit.SSEServer))
	mux.HandleFunc(httpPath, serveHTTP)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	return s.Serve(l)
}

// serveHTTP speaks Streamable HTTP. Its event streams have no events.
func serveHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		w.Header().Set("Content-Type", "text/event-stream")
		if http.NewResponseController(w).Flush() == nil {
			<-r.Context().Done()
		}
	case http.MethodPost:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has left
		}
		out := benchkit.Reply(body)
		if out == nil {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Mcp-Session-Id", "one-for-all")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(out)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
