package principal

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// The id is the subject, and with several issuers the issuer and the subject.
func TestID(t *testing.T) {
	for _, tc := range []struct {
		name        string
		p           Principal
		plain, full string
	}{
		{"token", Principal{Kind: Token, Issuer: "https://a", Subject: "bob", ClientID: "c"}, "bob", "https://a#bob"},
		{"introspected", Principal{Kind: Introspected, Issuer: "https://a", Subject: "bob"}, "bob", "https://a#bob"},
		{"no subject", Principal{Kind: Token, Issuer: "https://a", ClientID: "c"}, "c", "https://a#c"},
		{"key", Principal{Kind: Key, KeyName: "backup"}, "key#backup", "key#backup"},
		{"user", Principal{Kind: User, Subject: "bob"}, "bob", "user#bob"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.p.ID(false); got != tc.plain {
				t.Errorf("got %q, want %q", got, tc.plain)
			}
			if got := tc.p.ID(true); got != tc.full {
				t.Errorf("qualified: got %q, want %q", got, tc.full)
			}
		})
	}
}

// The owner is issuer and subject, or the key, and no two of them are the same.
func TestOwner(t *testing.T) {
	seen := make(map[string]string)
	for _, p := range []Principal{
		{Kind: Token, Issuer: "https://a", Subject: "bob"},
		{Kind: Token, Issuer: "https://b", Subject: "bob"},
		{Kind: Token, Issuer: "https://a", Subject: "bo"},
		{Kind: Token, Issuer: "https://ab", Subject: "ob"},
		{Kind: Token, Issuer: "https://a", Subject: "bob5:"},
		{Kind: Token, Issuer: "https://a3:bob", Subject: "x"},
		{Kind: Token, Issuer: "https://a", ClientID: "bob"},
		{Kind: Key, KeyName: "bob"},
		{Kind: User, Subject: "bob"},
	} {
		owner, ok := p.Owner()
		name := fmt.Sprintf("%+v", p)
		if !ok {
			t.Errorf("%s has no owner", name)
		}
		if other, twice := seen[owner]; twice {
			t.Errorf("%s and %s have the owner %q", name, other, owner)
		}
		seen[owner] = name
	}
	a := Principal{Kind: Token, Issuer: "https://a", Subject: "bob", ClientID: "x", Scopes: Scopes{"s"}}
	b := Principal{Kind: Introspected, Issuer: "https://a", Subject: "bob", ClientID: "y"}
	if one, _ := a.Owner(); one != first(b.Owner()) {
		t.Errorf("another token of the same subject: got %q, want %q", first(b.Owner()), one)
	}
	for _, p := range []Principal{{Kind: Token, Issuer: "https://a"}, {Kind: Key}, {Kind: User}, {Kind: Introspected}} {
		if owner, ok := p.Owner(); ok {
			t.Errorf("%+v: got the owner %q, want none", p, owner)
		}
	}
}

func first(s string, _ bool) string { return s }

func TestExpired(t *testing.T) {
	end := time.Unix(1000, 0)
	for _, tc := range []struct {
		expires, now time.Time
		want         bool
	}{
		{time.Time{}, end, false},
		{end, end.Add(-1), false},
		{end, end, true},
		{end, end.Add(1), true},
	} {
		if got := (&Principal{Expires: tc.expires}).Expired(tc.now); got != tc.want {
			t.Errorf("expires %v, now %v: got %v, want %v", tc.expires, tc.now, got, tc.want)
		}
	}
}

func TestScopes(t *testing.T) {
	got := ParseScopes(" b  a b c a ")
	if want := (Scopes{"b", "a", "c"}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if more := got.With("d", "a", ""); more.String() != "b a c d" || got.String() != "b a c" {
		t.Errorf("got %q and %q", more, got)
	}
	if ParseScopes("").Has("") || len(ParseScopes("   ")) != 0 {
		t.Error("an empty text has a scope")
	}
	for text, want := range map[string]bool{
		"files:read": true, "https://x/y?z": true, "a'b": true, "!": true, "~": true,
		"": false, "a b": false, "a\tb": false, `a"b`: false, `a\b`: false, "é": false, "a\x7f": false, "a\n": false,
	} {
		if got := IsScope(text); got != want {
			t.Errorf("IsScope(%q): got %v, want %v", text, got, want)
		}
	}
}

// Rule E3: a scope includes what it implies, directly and by way of others, and a scope that
// is held by implication is not asked for.
func TestHierarchy(t *testing.T) {
	h, err := NewHierarchy(map[string][]string{"admin": {"write", "audit"}, "write": {"read"}, "audit": {"read"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ held, needed, missing, ask string }{
		{"", "read", "read", "read"},
		{"read", "read", "", "read"},
		{"write", "read", "", "write"},
		{"admin", "read audit", "", "admin"},
		{"read", "write", "write", "write"},
		{"write", "read other", "other", "write other"},
		{"admin read", "read other", "other", "read other"},
		{"other", "read write", "read write", "read write"},
		{"admin2", "read", "read", "read"},
	} {
		held, needed := ParseScopes(tc.held), ParseScopes(tc.needed)
		if got := h.Missing(held, needed).String(); got != tc.missing {
			t.Errorf("%q needs %q: got missing %q, want %q", tc.held, tc.needed, got, tc.missing)
		}
		ask := h.Ask(held, needed)
		if ask.String() != tc.ask {
			t.Errorf("%q needs %q: got ask %q, want %q", tc.held, tc.needed, ask, tc.ask)
		}
		if missing := h.Missing(ask, needed); len(missing) > 0 {
			t.Errorf("%q needs %q: a token with %q still lacks %q", tc.held, tc.needed, ask, missing)
		}
	}
	if got, want := h.Expand(Scopes{"x", "write", "admin"}).String(), "x write admin read audit"; got != want {
		t.Errorf("expanded: got %q, want %q", got, want)
	}
	if _, ok := (Hierarchy{}).Holder(Scopes{"admin"}, "read"); ok {
		t.Error("the zero value implies a scope")
	}
}

func TestHierarchyErrors(t *testing.T) {
	for _, tc := range []struct {
		implies map[string][]string
		want    string
	}{
		{map[string][]string{"a": {"a"}}, `scope "a" implies itself`},
		{map[string][]string{"a": {"b"}, "b": {"c"}, "c": {"a"}}, `scope "a" implies itself`},
		{map[string][]string{"x": {"a"}, "a": {"b"}, "b": {"a"}}, `scope "a" implies itself`},
		{map[string][]string{"a b": {"c"}}, `"a b" is no scope`},
		{map[string][]string{"a": {""}}, `"" is no scope`},
	} {
		_, err := NewHierarchy(tc.implies)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: got %v, want %q", tc.implies, err, tc.want)
		}
	}
}
