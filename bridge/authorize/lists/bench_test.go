package lists

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

var who = &principal.Principal{Scopes: principal.Scopes{"read"}, Claims: map[string]any{"groups": []any{"dev"}}}

func BenchmarkFilter(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		var tools []string
		for i := range n {
			tools = append(tools, fmt.Sprintf(`{"name":"%s_%d","description":"A tool for a test","inputSchema":{"type":"object","properties":{"path":{"type":"string"}}}}`,
				[]string{"read", "write", "secret", "admin"}[i%4], i))
		}
		text := []byte(`{"jsonrpc":"2.0","id":1,"result":{"tools":[` + strings.Join(tools, ",") + `]}}`)
		p := policy(b, nil)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				a := Answers{Policy: p, Who: who, Asked: map[message.Key]string{message.KeyOf([]byte("1")): "tools/list"}}
				if _, _, err := a.Filter(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCall reads a body and decides on it.
func BenchmarkCall(b *testing.B) {
	p := policy(b, nil)
	for name, tool := range map[string]string{"scope": "read_file", "expression": "admin_x"} {
		body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":{"path":"/srv/a","content":"` + strings.Repeat("x", 500) + `"}}}`)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := operation.Parse(body)
				if err != nil {
					b.Fatal(err)
				}
				p.Decide(who, r)
			}
		})
	}
}
