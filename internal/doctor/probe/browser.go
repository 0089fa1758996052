package probe

import (
	"net/http"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// simpleFields are the header fields of an answer that every script can read (Fetch standard,
// CORS-safelisted response-header name).
var simpleFields = []string{"Cache-Control", "Content-Language", "Content-Length", "Content-Type", "Expires", "Last-Modified", "Pragma"}

// wantedFields are the header fields of an answer that MCP clients need.
var wantedFields = []string{"WWW-Authenticate", "Mcp-Session-Id", "DPoP-Nonce", "Retry-After"}

// List returns the items of a header field, in lower case.
func List(h http.Header, name string) []string {
	var items []string
	for _, line := range h.Values(name) {
		for item := range strings.SplitSeq(line, ",") {
			if item = strings.ToLower(strings.Trim(item, " \t")); item != "" {
				items = append(items, item)
			}
		}
	}
	return items
}

// WhyUnreadable returns why a page at an origin cannot read an answer, or "" if it can
// (Fetch standard, CORS check). It is about requests without cookies, as MCP clients
// send them.
func WhyUnreadable(origin string, h http.Header) string {
	switch values := h.Values("Access-Control-Allow-Origin"); {
	case len(values) == 0:
		return "there is no Access-Control-Allow-Origin"
	case len(values) > 1 || strings.Contains(values[0], ","):
		return "Access-Control-Allow-Origin has more than one value"
	case values[0] != "*" && values[0] != origin:
		return "Access-Control-Allow-Origin names another origin"
	}
	return ""
}

// reading returns what a script of a page can read of an answer.
func reading(origin string, h http.Header) *report.Reading {
	r := &report.Reading{Why: WhyUnreadable(origin, h)}
	r.Allowed = r.Why == ""
	exposed := List(h, "Access-Control-Expose-Headers")
	can := func(name string) bool {
		return r.Allowed && (slices.Contains(exposed, "*") || slices.Contains(exposed, strings.ToLower(name)))
	}
	for _, name := range simpleFields {
		if r.Allowed && h.Get(name) != "" {
			r.Headers = append(r.Headers, name)
		}
	}
	for _, name := range wantedFields {
		switch {
		case h.Get(name) == "":
		case can(name):
			r.Headers = append(r.Headers, name)
		default:
			r.Hidden = append(r.Hidden, name)
		}
	}
	return r
}

// ClientFields are the request header fields of MCP clients that a browser needs
// permission for.
var ClientFields = []string{"authorization", "content-type", "mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name", "last-event-id"}

// safelisted are the request header fields that a browser sends without permission (Fetch
// standard, CORS-safelisted request-header).
var safelisted = []string{"accept", "accept-language", "content-language"}

// AskedFields returns the names that a browser sends in Access-Control-Request-Headers:
// the fields of every client, and those of the caller that a page can set. They are
// sorted, as browsers sort them.
func AskedFields(more http.Header) []string {
	names := slices.Clone(ClientFields[:3])
	for name := range more {
		if name = strings.ToLower(name); cors.PageMaySet(name) && !slices.Contains(safelisted, name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// RefusedFields returns those of the fields that the answer to a preflight does not
// allow. The wildcard does not include Authorization (Fetch standard, CORS
// non-wildcard request-header name).
func RefusedFields(h http.Header, fields []string) []string {
	allowed := List(h, "Access-Control-Allow-Headers")
	var refused []string
	for _, name := range fields {
		if slices.Contains(allowed, name) || name != "authorization" && slices.Contains(allowed, "*") {
			continue
		}
		refused = append(refused, name)
	}
	return refused
}
