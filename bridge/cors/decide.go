package cors

// Request is what a decision depends on. The zero value is a request of no
// browser, which passes.
type Request struct {
	// Origin is the value of the Origin field, "" where there is none. A
	// field that is there but empty is given as "null"; more than one field
	// line as the lines joined with a space, which is no origin.
	Origin string
	// PublicOrigin is the origin of the endpoint's public URL for this
	// request, in normal form: "https://mcp.example.com". "" where the request
	// names no usable host.
	PublicOrigin string
	// HostConfigured says that the Host that the request named is the host of
	// the configured public URL or one of the configured hosts. It must not be
	// set because PublicOrigin is configured: the check against DNS rebinding
	// is about the name that the browser used.
	HostConfigured bool
	// OriginConfigured says that Origin is PublicOrigin with another of the
	// configured hosts in it.
	OriginConfigured bool
	// LoopbackHost says that the request's host is loopback ([Loopback]).
	LoopbackHost bool
	// IPOrLocalhost says that the request's host is an IP address or localhost
	// ([IPOrLocalhost]).
	IPOrLocalhost bool
	// LoopbackLocal says that the connection arrived at a loopback address.
	LoopbackLocal bool
	// TrustedProxy says that the request came through a trusted proxy.
	TrustedProxy bool
	// SecFetchSite is the value of Sec-Fetch-Site, "" where there is none.
	SecFetchSite string
}

// Decision is what becomes of a request.
type Decision uint8

// The decisions.
const (
	// Refused is the zero value: the request is answered with [Refuse].
	Refused Decision = iota
	// Pass lets a request without Origin go on, without CORS headers.
	Pass
	// Allow lets the request go on, with [Policy.SetHeaders], or answers it
	// with [Policy.Preflight].
	Allow
)

// rebound reports whether the request may be the work of DNS rebinding: a
// foreign name that was made to point to this machine. Under it any page is of
// the same origin, so same-origin counts for nothing.
func (r *Request) rebound() bool {
	return r.LoopbackLocal && !r.LoopbackHost && !r.HostConfigured && !r.TrustedProxy
}

// Lists reports whether the policy names the origin itself, as it is written.
// Such an origin is allowed whatever else the request says, so that nothing
// else has to be found out for [Policy.Decide].
func (p *Policy) Lists(origin string) bool { return len(origin) <= maxOrigin && p.exact[origin] }

// Decide says whether the policy lets a request through. It does not allocate
// for an origin in normal form, which is what browsers send.
func (p *Policy) Decide(r Request) Decision {
	if r.Origin == "" {
		// Browsers send no Origin with a same-origin GET.
		if r.SecFetchSite != "" && r.rebound() {
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
	if len(r.Origin) > maxOrigin {
		return false
	}
	if p.exact[r.Origin] {
		return true
	}
	if p.all && opaque(r.Origin) {
		return true
	}
	o, err := ParseOrigin(r.Origin)
	if err != nil {
		return false
	}
	if p.all || p.exact[o.text] {
		return true
	}
	for _, pattern := range p.patterns {
		if pattern.match(o) {
			return true
		}
	}
	if !p.listed && r.LoopbackHost && o.loopback() {
		return true
	}
	if !p.listed && r.OriginConfigured && r.HostConfigured {
		return true
	}
	return o.text == r.PublicOrigin && (r.HostConfigured || r.IPOrLocalhost) && !r.rebound()
}

// opaque reports whether an Origin field names no origin in particular:
// sandboxed frames and local files, the latter in some web views as file://.
func opaque(origin string) bool { return origin == "null" || origin == "file://" }
