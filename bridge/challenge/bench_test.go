package challenge

import (
	"strings"
	"testing"
)

func BenchmarkEdit(b *testing.B) {
	for _, bc := range []struct{ name, line string }{
		{"usual", `Bearer resource_metadata="http://up/` + wellKnown + `/mcp"`},
		{"long", `Basic realm="r", charset="UTF-8", Negotiate ` + strings.Repeat("dG9rZW4", 500) + `=, Bearer error="invalid_token", error_description="` + strings.Repeat("The token is not for this resource. ", 100) + `", resource_metadata="http://up/` + wellKnown + `/mcp", scope="` + strings.Repeat("files:read ", 200) + `"`},
		{"inner quotes", `Bearer error="invalid_token", error_description="Unexpected token "x" in JSON", resource_metadata="http://up/` + wellKnown + `/mcp"`},
	} {
		b.Run(bc.name, func(b *testing.B) {
			in := []string{bc.line}
			b.SetBytes(int64(len(bc.line)))
			b.ReportAllocs()
			for b.Loop() {
				if _, r := apply(adds, in); r.Rewritten != 1 {
					b.Fatalf("got %d values rewritten, want 1", r.Rewritten)
				}
			}
		})
	}
}
