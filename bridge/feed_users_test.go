package bridge

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Rule G: in whatever order clients come and leave, and a server agrees to subscriptions
// and ends them, it is known which have users, and nothing is left in the end.
func TestFeedUsers(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			h, started := programs(t, stateless, HubConfig{})
			random := rand.New(rand.NewPCG(seed, 1))
			send(t, h, ask("0", "tools/list", "")).leave()
			p := <-started
			c := h.shared[""]
			var clients []*pending
			var subscriptions []message.Message
			for range 60 {
				synctest.Wait()
				for len(p.got) > 0 {
					if m := <-p.got; m.Method == "subscriptions/listen" {
						subscriptions = append(subscriptions, m)
					}
				}
				switch n := random.IntN(6); {
				case n < 2:
					uris := fmt.Sprintf(`"x:%d","x:%d"`, random.IntN(8), random.IntN(8))
					clients = append(clients, send(t, h, ask("1", "subscriptions/listen", `"notifications":{"resourceSubscriptions":[`+uris+`]}`)))
				case n < 4 && len(clients) > 0:
					at := random.IntN(len(clients))
					clients[at].leave()
					clients = append(clients[:at], clients[at+1:]...)
				case n == 4 && len(subscriptions) > 0:
					p.agreeAll(subscriptions[random.IntN(len(subscriptions))])
				case n == 5 && len(subscriptions) > 0:
					p.answer(subscriptions[random.IntN(len(subscriptions))], `{"resultType":"complete"}`)
				}
				synctest.Wait()
				checkFeeds(t, c)
			}
			for _, client := range clients {
				client.leave()
			}
			synctest.Wait()
			checkFeeds(t, c)
			if len(c.listens) > 0 || len(c.feeds) > 0 || len(c.stale) > 0 {
				t.Errorf("seed %d: left are %d listeners, %d parts, %d feeds", seed, len(c.listens), len(c.feeds), len(c.stale))
			}
		})
	}
}

// checkFeeds fails where what feeds know of their users is not what requests know of
// their feeds.
func checkFeeds(t *testing.T, c *conversation) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	users := make(map[*feed]int)
	for k, f := range c.listens {
		for d := range f.feeds {
			users[d]++
			if _, ok := d.users[k]; !ok {
				t.Errorf("a feed does not know %s", k.clientID)
			}
		}
	}
	for part, d := range c.feeds {
		_, stale := c.stale[d]
		if len(d.users) != users[d] || stale != (users[d] == 0) || d.over || d.ended {
			t.Errorf("%s: %d users, want %d; stale %t, over %t, ended %t", part, len(d.users), users[d], stale, d.over, d.ended)
		}
	}
	for d := range c.stale {
		for part := range d.parts {
			if c.feeds[part] != d {
				t.Errorf("%s is stale, and cannot be listened to", part)
			}
		}
	}
}
