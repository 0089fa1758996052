package cors

import "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"

// Request is what a decision depends on. The zero value is a request that does not come from
// a browser. It passes.
type Request struct {
	// Origin is the value of the Origin field, or "" if there is none. For a field that is
	// there but empty it is "null". For more than one field line it is the lines joined with
	// a space, which is not a valid origin.
	Origin string
	// PublicOrigin is the origin of the endpoint's public URL for this request, in normal
	// form: "https://mcp.example.com". It is "" if the request names no usable host.
	PublicOrigin string
	// HostConfigured says that the Host in the request is the host of the configured public
	// URL or one of the configured hosts. It must not be set only because PublicOrigin is
	// configured: the check against DNS rebinding looks at the name that the browser used.
	HostConfigured bool
	// OriginConfigured says that Origin is PublicOrigin with another of the configured
	// hosts.
	OriginConfigured bool
	// LoopbackHost says that the request's host is loopback ([origin.IsLoopback]).
	LoopbackHost bool
	// IPOrLocalhost says that the request's host is an IP address or localhost
	// ([origin.IsIPOrLocalhost]).
	IPOrLocalhost bool
	// LoopbackLocal says that the connection arrived at a loopback address.
	LoopbackLocal bool
	// TrustedProxy says that the request came through a trusted proxy.
	TrustedProxy bool
	// SecFetchSite is the value of Sec-Fetch-Site, or "" if there is none.
	SecFetchSite string
	// Navigation says that a browser opens the URL as a page in a window or tab.
	Navigation bool
	// Browser says that the User-Agent is that of a browser. In Chromium scripts cannot
	// change it.
	Browser bool
}

// Decision says how to answer a request.
type Decision uint8

// The decisions.
const (
	// Refused is the zero value: the request is answered with [Refuse].
	Refused Decision = iota
	// Pass lets a request without Origin through, without CORS headers.
	Pass
	// Allow lets the request through, with [Policy.SetHeaders], or answers it
	// with [Policy.Preflight].
	Allow
)

// rebound reports whether the request may come from DNS rebinding: a foreign name
// that was changed to point to this machine. Pages under that name are of the same
// origin as the endpoint, so same-origin is no reason to allow them. An IP address
// cannot be rebound.
func (r *Request) rebound() bool {
	return r.LoopbackLocal && !r.LoopbackHost && !r.IPOrLocalhost && !r.HostConfigured && !r.TrustedProxy
}

// ForeignPage reports whether a page of another site made the browser send a request
// without Origin, for an image, a script or a frame. MCP clients send no such requests.
func (r *Request) ForeignPage() bool {
	return r.Origin == "" && r.SecFetchSite == "cross-site" && !r.Navigation
}

// Lists reports whether the policy lists the origin exactly as it is written. Such an
// origin is always allowed, so the caller need not gather a [Request].
func (p *Policy) Lists(o string) bool { return len(o) <= origin.MaxTuple && p.exact[o] }

// Decide says whether the policy allows a request. It does not allocate for an origin in
// normal form, which is what browsers send.
func (p *Policy) Decide(r Request) Decision {
	if r.Origin == "" {
		// Browsers send no Origin with a same-origin GET. To a rebound name they send no
		// Sec-Fetch-Site either, because its URL is not trustworthy.
		if r.ForeignPage() || (r.Browser || r.SecFetchSite != "") && r.rebound() {
			return Refused
		}
		return Pass
	}
	if p.allows(&r) {
		return Allow
	}
	return Refused
}

func (p *Policy) allows(r *Request) bool {
	if len(r.Origin) > origin.MaxTuple {
		return false
	}
	if p.exact[r.Origin] {
		return true
	}
	if p.all && opaque(r.Origin) {
		return true
	}
	o, err := origin.ParseTuple(r.Origin)
	if err != nil {
		return false
	}
	if p.all || p.exact[o.String()] {
		return true
	}
	for _, pattern := range p.patterns {
		if pattern.match(o) {
			return true
		}
	}
	if !p.listed && r.LoopbackHost && o.Loopback() {
		return true
	}
	if !p.listed && r.OriginConfigured && r.HostConfigured {
		return true
	}
	return o.String() == r.PublicOrigin && (r.HostConfigured || r.IPOrLocalhost) && !r.rebound()
}

// opaque reports whether an Origin field names no particular origin: sandboxed frames and
// local files, which some web views send as file://.
func opaque(o string) bool { return o == "null" || o == "file://" }
