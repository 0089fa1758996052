package mcpauthbridge_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// statelessPairs runs a test on stateless requests (2026-07-28) in front of every HTTP
// upstream.
func statelessPairs(t *testing.T, test func(t *testing.T, g *gate, c *caller, up string)) {
	for _, up := range []string{"http", "sse"} {
		t.Run(up, func(t *testing.T) {
			g := newGate(t)
			upstream := map[string]string{"http": g.url + "/mcp", "sse": "sse+" + g.url + "/sse"}[up]
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, gateSite(port, upstream))
			test(t, g, &caller{t: t, client: client(t), base: "http://" + testcaddy.Addr(port), at: "/mcp"}, up)
		})
	}
}

// alone is a message that stands for itself; params are members of params.
func alone(id, method, params string) string {
	head, meta := `{"jsonrpc":"2.0",`, `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"`
	if id != "" {
		head += `"id":` + id + `,`
		meta += `,"io.modelcontextprotocol/clientCapabilities":{}`
	}
	if params != "" {
		params += ","
	}
	return head + `"method":"` + method + `","params":{` + params + meta + `}}}`
}

// statelessRequest is a POST with the fields that its body wants.
func (c *caller) statelessRequest(token, body string, fields ...string) *http.Request {
	c.t.Helper()
	req := c.request(http.MethodPost, c.at, token, body)
	var m struct {
		Method string
		Params struct{ Name string }
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	req.Header.Set("Mcp-Method", m.Method)
	if m.Params.Name != "" {
		req.Header.Set("Mcp-Name", m.Params.Name)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	return req
}

// post sends a message and returns the answer with its body read.
func (c *caller) post(token, body string, fields ...string) (*http.Response, string) {
	c.t.Helper()
	res, err := c.client.Do(c.statelessRequest(token, body, fields...))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res, string(got)
}

// reaches wants a call to be answered by the gate, which has seen these credentials
// with it.
func (c *caller) reaches(what, token string) {
	c.t.Helper()
	res, got := c.post(token, alone(`"r"`, "tools/call", `"name":"x"`))
	if !strings.Contains(got, `"auth":"Bearer `+token+`"`) || !strings.Contains(got, `"id":"r"`) || res.StatusCode != http.StatusOK {
		c.t.Errorf("%s: %d %s", what, res.StatusCode, got)
	}
}

// subscribe sends a subscriptions/listen and returns its events, of which the first,
// the acknowledgement, was read.
func (c *caller) subscribe(token string) <-chan string {
	c.t.Helper()
	res, err := c.client.Do(c.statelessRequest(token, statelessSteps["subscriptions/listen"]))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = res.Body.Close() })
	c.events = events(res.Body)
	if got := c.next(); !strings.Contains(got, "acknowledged") {
		c.t.Fatalf("listen: %d %s", res.StatusCode, got)
	}
	return c.events
}

// statelessSteps are what a client of 2026-07-28 sends, by what it is.
var statelessSteps = map[string]string{
	"server/discover":      alone(`"d"`, "server/discover", ""),
	"request":              alone(`"r"`, "tools/call", `"name":"x"`),
	"vendor's request":     alone(`1.5`, "vendor/x", `"name":""`),
	"request of before":    alone(`9007199254740993`, "ping", ""),
	"notification":         alone("", "notifications/vendor", ""),
	"notification, bare":   `{"jsonrpc":"2.0","method":"notifications/vendor"}`,
	"cancel":               alone("", "notifications/cancelled", `"requestId":"none"`),
	"subscriptions/listen": alone(`"l"`, "subscriptions/listen", `"notifications":{"toolsListChanged":true}`),
}

// Rules A1, A2, A3, A8, B1, D4: whatever the server refuses a stateless request with
// answers that very request, once, with the credentials that it came with: the first
// with a token, and one with a token that the server has taken before.
func TestStatelessRefusalsCross(t *testing.T) {
	statelessPairs(t, func(t *testing.T, g *gate, c *caller, up string) {
		tokens := 0
		for name, v := range verdicts(g) {
			t.Run(name, func(t *testing.T) {
				c.t = t
				t.Cleanup(func() { g.refuse(nil) })
				for step, body := range statelessSteps {
					for _, known := range []bool{false, true} {
						what := fmt.Sprintf("%s, token known %t", step, known)
						tokens++
						token := fmt.Sprintf("t%d", tokens)
						g.refuse(nil)
						if known {
							c.reaches(what, token)
						}
						g.refuse(sameVerdict(v, func(a arrival) bool { return a.auth == "Bearer "+token }))
						n := g.count()
						res, got := c.post(token, body)
						c.refused(what, g, v, res, got)
						want := 1
						if up == "sse" && v.status == http.StatusNotFound {
							want = 2 // the server knows the conversation no more, and is asked for another
						}
						g.sent(t, what, n, "Bearer "+token, want)
						g.refuse(nil)
						c.reaches("after the refusal of a "+what, token)
					}
				}
			})
		}
	})
}

// Rules A1, D4: a token that does not reach far enough is told so on the request that
// needs more, whatever else is under way, and a wider one does at once.
func TestStatelessStepUp(t *testing.T) {
	statelessPairs(t, func(t *testing.T, g *gate, c *caller, up string) {
		v := g.refusal(403, `error="insufficient_scope", scope="a c"`, "more")
		g.refuse(sameVerdict(v, func(a arrival) bool { return a.auth == "Bearer weak" && a.is(`"admin"`) }))
		c.reaches("before", "weak")
		listening := c.subscribe("weak")
		for range 2 {
			n := g.count()
			res, got := c.post("weak", alone(`1`, "tools/call", `"name":"admin"`))
			c.refused("step-up", g, v, res, got)
			g.sent(t, "step-up", n, "Bearer weak", 1)
			c.reaches("after", "weak")
		}
		if res, got := c.post("strong", alone(`1`, "tools/call", `"name":"admin"`)); !strings.Contains(got, `"auth":"Bearer strong"`) {
			t.Errorf("with more: %d %s", res.StatusCode, got)
		}
		g.each(func(s *gateStream) { s.send <- `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}` })
		c.events = listening
		if got := c.next(); !strings.Contains(got, "list_changed") {
			t.Errorf("on the stream: %s", got)
		}
	})
}

// Rule D4: a token that expires is refused on the next request alone; what is under
// way goes on; a refreshed one takes effect at once.
func TestStatelessTokenExpires(t *testing.T) {
	statelessPairs(t, func(t *testing.T, g *gate, c *caller, up string) {
		c.reaches("before", "old")
		listening := c.subscribe("old")
		answered := make(chan string, 1)
		go func() {
			_, got := c.post("old", alone(`"held"`, "hold", ""))
			answered <- got
		}()
		var held string // its id at the server
		g.await(t, "the call is not under way", func() bool {
			for id := range g.held {
				held = id
			}
			return held != ""
		})
		v := g.refusal(401, `error="invalid_token"`, "expired")
		g.refuse(sameVerdict(v, func(a arrival) bool { return a.auth != "Bearer new" }))
		for step, body := range statelessSteps {
			for range 2 {
				n := g.count()
				res, got := c.post("old", body)
				c.refused(step+" with the old token", g, v, res, got)
				g.sent(t, step, n, "Bearer old", 1)
			}
			c.reaches("with the new token", "new")
		}
		g.let(t, held)
		if got := <-answered; !strings.Contains(got, `"id":"held"`) || !strings.Contains(got, `"auth":"Bearer old"`) {
			t.Errorf("the call that was under way: %s", got)
		}
		g.each(func(s *gateStream) {
			if s.auth == "Bearer old" {
				s.send <- `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
			}
		})
		c.events = listening
		if got := c.next(); !strings.Contains(got, "list_changed") {
			t.Errorf("on the stream: %s", got)
		}
		// The server's stream breaks: so does the client's, and the refusal is given to
		// whoever asks again, and to nobody else.
		g.each(func(s *gateStream) {
			if s.auth == "Bearer old" {
				s.end()
			}
		})
		if got := c.next(); got != "" {
			t.Errorf("after the stream broke: %s", got)
		}
		res, got := c.post("old", statelessSteps["subscriptions/listen"])
		c.refused("again", g, v, res, got)
		c.reaches("with the new token", "new")
	})
}

// Rules A1, A8, D4: where the bridge itself has something to say to a server that
// begins with a handshake, a refusal of it answers the request that it is for, and a
// next one begins again.
func TestStatelessRefusalsOnTheWay(t *testing.T) {
	statelessPairs(t, func(t *testing.T, g *gate, c *caller, up string) {
		if up != "sse" {
			t.Skip("all crosses as it is")
		}
		watch := alone(`"l"`, "subscriptions/listen", `"notifications":{"resourceSubscriptions":["x:1","x:2"]}`)
		verbose := strings.Replace(statelessSteps["request"], `"_meta":{`, `"_meta":{"io.modelcontextprotocol/logLevel":"info",`, 1)
		for name, v := range verdicts(g) {
			if v.status == http.StatusNotFound {
				continue // the conversation is begun again; see TestStatelessRefusalsCross
			}
			for said, body := range map[string]string{
				`"initialize"`: statelessSteps["request"], `"notifications/initialized"`: statelessSteps["server/discover"],
				`"x:2"`: watch, `"logging/setLevel"`: verbose,
			} {
				t.Run(name+", "+said, func(t *testing.T) {
					c.t = t
					token := strings.Trim(said, `"`) + strings.ReplaceAll(name, " ", "")
					g.refuse(sameVerdict(v, func(a arrival) bool { return a.auth == "Bearer "+token && a.is(said) }))
					t.Cleanup(func() { g.refuse(nil) })
					res, got := c.post(token, body)
					c.refused(said, g, v, res, got)
					g.refuse(nil)
					c.reaches("after "+said, token)
					if body == verbose {
						n := g.count()
						c.post(token, verbose)
						g.sent(t, "the level is asked for again", n, "Bearer "+token, 2)
					}
				})
			}
		}
	})
}

// usersSite is [gateSite] behind an authentication that knows users by a field.
func usersSite(port int, upstream string) string {
	return strings.Replace(gateSite(port, upstream), "\tmcp_auth_bridge", "\tmap {header.X-Test-User} {http.auth.user.id} {\n\t\t~(.+) ${1}\n\t}\n\tmcp_auth_bridge", 1)
}

// Rule D4: nobody's message is sent with the credentials of another request, and
// nobody gets what is another's: be it that each token has a conversation with the
// server, or that a user has one with several tokens.
func TestStatelessNobodyElsesCredentials(t *testing.T) {
	for name, users := range map[string]int{"each token alone": 0, "three users": 3} {
		conversations := users
		if users == 0 {
			conversations = 12 * 4
		}
		t.Run(name, func(t *testing.T) {
			g := newGate(t)
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, usersSite(port, "sse+"+g.url+"/sse"))
			g.refuse(func(a arrival) *verdict {
				if !a.is(`"refuse"`) {
					return nil
				}
				_, who, _ := strings.Cut(a.auth, " ")
				return g.refusal(403, `error="insufficient_scope", scope="`+who+`"`, who)
			})
			var wg sync.WaitGroup
			for i := range 12 {
				c := &caller{t: t, client: client(t), base: "http://" + testcaddy.Addr(port), at: "/mcp"}
				wg.Go(func() {
					for n := range 20 {
						token := fmt.Sprintf("c%d-%d", i, n%4)
						var fields []string
						if users > 0 {
							fields = []string{"X-Test-User", fmt.Sprintf("user-%d", i%users)}
						}
						id := fmt.Sprintf("%q", token)
						res, got := c.post(token, alone(id, "refuse", `"name":`+id), fields...)
						challenge := strings.Join(res.Header["Www-Authenticate"], "\n")
						if res.StatusCode != 403 || got != token || !strings.Contains(challenge, `scope="`+token+`"`) {
							t.Errorf("%s: %d %q %s", token, res.StatusCode, got, challenge)
						}
						_, got = c.post(token, alone(id, "x", `"name":`+id), fields...)
						if !strings.Contains(got, `"id":`+id) || !strings.Contains(got, `"auth":"Bearer `+token+`"`) {
							t.Errorf("%s: %s", token, got)
						}
					}
				})
			}
			wg.Wait()
			streams := 0
			for _, a := range g.since(0) {
				var m struct{ Params struct{ Name string } }
				_ = json.Unmarshal([]byte(a.frame), &m) // of no interest where it has another shape
				if m.Params.Name != "" && a.auth != "Bearer "+m.Params.Name {
					t.Errorf("%s came with %q", a.frame, a.auth)
				}
				if a.method == http.MethodGet {
					streams++
				}
			}
			if streams != conversations {
				t.Errorf("%d conversations with the server, want %d", streams, conversations)
			}
		})
	}
}
