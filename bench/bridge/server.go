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

// serveSSE speaks HTTP+SSE until standard input ends, which it does with the
// program that started it. It prints the address of the event stream.
func serveSSE() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s/sse\n", l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	s := &http.Server{Handler: new(benchkit.SSEServer), ReadHeaderTimeout: time.Minute}
	return s.Serve(l)
}
