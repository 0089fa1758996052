package cors

import (
	"io"
	"net/http"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// Names of header fields, in the form that http.Header has them.
const (
	accessControl  = "Access-Control-"
	allowOrigin    = accessControl + "Allow-Origin"
	allowMethods   = accessControl + "Allow-Methods"
	allowHeaders   = accessControl + "Allow-Headers"
	allowPrivate   = accessControl + "Allow-Private-Network"
	exposeHeaders  = accessControl + "Expose-Headers"
	maxAgeSeconds  = accessControl + "Max-Age"
	requestMethod  = accessControl + "Request-Method"
	requestHeaders = accessControl + "Request-Headers"

	requestPrivateNetwork = accessControl + "Request-Private-Network"
)

// SetHeaders sets Access-Control-Allow-Origin and Access-Control-Expose-Headers for an
// allowed origin, in place of existing ones. If every origin is allowed the value is "*".
// For a text that is not an origin it sets nothing.
//
// The values get an array of their own for each response, because servers edit header values
// in place.
func (p *Policy) SetHeaders(h http.Header, from string) {
	if p.all {
		from = "*"
	} else if !p.exact[from] {
		o, err := origin.ParseTuple(from)
		if err != nil {
			return
		}
		from = o.String()
	}
	values := []string{from, p.exposeHeaders}
	h[allowOrigin] = values[0:1:1]
	h[exposeHeaders] = values[1:2:2]
}

// SetVary adds Origin to the Vary field of h, once. Every response of an endpoint
// needs it, also those to requests without Origin: a cache must not give them to a
// page (Fetch standard, "CORS protocol and HTTP caches").
func SetVary(h http.Header) {
	lines := h["Vary"]
	for _, line := range lines {
		if hasElement(line, "Origin") {
			return
		}
	}
	h["Vary"] = append(lines[:len(lines):len(lines)], "Origin")
}

// Drop removes the upstream's CORS headers from h: every Access-Control-* field, and
// the element Origin of Vary.
func Drop(h http.Header) {
	dropAccessControl(h)
	dropVaryOrigin(h)
}

func dropAccessControl(h http.Header) {
	for name := range h {
		if len(name) >= len(accessControl) && strings.EqualFold(name[:len(accessControl)], accessControl) {
			delete(h, name)
		}
	}
}

func dropVaryOrigin(h http.Header) {
	lines := h["Vary"]
	for i, line := range lines {
		if !hasElement(line, "Origin") {
			continue
		}
		kept := append([]string(nil), lines[:i]...)
		for _, line := range lines[i:] {
			if line = withoutElement(line, "Origin"); line != "" {
				kept = append(kept, line)
			}
		}
		if len(kept) == 0 {
			delete(h, "Vary")
		} else {
			h["Vary"] = kept
		}
		return
	}
}

// hasElement reports whether a list (RFC 9110 section 5.6.1) has an element, in
// any case.
func hasElement(list, element string) bool {
	for more := true; more; {
		var e string
		e, list, more = strings.Cut(list, ",")
		if strings.EqualFold(trimOWS(e), element) {
			return true
		}
	}
	return false
}

// withoutElement returns a list without an element and without empty elements. A
// list that does not have the element is returned as it is.
func withoutElement(list, element string) string {
	if !hasElement(list, element) {
		return list
	}
	var b strings.Builder
	for e := range strings.SplitSeq(list, ",") {
		e = trimOWS(e)
		if e == "" || strings.EqualFold(e, element) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(e)
	}
	return b.String()
}

// trimOWS trims optional whitespace (RFC 9110 section 5.6.3).
func trimOWS(s string) string { return strings.Trim(s, " \t") }

// refusal is a JSON-RPC error response without an id, as the transport section
// of the MCP specification (2025-11-25 and later) has it for an Origin that is
// not valid. The code is that of the MCP SDKs: a server error of JSON-RPC 2.0
// section 5.1. It repeats nothing that the request said.
const refusal = `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Forbidden: the origin of this request is not allowed"}}` + "\n"

// IsRefusal reports whether a body is that of [Refuse].
func IsRefusal(body []byte) bool { return string(body) == refusal }

// Refuse answers a request that [Policy.Decide] refused: 403 with a JSON-RPC
// error, and no Access-Control-* field, so that the page learns nothing.
func Refuse(w http.ResponseWriter) {
	h := w.Header()
	dropAccessControl(h)
	SetVary(h)
	h["Content-Type"] = []string{"application/json"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(w, refusal)
}
