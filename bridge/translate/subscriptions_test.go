package translate

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// A subscription that the server ends is asked for again, with growing waits, up to a
// bound. If the server does not know the method, it is not asked for again.
func TestSubscriptionThatEndsIsAskedForAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		end   string
		again int
	}{
		"ended":       {`{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete"}}`, maxListenTries},
		"not now":     {`{"jsonrpc":"2.0","id":%s,"error":{"code":-32603,"message":"no"}}`, maxListenTries},
		"cancelled":   {`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, maxListenTries},
		"not known":   {`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}`, 1},
		"not offered": {"", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &keeper{done: make(chan struct{})}
				f := translating(p, func(message.Message, message.Key, *upstream.Refusal) {})
				says := func(format string, args ...any) {
					t.Helper()
					m, err := message.Parse(fmt.Appendf(nil, format, args...))
					if err != nil {
						t.Fatal(err)
					}
					f.receive(m, "", nil)
					synctest.Wait()
				}
				if err := f.Send(nil, message.NewNotification("notifications/initialized", nil)); err != nil {
					t.Fatal(err)
				}
				first, ok := p.nth(0)
				if !ok || first.Method != "subscriptions/listen" {
					t.Fatalf("got %s", first.Raw)
				}
				says(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{%q:%s},"notifications":%s}}`,
					mcp.MetaSubscription, first.RawID, first.Get("params", "notifications"))
				last, seen := first.ID, 1
				if tc.end == "" {
					f.translation.server.Capabilities = []byte(`{}`)
					tc.end = `{"jsonrpc":"2.0","id":%s,"result":{}}`
				}
				again := 0
				for begun := time.Now(); time.Since(begun) < time.Hour; time.Sleep(time.Second) {
					says(tc.end, last[1:])
					if m, ok := p.nth(seen); ok {
						seen++
						again++
						last = m.ID
					}
				}
				if again != tc.again {
					t.Errorf("it was asked for %d times more, want %d", again, tc.again)
				}
				if n := f.UnderWay(); n != 0 {
					t.Errorf("%d requests are left", n)
				}
			})
		})
	}
}
