package rules

import (
	"slices"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

// evaluation is the check of one request or one list. The values that expressions read are
// computed once, and the cost of all expressions is bounded.
type evaluation struct {
	policy *Policy
	who    *principal.Principal
	cost   uint64
	// ofList is true for the items of a list. Their arguments are not known yet, so expressions
	// over arguments hide nothing.
	ofList bool

	op        operation.Operation
	tier      []*rule // scratch of decide
	judged    []judgement
	principal map[string]any
	arguments map[string]any
	argsErr   error
	argsRead  bool
}

// judgement is the result of an expression for the operation that is judged, so that a rule
// that is found twice is evaluated once.
type judgement struct {
	of    *expression
	name  string
	holds bool
	err   error
}

func (p *Policy) evaluation(who *principal.Principal) *evaluation {
	return &evaluation{policy: p, who: who}
}

// begin starts with an operation.
func (e *evaluation) begin(op operation.Operation) {
	kept := e.judged[:0]
	if e.ofList && op.Method == e.op.Method { // items of a list differ in their names alone
		for _, j := range e.judged {
			if !j.of.usesName {
				kept = append(kept, j)
			}
		}
	}
	e.op, e.judged = op, kept
	e.arguments, e.argsErr, e.argsRead = nil, nil, false
}

// condition reports whether the condition of a rule holds. A rule without one holds.
// unknown is the result if the condition depends on arguments that are not known.
func (e *evaluation) condition(r *rule, name string, unknown bool) (bool, error) {
	x := r.when
	switch {
	case x == nil:
		return true, nil
	case e.ofList && x.usesArguments:
		return unknown, nil
	}
	if i := slices.IndexFunc(e.judged, func(j judgement) bool { return j.of == x && (j.name == name || !x.usesName) }); i >= 0 {
		return e.judged[i].holds, e.judged[i].err
	}
	if e.cost >= maxRequestCost {
		return false, errTooMuch
	}
	holds, cost, err := x.holds(&variables{
		principal: e.principalMap, method: e.op.Method, name: name, arguments: e.argumentMap,
	})
	e.cost += max(cost, 1)
	e.judged = append(e.judged, judgement{x, name, holds, err})
	return holds, err
}

// argumentMap returns the arguments of the operation.
func (e *evaluation) argumentMap() (map[string]any, error) {
	if !e.argsRead {
		e.argsRead = true
		e.arguments, e.argsErr = decodeArguments(e.op.Arguments)
	}
	return e.arguments, e.argsErr
}

// principalMap returns the principal as expressions see it. Its scopes have those that it
// holds by implication.
func (e *evaluation) principalMap() map[string]any {
	if e.principal == nil {
		claims := e.who.Claims
		if claims == nil {
			claims = map[string]any{}
		}
		e.principal = map[string]any{
			"kind":      string(e.who.Kind),
			"issuer":    e.who.Issuer,
			"subject":   e.who.Subject,
			"client_id": e.who.ClientID,
			"key":       e.who.KeyName,
			"scopes":    []string(e.policy.hierarchy.Expand(e.who.Scopes)),
			"claims":    claims,
		}
	}
	return e.principal
}
