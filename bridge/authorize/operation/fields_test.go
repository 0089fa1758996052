package operation

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Rule E3: under 2026-07-28 fields that are missing or differ are refused with -32020.
func TestCheckFields(t *testing.T) {
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}`
	stateless := func(method, params string) string { return call(method, `{`+params+meta+`}`) }
	write := stateless("tools/call", `"name":"write","arguments":{"region":"eu","n":42.0},`)
	const version = "Mcp-Protocol-Version: 2026-07-28\n"
	for _, tc := range []struct {
		name, body, header, want string
	}{
		{"all", write, version + "Mcp-Method: tools/call\nMcp-Name: write\nMcp-Param-Region: eu\nMcp-Param-N: 42", ""},
		{"encoded", write, version + "Mcp-Method: tools/call\nMcp-Name: =?base64?d3JpdGU=?=\nMcp-Param-Region: eu\nMcp-Param-N: 42", ""},
		{"no method", write, version + "Mcp-Name: write\nMcp-Param-Region: eu\nMcp-Param-N: 42", "Mcp-Method is missing"},
		{"another method", write, version + "Mcp-Method: tools/list\nMcp-Name: write", "Mcp-Method"},
		{"method in another case", write, version + "Mcp-Method: Tools/call\nMcp-Name: write", "Mcp-Method"},
		{"two methods", write, version + "Mcp-Method: tools/call\nMcp-Method: tools/call\nMcp-Name: write", "Mcp-Method"},
		{"no name", write, version + "Mcp-Method: tools/call", "Mcp-Name is missing"},
		{"another name", write, version + "Mcp-Method: tools/call\nMcp-Name: read", "Mcp-Name"},
		{"two names", write, version + "Mcp-Method: tools/call\nMcp-Name: write\nMcp-Name: read", "Mcp-Name"},
		{"no argument", write, version + "Mcp-Method: tools/call\nMcp-Name: write\nMcp-Param-N: 42", "Mcp-Param-Region is missing"},
		{"another argument", write, version + "Mcp-Method: tools/call\nMcp-Name: write\nMcp-Param-Region: us\nMcp-Param-N: 42", "Mcp-Param-Region"},
		{"an argument that is not there", stateless("tools/call", `"name":"write",`), version + "Mcp-Method: tools/call\nMcp-Name: write\nMcp-Param-Region: us", "Mcp-Param-Region"},
		{"a tool that was not seen", stateless("tools/call", `"name":"other","arguments":{"region":"eu"},`), version + "Mcp-Method: tools/call\nMcp-Name: other\nMcp-Param-Region: us", ""},
		{"no version", write, "Mcp-Method: tools/call\nMcp-Name: write", "MCP-Protocol-Version is missing"},
		{"another version", write, "Mcp-Protocol-Version: 2025-11-25\nMcp-Method: tools/call\nMcp-Name: write", "MCP-Protocol-Version"},
		{"two versions", write, version + version + "Mcp-Method: tools/call\nMcp-Name: write", "MCP-Protocol-Version"},
		{"version in the field alone", call("tools/call", `{"name":"write"}`), version, "Mcp-Method is missing"},
		{"batch", `[` + write + `]`, version + "Mcp-Method: tools/call\nMcp-Name: write", "no batches"},
		{"notification", `{"jsonrpc":"2.0","method":"notifications/x","params":{` + meta + `}}`, version, ""},
		{"before", call("tools/call", `{"name":"write"}`), "Mcp-Protocol-Version: 2025-11-25\nMcp-Name: read", ""},
		{"long before", call("tools/call", `{"name":"write"}`), "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var tools Tools
			list, err := message.Parse([]byte(`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"write","inputSchema":{"properties":{
				"region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer","x-mcp-header":"N"}}}}]}}`))
			if err != nil {
				t.Fatal(err)
			}
			tools.Learn(list.Raw)
			all, err := message.ParseAll([]byte(tc.body), message.MaxBatch)
			if err != nil {
				t.Fatal(err)
			}
			r := &http.Request{Header: make(http.Header)}
			for line := range strings.SplitSeq(tc.header, "\n") {
				if name, value, ok := strings.Cut(line, ": "); ok {
					r.Header.Add(name, value)
				}
			}
			err = tools.CheckFields(r, all, message.IsBatch([]byte(tc.body)))
			var invalid *Invalid
			switch {
			case tc.want == "":
				if err != nil {
					t.Errorf("got %v", err)
				}
			case !errors.As(err, &invalid) || !strings.Contains(invalid.Text, tc.want):
				t.Errorf("got %v, want %q", err, tc.want)
			case tc.name == "batch":
				if invalid.Code != message.CodeInvalidRequest || invalid.ID != nil {
					t.Errorf("got %d and id %q", invalid.Code, invalid.ID)
				}
			case invalid.Code != message.CodeHeaderMismatch || string(invalid.ID) != "7":
				t.Errorf("got %d and id %q", invalid.Code, invalid.ID)
			}
		})
	}
	if mcp.StatelessRevision != "2026-07-28" {
		t.Error("the revision of this test has passed")
	}
}
