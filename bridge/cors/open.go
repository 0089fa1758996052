package cors

import (
	"net/http"
	"strings"
)

// The CORS headers of public resources. "*" does not include Authorization (Fetch
// standard, "CORS non-wildcard request-header name"), so it is listed as well.
const (
	openMethods = "GET, HEAD, POST, PUT, DELETE"
	openHeaders = "*, Authorization"
)

var openMaxAge = seconds(DefaultMaxAge)

// OpenHeaders makes the response of a public resource (metadata, and the
// endpoints of an authorization server that clients call) readable from every
// origin, all its headers included, without credentials.
func OpenHeaders(h http.Header) {
	values := []string{"*", "*"}
	h[allowOrigin] = values[0:1:1]
	h[exposeHeaders] = values[1:2:2]
}

// OpenPreflight answers the preflight of a public resource with 204. It allows every
// origin and every header that was asked for.
func OpenPreflight(w http.ResponseWriter, r *http.Request) {
	(*Policy)(nil).OpenPreflight(w, r)
}

// OpenPreflight is like the function [OpenPreflight]. If the policy allows pages of
// public sites to call the endpoint on a private network, it allows them to read the
// resource there as well. A nil policy does not.
func (p *Policy) OpenPreflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	OpenHeaders(h)
	// The names are listed as well, for browsers that do not support "*".
	var allowed strings.Builder
	allowed.WriteString(openHeaders)
	asked(r.Header, func(name string) {
		if name != "*" && !strings.EqualFold(name, "Authorization") {
			allowed.WriteString(", ")
			allowed.WriteString(name)
		}
	})
	h[allowMethods] = []string{openMethods}
	h[allowHeaders] = []string{allowed.String()}
	h[maxAgeSeconds] = []string{openMaxAge}
	p.setPrivateNetwork(h, r)
	vary := preflightVary
	if p != nil {
		vary = p.preflightVary
	}
	setPreflightVary(h, vary)
	w.WriteHeader(http.StatusNoContent)
}
