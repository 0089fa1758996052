package site

import (
	"crypto/tls"
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

func init() { caddy.RegisterModule(new(lastPolicy)) }

// Observer is an app that is told when the routes of all servers are provisioned.
type Observer interface {
	// RoutesProvisioned is called once, before the configuration is provisioned
	// completely. `caddy validate` and a reload fail with its error.
	RoutesProvisioned() error
}

// lastPolicyID is the name of the module, as a connection policy names it.
const lastPolicyID = "mcp_auth_bridge"

// Observe arranges that an app is called when the routes of all servers are provisioned. It must
// be called while the first handler of a configuration is provisioned.
//
// Places and guards are known only when all routes are provisioned, and Caddy calls no plugin at
// that time. The last part of a server that Caddy loads is the list of its connection policies, in
// their order. So Observe adds a policy to each server whose policies are still to be loaded. The
// policy removes itself again when it is loaded. The one of the last server calls the app.
func Observe(ctx caddy.Context, app string) error {
	current, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if current == nil {
		return nil // no server has the handler: the app is told nothing
	}
	module, err := ctx.App("http") // which is being provisioned
	if err != nil {
		return err
	}
	httpApp, ok := module.(*caddyhttp.App)
	if !ok {
		return nil
	}
	for _, server := range httpApp.Servers {
		if server == current || !isBegun(server) {
			server.TLSConnPolicies = append(server.TLSConnPolicies, &caddytls.ConnectionPolicy{
				MatchersRaw: caddy.ModuleMap{lastPolicyID: json.RawMessage(fmt.Sprintf(`{"app":%q}`, app))},
			})
		}
	}
	return nil
}

// isBegun reports whether Caddy has begun to provision a server; it gives it its name then.
func isBegun(server *caddyhttp.Server) bool { return server.Name() != "" }

// lastPolicy is the matcher of a connection policy that is there only while its server is
// provisioned.
type lastPolicy struct {
	App string `json:"app"`
}

// CaddyModule returns the Caddy module information.
func (*lastPolicy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.handshake_match." + lastPolicyID, New: func() caddy.Module { return new(lastPolicy) }}
}

// Provision takes the policy out of its server, and tells the app if that was the last one.
func (p *lastPolicy) Provision(ctx caddy.Context) error {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil || len(server.TLSConnPolicies) == 0 {
		return fmt.Errorf("tls.handshake_match.%s is not for configurations; remove it", lastPolicyID)
	}
	server.TLSConnPolicies = server.TLSConnPolicies[:len(server.TLSConnPolicies)-1]
	if len(server.TLSConnPolicies) == 0 {
		server.TLSConnPolicies = nil
	}
	module, err := ctx.App("http")
	if err != nil {
		return err
	}
	httpApp, ok := module.(*caddyhttp.App)
	if !ok {
		return nil
	}
	for _, other := range httpApp.Servers {
		if !isBegun(other) {
			return nil
		}
	}
	observer, err := ctx.App(p.App)
	if err != nil {
		return err
	}
	if o, ok := observer.(Observer); ok {
		return o.RoutesProvisioned()
	}
	return nil
}

// Match implements [caddytls.ConnectionMatcher].
func (*lastPolicy) Match(*tls.ClientHelloInfo) bool { return false }

// Interface guards
var (
	_ caddy.Provisioner          = (*lastPolicy)(nil)
	_ caddytls.ConnectionMatcher = (*lastPolicy)(nil)
)
