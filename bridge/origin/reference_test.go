package origin

import (
	"net/url"
	"testing"
)

// Rule D2: what is announced is a path-absolute reference, whatever path a client has
// used.
func TestPathReference(t *testing.T) {
	for _, tc := range []struct{ path, query, want string }{
		{"/mcp/sse/message", "sessionId=x", "/mcp/sse/message?sessionId=x"},
		{"/mcp/message/t", "", "/mcp/message/t"},
		{"//evil.example/mcp", "", "/evil.example/mcp"},
		{"///evil.example/mcp", "a", "/evil.example/mcp?a"},
		{`/\evil.example/mcp`, "", "/evil.example/mcp"},
		{"mcp", "", "/mcp"},
		{"/a\r\ndata: /b", "", "/a%0D%0Adata:%20/b"},
		{"/a?b#c", "", "/a%3Fb%23c"},
		{"/\t/evil.example", "", "/%09/evil.example"},
		{"", "", "/"},
	} {
		if got := PathReference(tc.path, tc.query); got != tc.want {
			t.Errorf("%q, %q: got %q, want %q", tc.path, tc.query, got, tc.want)
		}
	}
}

func FuzzPathReference(f *testing.F) {
	for _, s := range []string{"/mcp", "//x", `/\x`, `\\x`, "/\t/x", "/%2f/x", "/a\nb", "http://x", "/;/x", "/..//x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		ref := PathReference(path, "")
		base := &url.URL{Scheme: "https", Host: "mcp.example", Path: "/mcp"}
		to, err := base.Parse(ref)
		if err != nil || to.Host != "mcp.example" || to.Scheme != "https" || to.RawQuery != "" || to.Fragment != "" {
			t.Fatalf("%q is announced as %q, which is %v %v", path, ref, to, err)
		}
		for i := range len(ref) {
			if ref[i] <= ' ' || ref[i] == 0x7f {
				t.Fatalf("%q is announced as %q", path, ref)
			}
		}
		// Browsers read a backslash as a slash.
		if ref[0] != '/' || len(ref) > 1 && (ref[1] == '/' || ref[1] == '\\') {
			t.Fatalf("%q is announced as %q", path, ref)
		}
	})
}
