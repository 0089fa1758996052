package session

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rules A7, D3: a request whose answer cannot be carried over is answered with an
// error, wherever the answer has its id; what is no answer answers nobody.
func TestAnswerThatIsNoMessage(t *testing.T) {
	deep := strings.Repeat("[", 600) + strings.Repeat("]", 600)
	long := strings.Repeat("x", 3*hubtest.LostEdge)
	for name, tc := range map[string]struct {
		frame string
		own   bool // it is the answer
	}{
		"too deep":                  {`{"jsonrpc":"2.0","id":1,"result":` + deep + `}`, true},
		"too deep, its id last":     {`{"jsonrpc":"2.0","result":["` + long + `",` + deep + `],"id":1}`, true},
		"a member twice":            {`{"jsonrpc":"2.0","id":1,"result":{},"result":{}}`, true},
		"two ids":                   {`{"jsonrpc":"2.0","id":1,"id":1,"result":{}}`, false},
		"another's":                 {`{"jsonrpc":"2.0","id":2,"result":` + deep + `}`, false},
		"a request that is deep":    {`{"jsonrpc":"2.0","id":1,"method":"x","params":` + deep + `}`, false},
		"an answer in what is deep": {`{"jsonrpc":"2.0","method":"x","params":[{"id":1,"result":` + deep + `}]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, p, id := kit.DirectHub(t, servers.Config{})
			defer h.Close()
			go func() {
				<-p.Got
				p.Deliver([]byte(tc.frame))
				p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"second"}`))
			}()
			w := hubtest.Direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":1,"method":"x"}`)
			want := `"result":"second"`
			if tc.own {
				want = `"error":{"code":-32603`
			}
			if got := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(got, want) {
				t.Errorf("got %d %s, want %s", w.Code, got, want)
			}
		})
	}
}
