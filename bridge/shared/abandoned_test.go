package shared

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D5: what a server says without naming a request may be of one whose client has
// left, until the server has answered that or some time has passed: a shorter one where
// all requests are of one user.
func TestAbandoned(t *testing.T) {
	wanting := `"` + mcp.MetaLogLevel + `":"info"`
	for name, tc := range map[string]struct {
		kind   hubtest.Nature
		until  func(p *hubtest.Program, left message.Message)
		silent bool
	}{
		"nothing happened":           {hubtest.Stateless, func(*hubtest.Program, message.Message) {}, true},
		"answered":                   {hubtest.Stateless, func(p *hubtest.Program, left message.Message) { p.Answer(left, `{}`) }, false},
		"another answered":           {hubtest.Stateless, func(p *hubtest.Program, _ message.Message) { p.Emit(`{"jsonrpc":"2.0","id":1000,"result":{}}`) }, true},
		"a while later":              {hubtest.Stateless, func(*hubtest.Program, message.Message) { time.Sleep(forgetAfter + 1) }, false},
		"not long enough":            {hubtest.Stateless, func(*hubtest.Program, message.Message) { time.Sleep(forgetOwnAfter + 1) }, true},
		"of one user":                {hubtest.Handshakes, func(*hubtest.Program, message.Message) {}, true},
		"of one user, a while later": {hubtest.Handshakes, func(*hubtest.Program, message.Message) { time.Sleep(forgetOwnAfter + 1) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := kit.Programs(t, tc.kind, servers.Config{})
				a := hubtest.Send(t, h, hubtest.Ask("1", "tools/call", `"name":"a"`, wanting))
				synctest.Wait()
				p := <-started
				if tc.kind == hubtest.Handshakes {
					p.Answer(p.Next(t, "logging/setLevel"), `{}`)
				}
				left := p.Next(t, "tools/call")
				a.Leave()
				synctest.Wait()
				p.Next(t, "notifications/cancelled")
				tc.until(p, left)
				b := hubtest.Send(t, h, hubtest.Ask("2", "tools/call", `"name":"b"`, wanting))
				synctest.Wait()
				p.Emit(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"of whom?"}}`)
				if got := len(b.Messages()) == 0; got != tc.silent {
					t.Errorf("got %q", b.Messages())
				}
			})
		})
	}
}
