package stdio_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// cutter breaks the response to a POST once it has an event with an id and no data.
type cutter struct {
	http.RoundTripper
	cut chan struct{} // closed at the cut
}

func (c *cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := c.RoundTripper.RoundTrip(r)
	if err == nil && r.Method == http.MethodPost {
		res.Body = &cutBody{ReadCloser: res.Body, cut: c.cut}
	}
	return res, err
}

type cutBody struct {
	io.ReadCloser
	cut  chan struct{}
	over bool
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.over {
		return 0, errors.New("cut")
	}
	n, err := b.ReadCloser.Read(p)
	if bytes.HasSuffix(p[:n], []byte("\ndata: \n\n")) {
		b.over = true
		close(b.cut)
	}
	return n, err
}

// Rule D6: the answer to a call whose connection breaks while it waits reaches the client of
// Go's SDK, and the program is called once.
func TestCallOutlivesItsConnection(t *testing.T) {
	command, answer := mcptest.Gated(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio %s\n\t}\n}", port, command))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	c := &cutter{tr, make(chan struct{})}
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
		&mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: c}}, &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	go func() {
		<-c.cut
		answer(`{"content":[]}`)
	}()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if n := res.Meta["requests"]; n != 1.0 {
		t.Errorf("the program was asked %v times", n)
	}
}
