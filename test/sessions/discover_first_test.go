package sessions_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// newEcho is a server of the SDK with one tool.
func newEcho(*http.Request) *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "echo", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "echo"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "done"}}}, nil, nil
	})
	return s
}

// refusing answers server/discover in a way of its own, and all else as the SDK's server does.
func refusing(status int, contentType, body string) http.Handler {
	next := mcp.NewStreamableHTTPHandler(newEcho, nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(sent))
		if bytes.Contains(sent, []byte(`"server/discover"`)) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, body)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// D3: a client of HTTP+SSE that begins with server/discover, as the SDK's does, goes on with
// initialize in front of each server, as it does at a server of HTTP+SSE itself. A server of
// Streamable HTTP may refuse that request with a status; such a client knows only errors on
// its stream.
func TestOldClientBeginsWithDiscover(t *testing.T) {
	const plain, json = "text/plain", "application/json"
	direct := mcp.NewSSEHandler(newEcho, nil)
	for name, tc := range map[string]struct {
		server http.Handler
		front  string // the upstream, without its host; empty: there is no bridge
	}{
		"no bridge":                {direct, ""},
		"HTTP+SSE":                 {direct, "sse+%s/sse"},
		"sessions":                 {mcp.NewStreamableHTTPHandler(newEcho, nil), "%s"},
		"sessions, JSON":           {mcp.NewStreamableHTTPHandler(newEcho, &mcp.StreamableHTTPOptions{JSONResponse: true}), "%s"},
		"stateless":                {mcp.NewStreamableHTTPHandler(newEcho, &mcp.StreamableHTTPOptions{Stateless: true}), "%s"},
		"400 as text":              {refusing(400, plain, "Bad Request: JSON RPC not handled"), "%s"},
		"400 with another id":      {refusing(400, json, `{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}`), "%s"},
		"400 without an id":        {refusing(400, json, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Server not initialized"}}`), "%s"},
		"404 for the method":       {refusing(404, json, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}`), "%s"},
		"422":                      {refusing(422, json, `{"detail":"unprocessable"}`), "%s"},
		"500 with a JSON-RPC body": {refusing(500, json, `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"boom"}}`), "%s"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(tc.server)
			t.Cleanup(server.CloseClientConnections)
			url := server.URL
			if tc.front != "" {
				port := testcaddy.FreePort(t)
				testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge /mcp "+tc.front+" {\n\t\tlegacy_sse\n\t}\n}\n", port, server.URL))
				url = fmt.Sprintf("http://127.0.0.1:%d/mcp/sse", port)
			}
			tr := &http.Transport{}
			t.Cleanup(tr.CloseIdleConnections)
			s, err := mcp.NewClient(&mcp.Implementation{Name: "old", Version: "1"}, nil).
				Connect(t.Context(), &mcp.SSEClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: tr}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo"}); err != nil || len(res.Content) != 1 {
				t.Errorf("got %v, %v", res, err)
			}
		})
	}
}
