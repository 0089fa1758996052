package bridge

import (
	"net"
	"net/http"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// OriginCheck is the result of the origin policy for a request.
type OriginCheck uint8

// The values.
const (
	// OriginPassed is a request that no browser has sent, or CORS is off.
	OriginPassed OriginCheck = iota
	// OriginNone is a request without Origin.
	OriginNone
	// OriginAllowed is a request whose answer gets CORS headers.
	OriginAllowed
	// OriginPreflight is a preflight of an allowed origin, which is answered.
	OriginPreflight
	// OriginRefused is a request of an origin that is not allowed, which is answered.
	OriginRefused
	// OriginForeignPage is a request that a page of another site caused without naming its
	// origin. It is answered as a refused one is.
	OriginForeignPage
)

// String returns the name that the log has.
func (c OriginCheck) String() string {
	return [...]string{"passed", "none", "allowed", "preflight", "refused", "refused"}[c]
}

// Admit applies the origin policy. It returns true if it has answered the request: a
// preflight, or one of an origin that is not allowed.
func (x *ClientRequest) Admit(w http.ResponseWriter) (answered bool) {
	policy := x.endpoint.cfg.CORS
	if policy == nil {
		return false
	}
	r, header := x.request, w.Header()
	cors.SetVary(header)
	origins, hasOrigin := r.Header["Origin"]
	site := r.Header.Get("Sec-Fetch-Site")
	if !hasOrigin && site == "" && !(isBrowser(r) && arrivedAtLoopback(r)) {
		x.Origin = OriginNone
		return false
	}
	decision, foreign := cors.Allow, false
	if len(origins) != 1 || !policy.Lists(origins[0]) {
		c := x.corsRequest(origins, site)
		decision, foreign = policy.Decide(c), c.ForeignPage()
	}
	switch decision {
	case cors.Pass:
		return false
	case cors.Allow:
		x.Origin = OriginAllowed
		if cors.IsPreflight(r) {
			x.Origin = OriginPreflight
			policy.Preflight(w, r)
			for _, denied := range policy.Denied(r.Header) {
				x.endpoint.notices.Report(noticeOfDenied(denied))
			}
			return true
		}
		policy.SetHeaders(header, origins[0])
		return false
	}
	x.Origin = OriginRefused
	if foreign {
		x.Origin = OriginForeignPage
		x.endpoint.notices.Report(noticeOfForeignPage)
	}
	cors.Refuse(w)
	return true
}

// isBrowser reports whether the User-Agent is that of a browser.
func isBrowser(r *http.Request) bool {
	agent := r.Header["User-Agent"]
	return len(agent) > 0 && strings.HasPrefix(agent[0], "Mozilla/")
}

// Navigates reports whether a browser opens the URL as a page, in a window or tab.
func Navigates(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// OriginText returns what the lines of Origin of a request say, as the origin policy reads them. It
// is empty only if there are none.
func OriginText(lines []string) string {
	text := strings.Join(lines, " ") // several are no origin
	if text == "" && len(lines) > 0 {
		return "null" // present but empty names no origin
	}
	return text
}

// corsRequest returns the facts that the origin policy depends on.
func (x *ClientRequest) corsRequest(origins []string, site string) cors.Request {
	r := x.request
	c := cors.Request{SecFetchSite: site, TrustedProxy: x.client.Trusted, Browser: isBrowser(r)}
	// An event stream starts a session, and is no page.
	c.Navigation = Navigates(r) && x.target != TargetLegacy
	c.Origin = OriginText(origins)
	// The policy checks the host that the request names, even if public_url names another one. The
	// origin of public_url is always allowed.
	if x.endpoint.find(&x.client, &x.origin); x.origin.ok {
		hosts, host := &x.endpoint.cfg.Site, x.origin.host
		c.PublicOrigin, c.HostConfigured = x.origin.origin, hosts.has(host)
		c.OriginConfigured = hosts.isSibling(c.Origin, c.PublicOrigin, host)
		c.LoopbackHost, c.IPOrLocalhost = origin.IsLoopback(host), origin.IsIPOrLocalhost(host)
	}
	c.LoopbackLocal = arrivedAtLoopback(r)
	return c
}

// arrivedAtLoopback reports whether the connection arrived at a loopback address.
func arrivedAtLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	host, _, err := net.SplitHostPort(addr.String())
	return err == nil && origin.IsLoopback(host)
}

// noticeOfDenied is the notice for a preflight that asks for more than is allowed. The browser
// then does not send the request, and does not show its user why.
func noticeOfDenied(d cors.Denied) stats.Notice {
	switch d.Want {
	case cors.WantHeader:
		return stats.Notice{
			Message: "browser may not send a header field", Subject: d.Name,
			Advice: "pages of allowed origins may send it if the line in add is in the block cors",
			Add:    "allow_headers " + d.Name,
		}
	case cors.WantPrivateNetwork:
		return stats.Notice{
			Message: "browser may not call a private network", Subject: "Access-Control-Request-Private-Network",
			Advice: "pages of public sites may do so if the line in add is in the block cors",
			Add:    "private_network",
		}
	}
	return stats.Notice{
		Message: "browser may not use a method", Subject: d.Name,
		Advice: "MCP uses GET, POST and DELETE; the page calls the endpoint for something else",
	}
}

// noticeOfForeignPage is the notice for a request that a page of another site caused without
// naming its origin.
var noticeOfForeignPage = stats.Notice{
	Message: "page of another site sent no Origin", Subject: "Sec-Fetch-Site: cross-site",
	Advice: "it was refused; a page that may call the endpoint uses fetch with mode cors, which names its origin",
}
