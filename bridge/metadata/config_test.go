package metadata

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// C2: a configuration that can only fail is refused. The error has a line with option and value
// for each fault.
func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
		want []string
	}{
		{"ttl", Config{TTL: -1}, []string{"metadata ttl -1ns: must be positive"}},
		{"negative_ttl", Config{NegativeTTL: -time.Second}, []string{"metadata negative_ttl -1s: must be positive"}},
		{"timeout", Config{Timeout: -time.Second}, []string{"metadata timeout -1s: must be positive"}},
		{"retry_after", Config{RetryAfter: -time.Second}, []string{"metadata retry_after -1s: must be positive"}},
		{"max_entries", Config{MaxEntries: -1}, []string{"metadata max_entries -1: must be positive"}},
		{"max_flights", Config{MaxFlights: -1}, []string{"metadata max_flights -1: must be positive"}},
		{"max_size", Config{MaxSize: -1}, []string{"metadata max_size -1: must be positive"}},
		{"path without a slash", Config{UpstreamPath: "mcp"}, []string{`upstream_path "mcp": must be a path that starts with a slash`}},
		{"path with a query", Config{UpstreamPath: "/mcp?a"}, []string{`upstream_path "/mcp?a": must be a path that starts with a slash`}},
		{"path with a space", Config{UpstreamPath: "/a b"}, []string{`upstream_path "/a b": must be a path that starts with a slash`}},
		{"path with a broken escape", Config{UpstreamPath: "/%zz"}, []string{`upstream_path "/%zz": invalid URL escape "%zz"`}},
		{"issuer without a scheme", Config{AuthorizationServers: []string{"as.example.com"}}, []string{`metadata authorization_servers "as.example.com": must start with http:// or https://; write https://as.example.com`}},
		{"issuer with a query", Config{AuthorizationServers: []string{"https://as.example.com?a"}}, []string{`metadata authorization_servers "https://as.example.com?a": must not have a query or a fragment; remove it`}},
		{"issuer with a fragment", Config{AuthorizationServers: []string{"https://as.example.com#"}}, []string{`metadata authorization_servers "https://as.example.com#": must not have a query or a fragment; remove it`}},
		{"issuer in another encoding", Config{AuthorizationServers: []string{"https://as.example.com/\xff"}}, []string{`metadata authorization_servers "https://as.example.com/\xff": is not UTF-8`}},
		{"scopes", Config{ScopesSupported: []string{"", "a b", `a"`, `a\`, "ä", "ok"}}, []string{
			`metadata scopes_supported "": must be a scope: printable ASCII without spaces, quotes and backslashes (RFC 6749 section 3.3)`,
			`metadata scopes_supported "a b": must be a scope: printable ASCII without spaces, quotes and backslashes (RFC 6749 section 3.3)`,
			`metadata scopes_supported "a\"": must be a scope: printable ASCII without spaces, quotes and backslashes (RFC 6749 section 3.3)`,
			`metadata scopes_supported "a\\": must be a scope: printable ASCII without spaces, quotes and backslashes (RFC 6749 section 3.3)`,
			`metadata scopes_supported "ä": must be a scope: printable ASCII without spaces, quotes and backslashes (RFC 6749 section 3.3)`,
		}},
		{"name in another encoding", Config{ResourceName: "\xff"}, []string{`metadata resource_name "\xff": is not UTF-8`}},
		{"members", Config{Set: []Member{
			{"", json.RawMessage("1")},
			{"\xff", json.RawMessage("1")},
			{"resource", json.RawMessage(`"https://evil.test"`)},
			{"authorization_servers", json.RawMessage(`[]`)},
			{"a", json.RawMessage("1")},
			{"a", json.RawMessage("1")},
			{"b", json.RawMessage("1,\"resource\":2")},
			{"c", nil},
			{"d", json.RawMessage("\"\xff\"")},
		}}, []string{
			`metadata set "": must be the name of a member`,
			`metadata set "\xff": must be the name of a member`,
			`metadata set "resource": it is the public URL, set public_url or keep_resource`,
			`metadata set "authorization_servers": use metadata authorization_servers`,
			`metadata set "a": is set twice; remove one of the two`,
			`metadata set "b": value "1,\"resource\":2" is not JSON`,
			`metadata set "c": value "" is not JSON`,
			`metadata set "d": value "\"\xff\"" is not JSON`,
		}},
		{"addresses", Config{Dials: []string{"ok:1", "a:b", ":x", "a:1:2", "127.1:80", "u@h:1", "h%0:1", "[fe80::1%a:1"}}, []string{
			`upstream "a:b": has no valid port`,
			`upstream ":x": has no valid port`,
			`upstream "a:1:2": has no valid port`,
			`upstream "127.1:80": has a numeric host that is not a dotted-decimal IPv4 address`,
			`upstream "u@h:1": must not have a user name or password`,
			`upstream "h%0:1": has a percent-encoded host or an IPv6 zone`,
			`upstream "[fe80::1%a:1": has a percent-encoded host or an IPv6 zone`,
		}},
		{"origins", Config{Origins: []string{"https://ok.example", "*", "https://a.example/x"}}, []string{
			`origins: origin "*": must start with http:// or https://`,
			`origins: origin "https://a.example/x": must be an origin, without path, query or fragment`,
		}},
		{"several", Config{TTL: -1, ResourceName: "\xff", Origins: []string{"x"}}, []string{
			`metadata resource_name "\xff": is not UTF-8`,
			`origins: origin "x": must start with http:// or https://`,
			`metadata ttl -1ns: must be positive`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := New(tc.cfg)
			if err == nil {
				s.Close()
				t.Fatal("no error")
			}
			if got, want := err.Error(), strings.Join(tc.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// The address that is dialled may have an IPv6 zone, which no URL has.
func TestADialledAddressMayHaveAZone(t *testing.T) {
	s := mustNew(t, Config{Dials: []string{"[fe80::1%eth0]:3000"}})
	l, err := origin.Parse("http://[fe80::1]:3000")
	if err != nil || !s.up.names.Own(l, origin.Seen{}, origin.Fetch) {
		t.Errorf("dials %+v; want %+v, %v", s.up.names.Dials(), l.Host, err)
	}
}
