package mcpauthbridge_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// gatePairs runs a test on every pair of a downstream with sessions and an HTTP
// upstream.
func gatePairs(t *testing.T, test func(t *testing.T, g *gate, newCaller func() *caller, up string)) {
	for _, up := range []string{"http", "sse"} {
		for _, down := range []string{"sessions", "sse"} {
			t.Run(down+" to "+up, func(t *testing.T) {
				g := newGate(t)
				upstream := map[string]string{"http": g.url + "/mcp", "sse": "sse+" + g.url + "/sse"}[up]
				port := testcaddy.FreePort(t)
				testcaddy.Run(t, gateSite(port, upstream))
				test(t, g, func() *caller {
					return &caller{t: t, client: client(t), base: "http://" + testcaddy.Addr(port), legacy: down == "sse"}
				}, up)
			})
		}
	}
}

// verdicts are how servers refuse.
func verdicts(g *gate) map[string]*verdict {
	return map[string]*verdict{
		"no token":      g.refusal(401, `scope="a b"`, `{"why":"log in"}`),
		"expired":       g.refusal(401, `error="invalid_token", error_description="it \"expired\", at 12:00"`, ``),
		"step-up":       g.refusal(403, `error="insufficient_scope", scope="a c"`, strings.Repeat("0123456789abcdef", 4096)),
		"proxy's":       {407, http.Header{"Content-Type": {"text/html"}}, "<p>log in", false},
		"too many":      {429, http.Header{"Retry-After": {"120"}, "Content-Type": {"application/json"}}, `{"jsonrpc":"2.0","id":"x","error":{"code":-32000,"message":"slow down"}}`, false},
		"does not know": {404, http.Header{"Content-Type": {"text/plain"}}, "no such thing", false},
		"is down":       {503, http.Header{"Retry-After": {"3"}}, "", false},
	}
}

// sameVerdict wants all requests that match to be refused with one verdict.
func sameVerdict(v *verdict, match func(arrival) bool) func(arrival) *verdict {
	return func(a arrival) *verdict {
		if match(a) {
			return v
		}
		return nil
	}
}

// Rules A1, A2, A3, A8, B1, D4: whatever the server refuses a request with answers
// that very request, once, with the credentials that it came with, and the session
// goes on.
func TestRefusalsCross(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *gate, newCaller func() *caller, up string) {
		for name, v := range verdicts(g) {
			t.Run(name, func(t *testing.T) {
				bad := sameVerdict(v, func(a arrival) bool { return a.auth == "Bearer bad" })
				steps := map[string]string{
					"request":      `{"jsonrpc":"2.0","id":"r","method":"tools/call","params":{"name":"x"}}`,
					"ping":         `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`,
					"notification": `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`,
					"cancel":       `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"none"}}`,
					"response":     `{"jsonrpc":"2.0","id":"of-the-server","result":{}}`,
					"error":        `{"jsonrpc":"2.0","id":"of-the-server","error":{"code":-1,"message":"no"}}`,
				}
				g.refuse(bad)
				t.Cleanup(func() { g.refuse(nil) })
				for step, body := range steps {
					c := newCaller()
					c.t = t
					c.begin("good")
					n := g.count()
					res, got := c.send(http.MethodPost, c.at, "bad", body)
					c.refused(step, g, v, res, got)
					g.sent(t, step, n, "Bearer bad", 1)
					if v.status == http.StatusNotFound {
						continue // the server knows the session no more
					}
					if got := c.ask("good", steps["request"]); got != `{"jsonrpc":"2.0","id":"r","result":{"auth":"Bearer good"}}` {
						t.Errorf("after the refusal of a %s: %s", step, got)
					}
				}
			})
		}
	})
}

// sent wants so many requests to have arrived with some credentials since the first
// n, and none with others, but for those that a stream is read with.
func (g *gate) sent(t *testing.T, what string, n int, auth string, want int) {
	t.Helper()
	got := 0
	for _, a := range g.since(n) {
		if a.method != http.MethodPost && a.auth == "Bearer good" {
			continue // the stream of another session, which may come and go at any time
		}
		if a.auth != auth {
			t.Errorf("%s: %s %s with %q: %s", what, a.method, a.path, a.auth, a.frame)
		}
		got++
	}
	if got != want {
		t.Errorf("%s: %d requests with %s arrived, want %d", what, got, auth, want)
	}
}

// Rules A1, A8: an initialize that the server refuses at any of its steps leaves no
// session, no id and no stream, and the same client may try again.
func TestRefusalsOfInitialize(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *gate, newCaller func() *caller, up string) {
		for name, v := range verdicts(g) {
			if up == "http" && v.status == http.StatusNotFound {
				continue // to a GET it says that there is no such stream
			}
			t.Run(name, func(t *testing.T) {
				t.Cleanup(func() { g.refuse(nil) })
				c := newCaller()
				c.t = t
				// The server refuses all that comes.
				g.refuse(sameVerdict(v, func(a arrival) bool { return a.auth != "Bearer good" }))
				n := g.count()
				if c.legacy {
					res, got := c.send(http.MethodGet, c.streamPath(), "bad", "")
					c.refused("GET", g, v, res, got)
				} else {
					res, got := c.send(http.MethodPost, "/mcp", "bad", matrixInitialize)
					c.refused("initialize", g, v, res, got)
				}
				g.sent(t, "initialize", n, "Bearer bad", 1)
				// The server refuses the message alone.
				g.refuse(sameVerdict(v, func(a arrival) bool { return a.auth != "Bearer good" && a.is("initialize") }))
				if c.legacy {
					c.listen("weak")
				} else {
					c.at = "/mcp"
				}
				res, got := c.send(http.MethodPost, c.at, "weak", matrixInitialize)
				c.refused("initialize", g, v, res, got)
				if !c.legacy {
					g.await(t, "the stream of the failed session is open", func() bool { return g.streamsOf("Bearer weak") == 0 })
					c.begin("good")
				} else if v.status != http.StatusNotFound {
					c.ask("good", matrixInitialize)
				}
			})
		}
	})
}

// Rules A1, D4: the GET stream and the DELETE of a session are refused as its
// messages are.
func TestRefusalsOfStreamAndDelete(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *gate, newCaller func() *caller, up string) {
		for name, v := range verdicts(g) {
			t.Run(name, func(t *testing.T) {
				t.Cleanup(func() { g.refuse(nil) })
				g.refuse(sameVerdict(v, func(a arrival) bool { return a.auth == "Bearer bad" }))
				c := newCaller()
				c.t = t
				if c.legacy {
					t.Skip("HTTP+SSE has neither")
				}
				for _, method := range []string{http.MethodGet, http.MethodDelete} {
					c.session = ""
					c.begin("good")
					n := g.count()
					res, got := c.send(method, "/mcp", "bad", "")
					c.refused(method, g, v, res, got)
					g.sent(t, method, n, "Bearer bad", 1)
					if v.status == http.StatusNotFound {
						continue // the server knows the session no more
					}
					if got := c.ask("good", `{"jsonrpc":"2.0","id":2,"method":"x"}`); !strings.Contains(got, `"result"`) {
						t.Errorf("after a refused %s: %s", method, got)
					}
					if res, _ := c.send(http.MethodDelete, "/mcp", "good", ""); res.StatusCode/100 != 2 {
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
	gatePairs(t, func(t *testing.T, g *gate, newCaller func() *caller, up string) {
		c := newCaller()
		c.begin("old")
		answered := make(chan string, 1)
		hold := `{"jsonrpc":"2.0","id":"held","method":"hold"}`
		if c.legacy {
			c.send(http.MethodPost, c.at, "old", hold)
		} else {
			go func() {
				_, got := c.send(http.MethodPost, c.at, "old", hold)
				answered <- got
			}()
		}
		g.await(t, "the call is not under way", func() bool { return g.held[`"held"`] != nil })
		v := g.refusal(401, `error="invalid_token"`, "expired")
		g.refuse(sameVerdict(v, func(a arrival) bool { return a.auth != "Bearer new" }))
		for range 2 {
			n := g.count()
			res, got := c.send(http.MethodPost, c.at, "old", `{"jsonrpc":"2.0","id":1,"method":"x"}`)
			c.refused("with the old token", g, v, res, got)
			g.sent(t, "with the old token", n, "Bearer old", 1)
		}
		n := g.count()
		if got := c.ask("new", `{"jsonrpc":"2.0","id":1,"method":"x"}`); got != `{"jsonrpc":"2.0","id":1,"result":{"auth":"Bearer new"}}` {
			t.Errorf("with the new token: %s", got)
		}
		g.sent(t, "with the new token", n, "Bearer new", 1)
		g.let(t, `"held"`)
		got := ""
		if c.legacy {
			got = c.next()
		} else {
			got = <-answered
		}
		if !strings.Contains(got, `{"jsonrpc":"2.0","id":"held","result":{"auth":"Bearer old"}}`) {
			t.Errorf("the call that was under way: %s", got)
		}
		if !c.legacy || up != "http" {
			return
		}
		// The bridge's own stream breaks: it is opened again with the new token.
		g.await(t, "no stream", func() bool { return len(g.streams) == 1 })
		n = g.count()
		g.each((*gateStream).end)
		g.await(t, "no new stream", func() bool {
			return len(g.arrivals) > n && len(g.streams) == 1
		})
		for _, a := range g.since(n) {
			if a.auth != "Bearer new" {
				t.Errorf("%s %s with %q", a.method, a.path, a.auth)
			}
		}
		g.each(func(s *gateStream) {
			s.send <- `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
		})
		if got := c.next(); !strings.Contains(got, "list_changed") {
			t.Errorf("on the new stream: %s", got)
		}
	})
}

// Rule D4: where the server's stream breaks and is refused when it is opened again,
// the client's stream ends; the refusal is given to nobody else, and the same
// credentials get the server's own.
func TestStreamBreaksAndIsRefused(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *gate, newCaller func() *caller, up string) {
		for _, v := range []*verdict{
			g.refusal(401, `error="invalid_token"`, "expired"),
			g.refusal(403, `error="insufficient_scope", scope="more"`, "more"),
		} {
			g.refuse(nil)
			c := newCaller()
			c.begin("old")
			if !c.legacy {
				c.listen("old")
			}
			g.await(t, "no stream", func() bool { return len(g.streams) == 1 })
			g.refuse(sameVerdict(v, func(a arrival) bool { return a.auth == "Bearer old" }))
			n := g.count()
			g.each((*gateStream).end)
			if got := c.next(); got != "" {
				t.Errorf("after the stream broke: %s", got)
			}
			// Whoever comes next with other credentials is not given the refusal.
			if res, got := c.send(http.MethodPost, c.at, "other", `{"jsonrpc":"2.0","id":1,"method":"x"}`); res.StatusCode/100 != 2 && res.StatusCode != 404 || len(res.Header["Www-Authenticate"]) > 0 {
				t.Errorf("with other credentials: %d %s", res.StatusCode, got)
			}
			other := newCaller()
			other.begin("other")
			// The same credentials get the server's refusal, on a request of their own.
			again := newCaller()
			method, body := http.MethodPost, matrixInitialize
			if c.legacy {
				method, body = http.MethodGet, ""
			}
			res, got := again.send(method, c.streamPath(), "old", body)
			again.refused("again", g, v, res, got)
			// And so it was said to nobody else.
			if got := other.ask("other", `{"jsonrpc":"2.0","id":1,"method":"x"}`); !strings.Contains(got, `"Bearer other"`) {
				t.Errorf("with other credentials: %s", got)
			}
			for _, a := range g.since(n) {
				if a.auth != "Bearer old" && a.auth != "Bearer other" {
					t.Errorf("%s %s with %q", a.method, a.path, a.auth)
				}
			}
			g.each((*gateStream).end)
			g.await(t, "streams are left", func() bool { return len(g.streams) == 0 || up == "http" })
		}
	})
}

// Rules A1, D4: where the server's stream breaks and is refused when it is opened again,
// the next request of the session is answered with the server's refusal, if the server
// refuses its credentials; others are told to begin again.
func TestStreamBreaksAndTheNextRequestIsRefused(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *gate, newCaller func() *caller, up string) {
		if newCaller().legacy == (up == "sse") {
			t.Skip("the server itself judges what follows")
		}
		expired := g.refusal(401, `error="invalid_token"`, "expired")
		for _, tc := range []struct {
			name   string
			v      *verdict
			method string
			tokens []string // of the requests that follow
		}{
			{"the same credentials", expired, http.MethodPost, []string{"old", "old"}},
			{"their stream", expired, http.MethodGet, []string{"old", "old"}},
			{"other credentials", expired, http.MethodPost, []string{"other", "old"}},
			{"none", expired, http.MethodPost, []string{"", "old"}},
			{"a 403", g.refusal(403, `error="insufficient_scope", scope="more"`, "more"), http.MethodPost, []string{"old", "other"}},
		} {
			t.Run(tc.name, func(t *testing.T) {
				t.Cleanup(func() { g.refuse(nil) })
				c := newCaller()
				c.t = t
				if c.legacy && tc.method == http.MethodGet {
					t.Skip("its stream is a session of its own")
				}
				c.begin("old")
				if !c.legacy {
					c.listen("old")
				}
				g.await(t, "no stream", func() bool { return g.streamsOf("Bearer old") == 1 })
				g.refuse(sameVerdict(tc.v, func(a arrival) bool { return a.auth == "Bearer old" }))
				g.each((*gateStream).end)
				if got := c.next(); got != "" {
					t.Errorf("after the stream broke: %s", got)
				}
				n, at := g.count(), c.at
				for i, token := range tc.tokens {
					res, got := c.send(tc.method, at, token, `{"jsonrpc":"2.0","id":1,"method":"x"}`)
					switch {
					case token == "old":
						c.refused(tc.name, g, tc.v, res, got)
					case res.StatusCode != http.StatusNotFound || len(res.Header["Www-Authenticate"]) > 0:
						t.Errorf("request %d with %q: %d %.100s", i, token, res.StatusCode, got)
					}
				}
				for _, a := range g.since(n) {
					if a.method != http.MethodGet {
						t.Errorf("%s %s %s reached the server", a.method, a.path, a.frame)
					}
				}
			})
		}
	})
}

// Rules A1, A8: a request that names no session, or one that is not there, is answered
// with the server's refusal of its credentials, and only else with what it lacks.
func TestStrangersAreRefused(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *gate, newCaller func() *caller, up string) {
		c := newCaller()
		if c.legacy == (up == "sse") {
			t.Skip("the server itself judges")
		}
		v := g.refusal(401, `error="invalid_token"`, "expired")
		g.refuse(sameVerdict(v, func(a arrival) bool { return a.auth != "Bearer good" }))
		t.Cleanup(func() { g.refuse(nil) })
		c.begin("good")
		path, query, _ := strings.Cut(c.at, "?")
		for name, at := range map[string]string{"none": path, "unknown": path + "?" + strings.ReplaceAll(query, "=", "=x")} {
			for token, want := range map[string]int{"": 401, "bad": 401, "good": map[string]int{"none": 400, "unknown": 404}[name]} {
				if c.session = ""; name == "unknown" && !c.legacy {
					c.session = "unknown"
				}
				res, got := c.send(http.MethodPost, at, token, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
				if want == 401 {
					c.refused(name+" with "+token, g, v, res, got)
				} else if res.StatusCode != want {
					t.Errorf("%s with %q: %d %s, want %d", name, token, res.StatusCode, got, want)
				}
			}
		}
	})
}

// Rule A1: a refusal whose body does not end is given to its client nevertheless, and
// a message that the server has taken is taken, even if its answer does not end.
func TestRefusalHangs(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *gate, newCaller func() *caller, up string) {
		if up == "sse" && newCaller().legacy || up == "http" && !newCaller().legacy {
			t.Skip("it crosses as it is, and as slowly")
		}
		c := newCaller()
		c.begin("good")
		v := g.refusal(401, `error="invalid_token"`, "so far")
		v.hangs = true
		g.refuse(sameVerdict(v, func(a arrival) bool { return a.auth == "Bearer bad" }))
		res, got := c.send(http.MethodPost, c.at, "bad", `{"jsonrpc":"2.0","id":1,"method":"x"}`)
		c.refused("request", g, v, res, got)
		at, method, body := c.streamPath(), http.MethodPost, matrixInitialize
		if c.legacy {
			method, body = http.MethodGet, ""
		}
		session := c.session
		c.session = ""
		res, got = c.send(method, at, "bad", body)
		c.refused("a new session", g, v, res, got)
		c.session = session
		g.refuse(sameVerdict(&verdict{status: http.StatusAccepted, hangs: true}, func(a arrival) bool { return a.is("notifications/") }))
		if res, got := c.send(http.MethodPost, c.at, "good", `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`); res.StatusCode != http.StatusAccepted {
			t.Errorf("a notification: %d %s", res.StatusCode, got)
		}
	})
}

// Rule D4, E: no message is ever sent with the credentials of another request,
// however many clients there are, and no refusal meets another request.
func TestNobodyElsesCredentials(t *testing.T) {
	gatePairs(t, func(t *testing.T, g *gate, newCaller func() *caller, up string) {
		g.refuse(func(a arrival) *verdict {
			if !strings.Contains(a.frame, `"refuse"`) {
				return nil
			}
			_, who, _ := strings.Cut(a.auth, " ")
			return g.refusal(403, `error="insufficient_scope", scope="`+who+`"`, who)
		})
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				c := newCaller()
				c.begin(fmt.Sprintf("c%d", i))
				for n := range 20 {
					token := fmt.Sprintf("c%d-%d", i, n)
					res, got := c.send(http.MethodPost, c.at, token, fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":"refuse"}`, token))
					challenge := strings.Join(res.Header["Www-Authenticate"], "\n")
					if res.StatusCode != 403 || got != token || !strings.Contains(challenge, `scope="`+token+`"`) {
						t.Errorf("%s: %d %q %s", token, res.StatusCode, got, challenge)
					}
					want := fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":{"auth":"Bearer %s"}}`, token, token)
					if got := c.ask(token, fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":"x"}`, token)); got != want {
						t.Errorf("got %s, want %s", got, want)
					}
				}
			})
		}
		wg.Wait()
		for _, a := range g.since(0) {
			var m struct{ ID any }
			_ = json.NewDecoder(bytes.NewReader([]byte(a.frame))).Decode(&m)
			if id, ok := m.ID.(string); ok && a.auth != "Bearer "+id {
				t.Errorf("%s came with %q", a.frame, a.auth)
			}
		}
	})
}
