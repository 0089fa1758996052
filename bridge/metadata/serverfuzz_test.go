package metadata

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
)

// Members of the documents, told by their names (C5).
var (
	mappedMember  = regexp.MustCompile(`^(issuer|(?s:.*)_endpoint|(?s:.*)_uri|service_documentation|check_session_iframe)$`)
	droppedMember = regexp.MustCompile(`^(signed_metadata|dpop_signing_alg_values_supported|request_object_(?s:.*)|(?s:.*)_endpoint_auth_signing_alg_values_supported)$`)
	methodsMember = regexp.MustCompile(`^(?s:.*)_endpoint_auth_methods_supported$`)
	falseMember   = regexp.MustCompile(`^request(_uri)?_parameter_supported$`)
	// plainURL is what every client understands alike.
	plainURL = regexp.MustCompile(`^(https?)://([a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)*|10\.0\.0\.5|127\.0\.0\.1)(:[1-9][0-9]{0,3})?([/?#][!-\[\]-~]*)?$`)
)

// netOrigin returns the origin of raw as net/url understands it: scheme, host
// and port in one form; "" where it has none, or userinfo.
func netOrigin(raw string) string {
	// An invalid escape makes it no URL to net/url, but to browsers: what
	// follows the authority does not count.
	if i := strings.Index(raw, "://"); i >= 0 {
		if j := strings.IndexAny(raw[i+3:], "/?#"); j >= 0 {
			raw = raw[:i+3+j]
		}
	}
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Host == "" {
		return ""
	}
	return originText(u.Scheme, u.Hostname(), u.Port())
}

// originText writes an origin in one form, of all that a host may be written.
func originText(scheme, host, port string) string {
	scheme, host = strings.ToLower(scheme), strings.TrimSuffix(lowerASCII(host), ".")
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" {
		host = addr.Unmap().String()
	}
	if port = strings.TrimLeft(port, "0"); port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	if port == "" || scheme != "http" && scheme != "https" {
		return ""
	}
	return scheme + "|" + host + "|" + port
}

// lowerASCII is not strings.ToLower, which makes a k of the Kelvin sign.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// browserOrigin returns the origin of raw as the URL standard has it: white
// space at the ends, tabs and line ends are nothing, a backslash is a slash, any
// number of these follow the scheme, the last @ ends the userinfo, and a host is
// percent-decoded. Userinfo does not count. An IDN is not what it looks like.
func browserOrigin(raw string) string {
	raw = strings.Trim(raw, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f ")
	raw = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(raw)
	scheme, rest, ok := strings.Cut(raw, ":")
	if !ok {
		return ""
	}
	rest = strings.TrimLeft(rest, `/\`)
	if i := strings.IndexAny(rest, `/\?#`); i >= 0 {
		rest = rest[:i]
	}
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	host, port := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, ']') {
		host, port = rest[:i], rest[i+1:]
	}
	host = strings.Trim(host, "[]")
	decoded, err := url.PathUnescape(host)
	if err != nil {
		return ""
	}
	return originText(scheme, decoded, port)
}

// afterOrigin returns what follows the authority of an absolute URL.
func afterOrigin(raw string) string {
	i := strings.Index(raw, "://") + len("://")
	if j := strings.IndexAny(raw[i:], "/?#"); j >= 0 {
		return raw[i+j:]
	}
	return ""
}

// wantURL is what has to become of the value of a mapped member.
func wantURL(t *testing.T, raw json.RawMessage, own string) json.RawMessage {
	t.Helper()
	var s string
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return raw
	}
	if netOrigin(s) != own || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return raw
	}
	if browserOrigin(s) != own {
		t.Fatalf("%q is of %q to net/url, and of %q to browsers", s, own, browserOrigin(s))
	}
	return jsontext.Quote("https://mcp.example.com" + afterOrigin(s))
}

// isMapped reports whether got, a value that is to be want, was mapped as the
// code under test may: a host that clients read differently stays instead.
func isMapped(got, in, want json.RawMessage) bool {
	if bytes.Equal(got, want) {
		return true
	}
	var s string
	return bytes.Equal(got, in) && json.Unmarshal(in, &s) == nil && !plainURL.MatchString(s)
}

// wantList is what has to become of a list, and false where nothing is left.
func wantList(raw json.RawMessage, stays func(string) bool) ([]string, bool) {
	var all, kept []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &all) != nil {
		return []string{string(raw)}, true
	}
	for _, element := range all {
		var s string
		if element[0] != '"' || json.Unmarshal(element, &s) != nil || stays(s) {
			kept = append(kept, element)
		}
	}
	if len(kept) == len(all) {
		return []string{string(raw)}, true
	}
	var texts []string
	for _, element := range kept {
		var b bytes.Buffer
		if json.Compact(&b, element) != nil {
			return nil, false
		}
		texts = append(texts, b.String())
	}
	return []string{"[" + strings.Join(texts, ",") + "]"}, len(kept) > 0
}

// Rule C5: a document whose issuer is not the upstream's own is passed on as it
// is. Of another one nothing foreign is rewritten, no mapped member keeps the
// upstream's origin, what cannot cross is gone, and the rest, its order and its
// bytes stay. What is served is JSON, and mapped again it is the same.
func FuzzServerDocument(f *testing.F) {
	for _, tc := range serverCases {
		f.Add([]byte(places.Replace(tc.in)), tc.sent)
	}
	for _, tc := range serverRefused {
		if len(tc.in) < 1000 {
			f.Add([]byte(places.Replace(tc.in)), "")
		}
	}
	for _, tc := range ownsCases {
		raw, err := json.Marshal(map[string]any{"issuer": "http://10.0.0.5:3000/", "x_endpoint": tc.in, "mtls_endpoint_aliases": map[string]string{"y_endpoint": tc.in}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, "as.internal")
		f.Add([]byte(`{"issuer":`+string(jsontext.Quote(tc.in))+`,"signed_metadata":1}`), "as.internal")
	}
	s := mustNew(f, tcpUpstream)
	read := func(raw []byte, sent string) (serverDocument, *Server) {
		srv := newServer(public)
		d := &search{finder: s.finder, pub: public}
		return d.readDocument(srv, &asked{raw: raw, sentHost: sent}), srv
	}
	f.Fuzz(func(t *testing.T, raw []byte, sent string) {
		in := slices.Clone(raw)
		got, srv := read(raw, sent)
		if !bytes.Equal(in, raw) {
			t.Fatal("the upstream's document was written to")
		}
		names, values, starts, isObject := topLevel(in)
		at := slices.Index(names, "issuer")
		sorted := slices.Sorted(slices.Values(names))
		var issuer string
		valid := json.Valid(in) && utf8.Valid(in) && isObject && len(slices.Compact(sorted)) == len(names) &&
			at >= 0 && values[at][0] == '"' && json.Unmarshal(values[at], &issuer) == nil
		if got.status != found {
			if valid && jsontext.Depth(in) <= jsontext.MaxDepth {
				t.Fatalf("%q is refused", in)
			}
			if got.body != nil || len(srv.routes) > 0 || len(srv.issuers) > 0 {
				t.Fatalf("%q is refused, but used", in)
			}
			return
		}
		if !valid || !json.Valid(got.body) {
			t.Fatalf("%q became %q", in, got.body)
		}
		own := netOrigin(issuer)
		if len(srv.issuers) == 0 { // foreign
			if !bytes.Equal(got.body, in) || len(srv.routes) > 0 || len(srv.origins) > 0 {
				t.Fatalf("the foreign %q became %q", in, got.body)
			}
			if plainURL.MatchString(issuer) && !strings.ContainsAny(issuer, "?#") && refersTo(issuer, sent, false) {
				t.Fatalf("the issuer %q is the upstream's", issuer)
			}
			return
		}
		if !refersTo(issuer, sent, true) || own == "" || own != browserOrigin(issuer) || strings.ContainsAny(issuer, "?#\\") {
			t.Fatalf("the issuer %q is not the upstream's", issuer)
		}
		if own == "https|mcp.example.com|443" {
			if !bytes.Equal(got.body, in) || srv.issuers[0] != issuerPair(issuer, issuer) {
				t.Fatalf("%q, which is public, became %q", in, got.body)
			}
			return
		}
		if srv.issuers[0] != issuerPair(issuer, "https://mcp.example.com"+afterOrigin(issuer)) {
			t.Fatalf("issuer %q became %+v", issuer, srv.issuers)
		}

		// What the members have to be.
		var wantNames []string
		var wantValues, before []json.RawMessage
		for i, name := range names {
			v := values[i]
			switch {
			case droppedMember.MatchString(name):
				continue
			case mappedMember.MatchString(name):
				v = wantURL(t, v, own)
			case falseMember.MatchString(name):
				v = json.RawMessage("false")
			case name == "response_modes_supported", methodsMember.MatchString(name):
				list, ok := wantList(v, func(s string) bool {
					if name == "response_modes_supported" {
						return s == "query"
					}
					return s != "private_key_jwt" && s != "client_secret_jwt"
				})
				if !ok {
					continue
				}
				v = json.RawMessage(list[0])
			}
			wantNames, wantValues, before = append(wantNames, name), append(wantValues, v), append(before, values[i])
		}
		gotNames, gotValues, _, ok := topLevel(got.body)
		if !ok || !slices.Equal(gotNames, wantNames) {
			t.Fatalf("%q became %q; want members %q", in, got.body, wantNames)
		}
		for i, name := range wantNames {
			switch {
			case name == "mtls_endpoint_aliases":
				checkAliases(t, gotValues[i], before[i], own)
			case mappedMember.MatchString(name):
				if !isMapped(gotValues[i], before[i], wantValues[i]) {
					t.Fatalf("%s of %q became %q; want %q", name, in, gotValues[i], wantValues[i])
				}
			case !bytes.Equal(gotValues[i], wantValues[i]):
				t.Fatalf("%s of %q became %q; want %q", name, in, gotValues[i], wantValues[i])
			}
		}
		// The same to the byte: a member that is gone took its comma along.
		var text, lead []byte
		pos := 0
		for i, name := range names {
			region := in[pos:starts[i]]
			quoted := bytes.IndexByte(region, '"')
			if lead == nil {
				lead = region[:quoted]
			}
			pos = starts[i] + len(values[i])
			if at := slices.Index(gotNames, name); at >= 0 {
				text, lead = slices.Concat(text, lead, region[quoted:], gotValues[at]), nil
			}
		}
		if text = append(text, in[pos:]...); !bytes.Equal(got.body, text) {
			t.Fatalf("%q became %q; want %q", in, got.body, text)
		}
		again, _ := read(got.body, sent)
		if !bytes.Equal(again.body, got.body) {
			t.Fatalf("%q became %q, and that %q", in, got.body, again.body)
		}
	})
}

func issuerPair(upstream, public string) issuer { return issuer{upstream, public} }

// checkAliases checks the endpoints for clients with certificates.
func checkAliases(t *testing.T, got, in json.RawMessage, own string) {
	t.Helper()
	names, values, starts, ok := topLevel(in)
	sorted := slices.Sorted(slices.Values(names))
	if !ok || len(slices.Compact(sorted)) != len(names) {
		if !bytes.Equal(got, in) {
			t.Fatalf("aliases %q became %q", in, got)
		}
		return
	}
	gotNames, gotValues, gotStarts, ok := topLevel(got)
	if !ok || !slices.Equal(gotNames, names) {
		t.Fatalf("aliases %q became %q", in, got)
	}
	pos, gotPos := 0, 0
	for i, name := range names {
		want := values[i]
		if strings.HasSuffix(name, "_endpoint") {
			want = wantURL(t, want, own)
		}
		if !isMapped(gotValues[i], values[i], want) || !bytes.Equal(in[pos:starts[i]], got[gotPos:gotStarts[i]]) {
			t.Fatalf("aliases %q became %q; want %s to be %q", in, got, name, want)
		}
		pos, gotPos = starts[i]+len(values[i]), gotStarts[i]+len(gotValues[i])
	}
}

// Rule C5: what is mapped is on the server's origin, to net/url and to browsers
// alike, without userinfo; every byte after the authority stays. What every
// client understands to be there is mapped.
func FuzzOwns(f *testing.F) {
	for _, tc := range ownsCases {
		f.Add(tc.in)
	}
	for _, raw := range seedURLs {
		f.Add(raw)
	}
	srv := ownsServer(f)
	origins := []string{"http|10.0.0.5|3000", "http|::1|3000", "https|as.internal|443"}
	f.Fuzz(func(t *testing.T, raw string) {
		got, ok := srv.MapURL(raw)
		if !ok {
			if got != raw {
				t.Fatalf("%q became %q, and is said to be unchanged", raw, got)
			}
			if plainURL.MatchString(raw) && slices.Contains(origins, netOrigin(raw)) {
				t.Fatalf("%q is the server's", raw)
			}
			return
		}
		if here, there := netOrigin(raw), browserOrigin(raw); here != there || !slices.Contains(origins, here) {
			t.Fatalf("%q is of %q to net/url, and of %q to browsers", raw, here, there)
		}
		rest := afterOrigin(raw)
		if authority := strings.TrimSuffix(raw, rest); strings.ContainsAny(authority, "@\\% \t\r\n") {
			t.Fatalf("%q has a strange authority", raw)
		}
		if got != "https://mcp.example.com"+rest {
			t.Fatalf("%q became %q", raw, got)
		}
		if netOrigin(got) != "https|mcp.example.com|443" || browserOrigin(got) != "https|mcp.example.com|443" {
			t.Fatalf("%q became %q, which is elsewhere", raw, got)
		}
	})
}
