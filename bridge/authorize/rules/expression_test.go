package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

// Rules E3, E4: what expressions can read, and that one which cannot be decided denies, in a
// `deny` too.
func TestExpressions(t *testing.T) {
	who := claims("read admin", `{"groups":["dev","ops"],"level":7,"big":9007199254740993,"admin":true,"name":"x"}`)
	who.Issuer, who.ClientID = "https://issuer", "client"
	for _, tc := range []struct {
		when, arguments string
		want            Reason
	}{
		{`true`, ``, Allowed},
		{`false`, ``, ExpressionFalse},
		{`"ops" in principal.claims.groups`, ``, Allowed},
		{`"none" in principal.claims.groups`, ``, ExpressionFalse},
		{`"x" in principal.claims.none`, ``, ExpressionError},
		{`has(principal.claims.none) && "x" in principal.claims.none`, ``, ExpressionFalse},
		{`principal.claims.?none.orValue("x") == "x"`, ``, Allowed},
		{`principal.claims.level > 6 && principal.claims.level < 8`, ``, Allowed},
		{`principal.claims.big == 9007199254740993`, ``, Allowed},
		{`principal.claims.admin`, ``, Allowed},
		{`principal.claims.name`, ``, ExpressionError},
		{`principal.issuer == "https://issuer" && principal.subject == "bob" && principal.client_id == "client" && principal.kind == "token" && principal.key == ""`, ``, Allowed},
		{`"write" in principal.scopes`, ``, Allowed},
		{`"other" in principal.scopes`, ``, ExpressionFalse},
		{`method == "tools/call" && name == "t"`, ``, Allowed},
		{`arguments.path.startsWith("/pub/")`, `{"path":"/pub/x"}`, Allowed},
		{`arguments.path.startsWith("/pub/")`, `{"path":"/etc/x"}`, ExpressionFalse},
		{`arguments.path.startsWith("/pub/")`, `{"path":7}`, ExpressionError},
		{`arguments.path.startsWith("/pub/")`, `{}`, ExpressionError},
		{`arguments.path.startsWith("/pub/")`, ``, ExpressionError},
		{`arguments.path.startsWith("/pub/")`, `null`, ExpressionError},
		{`arguments.path.startsWith("/pub/")`, `["/pub/"]`, ExpressionError},
		{`arguments.path.startsWith("/pub/")`, `{"path":"/pub/x","Path":"/etc"}`, ExpressionError},
		{`arguments.path.startsWith("/pub/")`, `{"path":"/pub/x","o":[{"a":1,"A":2}]}`, ExpressionError},
		{`true || arguments.path == ""`, `{"a":1,"A":2}`, Allowed},
		{`size(arguments) == 2`, `{"a":1,"A":2}`, ExpressionError},
		{`!has(arguments.force)`, `{"Force":1,"force\u0000":1}`, ExpressionError},
		{`arguments.n == 3`, `{"n":3.0}`, Allowed},
		{`arguments.n > 9223372036854775807`, `{"n":9223372036854775808}`, ExpressionFalse}, // as doubles they are equal
		{`arguments.n > 1`, `{"n":1e999}`, ExpressionError},
		{`arguments.list.all(x, x < 10)`, `{"list":[1,2,30]}`, ExpressionFalse},
		{`arguments.a.b[0].c == "d"`, `{"a":{"b":[{"c":"d"}]}}`, Allowed},
		{`1 / arguments.n == 1`, `{"n":0}`, ExpressionError},
		{`arguments.text.matches("^(a+)+$")`, `{"text":"` + strings.Repeat("a", 1000) + `!"}`, ExpressionFalse},
		{`arguments.list.all(x, arguments.list.all(y, x <= y || true))`, `{"list":[` + strings.Repeat("1,", 2000) + `1]}`, ExpressionError},
		{`arguments.text != ""`, `{"text":"` + strings.Repeat("a", maxArguments) + `"}`, ExpressionError},
	} {
		name := fmt.Sprintf("%s of %.30s", tc.when, tc.arguments)
		r := request(t, strings.TrimSpace("tools/call t "+tc.arguments))
		implies := map[string][]string{"admin": {"write"}}
		d := must(t, Config{Implies: implies, Rules: []Rule{{Tools: []string{"t"}, When: tc.when}}}).Decide(who, r)
		if d.Reason != tc.want || (d.Err != nil) != (tc.want == ExpressionError) {
			t.Errorf("%s: got %s, %v, want %s", name, d.Reason, d.Err, tc.want)
		}
		// The same in a deny: true and an error deny, false does not.
		want := map[Reason]Reason{Allowed: Denied, ExpressionFalse: Allowed, ExpressionError: ExpressionError}[tc.want]
		d = must(t, Config{Implies: implies, Rules: []Rule{{Tools: []string{"t"}, When: tc.when, Deny: true}}}).Decide(who, r)
		if d.Reason != want {
			t.Errorf("deny %s: got %s, %v, want %s", name, d.Reason, d.Err, want)
		}
		// And in what every request needs.
		d = must(t, Config{Implies: implies, When: tc.when}).Decide(who, r)
		if d.Reason != tc.want {
			t.Errorf("base %s: got %s, %v, want %s", name, d.Reason, d.Err, tc.want)
		}
	}
}

// Rule E4: all expressions of a request together have a bound, and beyond it they deny.
func TestExpressionsOfARequestAreBounded(t *testing.T) {
	p := must(t, Config{Rules: []Rule{{Tools: []string{"*"}, When: `arguments.list.all(x, x == 1)`}}})
	list := `{"list":[` + strings.Repeat("1,", 900) + `1]}`
	var r operation.Request
	for range 1000 {
		r.Operations = append(r.Operations, request(t, "tools/call t "+list).Operations[0])
		if len(r.Operations) == 1 {
			if d := p.Decide(&principal.Principal{}, r); !d.Allowed {
				t.Fatalf("one: %s, %v", brief(d), d.Err)
			}
		}
	}
	d := p.Decide(&principal.Principal{}, r)
	if d.Reason != ExpressionError || !errors.Is(d.Err, errTooMuch) || d.Index == 0 || d.Index > 999 {
		t.Errorf("got %s at %d, %v", brief(d), d.Index, d.Err)
	}
}

// The error of an expression goes to logs, which have no arguments and no claims.
func TestErrorsSayNothingOfTheRequest(t *testing.T) {
	p := must(t, Config{Rules: []Rule{{Tools: []string{"t"}, When: `arguments.path.startsWith("/")`}}})
	for _, arguments := range []string{`{"path":["s3cret"]}`, `{"s3cret":1}`, `{"path":{"s3cret":1}}`, `{"s3cret":1,"S3cret":1}`} {
		d := p.Decide(claims("", `{"a":"s3cret"}`), request(t, "tools/call t "+arguments))
		if d.Err == nil || strings.Contains(d.Err.Error(), "s3cret") {
			t.Errorf("%s: got %v", arguments, d.Err)
		}
	}
	// CEL puts values into errors of these.
	for when, want := range map[string]string{
		`int(arguments.x) > 0`: "", `double(arguments.x) > 0.0`: "", `duration(arguments.x) > duration("1s")`: "", `timestamp(arguments.x) > timestamp("2026-01-01T00:00:00Z")`: "",
		`bool(arguments.x)`: "", `uint(arguments.x) > 0u`: "", `"a".matches(arguments.x)`: "", `arguments[arguments.x] == 1`: "no such key", `principal.claims[principal.claims.a] == 1`: "no such key",
		`[1][int(arguments.n)] == 1`: "index out of bounds", `arguments.x.substring(int(arguments.n)) == ""`: "", `arguments.x.charAt(int(arguments.n)) == ""`: "",
		`principal.claims.groups == 1`: "no such key: groups", `1 / (int(arguments.n) - 734256) > 0`: "division by zero", `arguments.x > 1`: "no such overload", `arguments.n.b.c`: "no such key: b",
	} {
		d := must(t, Config{Rules: []Rule{{Tools: []string{"t"}, When: when}}}).Decide(claims("", `{"a":"s3cret"}`), request(t, `tools/call t {"x":"s3cret(","n":734256}`))
		if want == "" {
			want = errEvaluation.Error()
		}
		if d.Err == nil || d.Err.Error() != want {
			t.Errorf("%s: got %v, want %s", when, d.Err, want)
		}
	}
}

// Rule E3: the path of a file among the arguments is judged by where it leads, not by how it
// begins.
func TestWithin(t *testing.T) {
	for path, want := range map[string]bool{
		"/srv": true, "/srv/": true, "/srv/a": true, "//srv//a/./b": true, `/srv\a`: true, "/srv/..a/b..": true, "/srv/100%": true, "/srv/a b": true,
		"": false, "/": false, "srv/a": false, "/srvx": false, "/srv/../etc/passwd": false, "/srv/a/..": false, `/srv\..\etc`: false, "/srv/%2e%2e/etc": false, "/srv/%252e%252e/etc": false, "/srv/..%2f..%2fetc": false,
		"/srv/a\x00": false, "/srv/a\n": false, "~/srv": false, "file:///srv/a": false, "/SRV/a": false, "C:/srv/a": false, "/srv/.. /etc": false, "/etc": false,
	} {
		arguments, _ := json.Marshal(map[string]string{"path": path})
		for folder, want := range map[string]bool{"/srv": want, "/srv/": want, "//srv/.": want} {
			p := must(t, Config{Rules: []Rule{{Tools: []string{"*"}, When: fmt.Sprintf("arguments.path.within(%q)", folder)}}})
			if got := p.Decide(scopes(""), request(t, "tools/call t "+strings.ReplaceAll(string(arguments), " ", `\u0020`))); got.Allowed != want {
				t.Errorf("%q within %q: got %s; want %v", path, folder, brief(got), want)
			}
		}
	}
	for when, want := range map[string]Reason{
		`arguments.path.within("/")`: Allowed, `arguments.drive.within("C:/Users")`: Allowed, `arguments.drive.within("D:/")`: ExpressionFalse,
		`arguments.path.within("srv")`: ExpressionError, `arguments.path.within("/srv/..")`: ExpressionError, `arguments.number.within("/srv")`: ExpressionError, `arguments.none.within("/srv")`: ExpressionError,
	} {
		p := must(t, Config{Rules: []Rule{{Tools: []string{"*"}, When: when}}})
		if got := p.Decide(scopes(""), request(t, `tools/call t {"path":"/srv/a","drive":"C:\\Users\\a","number":1}`)); got.Reason != want {
			t.Errorf("%s: got %s; want %s", when, brief(got), want)
		}
	}
}
