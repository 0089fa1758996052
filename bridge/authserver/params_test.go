package authserver

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// replace returns a function that changes one value.
func replace(from, to string) func(string) (string, bool) {
	return func(value string) (string, bool) { return to, value == from }
}

const (
	publicMCP   = "https://mcp.example.com/mcp"
	upstreamMCP = "http://10.0.0.5:8000/mcp"
	sentMCP     = "http%3A%2F%2F10.0.0.5%3A8000%2Fmcp"
)

var editCases = []struct{ name, in, want string }{
	{"alone", "resource=https%3A%2F%2Fmcp.example.com%2Fmcp", "resource=" + sentMCP},
	{"first", "resource=https://mcp.example.com/mcp&a=b", "resource=" + sentMCP + "&a=b"},
	{"in the middle", "a=b&resource=https://mcp.example.com/mcp&c=d", "a=b&resource=" + sentMCP + "&c=d"},
	{"last", "a=b&resource=https://mcp.example.com/mcp", "a=b&resource=" + sentMCP},
	{"value escaped in lower case", "resource=https%3a%2f%2fmcp.example.com%2fmcp", "resource=" + sentMCP},
	{"every byte of the value escaped", "resource=%68%74%74%70%73%3A%2F%2F%6D%63%70%2Eexample.com/mcp", "resource=" + sentMCP},
	{"name escaped", "%72esource=https://mcp.example.com/mcp", "%72esource=" + sentMCP},
	{"name escaped whole", "%72%65%73%6F%75%72%63%65=https://mcp.example.com/mcp", "%72%65%73%6F%75%72%63%65=" + sentMCP},
	{"twice", "resource=https://mcp.example.com/mcp&resource=https://mcp.example.com/mcp", "resource=" + sentMCP + "&resource=" + sentMCP},
	{"twice, in two spellings", "resource=https://mcp.example.com/mcp&a&%72esource=https://mcp.example.com/mcp", "resource=" + sentMCP + "&a&%72esource=" + sentMCP},
	{"another with the name stays", "resource=https://other.example&resource=https://mcp.example.com/mcp", "resource=https://other.example&resource=" + sentMCP},
	{"other bytes stay", "&&a=+%20%2b&b&=c&resource=https://mcp.example.com/mcp&&d==&%zz=%&e;f=g&", "&&a=+%20%2b&b&=c&resource=" + sentMCP + "&&d==&%zz=%&e;f=g&"},
	{"not UTF-8 stays", "a=\xff\x00%ff&resource=https://mcp.example.com/mcp", "a=\xff\x00%ff&resource=" + sentMCP},
}

// Rule C5: resource is mapped back in query and form; no other byte changes.
func TestEdit(t *testing.T) {
	for _, tc := range editCases {
		t.Run(tc.name, func(t *testing.T) {
			got, changed := editParam(tc.in, "resource", replace(publicMCP, upstreamMCP))
			if got != tc.want || !changed {
				t.Errorf("editParam(%q) = %q, %t; want %q, true", tc.in, got, changed, tc.want)
			}
			if again, changed := editParam(got, "resource", replace(publicMCP, upstreamMCP)); again != got || changed {
				t.Errorf("editParam(%q) = %q, %t; want it unchanged", got, again, changed)
			}
		})
	}
}

var unedited = []struct{ name, in string }{
	{"empty", ""},
	{"no pair", "&&&"},
	{"only an equals sign", "="},
	{"name without a value", "resource"},
	{"empty value", "resource="},
	{"another value", "resource=https://mcp.example.com/other"},
	{"a slash more", "resource=https://mcp.example.com/mcp/"},
	{"upper case in the host", "resource=https://MCP.example.com/mcp"},
	{"default port", "resource=https://mcp.example.com:443/mcp"},
	{"value escaped twice", "resource=https%253A%252F%252Fmcp.example.com%252Fmcp"},
	{"a plus behind the value", "resource=https://mcp.example.com/mcp+"},
	{"a space before the value", "resource=%20https://mcp.example.com/mcp"},
	{"a NUL behind the value", "resource=https://mcp.example.com/mcp%00"},
	{"value that does not decode", "resource=https://mcp.example.com/mcp%"},
	{"name that does not decode", "resource%=https://mcp.example.com/mcp"},
	{"name escaped twice", "%2572esource=https://mcp.example.com/mcp"},
	{"name in upper case", "Resource=https://mcp.example.com/mcp"},
	{"longer name", "resources=https://mcp.example.com/mcp"},
	{"name of a list", "resource[]=https://mcp.example.com/mcp"},
	{"a plus behind the name", "resource+=https://mcp.example.com/mcp"},
	{"a space before the name", "+resource=https://mcp.example.com/mcp"},
	{"value of another parameter", "redirect_uri=https://mcp.example.com/mcp&state=resource=https://mcp.example.com/mcp"},
	// Whether a semicolon separates is a matter of the server's, so that
	// neither reading is edited.
	{"a semicolon before", "a=b;resource=https://mcp.example.com/mcp"},
	{"a semicolon behind", "resource=https://mcp.example.com/mcp;a=b"},
	{"ampersand of HTML", "a=b&amp;resource=https://mcp.example.com/mcp"},
}

// Rule C5: resource is mapped on exact equality; what does not match is returned
// as it came.
func TestEditLeaves(t *testing.T) {
	for _, tc := range unedited {
		t.Run(tc.name, func(t *testing.T) {
			if got, changed := editParam(tc.in, "resource", replace(publicMCP, upstreamMCP)); got != tc.in || changed {
				t.Errorf("editParam(%q) = %q, %t; want it unchanged", tc.in, got, changed)
			}
		})
	}
}

// Rule C5: an issuer is mapped in a redirect; what is put in cannot add a
// parameter.
func TestEditEscapes(t *testing.T) {
	for _, tc := range []struct{ in, to, want string }{
		{"iss=a", "b c", "iss=b+c"},
		{"iss=a", "b&code=x", "iss=b%26code%3Dx"},
		{"iss=a", "b;code=x", "iss=b%3Bcode%3Dx"},
		{"iss=a", "b#c?d%41+", "iss=b%23c%3Fd%2541%2B"},
		{"iss=a", "b\r\nc\x00\xff", "iss=b%0D%0Ac%00%FF"},
		{"iss=a", "", "iss="},
	} {
		if got, changed := editParam(tc.in, "iss", replace("a", tc.to)); got != tc.want || !changed {
			t.Errorf("editParam(%q) with %q = %q, %t; want %q, true", tc.in, tc.to, got, changed, tc.want)
		}
	}
}

// A parameter without an equals sign has an empty value, whatever stands beside
// it.
func TestEditEmptyValue(t *testing.T) {
	for in, want := range map[string]string{
		"resource":       "resource=a",
		"resource=":      "resource=a",
		"b=c&resource":   "b=c&resource=a",
		"resource&b=c":   "resource=a&b=c",
		"resource&&b":    "resource=a&&b",
		"%72esource&b=c": "%72esource=a&b=c",
	} {
		if got, changed := editParam(in, "resource", replace("", "a")); got != want || !changed {
			t.Errorf("editParam(%q) = %q, %t; want %q, true", in, got, changed, want)
		}
	}
}

// The function that changes sees decoded values, in their order, and those alone
// that have the name.
func TestEditValues(t *testing.T) {
	const in = "resource=a+b&x=y&resource=%2B&resource=%zz&resource&%72esource=c=d&resource=\xff"
	want := []string{"a b", "+", "", "c=d", "\xff"}
	var seen []string
	got, changed := editParam(in, "resource", func(value string) (string, bool) {
		seen = append(seen, value)
		return "ignored", false
	})
	if got != in || changed {
		t.Errorf("editParam(%q) = %q, %t; want it unchanged", in, got, changed)
	}
	if !slices.Equal(seen, want) {
		t.Errorf("editParam(%q) saw %q; want %q", in, seen, want)
	}
}

// Rule C5: a large form is edited in one pass.
func TestEditLarge(t *testing.T) {
	in := strings.Repeat("a=%41&", 1<<16) + "resource=" + publicMCP + strings.Repeat("&resource=b", 1<<16)
	want := strings.Replace(in, publicMCP, sentMCP, 1)
	if got, changed := editParam(in, "resource", replace(publicMCP, upstreamMCP)); got != want || !changed {
		t.Errorf("Edit changed a large form otherwise than at resource")
	}
}

func TestParam(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
		ok             bool
	}{
		{"empty", "", "", false},
		{"absent", "a=b&codes=c&Code=d", "", false},
		{"alone", "code=a", "a", true},
		{"the first of two", "x=y&code=a&code=b", "a", true},
		{"decoded", "code=a+b%2Bc", "a b+c", true},
		{"equals signs", "code=a==", "a==", true},
		{"name escaped", "%63ode=a", "a", true},
		{"no value", "x&code", "", true},
		{"empty value", "code=&code=b", "", true},
		{"the first that decodes", "code=%&code=b", "b", true},
		{"none that decodes", "code=%g0&code%=b", "", false},
		{"part of another value", "state=code=a", "", false},
		{"behind a semicolon", "a=b;code=c", "", false},
		{"with a semicolon", "code=a;b", "a;b", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, ok := param(tc.in, "code"); got != tc.want || ok != tc.ok {
				t.Errorf("param(%q) = %q, %t; want %q, %t", tc.in, got, ok, tc.want, tc.ok)
			}
		})
	}
}

var queryCases = []struct{ in, before, query, after string }{
	{"", "", "", ""},
	{"?", "?", "", ""},
	{"#", "", "", "#"},
	{"?#", "?", "", "#"},
	{"#?a=b", "", "", "#?a=b"},
	{"/a", "/a", "", ""},
	{"/a?b=c", "/a?", "b=c", ""},
	{"/a?b=c?d#e?f#g", "/a?", "b=c?d", "#e?f#g"},
	{"/a#b", "/a", "", "#b"},
	{"http://127.0.0.1:3000/callback?code=a&iss=b", "http://127.0.0.1:3000/callback?", "code=a&iss=b", ""},
	{"com.example.app:/callback?code=a#_=_", "com.example.app:/callback?", "code=a", "#_=_"},
	{"/a%3Fb%23c?%23", "/a%3Fb%23c?", "%23", ""},
}

func TestQuery(t *testing.T) {
	for _, tc := range queryCases {
		before, query, after := splitQuery(tc.in)
		if before != tc.before || query != tc.query || after != tc.after {
			t.Errorf("splitQuery(%q) = %q, %q, %q; want %q, %q, %q", tc.in, before, query, after, tc.before, tc.query, tc.after)
		}
	}
}

// B5, C5: an informational answer has nothing that would have to be mapped.
func TestInformationalAnswerNamesNoServer(t *testing.T) {
	h := http.Header{
		"Access-Control-Allow-Origin": {"*"}, "Vary": {"Accept, Origin"}, "Set-Cookie": {"a=b; Domain=10.0.0.5"}, "Location": {"http://10.0.0.5/"},
		"Link": {"<http://10.0.0.5/a.css>; rel=preload"}, "Www-Authenticate": {`Bearer realm="http://10.0.0.5"`}, "X-A": {"1"},
	}
	new(Request).Inform(h)
	if len(h) != 2 || h.Get("X-A") != "1" || h.Get("Vary") != "Accept" {
		t.Errorf("got %v", h)
	}
}
