package identity

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// asked is a request: header fields, and what its other parts are, by names with a colon
// in front.
func asked(parts ...string) (r *http.Request, user string) {
	r = httptest.NewRequest(http.MethodPost, "http://mcp.example/mcp", nil)
	for i := 0; i+1 < len(parts); i += 2 {
		switch value := parts[i+1]; parts[i] {
		case ":user":
			user = value
		case ":certificate":
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte(value)}}}
		case ":query":
			r.URL.RawQuery = value
		case ":host":
			r.Host = value
		default:
			r.Header.Add(parts[i], value)
		}
	}
	return r, user
}

func ownerOf(parts ...string) Owner {
	r, user := asked(parts...)
	return OwnerOf(r, user)
}

func jwt(subject string, n int) string {
	return fmt.Sprintf("Bearer e30.%s.sig%d", base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"iss":"https://as","sub":%q,"n":%d}`, subject, n)), n)
}

// Rule D5a: who shares a server, and who may use a session.
func TestOwner(t *testing.T) {
	for name, tc := range map[string]struct {
		a, b             []string
		same             bool // they share a server
		program, judging bool // b may use a session of a: at a program, at a server that judges each request
	}{
		"nobody":                     {nil, nil, true, true, true},
		"another host":               {nil, []string{":host", "other.example"}, false, false, false},
		"the host in capitals":       {nil, []string{":host", "MCP.example"}, true, true, true},
		"one token":                  {[]string{"Authorization", "Bearer x"}, []string{"Authorization", "Bearer x"}, true, true, true},
		"another token":              {[]string{"Authorization", "Bearer x"}, []string{"Authorization", "Bearer y"}, false, false, true},
		"no token any more":          {[]string{"Authorization", "Bearer x"}, nil, false, false, true},
		"a refreshed token":          {[]string{"Authorization", jwt("u", 1)}, []string{"Authorization", jwt("u", 2)}, false, false, true},
		"a token of another":         {[]string{"Authorization", jwt("u", 1)}, []string{"Authorization", jwt("v", 2)}, false, false, false},
		"an opaque token instead":    {[]string{"Authorization", jwt("u", 1)}, []string{"Authorization", "Bearer x"}, false, false, true},
		"another key":                {[]string{"X-Api-Key", "k"}, []string{"X-Api-Key", "l"}, false, false, true},
		"a key of a name of its own": {[]string{"X-Brave-Key", "k"}, []string{"X-Brave-Key", "l"}, false, false, true},
		"a key in the query":         {[]string{":query", "key=k"}, []string{":query", "key=l"}, false, false, true},
		"a key no more":              {[]string{":query", "key=k"}, nil, false, false, true},
		"a key twice":                {[]string{"X-Api-Key", "k"}, []string{"X-Api-Key", "k", "X-Api-Key", "k"}, false, false, true},
		"a proof for a token":        {[]string{"Authorization", "DPoP x", "Dpop", "1"}, []string{"Authorization", "DPoP x", "Dpop", "2"}, true, true, true},

		"cookies":                           {[]string{"Cookie", "a=1"}, []string{"Cookie", "a=2"}, false, false, true},
		"cookies beside a token":            {[]string{"Authorization", "Bearer x", "Cookie", "a=1"}, []string{"Authorization", "Bearer x", "Cookie", "a=2"}, false, true, true},
		"cookies beside a key":              {[]string{"X-Api-Key", "k", "Cookie", "a=1"}, []string{"X-Api-Key", "k", "Cookie", "a=2"}, false, false, true},
		"cookies of a user":                 {[]string{":user", "u", "Cookie", "a=1"}, []string{":user", "u", "Cookie", "a=2"}, false, true, true},
		"cookies of a load balancer":        {[]string{"Cookie", "a=1; AWSALB=x"}, []string{"Cookie", "AWSALB=y; a=1"}, true, true, true},
		"cookies in two lines":              {[]string{"Cookie", "a=1; b=2"}, []string{"Cookie", "a=1", "Cookie", "b=2"}, true, true, true},
		"cookies that read like other ones": {[]string{"Cookie", "a=1; b=2"}, []string{"Cookie", "a=1,b=2"}, false, false, true},

		"one user":                              {[]string{":user", "u", "Authorization", "Bearer x"}, []string{":user", "u", "Authorization", "Bearer x"}, true, true, true},
		"one user, a refreshed token":           {[]string{":user", "u", "Authorization", jwt("u", 1)}, []string{":user", "u", "Authorization", jwt("u", 2)}, false, true, true},
		"one user, another opaque token":        {[]string{":user", "u", "Authorization", "Bearer x"}, []string{":user", "u", "Authorization", "Bearer y"}, false, true, true},
		"one user, a token of somebody else":    {[]string{":user", "u", "Authorization", jwt("u", 1)}, []string{":user", "u", "Authorization", jwt("v", 1)}, false, false, false},
		"another user":                          {[]string{":user", "u", "Authorization", "Bearer x"}, []string{":user", "v", "Authorization", "Bearer x"}, false, false, false},
		"a user no more":                        {[]string{":user", "u"}, nil, false, false, false},
		"one account, two keys":                 {[]string{":user", "team", "X-Api-Key", "alice"}, []string{":user", "team", "X-Api-Key", "bob"}, false, false, true},
		"one account, two keys in the query":    {[]string{":user", "team", ":query", "key=alice"}, []string{":user", "team", ":query", "key=bob"}, false, false, true},
		"one certificate, two tokens":           {[]string{":certificate", "c", "Authorization", "Bearer alice"}, []string{":certificate", "c", "Authorization", "Bearer bob"}, false, false, true},
		"one certificate, tokens of two":        {[]string{":certificate", "c", "Authorization", jwt("u", 1)}, []string{":certificate", "c", "Authorization", jwt("v", 1)}, false, false, false},
		"another certificate":                   {[]string{":certificate", "c"}, []string{":certificate", "d"}, false, false, false},
		"one user, another certificate":         {[]string{":user", "u", ":certificate", "c"}, []string{":user", "u", ":certificate", "d"}, false, false, false},
		"a user called like a certificate":      {[]string{":user", "c"}, []string{":certificate", "c"}, false, false, false},
		"one that a guard names":                {[]string{"Remote-User", "u"}, []string{"Remote-User", "u"}, true, true, true},
		"another that a guard names":            {[]string{"Remote-User", "u"}, []string{"Remote-User", "v"}, false, false, false},
		"one that a client names":               {[]string{"Authorization", "Bearer x"}, []string{"Authorization", "Bearer x", "Remote-User", "u"}, false, false, false},
		"one that a guard names, another token": {[]string{"Remote-User", "u", "Authorization", "Bearer x"}, []string{"Remote-User", "u", "Authorization", "Bearer y"}, false, true, true},
		"one that a guard names, another key":   {[]string{"Remote-User", "u", "X-Api-Key", "k"}, []string{"Remote-User", "u", "X-Api-Key", "l"}, false, false, true},
		"a name in another field":               {[]string{"Remote-User", "u"}, []string{"X-Remote-User", "u"}, false, false, false},
		"two names, swapped":                    {[]string{"Remote-User", "u", "Remote-Email", "v"}, []string{"Remote-User", "v", "Remote-Email", "u"}, false, false, false},

		"another message": {
			[]string{"Content-Type", "application/json", "Accept", "*/*", "Mcp-Method", "a", "Mcp-Name", "a", "Mcp-Session-Id", "a", "Mcp-Param-X", "a", "Last-Event-Id", "1"},
			[]string{"Content-Type", "text/plain", "Mcp-Method", "b", "Content-Digest", "x"},
			true, true, true,
		},
		"another field of the protocol's prefix": {[]string{"Mcp-Api-Key", "k"}, []string{"Mcp-Api-Key", "l"}, false, false, true},
		"another browser":                        {[]string{"User-Agent", "a", "Accept-Language", "de", "Sec-Fetch-Site", "none", "Sec-Ch-Ua", "x"}, []string{"User-Agent", "b", "Referer", "x"}, true, true, true},
		"another way":                            {[]string{"X-Forwarded-For", "10.0.0.1", "Via", "a", "Traceparent", "a"}, []string{"Forwarded", "for=10.0.0.2", "X-Request-Id", "b"}, true, true, true},
		"a browser's GET after its POST":         {[]string{"Origin", "https://mcp.example"}, nil, true, true, true},
		"another host in front":                  {[]string{"X-Forwarded-Host", "a"}, []string{"X-Forwarded-Host", "b"}, false, false, true},
	} {
		a, b := ownerOf(tc.a...), ownerOf(tc.b...)
		if got := a.Key() == b.Key(); got != tc.same {
			t.Errorf("%s: share a server: %t", name, got)
		}
		if got := a.Owns(b, false); got != tc.program {
			t.Errorf("%s: share a session of a program: %t", name, got)
		}
		if got := a.Owns(b, true); got != tc.judging {
			t.Errorf("%s: share a session of a server that judges: %t", name, got)
		}
		if got := b.Owns(a, true); got != tc.judging {
			t.Errorf("%s: the other way round: %t", name, got)
		}
	}
}

// An operator is told which field it is that a client does not always send.
func TestDifferingFields(t *testing.T) {
	fieldsOf := func(parts ...string) Fields {
		r, _ := asked(parts...)
		return FieldsOf(r)
	}
	a := fieldsOf("X-A", "1", "X-B", "1", "X-C", "1", "Authorization", "x", "Cookie", "a=1", "Remote-User", "u", "User-Agent", "x")
	b := fieldsOf("X-A", "1", "X-B", "2", "X-D", "1", ":query", "key=k")
	if got, want := strings.Join(a.Differ(b), " "), "X-B X-C X-D the query"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := a.Differ(a); got != nil {
		t.Errorf("got %q", got)
	}
	one := ownerOf("X-A", "1", "Authorization", "Bearer x")
	for _, tc := range []struct {
		parts []string
		want  bool
	}{
		{[]string{"X-A", "1", "Authorization", "Bearer x"}, false},
		{[]string{"X-A", "2", "Authorization", "Bearer x"}, true},
		{[]string{"X-A", "2", "Authorization", "Bearer y"}, false},
		{[]string{"X-A", "2", "Authorization", "Bearer x", ":user", "u"}, false},
	} {
		if got := one.OwnsButForFields(ownerOf(tc.parts...), false); got != tc.want {
			t.Errorf("%q: only fields differ: %t", tc.parts, got)
		}
	}
}

func BenchmarkOwnerOf(b *testing.B) {
	r, _ := asked("Authorization", jwt("u", 1), "Accept", "application/json", "Content-Type", "application/json", "User-Agent", "x",
		"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "x", "Traceparent", "x", "X-Tenant", "x")
	b.ReportAllocs()
	for b.Loop() {
		_ = OwnerOf(r, "").Key()
	}
}

func TestAnyone(t *testing.T) {
	for _, tc := range []struct {
		parts []string
		want  bool
	}{
		{nil, true},
		{[]string{":host", "x", "User-Agent", "x"}, true},
		{[]string{":user", "x"}, false},
		{[]string{":certificate", "x"}, false},
		{[]string{":query", "x"}, false},
		{[]string{"X-Anything", "x"}, false},
	} {
		if got := ownerOf(tc.parts...).IsAnonymous(); got != tc.want {
			t.Errorf("%q: %t", tc.parts, got)
		}
	}
}

// What counts is what is sent: a field that is not carried over counts for nothing.
func TestCarriedFieldsAreThoseThatCount(t *testing.T) {
	h := http.Header{"Authorization": {"x"}, "X-Api-Key": {"x"}, "Accept": {"x"}, "Content-Type": {"x"}, "Mcp-Param-A": {"x"}, "Via": {"x"}, "Mcp-Session-Id": {"x"}}
	for name := range h {
		if Counts(name) && !Carried(name) {
			t.Errorf("%s counts, and is not sent", name)
		}
	}
	Carry(h)
	if got, want := len(h), 3; got != want {
		t.Errorf("%d fields are carried, want %d: %v", got, want, h)
	}
	for _, names := range []map[string]bool{ofMessage, incidental, set(incidentalPrefixes...)} {
		for name := range names {
			if http.CanonicalHeaderKey(name) != name {
				t.Errorf("%s is not in canonical form", name)
			}
		}
	}
	for _, name := range guardFields {
		if http.CanonicalHeaderKey(name) != name || !Counts(name) {
			t.Errorf("%s does not count", name)
		}
	}
}

// Rule D5a: requests that differ in any field that is not listed, or in the query, never
// have one owner.
func FuzzOwner(f *testing.F) {
	for _, name := range []string{"Authorization", "Cookie", "X-Api-Key", "Remote-User", "Accept", "X-Forwarded-For", "Mcp-Api-Key", "Sec-Fetch-Site", "Sec-Key", "x_api_key"} {
		f.Add(name, "a", "b", "q=1", "q=2", false)
		f.Add(name, "a", "a", "", "", true)
	}
	f.Add("Cookie", "a=1; AWSALB=2", "a=1", "", "", false)
	f.Fuzz(func(t *testing.T, name, a, b, queryA, queryB string, twice bool) {
		name = http.CanonicalHeaderKey(name)
		if name == "" {
			return
		}
		owner := func(value, query string, twice bool) Owner {
			r, _ := asked(":query", query, "X-Other", "same")
			r.Header[name] = append(r.Header[name], value)
			if twice {
				r.Header[name] = append(r.Header[name], value)
			}
			return OwnerOf(r, "")
		}
		first, second := owner(a, queryA, false), owner(b, queryB, twice)
		same := a == b && !twice
		switch {
		case name == "Cookie":
			other := []string{b}
			if twice {
				other = append(other, b)
			}
			same = slices.Equal(cookies([]string{a}), cookies(other))
		case !Counts(name):
			same = true
		}
		same = same && queryA == queryB
		if got := first.Key() == second.Key(); got != same {
			t.Errorf("%s: %q with %q, %q with %q, twice %t: one owner: %t", name, a, queryA, b, queryB, twice, got)
		}
		if same && (!first.Owns(second, false) || !first.Owns(second, true)) {
			t.Errorf("%s: %q: the owner is refused", name, a)
		}
		if first.Owns(second, false) && !first.Owns(second, true) {
			t.Errorf("%s: a program takes what a server that judges does not", name)
		}
		if strings.HasPrefix(name, "X-") && Counts(name) && a != b && !slices.Contains(guardFields, name) && first.Owns(second, false) {
			t.Errorf("%s: %q may use what %q began", name, b, a)
		}
	})
}
