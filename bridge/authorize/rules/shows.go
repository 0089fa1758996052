package rules

import (
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Viewer decides which items of one list a principal is shown.
type Viewer struct {
	e    *evaluation
	name [1]operation.Name // the item that is judged
}

// Viewer returns what decides on the items of one list.
func (p *Policy) Viewer(who *principal.Principal) *Viewer {
	e := p.evaluation(who)
	e.ofList = true
	return &Viewer{e: e}
}

// uses are the methods by which the items of lists are used.
var uses = map[operation.Target]string{
	operation.Tool: "tools/call", operation.Prompt: "prompts/get", operation.Resource: "resources/read",
}

// Shows reports whether the list has an item. Expressions over arguments hide nothing. If
// lists hide what needs another scope, only what may be used is shown. The reason is that of
// the decision.
func (v *Viewer) Shows(name operation.Name) (bool, Reason) {
	v.name[0] = name
	got := v.e.judge(operation.Operation{Kind: message.Request, Method: uses[name.Target], Names: v.name[:]})
	return got.reason == Allowed || got.reason == Scope && !v.e.policy.hide, got.reason
}
