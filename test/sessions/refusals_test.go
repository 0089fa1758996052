package sessions_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// gatePairs runs a test on every pair of a downstream with sessions and an HTTP
// upstream.
func gatePairs(t *testing.T, test func(t *testing.T, g *mcptest.Gate, newCaller func() *mcptest.Caller, up string)) {
	for _, up := range []string{"http", "sse"} {
		for _, down := range []string{"sessions", "sse"} {
			t.Run(down+" to "+up, func(t *testing.T) {
				g := mcptest.NewGate(t)
				upstream := map[string]string{"http": g.URL + "/mcp", "sse": "sse+" + g.URL + "/sse"}[up]
				port := testcaddy.FreePort(t)
				testcaddy.Run(t, mcptest.SiteForPage(port, upstream))
				test(t, g, func() *mcptest.Caller {
					return &mcptest.Caller{T: t, Client: mcptest.HTTPClient(t), Base: "http://" + testcaddy.Addr(port), Legacy: down == "sse"}
				}, up)
			})
		}
	}
}

// Rules A1, A2, A3, A8, B1, D4: whatever the server refuses a request with answers
// that very request, once, with the credentials that it came with, and the session
// goes on.
func TestRefusalsCross(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *mcptest.Gate, newCaller func() *mcptest.Caller, up string) {
		for name, v := range mcptest.Verdicts(g) {
			t.Run(name, func(t *testing.T) {
				bad := mcptest.SameVerdict(v, func(a mcptest.Arrival) bool { return a.Auth == "Bearer bad" })
				steps := map[string]string{
					"request":      `{"jsonrpc":"2.0","id":"r","method":"tools/call","params":{"name":"x"}}`,
					"ping":         `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`,
					"notification": `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`,
					"cancel":       `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"none"}}`,
					"response":     `{"jsonrpc":"2.0","id":"of-the-server","result":{}}`,
					"error":        `{"jsonrpc":"2.0","id":"of-the-server","error":{"code":-1,"message":"no"}}`,
				}
				g.Refuse(bad)
				t.Cleanup(func() { g.Refuse(nil) })
				for step, body := range steps {
					c := newCaller()
					c.T = t
					c.Begin("good")
					n := g.Count()
					res, got := c.Send(http.MethodPost, c.At, "bad", body)
					c.Refused(step, g, v, res, got)
					g.Sent(t, step, n, "Bearer bad", 1)
					if v.Status == http.StatusNotFound {
						continue // the server knows the session no more
					}
					if got := c.Ask("good", steps["request"]); got != `{"jsonrpc":"2.0","id":"r","result":{"auth":"Bearer good"}}` {
						t.Errorf("after the refusal of a %s: %s", step, got)
					}
				}
			})
		}
	})
}

// Rules A1, A8: an initialize that the server refuses at any of its steps leaves no
// session, no id and no stream, and the same client may try again.
func TestRefusalsOfInitialize(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *mcptest.Gate, newCaller func() *mcptest.Caller, up string) {
		for name, v := range mcptest.Verdicts(g) {
			if up == "http" && v.Status == http.StatusNotFound {
				continue // to a GET it says that there is no such stream
			}
			t.Run(name, func(t *testing.T) {
				t.Cleanup(func() { g.Refuse(nil) })
				c := newCaller()
				c.T = t
				// The server refuses all that comes.
				g.Refuse(mcptest.SameVerdict(v, func(a mcptest.Arrival) bool { return a.Auth != "Bearer good" }))
				n := g.Count()
				if c.Legacy {
					res, got := c.Send(http.MethodGet, c.StreamPath(), "bad", "")
					c.Refused("GET", g, v, res, got)
				} else {
					res, got := c.Send(http.MethodPost, "/mcp", "bad", mcptest.Initialize)
					c.Refused("initialize", g, v, res, got)
				}
				g.Sent(t, "initialize", n, "Bearer bad", 1)
				// The server refuses the message alone.
				g.Refuse(mcptest.SameVerdict(v, func(a mcptest.Arrival) bool { return a.Auth != "Bearer good" && a.Is("initialize") }))
				if c.Legacy {
					c.Listen("weak")
				} else {
					c.At = "/mcp"
				}
				res, got := c.Send(http.MethodPost, c.At, "weak", mcptest.Initialize)
				c.Refused("initialize", g, v, res, got)
				if !c.Legacy {
					g.Await(t, "the stream of the failed session is open", func() bool { return g.StreamsOf("Bearer weak") == 0 })
					c.Begin("good")
				} else if v.Status != http.StatusNotFound {
					c.Ask("good", mcptest.Initialize)
				}
			})
		}
	})
}

// Rules A1, D4: the GET stream and the DELETE of a session are refused as its
// messages are.
func TestRefusalsOfStreamAndDelete(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *mcptest.Gate, newCaller func() *mcptest.Caller, up string) {
		for name, v := range mcptest.Verdicts(g) {
			t.Run(name, func(t *testing.T) {
				t.Cleanup(func() { g.Refuse(nil) })
				g.Refuse(mcptest.SameVerdict(v, func(a mcptest.Arrival) bool { return a.Auth == "Bearer bad" }))
				c := newCaller()
				c.T = t
				if c.Legacy {
					t.Skip("HTTP+SSE has neither")
				}
				for _, method := range []string{http.MethodGet, http.MethodDelete} {
					c.Session = ""
					c.Begin("good")
					n := g.Count()
					res, got := c.Send(method, "/mcp", "bad", "")
					c.Refused(method, g, v, res, got)
					g.Sent(t, method, n, "Bearer bad", 1)
					if v.Status == http.StatusNotFound {
						continue // the server knows the session no more
					}
					if got := c.Ask("good", `{"jsonrpc":"2.0","id":2,"method":"x"}`); !strings.Contains(got, `"result"`) {
						t.Errorf("after a refused %s: %s", method, got)
					}
					if res, _ := c.Send(http.MethodDelete, "/mcp", "good", ""); res.StatusCode/100 != 2 {
						t.Errorf("DELETE: %d", res.StatusCode)
					}
				}
			})
		}
	})
}

// Rule D4: a token that expires in mid-session is refused on the next request alone;
// what is under way goes on; a refreshed one takes effect at once, on the streams that
// are opened again, too.
func TestTokenExpiresInMidSession(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *mcptest.Gate, newCaller func() *mcptest.Caller, up string) {
		c := newCaller()
		c.Begin("old")
		answered := make(chan string, 1)
		hold := `{"jsonrpc":"2.0","id":"held","method":"hold"}`
		if c.Legacy {
			c.Send(http.MethodPost, c.At, "old", hold)
		} else {
			go func() {
				_, got := c.Send(http.MethodPost, c.At, "old", hold)
				answered <- got
			}()
		}
		g.Await(t, "the call is not under way", func() bool { return g.Held[`"held"`] != nil })
		if c.Legacy && up == "http" {
			// The bridge opens a stream of its own. Refused, it would end the session.
			g.Await(t, "no stream", func() bool { return g.StreamsOf("Bearer old") == 1 })
		}
		v := g.Refusal(401, `error="invalid_token"`, "expired")
		g.Refuse(mcptest.SameVerdict(v, func(a mcptest.Arrival) bool { return a.Auth != "Bearer new" }))
		for range 2 {
			n := g.Count()
			res, got := c.Send(http.MethodPost, c.At, "old", `{"jsonrpc":"2.0","id":1,"method":"x"}`)
			c.Refused("with the old token", g, v, res, got)
			g.Sent(t, "with the old token", n, "Bearer old", 1)
		}
		n := g.Count()
		if got := c.Ask("new", `{"jsonrpc":"2.0","id":1,"method":"x"}`); got != `{"jsonrpc":"2.0","id":1,"result":{"auth":"Bearer new"}}` {
			t.Errorf("with the new token: %s", got)
		}
		g.Sent(t, "with the new token", n, "Bearer new", 1)
		g.Let(t, `"held"`)
		got := ""
		if c.Legacy {
			got = c.Next()
		} else {
			got = <-answered
		}
		if !strings.Contains(got, `{"jsonrpc":"2.0","id":"held","result":{"auth":"Bearer old"}}`) {
			t.Errorf("the call that was under way: %s", got)
		}
		if !c.Legacy || up != "http" {
			return
		}
		// The bridge's own stream breaks: it is opened again with the new token.
		g.Await(t, "no stream", func() bool { return len(g.Streams) == 1 })
		n = g.Count()
		g.Each((*mcptest.GateStream).End)
		g.Await(t, "no new stream", func() bool {
			return len(g.Arrivals) > n && len(g.Streams) == 1
		})
		for _, a := range g.Since(n) {
			if a.Auth != "Bearer new" {
				t.Errorf("%s %s with %q", a.Method, a.Path, a.Auth)
			}
		}
		g.Each(func(s *mcptest.GateStream) {
			s.Send <- `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
		})
		if got := c.Next(); !strings.Contains(got, "list_changed") {
			t.Errorf("on the new stream: %s", got)
		}
	})
}

// Rule D4: where the server's stream breaks and is refused when it is opened again,
// the client's stream ends; the refusal is given to nobody else, and the same
// credentials get the server's own.
func TestStreamBreaksAndIsRefused(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *mcptest.Gate, newCaller func() *mcptest.Caller, up string) {
		for _, v := range []*mcptest.Verdict{
			g.Refusal(401, `error="invalid_token"`, "expired"),
			g.Refusal(403, `error="insufficient_scope", scope="more"`, "more"),
		} {
			g.Refuse(nil)
			c := newCaller()
			c.Begin("old")
			if !c.Legacy {
				c.Listen("old")
			}
			// Sessions of the round before may have streams as well: the bridge opens
			// them again.
			g.Await(t, "no stream", func() bool { return g.StreamsOf("Bearer old") == 1 })
			g.Refuse(mcptest.SameVerdict(v, func(a mcptest.Arrival) bool { return a.Auth == "Bearer old" }))
			n := g.Count()
			g.Each((*mcptest.GateStream).End)
			if got := c.Next(); got != "" {
				t.Errorf("after the stream broke: %s", got)
			}
			// Whoever comes next with other credentials is not given the refusal.
			if res, got := c.Send(http.MethodPost, c.At, "other", `{"jsonrpc":"2.0","id":1,"method":"x"}`); res.StatusCode/100 != 2 && res.StatusCode != 404 || len(res.Header["Www-Authenticate"]) > 0 {
				t.Errorf("with other credentials: %d %s", res.StatusCode, got)
			}
			other := newCaller()
			other.Begin("other")
			// The same credentials get the server's refusal, on a request of their own.
			again := newCaller()
			method, body := http.MethodPost, mcptest.Initialize
			if c.Legacy {
				method, body = http.MethodGet, ""
			}
			res, got := again.Send(method, c.StreamPath(), "old", body)
			again.Refused("again", g, v, res, got)
			// And so it was said to nobody else.
			if got := other.Ask("other", `{"jsonrpc":"2.0","id":1,"method":"x"}`); !strings.Contains(got, `"Bearer other"`) {
				t.Errorf("with other credentials: %s", got)
			}
			for _, a := range g.Since(n) {
				if a.Auth != "Bearer old" && a.Auth != "Bearer other" {
					t.Errorf("%s %s with %q", a.Method, a.Path, a.Auth)
				}
			}
			g.Each((*mcptest.GateStream).End)
			g.Await(t, "streams are left", func() bool { return len(g.Streams) == 0 || up == "http" })
		}
	})
}

// Rules A1, D4: where the server's stream breaks and is refused when it is opened again,
// the next request of the session is answered with the server's refusal, if the server
// refuses its credentials; others are told to begin again.
func TestStreamBreaksAndTheNextRequestIsRefused(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *mcptest.Gate, newCaller func() *mcptest.Caller, up string) {
		if newCaller().Legacy == (up == "sse") {
			t.Skip("the server itself judges what follows")
		}
		expired := g.Refusal(401, `error="invalid_token"`, "expired")
		for _, tc := range []struct {
			name   string
			v      *mcptest.Verdict
			method string
			tokens []string // of the requests that follow
		}{
			{"the same credentials", expired, http.MethodPost, []string{"old", "old"}},
			{"their stream", expired, http.MethodGet, []string{"old", "old"}},
			{"other credentials", expired, http.MethodPost, []string{"other", "old"}},
			{"none", expired, http.MethodPost, []string{"", "old"}},
			{"a 403", g.Refusal(403, `error="insufficient_scope", scope="more"`, "more"), http.MethodPost, []string{"old", "other"}},
		} {
			t.Run(tc.name, func(t *testing.T) {
				t.Cleanup(func() { g.Refuse(nil) })
				c := newCaller()
				c.T = t
				if c.Legacy && tc.method == http.MethodGet {
					t.Skip("its stream is a session of its own")
				}
				c.Begin("old")
				if !c.Legacy {
					c.Listen("old")
				}
				g.Await(t, "no stream", func() bool { return g.StreamsOf("Bearer old") == 1 })
				g.Refuse(mcptest.SameVerdict(tc.v, func(a mcptest.Arrival) bool { return a.Auth == "Bearer old" }))
				g.Each((*mcptest.GateStream).End)
				if got := c.Next(); got != "" {
					t.Errorf("after the stream broke: %s", got)
				}
				n, at := g.Count(), c.At
				for i, token := range tc.tokens {
					res, got := c.Send(tc.method, at, token, `{"jsonrpc":"2.0","id":1,"method":"x"}`)
					switch {
					case token == "old":
						c.Refused(tc.name, g, tc.v, res, got)
					case res.StatusCode != http.StatusNotFound || len(res.Header["Www-Authenticate"]) > 0:
						t.Errorf("request %d with %q: %d %.100s", i, token, res.StatusCode, got)
					}
				}
				for _, a := range g.Since(n) {
					if a.Method != http.MethodGet {
						t.Errorf("%s %s %s reached the server", a.Method, a.Path, a.Frame)
					}
				}
			})
		}
	})
}

// Rules A1, A8: a request that names no session, or one that is not there, is answered
// with the server's refusal of its credentials, and only else with what it lacks.
func TestRequestsWithoutASessionGetTheServersRefusal(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *mcptest.Gate, newCaller func() *mcptest.Caller, up string) {
		c := newCaller()
		if c.Legacy == (up == "sse") {
			t.Skip("the server itself judges")
		}
		v := g.Refusal(401, `error="invalid_token"`, "expired")
		g.Refuse(mcptest.SameVerdict(v, func(a mcptest.Arrival) bool { return a.Auth != "Bearer good" }))
		t.Cleanup(func() { g.Refuse(nil) })
		c.Begin("good")
		path, query, _ := strings.Cut(c.At, "?")
		for name, at := range map[string]string{"none": path, "unknown": path + "?" + strings.ReplaceAll(query, "=", "=x")} {
			for token, want := range map[string]int{"": 401, "bad": 401, "good": map[string]int{"none": 400, "unknown": 404}[name]} {
				if c.Session = ""; name == "unknown" && !c.Legacy {
					c.Session = "unknown"
				}
				res, got := c.Send(http.MethodPost, at, token, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
				if want == 401 {
					c.Refused(name+" with "+token, g, v, res, got)
				} else if res.StatusCode != want {
					t.Errorf("%s with %q: %d %s, want %d", name, token, res.StatusCode, got, want)
				}
			}
		}
	})
}

// Rule A1: a refusal whose body does not end is given to its client nevertheless, and
// a message that the server has taken is taken, even if its answer does not end.
func TestRefusalWithoutAnEndReachesItsClient(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *mcptest.Gate, newCaller func() *mcptest.Caller, up string) {
		if up == "sse" && newCaller().Legacy || up == "http" && !newCaller().Legacy {
			t.Skip("it crosses as it is, and as slowly")
		}
		c := newCaller()
		c.Begin("good")
		v := g.Refusal(401, `error="invalid_token"`, "so far")
		v.Hangs = true
		g.Refuse(mcptest.SameVerdict(v, func(a mcptest.Arrival) bool { return a.Auth == "Bearer bad" }))
		res, got := c.Send(http.MethodPost, c.At, "bad", `{"jsonrpc":"2.0","id":1,"method":"x"}`)
		c.Refused("request", g, v, res, got)
		at, method, body := c.StreamPath(), http.MethodPost, mcptest.Initialize
		if c.Legacy {
			method, body = http.MethodGet, ""
		}
		session := c.Session
		c.Session = ""
		res, got = c.Send(method, at, "bad", body)
		c.Refused("a new session", g, v, res, got)
		c.Session = session
		g.Refuse(mcptest.SameVerdict(&mcptest.Verdict{Status: http.StatusAccepted, Hangs: true}, func(a mcptest.Arrival) bool { return a.Is("notifications/") }))
		if res, got := c.Send(http.MethodPost, c.At, "good", `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`); res.StatusCode != http.StatusAccepted {
			t.Errorf("a notification: %d %s", res.StatusCode, got)
		}
	})
}

// Rule D4, E: no message is ever sent with the credentials of another request,
// however many clients there are, and no refusal meets another request.
func TestMessagesCarryTheirOwnCredentials(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *mcptest.Gate, newCaller func() *mcptest.Caller, up string) {
		g.Refuse(func(a mcptest.Arrival) *mcptest.Verdict {
			if !strings.Contains(a.Frame, `"refuse"`) {
				return nil
			}
			_, who, _ := strings.Cut(a.Auth, " ")
			return g.Refusal(403, `error="insufficient_scope", scope="`+who+`"`, who)
		})
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				c := newCaller()
				c.Begin(fmt.Sprintf("c%d", i))
				for n := range 20 {
					token := fmt.Sprintf("c%d-%d", i, n)
					res, got := c.Send(http.MethodPost, c.At, token, fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":"refuse"}`, token))
					challenge := strings.Join(res.Header["Www-Authenticate"], "\n")
					if res.StatusCode != 403 || got != token || !strings.Contains(challenge, `scope="`+token+`"`) {
						t.Errorf("%s: %d %q %s", token, res.StatusCode, got, challenge)
					}
					want := fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":{"auth":"Bearer %s"}}`, token, token)
					if got := c.Ask(token, fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":"x"}`, token)); got != want {
						t.Errorf("got %s, want %s", got, want)
					}
				}
			})
		}
		wg.Wait()
		for _, a := range g.Since(0) {
			var m struct{ ID any }
			_ = json.NewDecoder(bytes.NewReader([]byte(a.Frame))).Decode(&m)
			if id, ok := m.ID.(string); ok && a.Auth != "Bearer "+id {
				t.Errorf("%s came with %q", a.Frame, a.Auth)
			}
		}
	})
}
