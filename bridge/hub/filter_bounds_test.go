package hub

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// G: the text of what a session subscribes to is bounded.
func TestFilterBoundsOfASession(t *testing.T) {
	long := strings.Repeat("x", translate.MaxFilter)
	synctest.Test(t, func(t *testing.T) {
		h, p, id := kit.Behind(t, `{"resources":{"subscribe":true}}`)
		refused := 0
		for i := range 6 {
			w := hubtest.Post(t, h, id, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"resources/subscribe","params":{"uri":"%d:%s"}}`, i, i, long[:translate.MaxFilter/4]))
			synctest.Wait()
			for len(p.Got) > 0 {
				if m := <-p.Got; m.Method == "subscriptions/listen" {
					p.AgreeAll(m)
				}
			}
			if w.Over() && strings.Contains(w.Body.String(), "too many subscriptions") {
				refused++
			}
		}
		if refused != 3 {
			t.Errorf("%d were refused, want 3", refused)
		}
	})
}
