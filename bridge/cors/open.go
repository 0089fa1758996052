package cors

import (
	"net/http"
	"strings"
)

// What public resources are answered. "*" covers no Authorization (Fetch
// standard, "CORS non-wildcard request-header name"), so that it is named.
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

// OpenPreflight answers the preflight of a public resource: 204, every origin,
// every header that was asked for.
func OpenPreflight(w http.ResponseWriter, r *http.Request) {
	(*Policy)(nil).OpenPreflight(w, r)
}

// OpenPreflight is the function of that name, and besides allows pages of
// public sites to read the resource on a private network where the policy does
// so for the endpoint. A nil policy does not.
func (p *Policy) OpenPreflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	OpenHeaders(h)
	// Names are repeated besides, for browsers that do not know "*".
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
