package rules

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

// files is the policy of most tests.
var files = Config{
	Scopes:  []string{"files"},
	Implies: map[string][]string{"admin": {"files", "read", "write"}},
	Rules: []Rule{
		{Tools: []string{"write_*", "move_file"}, Scopes: []string{"write"}},
		{Tools: []string{"write_all"}, Scopes: []string{"write", "all"}},
		{Tools: []string{"delete_*"}, Deny: true},
		{Tools: []string{"delete_own"}, When: `arguments.owner == principal.subject`},
		{Tools: []string{"team_*"}, Claims: []Claim{{"groups", []string{"ops", "dev"}}, {"realm.level", []string{"3"}}}},
		{Tools: []string{"night_*"}, Deny: true, When: `principal.claims.shift != "night"`},
		{Tools: []string{"night_w*"}, Deny: true, When: `arguments.all`},
		{Tools: []string{"both_*"}, Scopes: []string{"write"}, When: `principal.kind == "token"`},
		{Tools: []string{"CamelCase"}, Scopes: []string{"camel"}},
		{Prompts: []string{"write_*"}, Scopes: []string{"prompt"}},
		{Resources: []string{"file:///srv/*"}, Scopes: []string{"read"}},
		{Resources: []string{"file:///srv/secret/*"}, Deny: true},
		{Resources: []string{"https://Example.com/*"}, Scopes: []string{"web"}},
		{Methods: []string{"tools/call"}, Scopes: []string{"call"}},
		{Methods: []string{"logging/*"}, Deny: true},
		{Methods: []string{"tasks/cancel"}, Scopes: []string{"cancel"}},
	},
}

func must(t testing.TB, c Config) *Policy {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// request parses operations as clients send them: method and name, and arguments.
func request(t testing.TB, ops ...string) operation.Request {
	t.Helper()
	var all operation.Request
	for _, op := range ops {
		parts := append(strings.SplitN(op, " ", 3), "", "")
		var arguments []byte
		if parts[2] != "" {
			arguments = []byte(parts[2])
		}
		r, err := operation.New(parts[0], parts[1], arguments)
		if err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		all.Operations = append(all.Operations, r.Operations...)
	}
	all.Batch = len(ops) > 1
	return all
}

func scopes(text string) *principal.Principal {
	return &principal.Principal{Kind: principal.Token, Subject: "bob", Scopes: principal.ParseScopes(text)}
}

func claims(text, json_ string) *principal.Principal {
	who := scopes(text)
	dec := json.NewDecoder(strings.NewReader(json_))
	dec.UseNumber()
	if err := dec.Decode(&who.Claims); err != nil {
		panic(err)
	}
	return who
}

// Rules E2, E3: the most specific rule decides, what every request needs comes in addition,
// and the challenge has all scopes of the request.
func TestDecide(t *testing.T) {
	ops := claims("files", `{"groups":["x","dev"],"realm":{"level":3},"shift":"night"}`)
	for _, tc := range []struct {
		name string
		who  *principal.Principal
		ops  []string
		want string
	}{
		{"base", scopes(""), []string{"tools/list"}, `scope "every request" ask "files"`},
		{"base held", scopes("files"), []string{"tools/list"}, `allowed "every request"`},
		{"base by implication", scopes("admin"), []string{"tools/list"}, `allowed "every request"`},
		{"no body", scopes("files"), nil, `allowed "every request"`},
		{"no body without scope", scopes("x"), nil, `scope "every request" ask "files"`},
		{"glob", scopes("files"), []string{"tools/call write_file"}, `scope "tools write_* move_file" ask "files write"`},
		{"second pattern", scopes("files"), []string{"tools/call move_file"}, `scope "tools write_* move_file" ask "files write"`},
		{"exact before glob", scopes("files write"), []string{"tools/call write_all"}, `scope "tools write_all" ask "files write all"`},
		{"held by implication is not asked for", scopes("admin"), []string{"tools/call write_all"}, `scope "tools write_all" ask "admin all"`},
		{"allowed", scopes("files write"), []string{"tools/call write_file"}, `allowed "tools write_* move_file"`},
		{"no rule of the name: the method", scopes("files"), []string{"tools/call other"}, `scope "methods tools/call" ask "files call"`},
		{"rule of the name: not the method", scopes("files write"), []string{"tools/call write_x"}, `allowed "tools write_* move_file"`},
		{"prompts are not tools", scopes("files"), []string{"prompts/get write_x"}, `scope "prompts write_*" ask "files prompt"`},
		{"prompt without a rule", scopes("files"), []string{"prompts/get other"}, `allowed "every request"`},
		{"deny", scopes("files admin"), []string{"tools/call delete_x"}, `denied "tools delete_*"`},
		{"exact before deny", scopes("files"), []string{`tools/call delete_own {"owner":"bob"}`}, `allowed "tools delete_own"`},
		{"expression is false", scopes("files"), []string{`tools/call delete_own {"owner":"eve"}`}, `expression "tools delete_own"`},
		{"expression errs", scopes("files"), []string{`tools/call delete_own {}`}, `expression_error "tools delete_own"`},
		{"claims", ops, []string{"tools/call team_x"}, `allowed "tools team_*"`},
		{"one claim of two", claims("files", `{"groups":["dev"],"realm":{"level":4}}`), []string{"tools/call team_x"}, `claim "tools team_*"`},
		{"no claim", scopes("files"), []string{"tools/call team_x"}, `claim "tools team_*"`},
		{"denial before scope", scopes(""), []string{"tools/call team_x"}, `claim "tools team_*"`},
		{"deny with a false condition: the next rule", ops, []string{"tools/call night_x"}, `scope "methods tools/call" ask "files call"`},
		{"deny with a true condition", claims("files", `{"shift":"day"}`), []string{"tools/call night_x"}, `denied "tools night_*"`},
		{"deny that errs denies", scopes("files"), []string{"tools/call night_x"}, `expression_error "tools night_*"`},
		{"two denies, both false", ops, []string{`tools/call night_watch {"all":false}`}, `scope "methods tools/call" ask "files call"`},
		{"the more specific deny", ops, []string{`tools/call night_watch {"all":true}`}, `denied "tools night_w*"`},
		{"scope and expression", scopes("files"), []string{"tools/call both_x"}, `scope "tools both_*" ask "files write"`},
		{"batch", scopes("files"), []string{"tools/list", "tools/call write_x", "tools/call other"}, `scope "tools write_* move_file" ask "files write call"`},
		{"batch: denial wins", scopes("files"), []string{"tools/call write_x", "tools/call delete_x", "tools/call other"}, `denied "tools delete_*"`},
		{"batch: denial wins over what is allowed", scopes("files write"), []string{"tools/call write_x", "tools/call delete_x"}, `denied "tools delete_*"`},
		{"method", scopes("files"), []string{"logging/setLevel"}, `denied "methods logging/*"`},
		{"tasks follow the base", scopes("files"), []string{"tasks/get"}, `allowed "every request"`},
		{"a task with a rule", scopes("files"), []string{"tasks/cancel"}, `scope "methods tasks/cancel" ask "files cancel"`},
		{"read", scopes("files"), []string{"resources/read file:///srv/a/b"}, `scope "resources file:///srv/*" ask "files read"`},
		{"subscribe", scopes("files"), []string{"resources/subscribe file:///srv/a"}, `scope "resources file:///srv/*" ask "files read"`},
		{"unsubscribe", scopes("files"), []string{"resources/unsubscribe file:///srv/secret/a"}, `denied "resources file:///srv/secret/*"`},
		{"listen", scopes("files read"), []string{"subscriptions/listen file:///srv/secret/a"}, `denied "resources file:///srv/secret/*"`},
		{"listen to lists", scopes("files"), []string{"subscriptions/listen"}, `allowed "every request"`},
		{"other resource", scopes("files"), []string{"resources/read x:a"}, `allowed "every request"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r operation.Request
			if tc.ops != nil {
				r = request(t, tc.ops...)
			}
			p := must(t, files)
			d := p.Decide(tc.who, r)
			if got := brief(d); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if d.Fixable() {
				// Whoever asks for the challenge's scopes alone gets through.
				with := *tc.who
				with.Scopes = d.Challenge
				if again := p.Decide(&with, r); !again.Allowed {
					t.Errorf("with %q: %s", d.Challenge, brief(again))
				}
			}
		})
	}
}

// brief prints a decision.
func brief(d Decision) string {
	s := fmt.Sprintf("%s %q", d.Reason, d.Rule)
	if d.Challenge != nil {
		s += fmt.Sprintf(" ask %q", d.Challenge)
		s = strings.ReplaceAll(s, `["`, `"`)
		s = strings.ReplaceAll(s, `"]`, `"`)
		s = strings.ReplaceAll(s, `" "`, ` `)
	}
	return s
}

// Rule E2: with `challenge_scopes held` the challenge has what else the token holds, and
// never offline_access.
func TestChallengeScopesHeld(t *testing.T) {
	c := files
	c.ChallengeScopes = "held"
	d := must(t, c).Decide(scopes("profile offline_access files"), request(t, "tools/call write_x"))
	if got, want := d.Challenge.String(), "files write profile"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Rule E3: `default deny` refuses what has no rule, but for what a session needs.
func TestDefaultDeny(t *testing.T) {
	p := must(t, Config{Default: "deny", Rules: []Rule{
		{Tools: []string{"a"}},
		{Resources: []string{"x:*"}},
		{Prompts: []string{"p"}},
		{Methods: []string{"logging/setLevel"}},
		{Tools: []string{"b"}, Deny: true, When: "false"},
	}})
	parse := func(text string) operation.Request {
		r, err := operation.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	complete := func(ref string) operation.Request {
		return parse(`{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":` + ref + `,"argument":{"name":"a","value":""}}}`)
	}
	for _, tc := range []struct {
		name string
		r    operation.Request
		want bool
	}{
		{"initialize", request(t, "initialize"), true},
		{"discover", request(t, "server/discover"), true},
		{"ping", request(t, "ping"), true},
		{"tools/list", request(t, "tools/list"), true},
		{"prompts/list", request(t, "prompts/list"), true},
		{"resources/list", request(t, "resources/list"), true},
		{"templates", request(t, "resources/templates/list"), true},
		{"notification", parse(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`), true},
		{"response", parse(`{"jsonrpc":"2.0","id":1,"result":{}}`), true},
		{"notification of a command", request(t, "notifications/cancelled"), true},
		{"request that is called a notification", parse(`{"jsonrpc":"2.0","id":1,"method":"notifications/cancelled","params":{"requestId":1}}`), false},
		{"request with an empty method", parse(`{"jsonrpc":"2.0","id":1,"method":""}`), false},
		{"notification with an empty method", parse(`{"jsonrpc":"2.0","method":""}`), false},
		{"no body", operation.Request{}, true},
		{"task", request(t, "tasks/get"), true},
		{"listen", request(t, "subscriptions/listen"), true},
		{"listen to a resource", request(t, "subscriptions/listen x:a"), true},
		{"listen to another", request(t, "subscriptions/listen y:a"), false},
		{"tool", request(t, "tools/call a"), true},
		{"another tool", request(t, "tools/call c"), false},
		{"a deny that is false is no rule", request(t, "tools/call b"), false},
		{"a call without an id", parse(`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"c"}}`), false},
		{"look-alike", request(t, "tools/call A"), false},
		{"encoded", request(t, "tools/call %61"), false},
		{"resource", request(t, "resources/read x:a/b"), true},
		{"resource that leads elsewhere", request(t, "resources/read X:a"), false},
		{"prompt", request(t, "prompts/get p"), true},
		{"another prompt", request(t, "prompts/get a"), false},
		{"method", request(t, "logging/setLevel"), true},
		{"unknown method", request(t, "x/y"), false},
		{"method that begins like one", request(t, "tools/listx"), false},
		{"completion of a prompt", complete(`{"type":"ref/prompt","name":"p"}`), true},
		{"completion of another", complete(`{"type":"ref/prompt","name":"q"}`), false},
		{"completion of a resource", complete(`{"type":"ref/resource","uri":"x:{a}"}`), true},
		{"completion of another resource", complete(`{"type":"ref/resource","uri":"y:{a}"}`), false},
	} {
		if d := p.Decide(&principal.Principal{}, tc.r); d.Allowed != tc.want {
			t.Errorf("%s: got %s, want %v", tc.name, brief(d), tc.want)
		}
	}
}

// Rule E3: a name or URI has to pass in every form that a reader could take it for.
func TestForms(t *testing.T) {
	p := must(t, files)
	all := scopes("files read write web call all camel")
	for name, want := range map[string]Reason{
		"tools/call delete_x":                              Denied,
		"tools/call Delete_x":                              Denied,
		"tools/call DELETE_X":                              Denied,
		"tools/call ｄｅｌｅｔｅ_x":                              Denied,
		"tools/call d\u0435lete_x":                         Denied, // Cyrillic
		"tools/call \u217eelete_x":                         Denied, // a Roman numeral
		"tools/call de\u200blete_x":                        Denied,
		"tools/call de\u00adlete_x":                        Denied,
		"tools/call dele\u0301te_x":                        Denied,
		"tools/call delete%5Fx":                            Denied,
		"tools/call delete%255fx":                          Denied,
		"tools/call CamelCase":                             Allowed,
		"tools/call other":                                 Allowed,
		"resources/read file:///srv/a":                     Allowed,
		"resources/read file:///srv/secret/a":              Denied,
		"resources/read FILE:///srv/secret/a":              Denied,
		"resources/read file:/srv/secret/a":                Denied,
		"resources/read file://localhost/srv/secret/a":     Denied,
		"resources/read file:///srv/%73ecret/a":            Denied,
		"resources/read file:///srv/%2573ecret/a":          Denied,
		"resources/read file:///srv/secret%2Fa":            Denied,
		"resources/read file:///srv/./secret/a":            Denied,
		"resources/read file:///srv/x/../secret/a":         Denied,
		"resources/read file:///srv/x/%2e%2e/secret/a":     Denied,
		"resources/read file:///srv/x/%252e%252E/secret/a": Denied,
		"resources/read file:///srv/x/..%2Fsecret/a":       Denied,
		`resources/read file:///srv/x\..\secret\a`:         Denied,
		"resources/read file:///srv/x//../secret/a":        Denied, // `//` is one slash for file systems
		"resources/read file:///srv//../srv/secret/a":      Denied,
		"resources/read file:///srv/x?/../secret/a":        Denied,
		"resources/read file:///srv/x%3F/../secret/a":      Denied,
		"resources/read file:///srv/x/../../srv/secret/a":  Denied,
		"resources/read file:///srv/x%2525252525e/a":       AmbiguousURI,
		"resources/read file:///srv/x%00/a":                AmbiguousURI,
		"resources/read file:///srv//secret/a":             Denied,
		"resources/read file:////srv/secret/a":             Denied,
		"resources/read file:///srv/%2Fsecret/a":           Denied,
		"resources/read file:///srv//a":                    Allowed,
		"resources/read file:///srv/..a/.b/c..":            Allowed,
		"resources/read https://example.com/a":             Allowed,
	} {
		got := p.Decide(all, request(t, name))
		if got.Reason != want {
			t.Errorf("%s: got %s, want %s", name, brief(got), want)
		}
	}
	if got := p.Decide(scopes("files"), request(t, "resources/read https://EXAMPLE.com/a")); got.Reason != Scope {
		t.Errorf("host in upper case: got %s", brief(got))
	}
	if got := p.Decide(scopes("files call"), request(t, "tools/call camelcase")); got.Reason != Scope || got.Challenge.String() != "files camel call" && got.Challenge.String() != "files call camel" {
		t.Errorf("name in lower case: got %s", brief(got))
	}
	// A rule may have several slashes, too.
	listed := must(t, Config{Default: "deny", Rules: []Rule{{Resources: []string{"db:///a//b", "web://x/http://*"}}}})
	for uri, want := range map[string]Reason{"db:///a//b": Allowed, "web://x/http://y//z": Allowed, "db:///a/b": NoRule, "db:////a//b": NoRule} {
		if got := listed.Decide(scopes(""), request(t, "resources/read "+uri)); got.Reason != want {
			t.Errorf("%s: got %s; want %s", uri, got.Reason, want)
		}
	}
	guarded := must(t, Config{When: `!name.startsWith("file:///etc/")`})
	for _, uri := range []string{"file:///etc/a", "file:////etc/a", "file:///x/../etc/a", "FILE:///etc/a", "file:///%65tc/a"} {
		if got := guarded.Decide(all, request(t, "resources/read "+uri)); got.Reason != ExpressionFalse {
			t.Errorf("%s with an expression over the name: got %s", uri, brief(got))
		}
	}
}
