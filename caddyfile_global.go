package mcpauthbridge

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// parseGlobal reads the global option. Syntax:
//
//	mcp_auth_bridge {
//		cors   { ... }
//		limits { ... }
//	}
func parseGlobal(d *caddyfile.Dispenser, prev any) (any, error) {
	d.Next() // consume option name
	if prev != nil {
		return nil, d.Err("the global option mcp_auth_bridge is given twice; remove one of the two")
	}
	if d.NextArg() {
		return nil, d.Errf("the global option mcp_auth_bridge: takes a block with cors and limits, remove %q", d.Val())
	}
	dir := &directive{h: new(Handler), seen: make(map[string]bool)}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "cors", "limits":
			if err := dir.parseOption(d.NextSegment()); err != nil {
				return nil, err
			}
		default:
			return nil, errUnknownGlobal(d)
		}
	}
	app := &App{CORS: dir.h.CORS, Limits: dir.h.Limits}
	return httpcaddyfile.App{Name: appID, Value: caddyconfig.JSON(app, nil)}, nil
}

// errUnknownGlobal refuses an option that the global option does not have.
func errUnknownGlobal(d *caddyfile.Dispenser) error {
	const label = "the global option mcp_auth_bridge"
	name := d.Val()
	if slices.ContainsFunc(options, func(o topOption) bool { return o.name == name }) {
		return d.Errf("%s: %q is an option of an endpoint; move it to the block of mcp_auth_bridge in a site, the options here are cors, limits", label, name)
	}
	return errUnknownIn(d, label, name, []string{"cors", "limits"})
}
