package sessions_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// D6, G: in front of an upstream `sessions max` bounds conversations with it, until its
// streams have ended; however sessions end, none of their places is lost.
func TestSessionsMaxBoundsConversations(t *testing.T) {
	// The other pairs pass through, and have no session here.
	t.Run("sse to http", func(t *testing.T) { maxBoundsConversations(t, "http", true) })
	t.Run("sessions to sse", func(t *testing.T) { maxBoundsConversations(t, "sse", false) })
}

func maxBoundsConversations(t *testing.T, up string, legacy bool) {
	g := mcptest.NewGate(t)
	upstream := map[string]string{"http": g.URL + "/mcp", "sse": "sse+" + g.URL + "/sse"}[up]
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, strings.Replace(mcptest.SiteForPage(port, upstream), "legacy_sse", "legacy_sse\n\t\tsessions {\n\t\t\tmax 2\n\t\t}", 1))
	caller := func() *mcptest.Caller {
		return &mcptest.Caller{T: t, Client: mcptest.HTTPClient(t), Base: "http://" + testcaddy.Addr(port), Legacy: legacy}
	}
	bad := g.Refusal(401, `error="invalid_token"`, "expired")
	for round := range 6 {
		// One ends as its client says, or as the stream breaks that it is.
		c := caller()
		c.Begin("good")
		if legacy {
			c.Leave() // which Caddy notices when it does
			g.Await(t, "the session goes on", func() bool {
				deleted := 0
				for _, a := range g.Arrivals {
					if a.Method == http.MethodDelete {
						deleted++
					}
				}
				return deleted == round+1
			})
		} else {
			c.Send(http.MethodDelete, c.At, "good", "")
		}
		// One that the server refuses has no place.
		g.Refuse(mcptest.SameVerdict(bad, func(a mcptest.Arrival) bool { return a.Auth == "Bearer bad" }))
		d := caller()
		if legacy {
			d.Send(http.MethodGet, d.StreamPath(), "bad", "")
		} else {
			d.Send(http.MethodPost, "/mcp", "bad", mcptest.Initialize)
		}
		g.Refuse(nil)
		g.Mu.Lock()
		streams := len(g.Streams)
		g.Mu.Unlock()
		if streams > 2 {
			t.Errorf("round %d: %d streams at the server", round, streams)
		}
	}
	// As many as ever may begin now, and no more.
	for range 2 {
		caller().Begin("good")
	}
	c := caller()
	method, body := http.MethodPost, mcptest.Initialize
	if legacy {
		method, body = http.MethodGet, ""
	}
	if res, got := c.Send(method, c.StreamPath(), "good", body); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %d %s", res.StatusCode, got)
	}
}
