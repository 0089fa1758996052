package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Arguments that have this program be the server behind the bridges.
const (
	asProgram = "as-program"
	asSSE     = "as-sse"
)

// answer returns the answer to a message, or nothing.
func answer(line []byte) []byte {
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct {
			ProtocolVersion string
			Arguments       struct{ Text json.RawMessage }
		}
	}
	if json.Unmarshal(line, &m) != nil || m.ID == nil || m.Method == "" {
		return nil
	}
	result := "{}"
	switch m.Method {
	case "initialize":
		result = fmt.Sprintf(`{"protocolVersion":%q,"capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}`, m.Params.ProtocolVersion)
	case "tools/list":
		result = `{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}`
	case "tools/call":
		result = fmt.Sprintf(`{"content":[{"type":"text","text":%s}]}`, m.Params.Arguments.Text)
	}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

// serveProgram speaks over standard input and output until the input ends.
func serveProgram() error {
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if out := answer(line); out != nil {
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
	s := &http.Server{Handler: new(sseServer), ReadHeaderTimeout: time.Minute}
	return s.Serve(l)
}

type sseServer struct {
	streams sync.Map // number to a channel of messages
	last    int
	mu      sync.Mutex
}

// ServeHTTP implements http.Handler.
func (s *sseServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		to, ok := s.streams.Load(r.URL.Query().Get("session"))
		if err != nil || !ok {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		if out := answer(bytes.TrimSpace(body)); out != nil {
			to.(chan []byte) <- out
		}
		return
	}
	s.mu.Lock()
	s.last++
	id := fmt.Sprint(s.last)
	s.mu.Unlock()
	messages := make(chan []byte, 64)
	s.streams.Store(id, messages)
	defer s.streams.Delete(id)
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	_, err := fmt.Fprintf(w, "event: endpoint\ndata: /messages?session=%s\n\n", id)
	for err == nil && control.Flush() == nil {
		select {
		case m := <-messages:
			_, err = fmt.Fprintf(w, "event: message\ndata: %s\n\n", m)
		case <-r.Context().Done():
			return
		}
	}
}
