package rules

import "testing"

// A decision says which rule it comes from, and what scope would open it.
func TestExplain(t *testing.T) {
	c := files
	c.Default = "deny"
	p := must(t, c)
	for _, tc := range []struct {
		scopes, op, want string
	}{
		{"files", "tools/list", `tools/list: allowed, with scope "files" (every request)`},
		{"files", "tools/call write_x", `tools/call write_x: refused, because scope "write" is missing; a token with scope "files write" would be allowed (tools write_* move_file)`},
		{"files", "tools/call delete_x", `tools/call delete_x: refused, because a rule denies it (tools delete_*)`},
		{"files", "tools/call team_x", `tools/call team_x: refused, because a claim has none of the values (tools team_*)`},
		{"files", `tools/call delete_own {"owner":"eve"}`, `tools/call delete_own: refused, because the expression is false (tools delete_own)`},
		{"files", `tools/call delete_own`, `tools/call delete_own: refused, because the expression could not be evaluated: no such key: owner (tools delete_own)`},
		{"files", "prompts/get x", `prompts/get x: refused, because no rule allows it and the default is deny (default)`},
		{"files read", "resources/read file:///srv/%00", `resources/read file:///srv/%00: refused, because the URI is encoded too often or has control characters (default)`},
	} {
		if got := p.Decide(scopes(tc.scopes), request(t, tc.op)).Explain(); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
	if got, want := must(t, Config{}).Decide(scopes(""), request(t)).Explain(), "allowed (every request)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
