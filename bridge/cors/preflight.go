package cors

import (
	"net/http"
	"slices"
	"strings"
)

// The fixed part of the answer to a preflight.
const (
	endpointMethods = "GET, POST, DELETE"
	preflightVary   = "Origin, " + requestMethod + ", " + requestHeaders
)

// paramPrefix begins the names of headers that carry the arguments of a tool (MCP
// specification 2026-07-28). The schema of the tool defines the rest of the name.
const paramPrefix = "Mcp-Param-"

// Limits of Access-Control-Request-Headers. Names beyond them are not allowed, so
// the browser does not send the request.
const (
	maxAsked     = 16 << 10 // bytes that are read, all field lines together
	maxReflected = 128      // names that are repeated
	maxName      = 256      // bytes of a name that is repeated
)

// IsPreflight reports whether r is a CORS preflight (Fetch standard, "CORS preflight
// request"): OPTIONS with Origin and Access-Control-Request-Method. Any other OPTIONS is
// passed to the endpoint.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header["Origin"]) > 0 && len(r.Header[requestMethod]) > 0
}

// Preflight answers the preflight of an allowed origin: 204 with what the endpoint allows.
// The browser compares that with what it asked for.
func (p *Policy) Preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if origins := r.Header["Origin"]; len(origins) == 1 {
		p.SetHeaders(h, origins[0])
	}
	var params strings.Builder
	asked(r.Header, func(name string) {
		if isParam(name) {
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

// isParam reports whether a header carries an argument of a tool.
func isParam(name string) bool {
	return len(name) > len(paramPrefix) && strings.EqualFold(name[:len(paramPrefix)], paramPrefix)
}

// Want is a kind of thing that a preflight asks for.
type Want uint8

// The kinds.
const (
	// WantHeader is a request header of a name of its own.
	WantHeader Want = iota
	// WantMethod is a method.
	WantMethod
	// WantPrivateNetwork is a call from a page of a public site to a private network.
	WantPrivateNetwork
)

// Denied is something that a preflight asked for and the policy does not allow. The browser
// then does not send the request, and does not say why.
type Denied struct {
	Want Want
	Name string // of the header, as http.Header has it, or of the method
}

// maxDenied bounds how many things [Policy.Denied] returns for one preflight.
const maxDenied = 16

// Denied returns what the preflight of an allowed origin asked for and does not get, each
// once and at most 16.
func (p *Policy) Denied(h http.Header) (all []Denied) {
	add := func(d Denied) {
		if len(all) < maxDenied && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	asked(h, func(name string) {
		if !p.allowed[strings.ToLower(name)] && !isParam(name) {
			add(Denied{WantHeader, http.CanonicalHeaderKey(name)})
		}
	})
	if method := h.Get(requestMethod); !allowsMethod(method) && len(method) <= maxName && isToken(method) {
		add(Denied{WantMethod, method})
	}
	if !p.privateNetwork && h.Get(requestPrivateNetwork) == "true" {
		add(Denied{Want: WantPrivateNetwork})
	}
	return all
}

// allowsMethod reports whether browsers send a request with a method: the allowed ones,
// and those that need not be allowed (Fetch standard, "CORS-safelisted method").
func allowsMethod(method string) bool {
	return method == http.MethodHead || hasElement(endpointMethods, method)
}

// setPrivateNetwork answers a request for Private Network Access. A nil policy allows
// nothing.
func (p *Policy) setPrivateNetwork(h http.Header, r *http.Request) {
	if p != nil && p.privateNetwork && r.Header.Get(requestPrivateNetwork) == "true" {
		h[allowPrivate] = []string{"true"}
	}
}

// setPreflightVary adds a list that begins with Origin to Vary.
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
