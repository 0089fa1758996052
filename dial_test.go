package mcpauthbridge_test

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// A dial that a request began goes on in the background after another
// connection became free and the request was answered: what it reads of the
// request must not be written then.
func TestDialOutlivesRequest(t *testing.T) {
	up := newAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, bridgeTo(port, up.URL, "transport http {\n\t\t\tkeepalive_idle_conns_per_host 1\n\t\t}"))
	base := "http://" + testcaddy.Addr(port)
	var wg sync.WaitGroup
	for range 8 {
		c := newClient(t)
		wg.Go(func() {
			for range 500 {
				res, err := c.Do(newRequest(t, http.MethodPost, base+"/mcp?answer=200", initReq))
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
