package sessions_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// statelessPairs runs a test on stateless requests (2026-07-28) in front of every HTTP
// upstream.
func statelessPairs(t *testing.T, test func(t *testing.T, g *mcptest.Gate, c *mcptest.Caller, up string)) {
	for _, up := range []string{"http", "sse"} {
		t.Run(up, func(t *testing.T) {
			g := mcptest.NewGate(t)
			upstream := map[string]string{"http": g.URL + "/mcp", "sse": "sse+" + g.URL + "/sse"}[up]
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, mcptest.SiteForPage(port, upstream))
			test(t, g, &mcptest.Caller{T: t, Client: mcptest.HTTPClient(t), Base: "http://" + testcaddy.Addr(port), At: "/mcp"}, up)
		})
	}
}

// statelessSteps are what a client of 2026-07-28 sends, by what it is.
var statelessSteps = map[string]string{
	"server/discover":      mcptest.StatelessMessage(`"d"`, "server/discover", ""),
	"request":              mcptest.StatelessMessage(`"r"`, "tools/call", `"name":"x"`),
	"vendor's request":     mcptest.StatelessMessage(`1.5`, "vendor/x", `"name":""`),
	"request of before":    mcptest.StatelessMessage(`9007199254740993`, "ping", ""),
	"notification":         mcptest.StatelessMessage("", "notifications/vendor", ""),
	"notification, bare":   `{"jsonrpc":"2.0","method":"notifications/vendor"}`,
	"cancel":               mcptest.StatelessMessage("", "notifications/cancelled", `"requestId":"none"`),
	"subscriptions/listen": mcptest.Subscribe,
}

// Rules A1, A2, A3, A8, B1, D4: whatever the server refuses a stateless request with
// answers that very request, once, with the credentials that it came with: the first
// with a token, and one with a token that the server has taken before.
func TestStatelessRefusalsCross(t *testing.T) {
	statelessPairs(t, func(t *testing.T, g *mcptest.Gate, c *mcptest.Caller, up string) {
		tokens := 0
		for name, v := range mcptest.Verdicts(g) {
			t.Run(name, func(t *testing.T) {
				c.T = t
				t.Cleanup(func() { g.Refuse(nil) })
				for step, body := range statelessSteps {
					for _, known := range []bool{false, true} {
						what := fmt.Sprintf("%s, token known %t", step, known)
						tokens++
						token := fmt.Sprintf("t%d", tokens)
						g.Refuse(nil)
						if known {
							c.Reaches(what, token)
						}
						g.Refuse(mcptest.SameVerdict(v, func(a mcptest.Arrival) bool { return a.Auth == "Bearer "+token }))
						n := g.Count()
						res, got := c.Post(token, body)
						c.Refused(what, g, v, res, got)
						want := 1
						if up == "sse" && v.Status == http.StatusNotFound {
							want = 2 // the server knows the conversation no more, and is asked for another
						}
						g.Sent(t, what, n, "Bearer "+token, want)
						g.Refuse(nil)
						c.Reaches("after the refusal of a "+what, token)
					}
				}
			})
		}
	})
}

// Rules A1, D4: a token that does not reach far enough is told so on the request that
// needs more, whatever else is under way, and a wider one does at once.
func TestStatelessTokenWithTooLittleScopeIsRefusedOnThatRequest(t *testing.T) {
	statelessPairs(t, func(t *testing.T, g *mcptest.Gate, c *mcptest.Caller, up string) {
		v := g.Refusal(403, `error="insufficient_scope", scope="a c"`, "more")
		g.Refuse(mcptest.SameVerdict(v, func(a mcptest.Arrival) bool { return a.Auth == "Bearer weak" && a.Is(`"admin"`) }))
		c.Reaches("before", "weak")
		listening := c.Subscribe("weak")
		for range 2 {
			n := g.Count()
			res, got := c.Post("weak", mcptest.StatelessMessage(`1`, "tools/call", `"name":"admin"`))
			c.Refused("step-up", g, v, res, got)
			g.Sent(t, "step-up", n, "Bearer weak", 1)
			c.Reaches("after", "weak")
		}
		if res, got := c.Post("strong", mcptest.StatelessMessage(`1`, "tools/call", `"name":"admin"`)); !strings.Contains(got, `"auth":"Bearer strong"`) {
			t.Errorf("with more: %d %s", res.StatusCode, got)
		}
		g.Each(func(s *mcptest.GateStream) { s.Send <- `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}` })
		c.Events = listening
		if got := c.Next(); !strings.Contains(got, "list_changed") {
			t.Errorf("on the stream: %s", got)
		}
	})
}

// Rule D4: a token that expires is refused on the next request alone; what is under
// way goes on; a refreshed one takes effect at once.
func TestStatelessTokenExpires(t *testing.T) {
	statelessPairs(t, func(t *testing.T, g *mcptest.Gate, c *mcptest.Caller, up string) {
		c.Reaches("before", "old")
		listening := c.Subscribe("old")
		answered := make(chan string, 1)
		go func() {
			_, got := c.Post("old", mcptest.StatelessMessage(`"held"`, "hold", ""))
			answered <- got
		}()
		var held string // its id at the server
		g.Await(t, "the call is not under way", func() bool {
			for id := range g.Held {
				held = id
			}
			return held != ""
		})
		v := g.Refusal(401, `error="invalid_token"`, "expired")
		g.Refuse(mcptest.SameVerdict(v, func(a mcptest.Arrival) bool { return a.Auth != "Bearer new" }))
		for step, body := range statelessSteps {
			for range 2 {
				n := g.Count()
				res, got := c.Post("old", body)
				c.Refused(step+" with the old token", g, v, res, got)
				g.Sent(t, step, n, "Bearer old", 1)
			}
			c.Reaches("with the new token", "new")
		}
		g.Let(t, held)
		if got := <-answered; !strings.Contains(got, `"id":"held"`) || !strings.Contains(got, `"auth":"Bearer old"`) {
			t.Errorf("the call that was under way: %s", got)
		}
		g.Each(func(s *mcptest.GateStream) {
			if s.Auth == "Bearer old" {
				s.Send <- `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
			}
		})
		c.Events = listening
		if got := c.Next(); !strings.Contains(got, "list_changed") {
			t.Errorf("on the stream: %s", got)
		}
		// The server's stream breaks: so does the client's, and the refusal is given to
		// whoever asks again, and to nobody else.
		g.Each(func(s *mcptest.GateStream) {
			if s.Auth == "Bearer old" {
				s.End()
			}
		})
		if got := c.Next(); got != "" {
			t.Errorf("after the stream broke: %s", got)
		}
		res, got := c.Post("old", statelessSteps["subscriptions/listen"])
		c.Refused("again", g, v, res, got)
		c.Reaches("with the new token", "new")
	})
}

// Rules A1, A8, D4: where the bridge itself has something to say to a server that
// begins with a handshake, a refusal of it answers the request that it is for, and a
// next one begins again.
func TestStatelessRefusalsOnTheWay(t *testing.T) {
	statelessPairs(t, func(t *testing.T, g *mcptest.Gate, c *mcptest.Caller, up string) {
		if up != "sse" {
			t.Skip("all crosses as it is")
		}
		watch := mcptest.StatelessMessage(`"l"`, "subscriptions/listen", `"notifications":{"resourceSubscriptions":["x:1","x:2"]}`)
		verbose := strings.Replace(statelessSteps["request"], `"_meta":{`, `"_meta":{"io.modelcontextprotocol/logLevel":"info",`, 1)
		for name, v := range mcptest.Verdicts(g) {
			if v.Status == http.StatusNotFound {
				continue // the shared server is begun again; see TestStatelessRefusalsCross
			}
			for said, body := range map[string]string{
				`"initialize"`: statelessSteps["request"], `"notifications/initialized"`: statelessSteps["server/discover"],
				`"x:2"`: watch, `"logging/setLevel"`: verbose,
			} {
				t.Run(name+", "+said, func(t *testing.T) {
					c.T = t
					token := strings.Trim(said, `"`) + strings.ReplaceAll(name, " ", "")
					g.Refuse(mcptest.SameVerdict(v, func(a mcptest.Arrival) bool { return a.Auth == "Bearer "+token && a.Is(said) }))
					t.Cleanup(func() { g.Refuse(nil) })
					res, got := c.Post(token, body)
					c.Refused(said, g, v, res, got)
					g.Refuse(nil)
					c.Reaches("after "+said, token)
					if body == verbose {
						n := g.Count()
						c.Post(token, verbose)
						g.Sent(t, "the level is asked for again", n, "Bearer "+token, 2)
					}
				})
			}
		}
	})
}

// usersSite is [gateSite] behind an authentication that knows users by a field.
func usersSite(port int, upstream string) string {
	return strings.Replace(mcptest.SiteForPage(port, upstream), "\tmcp_auth_bridge", "\tmap {header.X-Test-User} {http.auth.user.id} {\n\t\t~(.+) ${1}\n\t}\n\tmcp_auth_bridge", 1)
}

// Rules D4, D5a: nobody's message is sent with the credentials of another request, and
// nobody gets what is another's. Each token has a conversation with the server, also
// where several are of one user: the server may know them apart.
func TestStatelessMessagesCarryTheirOwnCredentials(t *testing.T) {
	for name, users := range map[string]int{"each token alone": 0, "three users": 3} {
		const conversations = 12 * 4
		t.Run(name, func(t *testing.T) {
			g := mcptest.NewGate(t)
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, usersSite(port, "sse+"+g.URL+"/sse"))
			g.Refuse(func(a mcptest.Arrival) *mcptest.Verdict {
				if !a.Is(`"refuse"`) {
					return nil
				}
				_, who, _ := strings.Cut(a.Auth, " ")
				return g.Refusal(403, `error="insufficient_scope", scope="`+who+`"`, who)
			})
			var wg sync.WaitGroup
			for i := range 12 {
				c := &mcptest.Caller{T: t, Client: mcptest.HTTPClient(t), Base: "http://" + testcaddy.Addr(port), At: "/mcp"}
				wg.Go(func() {
					for n := range 20 {
						token := fmt.Sprintf("c%d-%d", i, n%4)
						var fields []string
						if users > 0 {
							fields = []string{"X-Test-User", fmt.Sprintf("user-%d", i%users)}
						}
						id := fmt.Sprintf("%q", token)
						res, got := c.Post(token, mcptest.StatelessMessage(id, "refuse", `"name":`+id), fields...)
						challenge := strings.Join(res.Header["Www-Authenticate"], "\n")
						if res.StatusCode != 403 || got != token || !strings.Contains(challenge, `scope="`+token+`"`) {
							t.Errorf("%s: %d %q %s", token, res.StatusCode, got, challenge)
						}
						_, got = c.Post(token, mcptest.StatelessMessage(id, "x", `"name":`+id), fields...)
						if !strings.Contains(got, `"id":`+id) || !strings.Contains(got, `"auth":"Bearer `+token+`"`) {
							t.Errorf("%s: %s", token, got)
						}
					}
				})
			}
			wg.Wait()
			streams := 0
			for _, a := range g.Since(0) {
				var m struct{ Params struct{ Name string } }
				_ = json.Unmarshal([]byte(a.Frame), &m) // of no interest where it has another shape
				if m.Params.Name != "" && a.Auth != "Bearer "+m.Params.Name {
					t.Errorf("%s came with %q", a.Frame, a.Auth)
				}
				if a.Method == http.MethodGet {
					streams++
				}
			}
			if streams != conversations {
				t.Errorf("%d conversations with the server, want %d", streams, conversations)
			}
		})
	}
}
