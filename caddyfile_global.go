package mcpauthbridge

import (
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
		return nil, d.Err("mcp_auth_bridge is given twice")
	}
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	dir := &directive{h: new(Handler), seen: make(map[string]bool)}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "cors", "limits":
			if err := dir.parseOption(d.NextSegment()); err != nil {
				return nil, err
			}
		default:
			return nil, d.Errf("unrecognized option %q of mcp_auth_bridge; global are cors and limits", d.Val())
		}
	}
	app := &App{CORS: dir.h.CORS, Limits: dir.h.Limits}
	return httpcaddyfile.App{Name: appID, Value: caddyconfig.JSON(app, nil)}, nil
}
