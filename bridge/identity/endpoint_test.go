package identity

import (
	"encoding/json"
	"strings"
	"testing"
)

// Rule C5: two endpoints have one authorization server where they lead to one server: the
// same addresses, transport and Host.
func TestSameServer(t *testing.T) {
	const plain = `{"upstreams":[{"dial":"a.internal:1"},{"dial":"b.internal:2"}]}`
	for name, tc := range map[string]struct {
		a, b string
		want bool
	}{
		"the same":            {plain, plain, true},
		"in another order":    {plain, `{"upstreams":[{"dial":"b.internal:2"},{"dial":"A.internal:1"}]}`, true},
		"one less":            {plain, `{"upstreams":[{"dial":"a.internal:1"}]}`, false},
		"sockets":             {`{"upstreams":[{"dial":"unix//run/a"}]}`, `{"upstreams":[{"dial":"unix//run/A"}]}`, false},
		"one environment":     {`{"upstreams":[{"dial":"{env.A}:1"}]}`, `{"upstreams":[{"dial":"A:1"}]}`, true},
		"another source":      {`{"dynamic_upstreams":{"source":"a","name":"x"}}`, `{"dynamic_upstreams":{"source":"a","name":"y"}}`, false},
		"one source":          {`{"dynamic_upstreams":{"name":"x","source":"a"}}`, `{"dynamic_upstreams":{"source":"a","name":"x"}}`, true},
		"a field of one":      {plain, strings.Replace(plain, "{", `{"headers":{"request":{"set":{"X-Endpoint":["b"]}}},`, 1), true},
		"another Host":        {plain, strings.Replace(plain, "{", `{"headers":{"request":{"set":{"host":["b"]}}},`, 1), false},
		"a Host that is none": {plain, strings.Replace(plain, "{", `{"headers":{"request":{"delete":["Host"]}},`, 1), false},
		"another transport":   {plain, strings.Replace(plain, "{", `{"transport":{"protocol":"http","tls":{}},`, 1), false},
		"times of a transport": {
			plain, strings.Replace(plain, "{", `{"transport":{"protocol":"http","dial_timeout":1},`, 1), true,
		},
		"another rewrite": {plain, strings.Replace(plain, "{", `{"rewrite":{"uri":"/x{uri}"},`, 1), false},
		"a policy":        {plain, strings.Replace(plain, "{", `{"load_balancing":{"retries":1},"flush_interval":-1,`, 1), true},
	} {
		env := func(text string) string { return strings.ReplaceAll(text, "{env.A}", "a") }
		a, b := &Endpoint{Proxy: json.RawMessage(tc.a), Constant: env, Now: env}, &Endpoint{Proxy: json.RawMessage(tc.b), Constant: env, Now: env}
		if got := a.SameServer(b); got != tc.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// The order in which a configuration is written decides nothing, and neither does the order
// of places.
func TestKeyKnowsNoOrder(t *testing.T) {
	a := Endpoint{
		Places: []Place{{Listen: []string{":1", ":2"}, Hosts: []string{"a", "b"}}, {Listen: []string{":3"}, Prefix: "/x"}},
		Path:   "/mcp", Names: []string{"x", "y"},
		Proxy: json.RawMessage(`{"upstreams":[{"dial":"a:1"}],"headers":{"request":{"set":{"A":["1"],"B":["2"]}}}}`),
	}
	b := Endpoint{
		Places: []Place{{Listen: []string{":3"}, Prefix: "/x"}, {Listen: []string{":2", ":1"}, Hosts: []string{"b", "a"}}},
		Path:   "/mcp", Names: []string{"y", "x"},
		Proxy: json.RawMessage("{\"headers\": {\"request\": {\"set\": {\"B\": [\"2\"], \"A\": [\"1\"]}}},\n\"upstreams\": [{\"dial\": \"a:1\"}]}"),
	}
	if a.Key() != b.Key() || a.Scope() != b.Scope() {
		t.Error("the order counts")
	}
	b.Places = b.Places[:1]
	if a.Key() == b.Key() || a.Scope() == b.Scope() {
		t.Error("a place does not count")
	}
}

// Two texts are never taken for one, wherever they stand.
func FuzzKey(f *testing.F) {
	f.Add("a", "b", `{"upstreams":[{"dial":"a:1"}]}`)
	f.Add(`","`, "", `{}`)
	f.Add("", "", "null")
	f.Add("", "", "[")
	f.Fuzz(func(t *testing.T, a, b, proxy string) {
		if a != strings.ToValidUTF8(a, "?") || b != strings.ToValidUTF8(b, "?") || a == b {
			return // a configuration in JSON has no others
		}
		of := func(e Endpoint) string {
			e.Proxy = json.RawMessage(proxy)
			return e.Key()
		}
		keys := make(map[string]string)
		for name, e := range map[string]Endpoint{
			"path a": {Path: a}, "path b": {Path: b},
			"url a": {PublicURL: "u" + a}, "url b": {PublicURL: "u" + b},
			"names a": {Names: []string{a}}, "names b": {Names: []string{b}}, "names both": {Names: []string{a, b}},
			"hosts a": {Places: []Place{{Hosts: []string{a}}}}, "hosts b": {Places: []Place{{Hosts: []string{b}}}},
			"prefix a": {Places: []Place{{Prefix: "/" + a}}}, "prefix b": {Places: []Place{{Prefix: "/" + b}}},
			"matchers a": {Places: []Place{{Matchers: []string{a}}}}, "matchers b": {Places: []Place{{Matchers: []string{b}}}},
			"matchers both": {Places: []Place{{Matchers: []string{a, b}}}}, "matchers turned": {Places: []Place{{Matchers: []string{b, a}}}},
		} {
			key := of(e)
			if other := keys[key]; other != "" {
				t.Errorf("%q, %q: %s is %s", a, b, name, other)
			}
			keys[key] = name
		}
	})
}
