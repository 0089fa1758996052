package stdio_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

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

// answersThroughGate answers each call with what comes through a named pipe, and its number.
const answersThroughGate = `
n=0
while read -r line; do
	id=${line##*'"id":'}
	id=${id%%[,\}]*}
	case $line in
	*'"initialize"'*)
		result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
	*'"tools/call"'*)
		n=$((n + 1))
		read -r word <"$GATE"
		result='{"content":[{"type":"text","text":"'$word' '$n'"}]}' ;;
	*) continue ;;
	esac
	echo '{"jsonrpc":"2.0","id":'$id',"result":'$result'}'
done
`

// Rule D6: the answer to a call whose connection breaks while it waits reaches the client of
// Go's SDK, and the program is called once.
func TestCallOutlivesItsConnection(t *testing.T) {
	gate, script := filepath.Join(t.TempDir(), "gate"), filepath.Join(t.TempDir(), "script")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte(answersThroughGate), 0o600); err != nil {
		t.Fatal(err)
	}
	caddyfile, url, _ := scriptSite(t, ". "+script, "env GATE="+gate, "")
	testcaddy.Run(t, caddyfile)
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
		_ = os.WriteFile(gate, []byte("answer\n"), 0o600)
	}()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := res.Content[0].(*mcp.TextContent); text == nil || text.Text != "answer 1" {
		t.Errorf("got %v, want answer 1", res.Content)
	}
}
