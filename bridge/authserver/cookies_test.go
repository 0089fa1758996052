package authserver

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The names that a server gives its cookies, and those in the browser.
var nameCases = []struct{ server, browser string }{
	{"sid", "mcp_as.sid"},
	{"mcp_as.sid", "mcp_as.mcp_as.sid"},
	{"mcp_as.", "mcp_as.mcp_as."},
	{"a.mcp_as.b", "mcp_as.a.mcp_as.b"},
	{"MCP_AS.sid", "mcp_as.MCP_AS.sid"},
	{"__Host-sid", "__Host-mcp_as.sid"},
	{"__Secure-sid", "__Secure-mcp_as.sid"},
	{"__Http-sid", "__Http-mcp_as.sid"},
	{"__Host-Http-sid", "__Host-Http-mcp_as.sid"},
	{"__host-sid", "__host-mcp_as.sid"},
	{"__HOST-sid", "__HOST-mcp_as.sid"},
	{"__sEcUrE-sid", "__sEcUrE-mcp_as.sid"},
	{"__HTTP-sid", "__HTTP-mcp_as.sid"},
	{"__host-HTTP-sid", "__host-HTTP-mcp_as.sid"},
	{"__Host-", "__Host-mcp_as."},
	{"__Host-Http-", "__Host-Http-mcp_as."},
	{"__Host", "mcp_as.__Host"},
	{"__Hostsid", "mcp_as.__Hostsid"},
	{"_Host-sid", "mcp_as._Host-sid"},
	{"__Host-mcp_as.sid", "__Host-mcp_as.mcp_as.sid"},
	{"__Host-__Host-sid", "__Host-mcp_as.__Host-sid"},
	{"__Host-__Secure-sid", "__Host-mcp_as.__Secure-sid"},
	{"__Http-Host-sid", "__Http-mcp_as.Host-sid"},
	{"__Host-Http", "__Host-mcp_as.Http"},
	{"__Ho\u017ft-sid", "mcp_as.__Ho\u017ft-sid"}, // folds to s, but is none
	{"a b", "mcp_as.a b"},
	{"a\tb", "mcp_as.a\tb"},
	{`"a"`, `mcp_as."a"`},
	{"a,b", "mcp_as.a,b"},
	{"\xff\u00fc", "mcp_as.\xff\u00fc"},
}

// Rule C5: a cookie that the server set comes back to it under its own name.
// Prefixes of names (RFC 6265bis section 4.1.3) stay in front.
func TestCookieNames(t *testing.T) {
	for _, tc := range nameCases {
		t.Run(tc.server, func(t *testing.T) {
			if got := markName(tc.server); got != tc.browser {
				t.Errorf("markName(%q) = %q; want %q", tc.server, got, tc.browser)
			}
			if got, ok := unmarkName(tc.browser); got != tc.server || !ok {
				t.Errorf("unmarkName(%q) = %q, %t; want %q, true", tc.browser, got, ok, tc.server)
			}
		})
	}
}

var requestCases = []struct {
	name     string
	in, want []string
}{
	{"none", nil, nil},
	{"empty line", []string{""}, nil},
	{"one", []string{"mcp_as.sid=1"}, []string{"sid=1"}},
	{"others go", []string{"a=b; mcp_as.sid=1; c=d"}, []string{"sid=1"}},
	{"only others", []string{"a=b; c=d"}, nil},
	{"several", []string{"mcp_as.a=1; x=y; mcp_as.b=2"}, []string{"a=1; b=2"}},
	{"several lines", []string{"mcp_as.a=1; x=y", "x=z", "", "mcp_as.b=2"}, []string{"a=1; b=2"}},
	{"the same name twice", []string{"mcp_as.a=1; mcp_as.a=2"}, []string{"a=1; a=2"}},
	{"no space behind the semicolon", []string{"x=y;mcp_as.a=1;mcp_as.b=2;z=z"}, []string{"a=1; b=2"}},
	{"spaces and tabs", []string{" \t mcp_as.a=1 \t ; \tmcp_as.b=2\t"}, []string{"a=1; b=2"}},
	{"empty pairs", []string{";; ;mcp_as.a=1;;"}, []string{"a=1"}},
	{"equals signs in the value", []string{"mcp_as.a=b=c=="}, []string{"a=b=c=="}},
	{"empty value", []string{"mcp_as.a="}, []string{"a="}},
	{"value in quotes", []string{`mcp_as.a="b c"`}, []string{`a="b c"`}},
	{"comma in the value", []string{"mcp_as.a=b, c=d"}, []string{"a=b, c=d"}},
	{"not ASCII", []string{"mcp_as.\u00fc=\xff"}, []string{"\u00fc=\xff"}},
	{"with prefixes", []string{"__Host-mcp_as.a=1; __Secure-mcp_as.b=2; __Http-mcp_as.c=3; __Host-Http-mcp_as.d=4"}, []string{"__Host-a=1; __Secure-b=2; __Http-c=3; __Host-Http-d=4"}},
	{"with prefixes in lower case", []string{"__host-mcp_as.a=1; __host-http-mcp_as.d=4"}, []string{"__host-a=1; __host-http-d=4"}},
	{"a name with the mark", []string{"mcp_as.mcp_as.a=1"}, []string{"mcp_as.a=1"}},
}

// Rule C5: only cookies that the server set go to it.
func TestRequestCookies(t *testing.T) {
	for _, tc := range requestCases {
		t.Run(tc.name, func(t *testing.T) {
			h := http.Header{"Cookie": tc.in, "X": {"y"}}
			if tc.in == nil {
				delete(h, "Cookie")
			}
			requestCookies(h)
			got, present := h["Cookie"]
			if !slices.Equal(got, tc.want) || present != (tc.want != nil) {
				t.Errorf("%q became %q; want %q", tc.in, got, tc.want)
			}
			if len(h["X"]) != 1 {
				t.Errorf("another field changed: %q", h)
			}
		})
	}
}

var responseCases = []struct {
	name     string
	in, want []string
}{
	{"none", nil, nil},
	{"no attributes", []string{"sid=1"}, []string{"mcp_as.sid=1"}},
	{"attributes", []string{"sid=1; Path=/; HttpOnly; Secure; SameSite=Lax"}, []string{"mcp_as.sid=1; Path=/; HttpOnly; Secure; SameSite=Lax"}},
	{"prefix", []string{"__Host-sid=1; Path=/; Secure"}, []string{"__Host-mcp_as.sid=1; Path=/; Secure"}},
	{"several lines", []string{"a=1", "b=2; Path=/b", "a=3"}, []string{"mcp_as.a=1", "mcp_as.b=2; Path=/b", "mcp_as.a=3"}},
	{"a cookie is taken back", []string{"sid=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}, []string{"mcp_as.sid=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}},
	{"spelling of attributes stays", []string{"sid=1;path=/ ;  HTTPONLY\t;x=Domain;=;;Foo==;"}, []string{"mcp_as.sid=1;path=/ ;  HTTPONLY\t;x=Domain;=;;Foo==;"}},
	{"space round name and value", []string{" sid\t=  1\t; Path=/"}, []string{"mcp_as.sid=1; Path=/"}},
	{"space within name and value", []string{"a b= c d "}, []string{"mcp_as.a b=c d"}},
	{"equals signs in the value", []string{"sid=a=b=="}, []string{"mcp_as.sid=a=b=="}},
	{"value in quotes", []string{`sid="a b"; Path=/`}, []string{`mcp_as.sid="a b"; Path=/`}},
	{"not ASCII", []string{"\u00fc=\xff; x=\xfe"}, []string{"mcp_as.\u00fc=\xff; x=\xfe"}},
	{"comma", []string{"a=1, b=2; Path=/"}, []string{"mcp_as.a=1, b=2; Path=/"}},

	{"Domain", []string{"sid=1; Domain=mcp.internal; Path=/"}, []string{"mcp_as.sid=1; Path=/"}},
	{"Domain last", []string{"sid=1; Path=/; Domain=mcp.internal"}, []string{"mcp_as.sid=1; Path=/"}},
	{"Domain alone", []string{"sid=1;Domain=mcp.internal"}, []string{"mcp_as.sid=1"}},
	{"Domain of the whole site", []string{"sid=1; Domain=.example.com"}, []string{"mcp_as.sid=1"}},
	{"Domain in lower case", []string{"sid=1; domain=a"}, []string{"mcp_as.sid=1"}},
	{"Domain in mixed case", []string{"sid=1; dOmAiN=a"}, []string{"mcp_as.sid=1"}},
	{"Domain within spaces and tabs", []string{"sid=1; \t Domain \t = a"}, []string{"mcp_as.sid=1"}},
	{"Domain within white space of some clients", []string{"sid=1; \r\vDomain\f=a;\u00a0Domain=a"}, []string{"mcp_as.sid=1"}},
	{"Domain without a value", []string{"sid=1; Domain=; Domain; domain ;x"}, []string{"mcp_as.sid=1;x"}},
	{"Domain more than once", []string{"sid=1; Domain=a; Path=/; DOMAIN=b"}, []string{"mcp_as.sid=1; Path=/"}},
	{"Domain with equals signs", []string{"sid=1; Domain==a=b"}, []string{"mcp_as.sid=1"}},
	{"no Domain", []string{"sid=1; Domains=a; XDomain=a; \"Domain\"=a; Path=Domain; =Domain=a"}, []string{"mcp_as.sid=1; Domains=a; XDomain=a; \"Domain\"=a; Path=Domain; =Domain=a"}},
	{"Domain as a name", []string{"Domain=a"}, []string{"mcp_as.Domain=a"}},

	{"without a name", []string{"=a; Path=/", " \t=a", "a", "a; Path=/", "", ";", "=", "; a=b"}, nil},
	{"without a name, but with one in the value", []string{"=sid=1", "==sid", "=__Host-sid=1", "=mcp_as.sid=1", "=__Host-mcp_as.sid=1"}, nil},
	{"one with a name remains", []string{"=a", "b=c", "d"}, []string{"mcp_as.b=c"}},
}

// Rule C5: a cookie is the public host's alone; every byte of an attribute but
// Domain stays.
func TestResponseCookies(t *testing.T) {
	for _, tc := range responseCases {
		t.Run(tc.name, func(t *testing.T) {
			h := http.Header{"Set-Cookie": tc.in, "X": {"y"}}
			if tc.in == nil {
				delete(h, "Set-Cookie")
			}
			responseCookies(h)
			got, present := h["Set-Cookie"]
			if !slices.Equal(got, tc.want) || present != (tc.want != nil) {
				t.Errorf("%q became %q; want %q", tc.in, got, tc.want)
			}
			if len(h["X"]) != 1 {
				t.Errorf("another field changed: %q", h)
			}
		})
	}
}

// Headers may be shared with what is logged: the lines that came are not written
// to.
func TestCookiesAreNotWrittenTo(t *testing.T) {
	cookie, set := []string{"a=b; mcp_as.sid=1", "mcp_as.c=d"}, []string{"a", "sid=1; Domain=a"}
	h := http.Header{"Cookie": slices.Clone(cookie), "Set-Cookie": slices.Clone(set)}
	gotCookie, gotSet := h["Cookie"], h["Set-Cookie"]
	requestCookies(h)
	responseCookies(h)
	if !slices.Equal(gotCookie, cookie) || !slices.Equal(gotSet, set) {
		t.Errorf("the lines became %q and %q; want %q and %q", gotCookie, gotSet, cookie, set)
	}
}

// Rule C5: what a login sets comes back as the server knows it, through a
// browser's cookies of the whole host.
func TestCookiesRoundTrip(t *testing.T) {
	set := http.Header{"Set-Cookie": {
		"__Host-sid=a=b; Path=/; Secure; HttpOnly; SameSite=Lax",
		"csrf=\"x y\"; Domain=mcp.internal",
		"theme=; Max-Age=0",
	}}
	responseCookies(set)
	sent := []string{"site=1"}
	for _, line := range set["Set-Cookie"] {
		pair, _, _ := strings.Cut(line, ";")
		sent = append(sent, pair, "csrf=another's")
	}
	h := http.Header{"Cookie": {strings.Join(sent, "; ")}}
	requestCookies(h)
	want := []string{`__Host-sid=a=b; csrf="x y"; theme=`}
	if !slices.Equal(h["Cookie"], want) {
		t.Errorf("the server gets %q; want %q", h["Cookie"], want)
	}
}
