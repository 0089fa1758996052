package doctor

import (
	"net/http"
	"slices"
	"strings"
)

// simpleFields are those of an answer that every script reads (Fetch standard,
// CORS-safelisted response-header name).
var simpleFields = []string{"Cache-Control", "Content-Language", "Content-Length", "Content-Type", "Expires", "Last-Modified", "Pragma"}

// wantedFields are those that MCP clients look for.
var wantedFields = []string{"WWW-Authenticate", "Mcp-Session-Id", "DPoP-Nonce", "Retry-After"}

// list reads a header field that is a list, in lower case.
func list(h http.Header, name string) []string {
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

// shared says why a page may not read an answer (Fetch standard, CORS check),
// or returns "". MCP clients send no cookies.
func shared(origin string, h http.Header) string {
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

// reading returns what a script of a page reads of an answer.
func reading(origin string, h http.Header) *Reading {
	r := &Reading{Why: shared(origin, h)}
	r.Allowed = r.Why == ""
	exposed := list(h, "Access-Control-Expose-Headers")
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

// hides reports whether a page cannot read a field that an answer has.
func (r *Reading) hides(name string) bool { return r != nil && slices.Contains(r.Hidden, name) }

// needed are the request fields of MCP clients that browsers ask for in a
// preflight.
var needed = []string{"authorization", "content-type", "mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name", "last-event-id"}

// refusedFields returns the fields that the answer to a preflight does not
// allow. The wildcard does not cover Authorization (Fetch standard, CORS
// non-wildcard request-header name).
func refusedFields(h http.Header, fields []string) []string {
	allowed := list(h, "Access-Control-Allow-Headers")
	var refused []string
	for _, name := range fields {
		if slices.Contains(allowed, name) || name != "authorization" && slices.Contains(allowed, "*") {
			continue
		}
		refused = append(refused, name)
	}
	return refused
}
