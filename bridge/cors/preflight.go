package cors

import (
	"net/http"
	"strings"
)

// What a preflight is answered, whoever asks.
const (
	endpointMethods = "GET, POST, DELETE"
	preflightVary   = "Origin, " + requestMethod + ", " + requestHeaders
)

// paramPrefix begins the names of headers that carry the arguments of a tool
// (MCP specification 2026-07-28); only the tool's schema says which there are.
const paramPrefix = "Mcp-Param-"

// Limits of Access-Control-Request-Headers. What lies beyond them is not
// allowed, and the browser does not send the request.
const (
	maxAsked     = 16 << 10 // bytes that are read, all field lines together
	maxReflected = 128      // names that are repeated
	maxName      = 256      // bytes of a name that is repeated
)

// IsPreflight reports whether r is a CORS preflight (Fetch standard, "CORS
// preflight request"): OPTIONS with Origin and Access-Control-Request-Method.
// Any other OPTIONS is the endpoint's own business.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header["Origin"]) > 0 && len(r.Header[requestMethod]) > 0
}

// Preflight answers a preflight of an allowed origin: 204 with what the
// endpoint allows. Whether that covers what was asked for is for the browser to
// see.
func (p *Policy) Preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if origins := r.Header["Origin"]; len(origins) == 1 {
		p.SetHeaders(h, origins[0])
	}
	var params strings.Builder
	asked(r.Header, func(name string) {
		if len(name) > len(paramPrefix) && strings.EqualFold(name[:len(paramPrefix)], paramPrefix) {
			params.WriteString(", ")
			params.WriteString(name)
		}
	})
	h[allowMethods] = []string{endpointMethods}
	h[allowHeaders] = []string{p.allowHeaders + params.String()}
	h[maxAgeSeconds] = []string{p.maxAge}
	p.setPrivateNetwork(h, r)
	setPreflightVary(h, p.preflightVary)
	w.WriteHeader(http.StatusNoContent)
}

// setPrivateNetwork answers the question of a browser that follows Private
// Network Access. A nil policy has nothing configured.
func (p *Policy) setPrivateNetwork(h http.Header, r *http.Request) {
	if p != nil && p.privateNetwork && r.Header.Get(requestPrivateNetwork) == "true" {
		h[allowPrivate] = []string{"true"}
	}
}

// setPreflightVary puts a list that begins with Origin into Vary, beside what
// stands there already.
func setPreflightVary(h http.Header, list string) {
	dropVaryOrigin(h)
	lines := h["Vary"]
	h["Vary"] = append(lines[:len(lines):len(lines)], list)
}

// asked calls yield with the valid names of Access-Control-Request-Headers, up
// to the limits.
func asked(h http.Header, yield func(name string)) {
	bytes, names := 0, 0
	for _, line := range h[requestHeaders] {
		if bytes += len(line); bytes > maxAsked {
			return
		}
		for name := range strings.SplitSeq(line, ",") {
			if name = trimOWS(name); len(name) > maxName || !isToken(name) {
				continue
			}
			if names++; names > maxReflected {
				return
			}
			yield(name)
		}
	}
}
