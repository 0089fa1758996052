package metadata

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// topLevel reads the members of the object that raw is with the decoder of the
// standard library: names, values and where each value starts.
func topLevel(raw []byte) (names []string, values []json.RawMessage, starts []int, ok bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return nil, nil, nil, false
	}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, nil, nil, false
		}
		name, isName := token.(string)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil || !isName {
			return nil, nil, nil, false
		}
		names, values = append(names, name), append(values, value)
		starts = append(starts, int(d.InputOffset())-len(value))
	}
	return names, values, starts, true
}

// C3: every byte of the upstream's document is kept but for resource where it
// named the upstream, signed_metadata, and what the operator sets.
func FuzzRewrite(f *testing.F) {
	for _, tc := range rewriteCases {
		f.Add([]byte(tc.in), false, false)
		f.Add([]byte(tc.in), true, true)
	}
	for _, tc := range invalidDocuments {
		f.Add([]byte(tc.in), false, true)
	}
	for _, tc := range resourceCases {
		raw, err := json.Marshal(map[string]string{"resource": tc.in, "signed_metadata": "e30.e30."})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, false, false)
	}
	set := []Member{{"scopes_supported", []byte(`["a"]`)}, {"x", []byte(`{"y": 1e400}`)}}
	stores := make(map[[2]bool]*Store)
	for _, keep := range []bool{false, true} {
		for _, overlay := range []bool{false, true} {
			cfg := tcpUpstream
			cfg.KeepResource = keep
			if overlay {
				cfg.ScopesSupported, cfg.Set = []string{"a"}, set[1:]
			}
			stores[[2]bool{keep, overlay}] = mustNew(f, cfg)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, keep, overlay bool) {
		in := slices.Clone(raw)
		doc, err := stores[[2]bool{keep, overlay}].finder.maps.rewrite(raw, public, "", nil, func(Event) {})
		if !bytes.Equal(in, raw) {
			t.Fatal("the upstream's document was written to")
		}
		if err != nil {
			return
		}
		out := doc.render(public.URL())
		if !json.Valid(in) || !json.Valid(out) {
			t.Fatalf("%q became %q; both must be JSON", in, out)
		}
		// Members that have to go are judged by themselves.
		in = stores[[2]bool{keep, overlay}].finder.maps.withoutPrivateURLs(in, public, "", nil, func(Event) {})
		left := stores[[2]bool{}].finder.maps.withoutPrivateURLs(out, public, "", nil, func(Event) {})
		if !overlay && !bytes.Equal(left, out) {
			t.Fatalf("%q became %q, with a private URL", raw, out)
		}
		names, values, starts, ok := topLevel(in)
		if !ok {
			t.Fatalf("%q is no object", in)
		}
		sorted := slices.Sorted(slices.Values(names))
		if len(slices.Compact(sorted)) != len(names) {
			t.Fatalf("%q has a member twice", in)
		}

		// What the document has to be, but for white space.
		var wantNames []string
		var wantValues []json.RawMessage
		plain := !overlay
		for i, name := range names {
			switch name {
			case "signed_metadata":
				plain = false
				continue
			case "resource":
				var resource string
				if err := json.Unmarshal(values[i], &resource); err != nil {
					t.Fatalf("resource of %q: %v", in, err)
				}
				own := refersTo(resource, "", false) && slices.Contains([]string{"", "/", "/mcp", "/mcp/"}, afterOrigin(resource))
				if own && !keep && !doc.mapped && plainURL.MatchString(resource) {
					t.Fatalf("resource of %q was not mapped", in)
				}
				if doc.mapped {
					if keep || !own {
						t.Fatalf("foreign resource of %q was mapped", in)
					}
					values[i] = json.RawMessage(`"https://mcp.example.com/mcp"`)
				}
			}
			if at := slices.IndexFunc(set, func(m Member) bool { return m.Name == name }); overlay && at >= 0 {
				values[i] = set[at].Value
			}
			wantNames, wantValues = append(wantNames, name), append(wantValues, values[i])
		}
		for _, m := range set {
			if overlay && !slices.Contains(names, m.Name) {
				wantNames, wantValues = append(wantNames, m.Name), append(wantValues, m.Value)
			}
		}
		gotNames, gotValues, _, ok := topLevel(out)
		if !ok || !slices.Equal(gotNames, wantNames) {
			t.Fatalf("%q became %q; want members %q", in, out, wantNames)
		}
		for i := range wantValues {
			if !bytes.Equal(gotValues[i], wantValues[i]) {
				t.Fatalf("%q became %q; want %q for %q", in, out, wantValues[i], wantNames[i])
			}
		}
		if !plain {
			return
		}
		// Nothing was set or dropped: the rest is the same to the byte.
		at := slices.Index(names, "resource")
		_, original, _, _ := topLevel(in)
		want := slices.Concat(in[:starts[at]], values[at], in[starts[at]+len(original[at]):])
		if !bytes.Equal(out, want) {
			t.Fatalf("%q became %q; want %q", in, out, want)
		}
	})
}

// refersTo is the judgement of A5, and of C3 where not any port will do, by
// means of net/url: whether the host of raw is one of tcpUpstream's, the public
// one, the one sent, or a local one.
func refersTo(raw, sent string, anyPort bool) bool {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || (!strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https")) {
		return false
	}
	if i := strings.IndexAny(rest, `/?#\`); i >= 0 {
		rest = rest[:i]
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil || u.User != nil {
		return false
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	port := strings.TrimLeft(u.Port(), "0")
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(scheme)]
	}
	addr, err := netip.ParseAddr(host)
	if err == nil {
		addr = addr.Unmap()
		host = addr.String()
	}
	if anyPort {
		if s, err := url.Parse("http://" + sent); err == nil && s.User == nil {
			sentHost := strings.TrimSuffix(strings.ToLower(s.Hostname()), ".")
			if a, err := netip.ParseAddr(sentHost); err == nil {
				sentHost = a.Unmap().String()
			}
			if host == sentHost {
				return true
			}
		}
	}
	switch host {
	case "mcp.example.com":
		return anyPort || port == "80" || port == "443" || port == "3000" || port == "8443"
	case "10.0.0.5":
		return anyPort || port == "3000" || port == "8443"
	case "mcp.vendor.example":
		return anyPort || port == "8443"
	}
	if !anyPort && port != "3000" && port != "8443" {
		return false
	}
	if err == nil {
		for _, prefix := range []string{
			"127.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
			"100.64.0.0/10", "::1/128", "::/128", "fc00::/7", "fe80::/10",
		} {
			if netip.MustParsePrefix(prefix).Contains(addr) {
				return true
			}
		}
		return false
	}
	labels := strings.Split(host, ".")
	last := labels[len(labels)-1]
	return len(labels) == 1 || strings.HasSuffix(host, ".home.arpa") ||
		slices.Contains([]string{"localhost", "local", "internal", "localdomain", "lan", "svc"}, last)
}

// seedURLs are texts that readers of URLs understand differently, or that name another
// host than they seem to.
var seedURLs = []string{
	"https://mcp.example.com/a?b#c", "HTTPS://MCP.Example.COM.:443/A", "http://127.0.0.1:3000/mcp", "http://[::ffff:7f00:1]:3000",
	"http://mcp.internal", "http://localhost:3000@evil.test/", "http://localhost%2fevil.test/", `http://localhost\.evil.test/`,
	"http://127.1/", "http://0x7f000001/", "http://[fe80::1%25eth0]/", "//localhost/", "http://\u212aocalhost/", "http://a..internal/",
}

// A5: a URL that is changed is the upstream's, the public host's or a local
// one, and becomes the endpoint's own well-known URL, with the query of a
// well-known URL of the upstream, which is part of the resource (RFC 9728
// section 3.1); no other is changed.
func FuzzMapChallengeURL(f *testing.F) {
	for _, tc := range challengeCases {
		f.Add(tc.in, tc.sent, tc.known)
	}
	for _, raw := range seedURLs {
		f.Add(raw, "sent.example", false)
	}
	f.Add("/.well-known/oauth-protected-resource?0", "0", false)
	stores := map[bool]*Store{false: mustNew(f, tcpUpstream), true: mustNew(f, tcpUpstream.withKnown(true))}
	f.Fuzz(func(t *testing.T, raw, sent string, known bool) {
		got, changed := stores[known].MapChallengeURL(raw, public, sent, nil)
		if !changed {
			if got != raw {
				t.Fatalf("%q became %q, and is said to be unchanged", raw, got)
			}
			return
		}
		if want := ownURL + queryOfWellKnown(raw); got != ownURL && got != want || raw == ownURL {
			t.Fatalf("%q became %q; want %q", raw, got, want)
		}
		if strings.HasPrefix(raw, "/") {
			base, err := url.Parse("https://mcp.example.com/")
			if err != nil {
				t.Fatal(err)
			}
			// An invalid escape makes it no URL to net/url, but to browsers.
			u, err := base.Parse(strings.ReplaceAll(raw, "%", "x"))
			if err != nil || u.Host != "mcp.example.com" {
				t.Fatalf("%q leads to %v, %v; it is foreign", raw, u, err)
			}
			if !known && !strings.HasPrefix(raw, "/.well-known/") {
				t.Fatalf("%q was changed while no metadata is known", raw)
			}
			return
		}
		if !refersTo(raw, sent, true) {
			t.Fatalf("%q is foreign, and was changed", raw)
		}
		l, err := origin.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		dialled := l.Port == 3000 || l.Port == 8443 // of tcpUpstream
		if l.Name == "mcp.example.com" && !known && !dialled && !strings.HasPrefix(l.Path, "/.well-known/") {
			t.Fatalf("%q was changed while no metadata is known", raw)
		}
	})
}

// queryOfWellKnown returns the query of a well-known URL of tcpUpstream, with its question
// mark; an empty text for other URLs.
func queryOfWellKnown(raw string) string {
	raw, _, _ = strings.Cut(raw, "#")
	if !strings.HasPrefix(raw, "/") {
		raw = origin.AfterAuthority(raw)
	}
	path, query, found := strings.Cut(raw, "?")
	if path = strings.TrimSuffix(path, "/"); !found || path != WellKnownPath && path != WellKnownPath+"/mcp" {
		return ""
	}
	return "?" + query
}

// C3: a resource that is taken for the upstream's names a host and port of its
// own, or a local host with its port, and a prefix of its path.
func FuzzNamesResource(f *testing.F) {
	for _, tc := range resourceCases {
		f.Add(tc.in)
	}
	for _, raw := range seedURLs {
		f.Add(raw)
	}
	s := mustNew(f, tcpUpstream)
	f.Fuzz(func(t *testing.T, raw string) {
		l, err := origin.Parse(raw)
		if err != nil {
			if _, err := NormalizeOrigin(raw); err == nil {
				t.Fatalf("%q is no URL, but an origin", raw)
			}
			return
		}
		again, err := origin.Parse(l.Origin())
		if err != nil || !again.SameOrigin(l) {
			t.Fatalf("origin %q of %q is read as %+v, %v", l.Origin(), raw, again, err)
		}
		if !s.up.namesResource(l, public, "") {
			return
		}
		if !refersTo(raw, "", false) {
			t.Fatalf("%q is foreign", raw)
		}
		if !slices.Contains([]string{"", "/", "/mcp", "/mcp/"}, l.Path) || strings.ContainsAny(raw, "?#@\\") {
			t.Fatalf("%q is another resource", raw)
		}
	})
}

// C4: a redirect that is followed stays at the upstream, to every client that
// would follow it.
func FuzzRedirect(f *testing.F) {
	for _, location := range []string{"/doc?v=1#x", "../x/./doc", "?a", "http://10.0.0.5:3000/doc", "http://10.0.0.5:3000", "//evil.test/doc", `/\evil.test`, "..//evil.test", "/.//evil.test", "http://10.0.0.5:3000//evil.test"} {
		f.Add(location)
	}
	for _, raw := range seedURLs {
		f.Add(raw)
	}
	d := &search{finder: mustNew(f, tcpUpstream).finder, pub: public}
	from := target{path: WellKnownPath + "/mcp"}
	base, err := url.Parse("http://10.0.0.5:3000" + from.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, location string) {
		next, ok := d.redirect(from, http.MethodGet, redirect(http.StatusFound, location))
		if !ok {
			return
		}
		if _, err := url.ParseRequestURI(next); err != nil || next[0] != '/' || !origin.CleanText(next) {
			t.Fatalf("%q leads to %q, which is no request target: %v", location, next, err)
		}
		u, err := base.Parse(location)
		if err != nil {
			// net/url wants no escape, colon or port where RFC 3986 has none.
			return
		}
		host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		if !slices.Contains([]string{"10.0.0.5", "mcp.vendor.example", "mcp.example.com", "sent.example", "::ffff:10.0.0.5", "::ffff:a00:5"}, host) {
			addr, err := netip.ParseAddr(host)
			if err != nil || addr.Unmap() != netip.MustParseAddr("10.0.0.5") {
				t.Fatalf("%q leads to %q at the upstream; it is foreign", location, next)
			}
		}
	})
}
