//go:build !race

package edge_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// E3: a WebSocket of HTTP/3 (RFC 9220) is a method of its own, and is refused. Caddy makes an
// upgrade of it. The race detector finds a race of Caddy's own where HTTP/3 starts.
func TestTunnelOfHTTP3(t *testing.T) {
	front := mcptest.Fronts["http3"]
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	reached := make(chan struct{}, 10)
	server := mcptest.ListenRaw(t, func(conn net.Conn) {
		reached <- struct{}{}
		if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+"\r\n\r\n")
		}
	})
	port := testcaddy.FreePort(t)
	url := fmt.Sprintf("https://127.0.0.1:%d/mcp", port)
	cert, key := testcaddy.Certificate(t)
	endpoint := "mcp_auth_bridge /mcp " + server + " {\n" + authorize(issuer, attackRules) + "\n}"
	testcaddy.Run(t, "{\nauto_https off\n}\n"+fmt.Sprintf(strings.ReplaceAll(front.Config(port, 0), "CERTIFICATE", cert+" "+key), endpoint))
	client := front.Client(t)
	for _, tc := range []struct {
		token  string
		status int
	}{{"", 401}, {issuer.Token(url, nil), 405}} {
		r := mcptest.NewRequest(t, http.MethodConnect, url, "", "Sec-Websocket-Version", "13")
		if r.Proto = "websocket"; tc.token != "" {
			r.Header.Set("Authorization", "Bearer "+tc.token)
		}
		if got := mcptest.Do(t, client, r); got.Status != tc.status {
			t.Errorf("got %d %s; want %d", got.Status, got.Body, tc.status)
		}
	}
	if len(reached) > 0 {
		t.Error("the server was reached")
	}
}
