package hub

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D3: what a stateless request says twice has to be the same, and what is
// missing is said, with the code that the revision has for it.
func TestStatelessEnvelopeIsChecked(t *testing.T) {
	for name, tc := range map[string]struct {
		body   string
		header []string
		status int
		code   int
	}{
		"no field of the version":   {hubtest.Ask("1", "x", ""), []string{"Mcp-Protocol-Version", ""}, 400, -32020},
		"another version":           {hubtest.Ask("1", "x", ""), []string{"Mcp-Protocol-Version", "2025-11-25"}, 400, -32020},
		"no version in the body":    {`{"jsonrpc":"2.0","id":1,"method":"x"}`, nil, 400, -32602},
		"a version that is none":    {strings.Replace(hubtest.Ask("1", "x", ""), `"2026-07-28"`, `7`, 1), []string{"Mcp-Protocol-Version", ""}, 400, -32020},
		"a version to come":         {strings.Replace(hubtest.Ask("1", "x", ""), "2026-07-28", "2027-01-01", 1), []string{"Mcp-Protocol-Version", "2027-01-01"}, 400, -32022},
		"a version of nowhere":      {strings.Replace(hubtest.Ask("1", "x", ""), "2026-07-28", "1900-01-01", 1), []string{"Mcp-Protocol-Version", "1900-01-01"}, 400, -32022},
		"no capabilities":           {strings.Replace(hubtest.Ask("1", "x", ""), `Capabilities":{"e`, `Capacities":{"e`, 1), nil, 400, -32602},
		"capabilities that are one": {strings.Replace(hubtest.Ask("1", "x", ""), `{"elicitation":{},"roots":{}}`, `true`, 1), nil, 400, -32602},
		"a client that is none":     {hubtest.Ask("1", "x", "", `"`+mcp.MetaClient+`":"me"`), nil, 400, -32602},
		"no method":                 {hubtest.Ask("1", "x", ""), []string{"Mcp-Method", ""}, 400, -32020},
		"another method":            {hubtest.Ask("1", "x", ""), []string{"Mcp-Method", "X"}, 400, -32020},
		"no name":                   {hubtest.Ask("1", "tools/call", `"name":"a"`), []string{"Mcp-Name", ""}, 400, -32020},
		"another name":              {hubtest.Ask("1", "tools/call", `"name":"a"`), []string{"Mcp-Name", "b"}, 400, -32020},
		"another resource":          {hubtest.Ask("1", "resources/read", `"uri":"a:"`), []string{"Mcp-Name", "b:"}, 400, -32020},
		"another name, encoded":     {hubtest.Ask("1", "tools/call", `"name":"a"`), []string{"Mcp-Name", "=?base64?Yg==?="}, 400, -32020},
		"a name that is not Base64": {hubtest.Ask("1", "tools/call", `"name":"a"`), []string{"Mcp-Name", "=?base64?a?="}, 400, -32020},
		"a name that is not ASCII":  {hubtest.Ask("1", "tools/call", `"name":"ä"`), []string{"Mcp-Name", "ä"}, 400, -32020},
		"a batch":                   {"[" + hubtest.Ask("1", "x", "") + "]", nil, 400, -32600},
		"a response":                {`{"jsonrpc":"2.0","id":1,"result":{}}`, nil, 400, -32600},
		"a member twice":            {strings.Replace(hubtest.Ask("1", "x", ""), `"_meta":{`, `"_meta":{"`+mcp.MetaVersion+`":"2025-11-25",`, 1), nil, 400, -32600},
		"initialize with a version": {`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`, nil, 400, -32000},
	} {
		t.Run(name, func(t *testing.T) {
			h, started := kit.Programs(t, hubtest.Stateless, servers.Config{})
			ctx := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://h/", strings.NewReader(tc.body))
			ctx.Header.Set("Content-Type", "application/json")
			ctx.Header.Set("Mcp-Protocol-Version", "2026-07-28")
			ctx.Header.Set("Mcp-Method", "x")
			if strings.Contains(tc.body, "tools/call") {
				ctx.Header.Set("Mcp-Method", "tools/call")
			}
			if strings.Contains(tc.body, "resources/read") {
				ctx.Header.Set("Mcp-Method", "resources/read")
			}
			for i := 0; i+1 < len(tc.header); i += 2 {
				if ctx.Header.Del(tc.header[i]); tc.header[i+1] != "" {
					ctx.Header.Set(tc.header[i], tc.header[i+1])
				}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, ctx)
			var got struct {
				Error struct {
					Code int
					Data struct{ Supported []string }
				}
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != tc.status || got.Error.Code != tc.code {
				t.Errorf("got %d %s, want %d and %d", w.Code, w.Body, tc.status, tc.code)
			}
			if tc.code == message.CodeUnsupportedVersion && (len(got.Error.Data.Supported) == 0 || got.Error.Data.Supported[0] != mcp.StatelessRevision) {
				t.Errorf("it does not say what is supported: %s", w.Body)
			}
			if len(started) != 0 {
				t.Error("a server was started for it")
			}
		})
	}
}
