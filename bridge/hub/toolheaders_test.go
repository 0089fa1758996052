package hub

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D3: the header fields that repeat arguments of tools are sent. If they are not known
// yet, the tools are listed first.
func TestHeaderFieldsOfToolsAreLearnedAndSent(t *testing.T) {
	const tools = `[{"name":"größe","inputSchema":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"},
		"in":{"type":"object","properties":{"s":{"type":"string","x-mcp-header":"Text"}}},"b":{"type":"boolean","x-mcp-header":"b"},"no":{"type":"string","x-mcp-header":"No"}}}},
		{"name":"bad","inputSchema":{"type":"object","properties":{"n":{"type":"number","x-mcp-header":"N"}}}}]`
	const call = `{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"größe","arguments":{"n":4.20e1,"in":{"s":"ü"},"b":true,"no":null}}}`
	synctest.Test(t, func(t *testing.T) {
		u := &modern{t: t, tools: tools}
		fields := make(http.Header)
		u.answer = func(_ http.ResponseWriter, r *http.Request, m message.Message) bool {
			if m.Method == "tools/call" {
				maps.DeleteFunc(r.Header, func(name string, _ []string) bool { return !strings.HasPrefix(name, "Mcp-") })
				fields = r.Header
			}
			return false
		}
		h, id := u.inFront(`{}`)
		for _, want := range [][]string{{"tools/call", "tools/list", "tools/call"}, {"tools/call"}} {
			hubtest.Post(t, h, id, call).Wants(t, 200, `{"jsonrpc":"2.0","id":"x","result":{"resultType":"complete","content":[]}}`)
			if got := u.seen(); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		want := http.Header{
			"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"=?base64?Z3LDtsOfZQ==?="},
			"Mcp-Param-N": {"42"}, "Mcp-Param-Text": {"=?base64?w7w=?="}, "Mcp-Param-B": {"true"},
		}
		if !maps.EqualFunc(fields, want, slices.Equal) {
			t.Errorf("got %q, want %q", fields, want)
		}
		c := hubtest.Post(t, h, id, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		if got := c.Body.String(); !json.Valid([]byte(got)) || !strings.Contains(got, `"größe"`) || strings.Contains(got, `"bad"`) {
			t.Errorf("got %s", got)
		}
		if requests := hubtest.TranslatorOf(t, h).UnderWay(); requests != 1 {
			t.Errorf("%d requests are under way", requests)
		}
		// A server that is never content is asked twice.
		u.seen()
		u.answer = func(w http.ResponseWriter, _ *http.Request, m message.Message) bool {
			if m.Method == "tools/call" {
				hubtest.JSONTo(w, http.StatusBadRequest, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32020,"message":"m"}}`, m.RawID)
			}
			return m.Method == "tools/call"
		}
		hubtest.Post(t, h, id, call).Wants(t, 200, `{"jsonrpc":"2.0","id":"x","error":{"code":-32603,"message":"m"}}`)
		if got, want := u.seen(), []string{"tools/call", "tools/list", "tools/call"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
