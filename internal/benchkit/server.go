package benchkit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// Reply returns the answer of an MCP server to a message, or nil for none. The server has a tool
// echo, which answers with the argument text.
func Reply(line []byte) []byte {
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

// SSEServer is an MCP server over HTTP+SSE: its event stream is at every path, which a GET opens.
type SSEServer struct {
	streams sync.Map // number to a channel of messages
	last    int
	mu      sync.Mutex
}

// ServeHTTP implements http.Handler.
func (s *SSEServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		to, ok := s.streams.Load(r.URL.Query().Get("session"))
		if err != nil || !ok {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		if out := Reply(bytes.TrimSpace(body)); out != nil {
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
