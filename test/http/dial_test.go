package http_test

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// A dial that a request began goes on in the background after another
// connection became free and the request was answered: what it reads of the
// request must not be written then.
func TestDialOutlivesRequest(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, "transport http {\n\t\t\tkeepalive_idle_conns_per_host 1\n\t\t}"))
	base := "http://" + testcaddy.Addr(port)
	var wg sync.WaitGroup
	for range 8 {
		c := mcptest.NewClient(t)
		wg.Go(func() {
			for range 500 {
				res, err := c.Do(mcptest.NewRequest(t, http.MethodPost, base+"/mcp?answer=200", mcptest.Initialize))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
	wg.Wait()
}
