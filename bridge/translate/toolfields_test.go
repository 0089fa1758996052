package translate

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
)

// The header fields of a schema that validToolHeaders accepts can be sent.
func FuzzToolHeaders(f *testing.F) {
	for _, seed := range []string{
		`{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}`,
		`{"properties":{"x-mcp-header":{"type":"string"}}}`,
		`{"items":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}`,
		`{"x-mcp-header":"A"}`, `{"default":{"x-mcp-header":1}}`, `[]`, `{"properties":[1]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, schema string) {
		if !json.Valid([]byte(schema)) || !validToolHeaders([]byte(schema)) {
			return
		}
		var fields mcp.ToolFields
		fields.Learn([]byte(`{"result":{"tools":[{"name":"t","inputSchema":` + schema + `}]}}`))
		for _, field := range fields["t"] {
			r, err := http.NewRequest(http.MethodPost, "http://h/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header[field.Name] = []string{"x"}
			if err := r.Write(io.Discard); err != nil || strings.ContainsAny(field.Name, " :\r\n") {
				t.Errorf("field %q: %v", field.Name, err)
			}
		}
	})
}

// Only what the revision allows names a header field (MCP specification 2026-07-28, "Schema
// Extension").
func TestOnlyValidHeaderFieldsAreTaken(t *testing.T) {
	deep := strings.Repeat(`{"properties":{"a":`, mcp.MaxParamDepth+1) + `{"type":"string","x-mcp-header":"A"}` + strings.Repeat(`}}`, mcp.MaxParamDepth+1)
	for schema, sound := range map[string]bool{
		`{}`: true,
		`{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"properties":{"c":{"type":"integer","x-mcp-header":"C"}}}}}`: true,
		`{"properties":{"x-mcp-header":{"type":"number"}}}`:                                                                        true,
		`{"properties":{"a":{"type":"object","default":{"x-mcp-header":"A"}}}}`:                                                    true,
		`{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}`:                                                                false,
		`{"properties":{"a":{"x-mcp-header":"A"}}}`:                                                                                false,
		`{"properties":{"a":{"type":"string","x-mcp-header":""}}}`:                                                                 false,
		`{"properties":{"a":{"type":"string","x-mcp-header":"A B"}}}`:                                                              false,
		`{"properties":{"a":{"type":"string","x-mcp-header":"A\n"}}}`:                                                              false,
		`{"properties":{"a":{"type":"string","x-mcp-header":1}}}`:                                                                  false,
		`{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}`:                       false,
		`{"properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}}`:                                                      false,
		`{"allOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}`:                                                    false,
		`{"$defs":{"a":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}}`:                                                false,
		`{"type":"string","x-mcp-header":"A"}`:                                                                                     false,
		deep:                                                                                                                       false,
	} {
		if got := validToolHeaders([]byte(schema)); got != sound {
			t.Errorf("%s: got %t", schema, got)
		}
	}
}
