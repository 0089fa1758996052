package rules

import (
	"math/rand/v2"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// dice makes choices from the bytes of a fuzz input.
type dice []byte

func (d *dice) roll(n int) int {
	if len(*d) == 0 {
		return 0
	}
	b := (*d)[0]
	*d = (*d)[1:]
	return int(b) % n
}

// some returns some of a list.
func (d *dice) some(of []string) []string {
	var all []string
	for _, one := range of {
		if d.roll(3) == 1 {
			all = append(all, one)
		}
	}
	return all
}

var (
	fuzzScopes    = []string{"r", "w", "x"}
	fuzzTools     = []string{"a", "b", "ab", "a*", "*b", "*", "a*b", "*a*"}
	fuzzResources = []string{"f:/a/*", "f:/a/b", "f:/*", "*", "f:/a/b/*", "h://h/*"}
	fuzzMethods   = []string{"tools/call", "tools/*", "resources/read", "*", "prompts/get", "tasks/*", "notifications/*"}
	fuzzNames     = []string{"a", "b", "ab", "aab", "c", "ba", "abab"}
	fuzzURIs      = []string{"f:/a/b", "f:/a/b/c", "f:/c", "f:/a/../a/b", "f:/x/%2e%2e/a/b", "F:/a/b", "h://H/a", "g:a"}
)

// conditions are expressions with what they mean for a plain evaluation: true, false, or an
// error.
var conditions = []struct {
	text string
	is   func(s slowOp) (holds, ok bool)
}{
	{"", func(slowOp) (bool, bool) { return true, true }},
	{"true", func(slowOp) (bool, bool) { return true, true }},
	{"false", func(slowOp) (bool, bool) { return false, true }},
	{`name == "a" || name == "f:/a/b"`, func(s slowOp) (bool, bool) { return s.name == "a" || s.name == "f:/a/b", true }},
	{`method == "tools/call"`, func(s slowOp) (bool, bool) { return s.method == "tools/call", true }},
	{`principal.claims.c == "1"`, func(s slowOp) (bool, bool) {
		v, ok := s.who.Claims["c"]
		return v == "1", ok
	}},
	{`arguments.k == "v"`, func(s slowOp) (bool, bool) {
		return s.arguments == `{"k":"v"}`, s.arguments == `{"k":"v"}` || s.arguments == `{"k":"w"}`
	}},
	{`"w" in principal.scopes`, func(s slowOp) (bool, bool) { return s.includes("w"), true }},
}

// slowOp is one name of one operation, and the evaluation of the rules for it as they are
// described, without tables and without order.
type slowOp struct {
	c         Config
	who       *principal.Principal
	method    string
	target    operation.Target
	name      string
	arguments string
	exempt    bool
}

// includes reports whether the principal has a scope, also by implication.
func (s slowOp) includes(scope string) bool {
	var reach func(from string, depth int) bool
	reach = func(from string, depth int) bool {
		return from == scope || depth > 0 && slices.ContainsFunc(s.c.Implies[from], func(next string) bool { return reach(next, depth-1) })
	}
	return slices.ContainsFunc(s.who.Scopes, func(held string) bool { return reach(held, 4) })
}

// has reports whether the needs of a rule are met.
func (s slowOp) has(scopes []string, claims []Claim, when string) bool {
	for _, scope := range scopes {
		if !s.includes(scope) {
			return false
		}
	}
	for _, c := range claims {
		if v, ok := s.who.Claims[c.Name].(string); !ok || !slices.Contains(c.Values, v) {
			return false
		}
	}
	holds, ok := s.when(when)
	return holds && ok
}

func (s slowOp) when(text string) (holds, ok bool) {
	for _, c := range conditions {
		if c.text == text {
			return c.is(s)
		}
	}
	panic(text)
}

// specificity returns how specific a pattern that matches is; 0: it does not match.
func specificity(pattern, name string) int {
	quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `(?s:.*)`)
	switch {
	case !regexp.MustCompile(`\A` + quoted + `\z`).MatchString(name):
		return 0
	case strings.Contains(pattern, "*"):
		return 1 + len(strings.ReplaceAll(pattern, "*", ""))
	}
	return 1 << 20
}

// level applies the rules whose patterns match, the most specific first.
func (s slowOp) level(patterns func(Rule) []string, name string) (found, allowed bool) {
	var levels []int
	of := make(map[int][]Rule)
	for _, r := range s.c.Rules {
		for _, p := range patterns(r) {
			if n := specificity(p, name); n > 0 {
				levels = append(levels, n)
				of[n] = append(of[n], r)
			}
		}
	}
	slices.Sort(levels)
	for _, n := range slices.Backward(slices.Compact(levels)) {
		for _, r := range of[n] {
			if r.Deny {
				if holds, ok := s.when(r.When); holds || !ok {
					return true, false
				}
				continue
			}
			found = true
			if !s.has(r.Scopes, r.Claims, r.When) {
				return true, false
			}
		}
		if found {
			return true, true
		}
	}
	return false, true
}

// allowed evaluates the rules.
func (s slowOp) allowed() bool {
	if !s.has(s.c.Scopes, s.c.Claims, s.c.When) {
		return false
	}
	if s.target != "" {
		found, ok := s.level(func(r Rule) []string {
			return map[operation.Target][]string{operation.Tool: r.Tools, operation.Prompt: r.Prompts, operation.Resource: r.Resources}[s.target]
		}, s.name)
		if found {
			return ok
		}
	}
	found, ok := s.level(func(r Rule) []string { return r.Methods }, s.method)
	if found {
		return ok
	}
	return s.c.Default != "deny" || s.exempt
}

// config makes a configuration.
func (d *dice) config() Config {
	c := Config{
		Scopes: d.some(fuzzScopes[:1]), When: conditions[d.roll(3)*d.roll(2)].text,
		Default:         []string{"", "deny"}[d.roll(2)],
		ChallengeScopes: []string{"", "held"}[d.roll(2)],
	}
	if d.roll(2) == 1 {
		c.Implies = map[string][]string{"x": {"w"}, "w": {"r"}}
	}
	used := make(map[string]bool)
	fresh := func(kind string, from []string) []string {
		return slices.DeleteFunc(d.some(from), func(s string) bool {
			was := used[kind+s]
			used[kind+s] = true
			return was
		})
	}
	for range d.roll(5) {
		r := Rule{Tools: fresh("t", fuzzTools), Prompts: fresh("p", fuzzTools[:3]), Resources: fresh("r", fuzzResources), Methods: fresh("m", fuzzMethods), When: conditions[d.roll(len(conditions))].text}
		switch d.roll(3) {
		case 0:
			r.Deny = true
		case 1:
			r.Scopes = d.some(fuzzScopes)
		case 2:
			r.Claims = []Claim{{"c", []string{"1", "2"}}}
		}
		if r.Deny && r.When != "" && d.roll(3) == 0 { // it may stand beside another rule
			r.Tools, r.Resources = []string{fuzzTools[d.roll(len(fuzzTools))]}, []string{fuzzResources[d.roll(len(fuzzResources))]}
		}
		if describe(r) == "" {
			continue
		}
		c.Rules = append(c.Rules, r)
	}
	return c
}

// operation makes an operation.
func (d *dice) operation(free string) operation.Operation {
	op := operation.Operation{Kind: message.Request, Method: []string{"tools/call", "prompts/get", "resources/read", "tasks/get", "notifications/x", "x/y", "tools/list"}[d.roll(7)]}
	names, target := fuzzNames, map[string]operation.Target{"tools/call": operation.Tool, "prompts/get": operation.Prompt, "resources/read": operation.Resource}[op.Method]
	switch target {
	case "":
		return op
	case operation.Resource:
		names = fuzzURIs
	default:
		op.Arguments = [][]byte{nil, []byte(`{"k":"v"}`), []byte(`{"k":"w"}`), []byte(`{"k":"v","K":"w"}`)}[d.roll(4)]
	}
	name := names[d.roll(len(names))]
	if free != "" && d.roll(2) == 1 {
		name = free
	}
	op.Names = []operation.Name{{Target: target, Text: name}}
	return op
}

// standardForm is a URI as net/url and path understand it. It returns false for what they do
// not understand, and for what has no path.
func standardForm(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" || u.Opaque != "" || u.Path == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Contains(uri, "?") || strings.Contains(uri, "#") {
		return "", false
	}
	clean := path.Clean(u.Path)
	if strings.HasSuffix(u.Path, "/") && clean != "/" {
		clean += "/"
	}
	if u.Host != "" || strings.HasPrefix(uri[len(u.Scheme):], "://") {
		clean = "//" + strings.ToLower(u.Host) + clean
	}
	return strings.ToLower(u.Scheme) + ":" + clean, true
}

// FuzzDecide compares decisions with the plain evaluation of the rules: nothing is allowed
// that it denies, for the name as it was sent and as net/url understands it. For names that
// have one form both agree.
func FuzzDecide(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x01\x00\x01\x03\x01\x02\x01\x00\x01\x02\x01\x00\x01\x02"), "ａb")
	f.Add([]byte("\x00\x00\x00\x01\x01\x00\x02\x00\x01\x01\x02\x03\x01\x01\x01\x01\x02\x02\x01\x00\x01"), "f:/x/%2e./a/b")
	f.Add([]byte(strings.Repeat("\x01\x02\x00\x04", 40)), "h://H/../a")
	f.Add([]byte(strings.Repeat("\x04\x01\x03\x01\x01", 40)), "A%62")
	f.Fuzz(func(t *testing.T, data []byte, free string) {
		if len(free) <= 200 {
			checkDecide(t, data, free)
		}
	})
}

// Rules E3, E4: the same for policies and requests by chance.
func TestDecideAgainstPlainEvaluation(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	count := 3000
	allowed := 0
	for range count {
		data := make([]byte, 300)
		for i := range data {
			data[i] = byte(chance.Uint32())
		}
		free := append(slices.Clone(fuzzNames), fuzzURIs...)[chance.IntN(len(fuzzNames)+len(fuzzURIs))]
		if checkDecide(t, data, strings.ToUpper(free[:1])+free[1:]) {
			allowed++
		}
	}
	if allowed < count/20 || allowed > count*19/20 {
		t.Errorf("%d of %d requests are allowed: the rules of this test decide too little", allowed, count)
	}
}

// checkDecide makes a policy and a request of data, and compares two evaluations. It reports
// whether the request is allowed.
func checkDecide(t *testing.T, data []byte, free string) bool {
	t.Helper()
	d := dice(data)
	c := d.config()
	p, err := New(c)
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	who := &principal.Principal{Kind: principal.Token, Scopes: d.some(fuzzScopes)}
	if claim := d.roll(4); claim > 0 {
		who.Claims = map[string]any{"c": []string{"1", "2", "3"}[claim-1]}
	}
	var r operation.Request
	want, exact := true, true
	for range 1 + d.roll(3) {
		op := d.operation(free)
		r.Operations = append(r.Operations, op)
		s := slowOp{c: c, who: who, method: op.Method, arguments: string(op.Arguments), exempt: exempt(op)}
		if len(op.Names) > 0 {
			s.target, s.name, s.exempt = op.Names[0].Target, op.Names[0].Text, false
			if !strings.HasPrefix(s.name, "f:/") {
				s.name = strings.ToValidUTF8(s.name, "\ufffd")
			}
			exact = exact && s.target != operation.Resource && fold(s.name) == s.name
			if s.arguments == "" {
				s.arguments = "{}"
			}
		}
		want = want && s.allowed()
		if form, ok := standardForm(s.name); ok && s.target == operation.Resource {
			s.name = form
			want = want && s.allowed()
		}
	}
	got := p.Decide(who, r)
	switch {
	case got.Allowed && !want:
		t.Fatalf("%+v\n%+v\n%+v\nallowed by %q, and the plain evaluation denies", c, who, r, got.Rule)
	case exact && want && !got.Allowed:
		t.Fatalf("%+v\n%+v\n%+v\nrefused by %q (%s, %v), and the plain evaluation allows", c, who, r, got.Rule, got.Reason, got.Err)
	case got.Allowed != (got.Reason == Allowed), got.Fixable() != (got.Challenge != nil):
		t.Fatalf("%+v contradicts itself", got)
	}
	if got.Fixable() && !strings.Contains(c.When, "scopes") {
		with := *who
		with.Scopes = got.Challenge
		if again := p.Decide(&with, r); again.Reason == Scope {
			t.Fatalf("%+v\n%+v\n%+v\nwith the scopes %q of the challenge it still lacks %q", c, who, r, got.Challenge, again.Missing)
		}
	}
	return got.Allowed
}

// FuzzURIForms compares the readings of a URI with net/url and path: a rule that denies what
// these read holds for it, and their number is bounded.
func FuzzURIForms(f *testing.F) {
	for _, uri := range fuzzURIs {
		f.Add(uri)
	}
	f.Add("file:///a/b/../../c/./d//../e?x/../y#z")
	f.Add(`file://LOCALHOST/a\..\b%2f%2E%2e%25`)
	f.Add("file:/%2fa/b")
	f.Add("A000:/%2fA")
	f.Add("file:///a/%2F../../b/%%252f")
	f.Add("file:/0.")
	f.Add("https://u@H%2e:443/?x#y")
	f.Fuzz(func(t *testing.T, uri string) {
		read, ok := readURI(uri)
		forms := read.forms
		if len(forms) > 100 {
			t.Errorf("%q has %d forms", uri, len(forms))
		}
		if !ok {
			return
		}
		all := slices.Concat(forms, read.equal(), read.files())
		if len(all) > 200 {
			t.Errorf("%q has %d readings", uri, len(all))
		}
		want, understood := standardForm(uri)
		if u, err := url.Parse(uri); err == nil && u.Scheme == "file" && strings.HasPrefix(u.Path, "/") {
			want, understood = "file://"+path.Clean(u.Path), true // whatever the host
		}
		if !understood || len(uri) > 1000 || !utf8.ValidString(uri) || !utf8.ValidString(want) || strings.Contains(want, wildcard) ||
			strings.ContainsAny(want, `?#%\`) && !strings.HasPrefix(want, "file:") {
			return // other rules apply to them
		}
		if slices.Contains(all, want) {
			return // a rule is compared with it
		}
		both := []string{want, want + "/"} // whether the slash counts is the reader's business
		if with, found := strings.CutSuffix(want, "/"); found {
			both[1] = with
		}
		p := must(t, Config{Rules: []Rule{{Deny: true, Resources: both}}})
		if p.Decide(scopes(""), resource(t, uri)).Allowed {
			t.Errorf("%q passes a rule that denies %q", uri, want)
		}
	})
}

// FuzzPattern compares patterns with regular expressions.
func FuzzPattern(f *testing.F) {
	f.Add("a*b*c", "abc")
	f.Add("*aa*", "a")
	f.Add("ab*ba", "aba")
	f.Fuzz(func(t *testing.T, text, name string) {
		if strings.Count(text, "*") == 0 || strings.Count(text, "*") > maxStars || len(text)+len(name) > 500 || !utf8.ValidString(text) || !utf8.ValidString(name) {
			return
		}
		if got, want := newPattern(text).matches(name), specificity(text, name) > 0; got != want {
			t.Errorf("%q, %q: got %v, want %v", text, name, got, want)
		}
	})
}

// FuzzWithin compares isWithin with path: whatever is within a folder is there for every reader,
// and what path finds there is, unless it has dots.
func FuzzWithin(f *testing.F) {
	for _, file := range []string{"/srv/a", "/srv/../etc", "//srv/./a", `/srv\..\a`, "/srv/%2e%2e/a", "/srv/.. /a", "C:/srv", "/srv"} {
		f.Add(file, "/srv")
	}
	f.Add("/a", "/")
	f.Add("C:/a/b", "c:/A")
	f.Fuzz(func(t *testing.T, file, folder string) {
		to := cleanFolder(folder)
		if to == "" {
			return
		}
		below := func(text string) bool {
			clean := path.Clean(text)
			return clean == to || strings.HasPrefix(clean, strings.TrimSuffix(to, "/")+"/")
		}
		got := isWithin(file, to)
		if got && (!below(strings.ReplaceAll(file, `\`, "/")) || !strings.Contains(file, `\`) && !below(file)) {
			t.Errorf("%q is not within %q", file, to)
		}
		if !got && below(file) && !strings.Contains(file, "..") && !strings.ContainsFunc(file, unicode.IsControl) && !strings.Contains(file, `\`) && !strings.Contains(folder, ":") {
			t.Errorf("%q is within %q", file, to)
		}
	})
}
