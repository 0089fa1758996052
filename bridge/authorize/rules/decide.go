package rules

import (
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Reason says why an operation is allowed or refused. The set is closed: it is a label of
// metrics.
type Reason string

// The reasons of decisions.
const (
	Allowed         Reason = "allowed"
	Scope           Reason = "scope"            // a scope is missing; more scopes open the operation
	Denied          Reason = "denied"           // a rule denies
	ClaimMissing    Reason = "claim"            // a claim has none of the values
	ExpressionFalse Reason = "expression"       // an expression is false
	ExpressionError Reason = "expression_error" // an expression could not be evaluated
	NoRule          Reason = "no_rule"          // default deny
	SharedTasks     Reason = "shared_tasks"     // the MCP server cannot tell whose tasks to list
	AmbiguousURI    Reason = "ambiguous_uri"    // a URI has no form that all readers agree on
)

// Decision says whether a request is allowed. If it is not, the status is 403.
type Decision struct {
	Allowed bool
	Reason  Reason
	// Rule is the rule that decides, as it is written. `every request` is what every
	// request needs, and `default` is the rest.
	Rule string
	// Index is the place of the operation that decides, and Method and Name are its own.
	Index        int
	Method, Name string
	// Needed are the scopes that the whole request needs. If it is denied, they are those of
	// the operations before the denial.
	Needed principal.Scopes
	// Missing are those of Needed that the principal does not have, also not by implication.
	Missing principal.Scopes
	// Challenge are the scopes to ask for. It is nil unless more scopes would open the
	// request.
	Challenge principal.Scopes
	// Err is the error of an expression, for logs. It has nothing of the request.
	Err error
}

// Fixable reports whether more scopes would open the request.
func (d Decision) Fixable() bool { return d.Reason == Scope }

// The names in a decision that no rule for a tool, prompt, resource or method has made.
const (
	ruleBase    = "every request"
	ruleDefault = "default"
)

// Decide decides on a request. All its operations have to be allowed. A denial wins over a
// missing scope. A request without operations needs what every request needs.
func (p *Policy) Decide(who *principal.Principal, r operation.Request) Decision {
	e := p.evaluation(who)
	d := Decision{Allowed: true, Reason: Allowed}
	operations := r.Operations
	if len(operations) == 0 {
		operations = []operation.Operation{{}}
	}
	for i, op := range operations {
		v := e.judge(op)
		d.Needed = d.Needed.With(v.scopes...)
		if v.reason == Allowed {
			if d.Rule == "" {
				d.Rule, d.Index, d.Method, d.Name = v.rule, i, op.Method, op.FirstName()
			}
			continue
		}
		if d.Reason == Scope && v.reason == Scope {
			continue // the first one stays
		}
		d.Allowed, d.Reason, d.Err = false, v.reason, v.err
		d.Rule, d.Index, d.Method, d.Name = v.rule, i, op.Method, v.name
		if v.reason != Scope {
			break
		}
	}
	d.Missing = p.hierarchy.Missing(who.Scopes, d.Needed)
	if d.Reason == Scope {
		d.Challenge = p.challenge(who, d.Needed)
	}
	return d
}

// challenge returns the scopes to ask for, so that a token with these alone has all of
// needed.
func (p *Policy) challenge(who *principal.Principal, needed principal.Scopes) principal.Scopes {
	ask := p.hierarchy.Ask(who.Scopes, needed)
	if p.askHeld {
		ask = ask.With(who.Scopes...)
	}
	return slices.DeleteFunc(ask, func(s string) bool { return s == offlineAccess || !principal.IsScope(s) })
}

// verdict has the requirements for one operation, and whether the principal meets them.
type verdict struct {
	scopes principal.Scopes
	reason Reason
	rule   string
	name   string
	err    error
	// specific is true once a rule other than that of every request is in rule.
	specific bool
}

// deny notes a denial. The first one stays.
func (v *verdict) deny(reason Reason, rule, name string, err error) {
	if v.reason == Allowed || v.reason == Scope {
		v.reason, v.rule, v.name, v.err = reason, rule, name, err
	}
}

// judge decides on one operation.
func (e *evaluation) judge(op operation.Operation) verdict {
	v := verdict{reason: Allowed, rule: ruleBase, name: op.FirstName()}
	e.begin(op)
	if len(op.Names) == 0 {
		e.need(&v, e.policy.base, "")
		switch {
		case e.decide(&v, &e.policy.methods, op.Method, ""):
		case e.policy.noTasks && op.Method == "tasks/list":
			v.deny(SharedTasks, ruleDefault, "", nil)
		case e.policy.denyRest && !exempt(op):
			v.deny(NoRule, ruleDefault, "", nil)
		}
		return v
	}
	for _, name := range op.Names {
		e.judgeName(&v, op, name)
	}
	return v
}

// judgeName decides on one name of an operation: as it was sent, and in every form that a
// reader could take it for.
func (e *evaluation) judgeName(v *verdict, op operation.Operation, name operation.Name) {
	views := e.policy.names[name.Target]
	e.judgeForm(v, op, &views.sent, name.Text)
	named := len(views.sent.exact[name.Text]) > 0 // what a rule names exactly is taken for nothing else
	if name.Target != operation.Resource {
		if !named && !views.alike.empty() {
			e.decide(v, &views.alike, fold(name.Text), name.Text)
		}
		return
	}
	read, ok := readURI(name.Text)
	if !ok {
		v.deny(AmbiguousURI, ruleDefault, name.Text, nil)
	}
	for _, form := range read.forms {
		e.judgeForm(v, op, &views.forms, form)
	}
	if named || views.alike.empty() {
		return
	}
	for _, uri := range read.equal() {
		e.decide(v, &views.forms, uri, uri)
	}
	for _, file := range read.files() {
		e.decide(v, &views.alike, fold(file), name.Text)
	}
}

// judgeForm decides on one form of a name.
func (e *evaluation) judgeForm(v *verdict, op operation.Operation, t *table, name string) {
	e.need(v, e.policy.base, name)
	if !e.decide(v, t, name, name) && !e.decide(v, &e.policy.methods, op.Method, name) && e.policy.denyRest {
		v.deny(NoRule, ruleDefault, name, nil)
	}
}

// decide applies the most specific rules of a key in a table. It returns false if there are
// none.
func (e *evaluation) decide(v *verdict, t *table, key, name string) bool {
	for tier := range t.tiers(key, &e.tier) {
		found := false
		for _, r := range tier {
			if !r.deny {
				e.need(v, r, name)
				found = true
				continue
			}
			holds, err := e.condition(r, name, false)
			if holds || err != nil {
				reason := Denied
				if err != nil {
					reason = ExpressionError
				}
				v.deny(reason, r.text, name, err)
				found = true
			}
		}
		if found {
			return true
		}
	}
	return false
}

// need adds the requirements of a rule.
func (e *evaluation) need(v *verdict, r *rule, name string) {
	if len(r.scopes) > 0 && !e.ofList { // a list asks for none
		v.scopes = v.scopes.With(r.scopes...)
	}
	if r != e.policy.base && !v.specific && v.reason == Allowed {
		v.rule, v.specific = r.text, true
	}
	if v.reason == Allowed && !e.policy.hierarchy.Includes(e.who.Scopes, r.scopes) {
		v.reason, v.rule, v.name = Scope, r.text, name
	}
	for _, c := range r.claims {
		if !c.holds(e.who.Claims) {
			v.deny(ClaimMissing, r.text, name, nil)
			break
		}
	}
	holds, err := e.condition(r, name, true)
	switch {
	case err != nil:
		v.deny(ExpressionError, r.text, name, err)
	case !holds:
		v.deny(ExpressionFalse, r.text, name, nil)
	}
}

// exempt reports whether an operation that names nothing needs no rule under default deny.
func exempt(op operation.Operation) bool {
	if op.IsNotification() || op.Kind != message.Request && op.Kind != message.Notification {
		return true // also a response, and a request without a body
	}
	switch op.Method {
	case "initialize", "server/discover", "ping", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "subscriptions/listen":
		return true
	}
	return strings.HasPrefix(op.Method, "tasks/")
}
