package shared

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D3: fields that repeat arguments of a tool say what these say.
func TestHeaderFieldsOfToolsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
		list := hubtest.Send(t, h, hubtest.Ask("1", "tools/list", ""))
		synctest.Wait()
		p := <-started
		p.Answer(p.Next(t, "tools/list"), `{"tools":[{"name":"t","inputSchema":{"properties":{"s":{"type":"string","x-mcp-header":"S"},
			"o":{"properties":{"n":{"type":"integer","x-mcp-header":"n"},"b":{"type":"boolean","x-mcp-header":"B"}}},
			"a":{"items":{"properties":{"x":{"x-mcp-header":"X"}}}}}}},{"name":"u","inputSchema":{}}]}`)
		if !list.Over() {
			t.Fatal("no list")
		}
		for name, tc := range map[string]struct {
			tool, arguments string
			header          []string
			refused         bool
		}{
			"nothing":              {"t", `{}`, nil, false},
			"another tool":         {"u", `{"s":"x"}`, nil, false},
			"missing":              {"t", `{"s":"x"}`, nil, true},
			"the same":             {"t", `{"s":"x"}`, []string{"Mcp-Param-S", "x"}, false},
			"the same, encoded":    {"t", `{"s":"gr\u00fc\u00df"}`, []string{"Mcp-Param-S", mcp.EncodeField("grüß")}, false},
			"not the same":         {"t", `{"s":"x"}`, []string{"Mcp-Param-S", "X"}, true},
			"not ASCII":            {"t", `{"s":"ü"}`, []string{"Mcp-Param-S", "ü"}, true},
			"no Base64":            {"t", `{"s":"x"}`, []string{"Mcp-Param-S", "=?base64?x?="}, true},
			"of null":              {"t", `{"s":null}`, nil, false},
			"of nothing":           {"t", `{}`, []string{"Mcp-Param-S", "x"}, true},
			"a number":             {"t", `{"o":{"n":42.0}}`, []string{"Mcp-Param-N", "42"}, false},
			"another number":       {"t", `{"o":{"n":42}}`, []string{"Mcp-Param-N", "43"}, true},
			"a number that is not": {"t", `{"o":{"n":42}}`, []string{"Mcp-Param-N", "42x"}, true},
			"a truth value":        {"t", `{"o":{"b":true}}`, []string{"Mcp-Param-B", "true"}, false},
			"another truth value":  {"t", `{"o":{"b":true}}`, []string{"Mcp-Param-B", "false"}, true},
			"below a list":         {"t", `{"a":[{"x":1}]}`, nil, false},
		} {
			call := hubtest.Send(t, h, hubtest.Ask("2", "tools/call", fmt.Sprintf(`"name":%q,"arguments":%s`, tc.tool, tc.arguments)), tc.header...)
			if !tc.refused {
				p.Answer(p.Next(t, "tools/call"), `{}`)
			}
			over := call.Over()
			if got := call.Code == 400 && strings.Contains(call.Body.String(), `"code":-32020`); got != tc.refused || !over {
				t.Errorf("%s: %d %s", name, call.Code, call.Body)
			}
		}
		p.GotNothing(t)
	})
}
