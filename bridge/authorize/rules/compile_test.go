package rules

import (
	"strings"
	"testing"
)

// An error of the configuration names the option, the value and the cure.
func TestNewErrors(t *testing.T) {
	rule := func(r Rule) Config { return Config{Rules: []Rule{r}} }
	a := []string{"a"}
	for _, tc := range []struct {
		name string
		c    Config
		want string
	}{
		{"default", Config{Default: "refuse"}, `default: unknown value "refuse": write allow or deny`},
		{"lists", Config{Lists: "no"}, `lists: unknown value "no": write show or hide`},
		{"challenge_scopes", Config{ChallengeScopes: "all"}, `challenge_scopes: unknown value "all": write needed or held`},
		{"implies", Config{Implies: map[string][]string{"a": {"b"}, "b": {"a"}}}, `implies: scope "a" implies itself: remove one line of the circle`},
		{"base scope", Config{Scopes: []string{"a b"}}, `scope "a b": write scopes one by one`},
		{"offline_access", Config{Scopes: []string{"offline_access"}}, `scope "offline_access": remove it`},
		{"no pattern", rule(Rule{Scopes: a}), `rule without a pattern: name tools, prompts, resources or methods`},
		{"empty pattern", rule(Rule{Tools: []string{"b", ""}}), `tools b : empty pattern`},
		{"long pattern", rule(Rule{Tools: []string{strings.Repeat("a", maxPattern+1)}}), `write at most 4096 bytes`},
		{"stars", rule(Rule{Tools: []string{strings.Repeat("*a", maxStars+1)}}), `write at most 16 wildcards`},
		{"the same name twice", Config{Rules: []Rule{{Tools: a}, {Tools: []string{"b", "a"}, Scopes: a}}}, `tools b a: pattern "a" has another rule`},
		{"the same glob twice", Config{Rules: []Rule{{Tools: []string{"a*"}}, {Tools: []string{"a*"}}}}, `tools a*: pattern "a*" has another rule`},
		{"the same method twice", Config{Rules: []Rule{{Methods: a}, {Methods: a, Deny: true}}}, `methods a: pattern "a" has another rule`},
		{"deny with scope", rule(Rule{Tools: a, Deny: true, Scopes: a}), `tools a: deny excludes scope and claim, which allow: remove deny`},
		{"claim without values", rule(Rule{Prompts: a, Claims: []Claim{{Name: "x"}}}), `prompts a: claim "x" without a name or a value: write claim NAME VALUE, with one value or more`},
		{"when", rule(Rule{Resources: a, When: `principal.x ==`}), `resources a: when "principal.x ==": column `},
		{"unknown variable", rule(Rule{Tools: a, When: `user == "x"`}), `undeclared reference to 'user'`},
		{"unknown function", rule(Rule{Tools: a, When: `now() == 1`}), `undeclared reference to 'now'`},
		{"no condition", rule(Rule{Tools: a, When: `"x"`}), `it is of type string: write a condition that is true or false`},
		{"long expression", rule(Rule{Tools: a, When: strings.Repeat("true||", maxExpression)}), `it is too long: write at most 4096 bytes`},
		{"too many rules", Config{Rules: make([]Rule, maxRules+1)}, `rules: there are 1001`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New(tc.c)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	_, err := New(Config{Default: "x", Lists: "y", Rules: []Rule{{}, {Tools: a, When: "1"}}})
	if err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("got %v, want a line for each of four faults", err)
	}
	if _, err := New(Config{Rules: []Rule{{Tools: a}, {Tools: a, Deny: true, When: "false"}}}); err != nil {
		t.Errorf("a deny with a condition beside another rule: %v", err)
	}
}

func TestScopesOfPolicy(t *testing.T) {
	p := must(t, files)
	if got, want := p.BaseScopes().String(), "files"; got != want {
		t.Errorf("base: got %q, want %q", got, want)
	}
	if got, want := p.Scopes().String(), "files write all camel prompt read web call cancel"; got != want {
		t.Errorf("all: got %q, want %q", got, want)
	}
	p.BaseScopes()[0] = "x"
	if !p.BaseScopes().Has("files") {
		t.Error("a caller has changed the policy")
	}
}

func TestPattern(t *testing.T) {
	for _, tc := range []struct {
		pattern, yes, no string
	}{
		{"*", "a|a/b|é|", ""},
		{"a*", "a|ab|a/b", "b|ba| a|A"},
		{"*a", "a|ba", "ab|A"},
		{"a*b", "ab|acb|abb|a/b", "a|b|aab c|"},
		{"ab*ba", "abba|abxba", "aba|ab|ba"},
		{"a*b*c", "abc|axbyc|abbc|abcbc", "acb|ac|ab c b"},
		{"*a*", "a|xay", "b|"},
		{"a**b", "ab|axb", "a"},
		{"a?[b]*", "a?[b]x", "axb|a?b"},
	} {
		p := newPattern(tc.pattern)
		for name := range strings.SplitSeq(tc.yes, "|") {
			if !p.matches(name) {
				t.Errorf("%q does not match %q", tc.pattern, name)
			}
		}
		for name := range strings.SplitSeq(tc.no, "|") {
			if tc.no != "" && p.matches(name) {
				t.Errorf("%q matches %q", tc.pattern, name)
			}
		}
	}
}

func TestClaims(t *testing.T) {
	who := claims("", `{"a":"x","n":12345678901234567890,"f":1.50,"t":true,"l":["x","y",1,{"x":1}],"o":{"p":{"q":["z"]}},"o.p":"dotted","e":[],"null":null,"obj":{"x":1}}`)
	for _, tc := range []struct {
		name, value string
		want        bool
	}{
		{"a", "x", true},
		{"a", "X", false},
		{"a", "", false},
		{"n", "12345678901234567890", true},
		{"n", "12345678901234567000", false},
		{"f", "1.50", true},
		{"f", "1.5", false},
		{"t", "true", true},
		{"t", "false", false},
		{"l", "y", true},
		{"l", "1", true},
		{"l", "z", false},
		{"o.p.q", "z", true},
		{"o.p", "dotted", true},
		{"o.x", "z", false},
		{"a.x", "x", false},
		{"e", "x", false},
		{"null", "null", false},
		{"obj", "x", false},
		{"missing", "", false},
	} {
		if got := newClaim(Claim{tc.name, []string{"other", tc.value}}).holds(who.Claims); got != tc.want {
			t.Errorf("claim %s %q: got %v, want %v", tc.name, tc.value, got, tc.want)
		}
	}
	if newClaim(Claim{"a", []string{"x"}}).holds(nil) {
		t.Error("a principal without claims has one")
	}
	if !newClaim(Claim{"g", []string{"x"}}).holds(map[string]any{"g": []string{"x"}}) {
		t.Error("a list of texts does not have its text")
	}
}
