package authserver

import (
	"maps"
	"net/http"
	"strings"
)

// forwarding are the fields in which a proxy names the original path, prefix, host or scheme of
// a request. A server that trusts them uses them in its links and redirects. Names are in lower
// case, with hyphens. All names that begin with x-forwarded- or x-original- count too.
var forwarding = map[string]bool{
	"forwarded": true, "x-forwarded": true, "x-host": true, "x-http-host-override": true, "x-backend-host": true,
	"x-scheme": true, "x-url-scheme": true, "front-end-https": true, "x-script-name": true, "x-base-path": true, "base-url": true,
	"x-rewrite-url": true, "x-rewrite-uri": true, "x-replaced-path": true, "x-ingress-path": true, "x-envoy-original-path": true,
	"x-envoy-original-host": true, "x-http-destinationurl": true, "x-proxy-url": true, "proxy-url": true, "request-uri": true,
}

// rewritten are the fields that reverse_proxy sets itself, or keeps if a trusted proxy has set
// them.
var rewritten = map[string]bool{"X-Forwarded-For": true, "X-Forwarded-Proto": true, "X-Forwarded-Host": true}

// namesUser are fields with such names that identify the user of a request. An authenticating
// proxy in front sets them.
var namesUser = map[string]bool{
	"x-forwarded-user": true, "x-forwarded-email": true, "x-forwarded-groups": true, "x-forwarded-preferred-username": true, "x-forwarded-access-token": true,
}

// isForwarding reports whether a field, in canonical form, is a forwarding field. Servers that
// pass fields in environment variables do not distinguish an underscore from a hyphen.
func isForwarding(name string) bool {
	if rewritten[name] {
		return false
	}
	if namesUser[strings.ToLower(name)] {
		return false
	}
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return forwarding[name] || strings.HasPrefix(name, "x-original-") || strings.HasPrefix(name, "x-forwarded-")
}

// WithoutForwarding returns a request without the forwarding fields that a client may have
// sent. An authorization server that trusts them would lead browsers to pages that the client
// chooses.
func WithoutForwarding(r *http.Request) *http.Request {
	for name := range r.Header {
		if isForwarding(name) {
			without := *r
			without.Header = maps.Clone(r.Header)
			maps.DeleteFunc(without.Header, func(name string, _ []string) bool { return isForwarding(name) })
			return &without
		}
	}
	return r
}
