package bridge

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Rule D5: what a server says without naming a request may be of one whose client has
// left, until the server has answered that or some time has passed: a shorter one where
// all requests are of one user.
func TestAbandoned(t *testing.T) {
	wanting := `"` + metaLogLevel + `":"info"`
	for name, tc := range map[string]struct {
		kind   nature
		until  func(p *program, left message.Message)
		silent bool
	}{
		"nothing happened":           {stateless, func(*program, message.Message) {}, true},
		"answered":                   {stateless, func(p *program, left message.Message) { p.answer(left, `{}`) }, false},
		"another answered":           {stateless, func(p *program, _ message.Message) { p.say(`{"jsonrpc":"2.0","id":1000,"result":{}}`) }, true},
		"a while later":              {stateless, func(*program, message.Message) { time.Sleep(forgetAfter + 1) }, false},
		"not long enough":            {stateless, func(*program, message.Message) { time.Sleep(forgetOwnAfter + 1) }, true},
		"of one user":                {handshakes, func(*program, message.Message) {}, true},
		"of one user, a while later": {handshakes, func(*program, message.Message) { time.Sleep(forgetOwnAfter + 1) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := programs(t, tc.kind, HubConfig{})
				a := send(t, h, ask("1", "tools/call", `"name":"a"`, wanting))
				synctest.Wait()
				p := <-started
				if tc.kind == handshakes {
					p.answer(p.next(t, "logging/setLevel"), `{}`)
				}
				left := p.next(t, "tools/call")
				a.leave()
				synctest.Wait()
				p.next(t, "notifications/cancelled")
				tc.until(p, left)
				b := send(t, h, ask("2", "tools/call", `"name":"b"`, wanting))
				synctest.Wait()
				p.say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"of whom?"}}`)
				if got := len(b.messages()) == 0; got != tc.silent {
					t.Errorf("got %q", b.messages())
				}
			})
		})
	}
}
