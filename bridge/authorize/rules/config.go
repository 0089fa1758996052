// Package rules decides what a principal may do. A [Config] is compiled to a [Policy]; its
// decisions are a pure function of the principal, the operations and the rules.
package rules

// Config says what a request needs.
type Config struct {
	// Scopes that every request needs.
	Scopes []string `json:"scopes,omitempty"`
	// Claims that every request needs, all of them.
	Claims []Claim `json:"claims,omitempty"`
	// A CEL expression that has to be true for every request. Variables: `principal` (with
	// `issuer`, `subject`, `client_id`, `scopes`, `claims`, `kind` and `key`), `method`,
	// `name` and `arguments`. An expression that fails refuses the request.
	When string `json:"when,omitempty"`
	// What single tools, prompts, resources and methods need in addition. The most specific
	// rule counts: the exact name, then the pattern with more characters besides `*`, then
	// the method. The order of the rules does not matter.
	Rules []Rule `json:"rules,omitempty"`
	// What happens to an operation without a rule: `allow`, or `deny`. Initialize,
	// notifications, lists and tasks need no rule. Default: `allow`.
	Default string `json:"default,omitempty"`
	// Scopes that include other scopes.
	Implies map[string][]string `json:"implies,omitempty"`
	// What lists of tools, prompts and resources show: `show` leaves out what no scope could
	// open, `hide` leaves out everything that the principal may not use. Default: `show`.
	Lists string `json:"lists,omitempty"`
	// Which scopes a challenge names when the scope is too small: `needed` names all that
	// the request needs, `held` adds all others that the token has, for clients that replace
	// their scopes by those of the challenge. Default: `needed`.
	ChallengeScopes string `json:"challenge_scopes,omitempty"`
}

// Rule has the requirements for operations that match one of its patterns. In a pattern `*` stands
// for any text, also with slashes; every other character stands for itself. A rule needs at least
// one pattern. A rule without requirements allows what every request may do.
type Rule struct {
	// Names of tools.
	Tools []string `json:"tools,omitempty"`
	// Names of prompts.
	Prompts []string `json:"prompts,omitempty"`
	// URIs of resources and templates.
	Resources []string `json:"resources,omitempty"`
	// Methods of MCP, such as `logging/setLevel`.
	Methods []string `json:"methods,omitempty"`
	// Scopes that the operation needs, all of them.
	Scopes []string `json:"scopes,omitempty"`
	// Claims that the operation needs, all of them.
	Claims []Claim `json:"claims,omitempty"`
	// A CEL expression that has to be true. See the `when` of all requests.
	When string `json:"when,omitempty"`
	// Refuse the operation. With `when` only if the expression is true, or if it fails; if
	// it is false, the next rule decides.
	Deny bool `json:"deny,omitempty"`
}

// Claim is a claim of the token that has one of some values.
type Claim struct {
	// The name of the claim. If there is no such claim, dots lead into objects, as in
	// `realm_access.roles`.
	Name string `json:"name,omitempty"`
	// The values, of which the claim must equal one. If the claim is a list, the list must have one
	// of them.
	Values []string `json:"values,omitempty"`
}
