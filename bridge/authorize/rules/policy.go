package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

// maxRules bounds the rules of a policy.
const maxRules = 1000

// offlineAccess is never asked for in a challenge (MCP specification 2026-07-28,
// "Authorization"): clients add it themselves.
const offlineAccess = "offline_access"

// Policy is a compiled configuration. It is not changed after [New].
type Policy struct {
	base  *rule
	all   []*rule
	names map[operation.Target]*views
	// methods has the rules of methods, which have one form.
	methods   table
	hierarchy principal.Hierarchy
	denyRest  bool // default deny
	hide      bool // lists hide
	askHeld   bool // challenge_scopes held
	noTasks   bool // see WithoutTaskLists
}

// WithoutTaskLists returns a policy that denies `tasks/list` unless a rule names the method. It is
// for an MCP server that does not know which principal asks, and would list the tasks of all.
func (p *Policy) WithoutTaskLists() *Policy {
	other := *p
	other.noTasks = true
	return &other
}

// views has the rules of one target in three tables. sent has the patterns as they are written.
// forms has them for the forms of a URI. alike has them folded, for names and files that a server
// may take for each other.
type views struct{ sent, forms, alike table }

// rule is a compiled rule.
type rule struct {
	text   string // as the operator may recognize it
	scopes principal.Scopes
	claims []claim
	when   *expression // nil without one
	deny   bool
}

// New compiles a configuration. The error has a line for each fault.
func New(c Config) (*Policy, error) {
	p := &Policy{names: make(map[operation.Target]*views)}
	for _, target := range []operation.Target{operation.Tool, operation.Prompt, operation.Resource} {
		p.names[target] = &views{forms: table{many: true}, alike: table{many: true}}
	}
	var errs []error
	fail := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	p.hierarchy, err = principal.NewHierarchy(c.Implies)
	fail(err)
	p.base, err = compile(ruleBase, Rule{Scopes: c.Scopes, Claims: c.Claims, When: c.When})
	fail(err)
	for _, one := range []struct {
		option, value, first, second string
		set                          *bool
	}{
		{"default", c.Default, "allow", "deny", &p.denyRest},
		{"lists", c.Lists, "show", "hide", &p.hide},
		{"challenge_scopes", c.ChallengeScopes, "needed", "held", &p.askHeld},
	} {
		switch one.value {
		case "", one.first:
		case one.second:
			*one.set = true
		default:
			fail(fmt.Errorf("%s: unknown value %q: write %s or %s", one.option, one.value, one.first, one.second))
		}
	}
	if len(c.Rules) > maxRules {
		fail(fmt.Errorf("rules: there are %d: write at most %d, with patterns", len(c.Rules), maxRules))
		return nil, errors.Join(errs...)
	}
	for _, r := range c.Rules {
		fail(p.add(r))
	}
	p.methods.sort()
	for _, v := range p.names {
		v.sent.sort()
		v.forms.sort()
		v.alike.sort()
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

// add adds a rule.
func (p *Policy) add(from Rule) error {
	text := describe(from)
	if text == "" {
		return errors.New("rule without a pattern: name tools, prompts, resources or methods")
	}
	r, err := compile(text, from)
	if err != nil {
		return err
	}
	p.all = append(p.all, r)
	for _, one := range []struct {
		target   operation.Target
		patterns []string
	}{{operation.Tool, from.Tools}, {operation.Prompt, from.Prompts}, {operation.Resource, from.Resources}} {
		v := p.names[one.target]
		for _, pattern := range one.patterns {
			if err := v.sent.add(pattern, r); err != nil {
				return fmt.Errorf("%s: %w", text, err)
			}
			if one.target != operation.Resource {
				v.alike.addAll(r, foldPattern(pattern))
				continue
			}
			forms, alike := uriPattern(pattern)
			v.forms.addAll(r, forms...)
			v.alike.addAll(r, alike...)
		}
	}
	for _, pattern := range from.Methods {
		if err := p.methods.add(pattern, r); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

// describe writes a rule's patterns as in a Caddyfile.
func describe(r Rule) string {
	var parts []string
	for _, one := range []struct {
		option   string
		patterns []string
	}{{"tools", r.Tools}, {"prompts", r.Prompts}, {"resources", r.Resources}, {"methods", r.Methods}} {
		if len(one.patterns) > 0 {
			parts = append(parts, one.option+" "+strings.Join(one.patterns, " "))
		}
	}
	return strings.Join(parts, ", ")
}

// compile compiles a rule without its patterns.
func compile(text string, from Rule) (*rule, error) {
	r := &rule{text: text, deny: from.Deny, scopes: principal.NewScopes(from.Scopes...)}
	at := text + ": "
	if text == ruleBase { // whose options are not inside of another
		at = ""
	}
	if from.Deny && (len(from.Scopes) > 0 || len(from.Claims) > 0) {
		return nil, fmt.Errorf("%sdeny excludes scope and claim, which allow: remove deny to require them, or write the condition of deny in when", at)
	}
	for _, scope := range from.Scopes {
		if !principal.IsScope(scope) {
			return nil, fmt.Errorf("%sscope %q: write scopes one by one, without quotes and backslashes", at, scope)
		}
		if scope == offlineAccess {
			return nil, fmt.Errorf("%sscope %q: remove it, because a challenge must not ask for it", at, scope)
		}
	}
	for _, c := range from.Claims {
		if c.Name == "" || len(c.Values) == 0 {
			return nil, fmt.Errorf("%sclaim %q without a name or a value: write claim NAME VALUE, with one value or more", at, c.Name)
		}
		r.claims = append(r.claims, newClaim(c))
	}
	if from.When != "" {
		var err error
		if r.when, err = newExpression(from.When); err != nil {
			return nil, fmt.Errorf("%swhen %q: %w", at, from.When, err)
		}
	}
	return r, nil
}

// BaseScopes returns the scopes that every request needs: those of the challenge to a request
// without credentials.
func (p *Policy) BaseScopes() principal.Scopes { return slices.Clone(p.base.scopes) }

// Scopes returns all scopes that rules name, those of every request first.
func (p *Policy) Scopes() principal.Scopes {
	all := p.BaseScopes()
	for _, r := range p.all {
		all = all.With(r.scopes...)
	}
	return all
}
