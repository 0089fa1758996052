package shared

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule G: in whatever order clients come and leave, and a server agrees to subscriptions
// and ends them, it is known which have users, and nothing is left in the end.
func TestFeedUsers(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
			random := rand.New(rand.NewPCG(seed, 1))
			hubtest.Send(t, h, hubtest.Ask("0", "tools/list", "")).Leave()
			p := <-started
			c := h.shared.byKey[""]
			var clients []*hubtest.Pending
			var subscriptions []message.Message
			for range 60 {
				synctest.Wait()
				for len(p.Got) > 0 {
					if m := <-p.Got; m.Method == "subscriptions/listen" {
						subscriptions = append(subscriptions, m)
					}
				}
				switch n := random.IntN(6); {
				case n < 2:
					uris := fmt.Sprintf(`"x:%d","x:%d"`, random.IntN(8), random.IntN(8))
					clients = append(clients, hubtest.Send(t, h, hubtest.Ask("1", "subscriptions/listen", `"notifications":{"resourceSubscriptions":[`+uris+`]}`)))
				case n < 4 && len(clients) > 0:
					at := random.IntN(len(clients))
					clients[at].Leave()
					clients = append(clients[:at], clients[at+1:]...)
				case n == 4 && len(subscriptions) > 0:
					p.AgreeAll(subscriptions[random.IntN(len(subscriptions))])
				case n == 5 && len(subscriptions) > 0:
					p.Answer(subscriptions[random.IntN(len(subscriptions))], `{"resultType":"complete"}`)
				}
				synctest.Wait()
				checkFeeds(t, c)
			}
			for _, client := range clients {
				client.Leave()
			}
			synctest.Wait()
			checkFeeds(t, c)
			if len(c.subscriptions.listens) > 0 || len(c.subscriptions.byPart) > 0 || len(c.subscriptions.unused) > 0 {
				t.Errorf("seed %d: left are %d listeners, %d parts, %d feeds", seed, len(c.subscriptions.listens), len(c.subscriptions.byPart), len(c.subscriptions.unused))
			}
		})
	}
}

// checkFeeds fails where what feeds know of their users is not what requests know of
// their feeds.
func checkFeeds(t *testing.T, c *server) {
	t.Helper()
	c.out.Lock()
	defer c.out.Unlock()
	users := make(map[*upstreamSubscription]int)
	for k, f := range c.subscriptions.listens {
		for d := range f.upstream {
			users[d]++
			if _, ok := d.users[k]; !ok {
				t.Errorf("a feed does not know %s", k.clientID)
			}
		}
	}
	for part, d := range c.subscriptions.byPart {
		_, stale := c.subscriptions.unused[d]
		if len(d.users) != users[d] || stale != (users[d] == 0) || d.over || d.ended {
			t.Errorf("%s: %d users, want %d; stale %t, over %t, ended %t", part, len(d.users), users[d], stale, d.over, d.ended)
		}
	}
	for d := range c.subscriptions.unused {
		for part := range d.parts {
			if c.subscriptions.byPart[part] != d {
				t.Errorf("%s is stale, and cannot be listened to", part)
			}
		}
	}
}
