package main

import "strings"

// What the configurations and the requests agree on.
const (
	origin      = "https://app.example.com"
	publicHost  = "mcp.example.com"
	endpoint    = "/mcp"
	wellKnown   = "/.well-known/oauth-protected-resource" + endpoint
	metadataURL = "http://" + publicHost + wellKnown
)

// The configurations, in the order of the table.
const (
	plain = iota
	byHand
	bridge
	last // only with -hosts

	maxConfigurations
)

// configuration is one way to put an MCP server behind Caddy.
type configuration struct {
	name string
	site string // what stands in the site's block
	// beside are further sites.
	beside string
}

// comparisons are the ratios in the table, each of one configuration to another.
var comparisons = [3][2]int{{byHand, plain}, {bridge, plain}, {bridge, byHand}}

var configurations = []configuration{
	plain: {name: "plain", site: `
	reverse_proxy {upstream}
`},
	byHand: {name: "headers", site: `
	@preflight {
		method OPTIONS
		header Origin {origin}
		header Access-Control-Request-Method *
	}
	handle @preflight {
		header Access-Control-Allow-Origin {origin}
		header Access-Control-Allow-Methods "GET, POST, DELETE"
		header Access-Control-Allow-Headers "Authorization, Content-Type, Accept, Last-Event-ID, MCP-Protocol-Version, Mcp-Session-Id"
		header Access-Control-Max-Age 7200
		header Vary "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
		respond 204
	}
	handle {wellknown} {
		header Access-Control-Allow-Origin *
		header Content-Type application/json
		respond ` + "`{metadata}`" + `
	}
	handle {
		@cors header Origin {origin}
		header @cors Access-Control-Allow-Origin {origin}
		header @cors Access-Control-Expose-Headers "WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version"
		header +Vary Origin
		reverse_proxy {upstream} {
			header_down -Access-Control-*
			header_down WWW-Authenticate ` + "`resource_metadata=\"[^\"]*\"` `resource_metadata=\"{metadataurl}\"`" + `
		}
	}
`},
	bridge: {name: "bridge", site: `
	mcp_auth_bridge {endpoint} {upstream} {
		cors {
			allow_origins {origin}
		}
	}
`},
}

// setForwarding sets who passes answers on, in the bridge.
func setForwarding(value string) {
	c := &configurations[bridge]
	c.site = strings.Replace(c.site, "{upstream} {", "{upstream} {\n\t\tforwarding "+value, 1)
}

// compareBuilds makes the second configuration the same as the third, to be run by another
// build.
func compareBuilds() {
	configurations[byHand] = configuration{name: "before", site: configurations[bridge].site}
	for _, tc := range measured {
		tc.needs[byHand] = tc.needs[bridge]
	}
}

// caddyfile returns the configuration with its addresses. Access logs are off
// by default.
func (c configuration) caddyfile(admin, listen, upstream string) string {
	_, port, _ := strings.Cut(listen, ":")
	return strings.NewReplacer(
		"{upstream}", "http://"+upstream,
		"{origin}", origin,
		"{wellknown}", wellKnown,
		"{metadata}", metadataDocument("http://"+publicHost),
		"{metadataurl}", metadataURL,
		"{endpoint}", endpoint,
	).Replace(`{
	admin ` + admin + `
	persist_config off
	auto_https off
	log {
		level ERROR
	}
}
http://` + publicHost + `:` + port + ` {
	bind 127.0.0.1` + c.site + `}
` + strings.ReplaceAll(c.beside, "{port}", port))
}
