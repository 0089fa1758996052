package mcpauthbridge

import (
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A name stands for itself in a host name and in a path: no one reads it in another way.
func FuzzName(f *testing.F) {
	for name, ok := range map[string]bool{
		"github": true, "search-2": true, "a_b": true, "docs.v2": true, "1": true, strings.Repeat("a", maxName): true,
		"": false, ".": false, "..": false, "a..b": false, ".a": false, "a.": false, "-a": false, "a-": false, "_": false, "A": false, "a/b": false, "a%2fb": false, "a b": false,
		"a:80": false, "a@b": false, "a#b": false, "a?b": false, "a\\b": false, "{env.A}": false, "*": false, "\u212a": false, "ü": false, "a\x00b": false, strings.Repeat("a", maxName+1): false,
	} {
		if err := checkName(name); (err == nil) != ok {
			f.Errorf("%q: got %v", name, err)
		}
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) != nil {
			return
		}
		u, err := url.Parse("http://" + name + ":80/servers/" + name + "/mcp")
		if err != nil || u.Hostname() != name || u.Path != "/servers/"+name+"/mcp" || u.EscapedPath() != u.Path || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			t.Fatalf("%q is read as %v, %v", name, u, err)
		}
		if err := checkEndpoint(u.Path); err != nil {
			t.Error(err)
		}
		if clean := caddyhttp.CleanPath(strings.ToLower(u.Path), true); clean != u.Path {
			t.Errorf("%q is compared as %q", u.Path, clean)
		}
	})
}
