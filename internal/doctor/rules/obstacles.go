package rules

import (
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// The facts about requests that do not get through. At most one of them holds.
const (
	RateLimited = "ratelimit"
	LongHeader  = "longheader"
	LongBody    = "longbody"
	LongURL     = "longurl"
	SlowBody    = "slowbody"
	EarlyData   = "earlydata"
	Upgrade     = "upgrade"
	MediaTypes  = "mediatypes"
	Blocked     = "blocked"
	Robots      = "robots"
	NetLogin    = "netlogin" // a proxy or a network on the way wants a login of its own
	OtherName   = "othername"
	CDN         = "cdn"    // a CDN does not reach the site
	CDNTLS      = "cdntls" // TLS fails between a CDN and the site
	NoSpace     = "nospace"
	Circle      = "circle" // requests lead back to where they came from
)

// ByCaddy is the fact that Caddy itself has answered. With [Relayed] it was something behind
// Caddy. With neither it may be either, or something in front.
const ByCaddy = "bycaddy"

// Obstacle is why a request does not get through, whatever it asks for.
type Obstacle struct {
	Fact string
	Text string // says what is wrong
}

// obstacles maps each status that says nothing of MCP or OAuth to what it says.
var obstacles = func() map[int]Obstacle {
	m := make(map[int]Obstacle)
	for _, kind := range []struct {
		Obstacle
		statuses []int
	}{
		// 509 and 529 are used for this by hosts, 494 by nginx, and 520 to 530 by Cloudflare.
		{Obstacle{RateLimited, "there were too many requests, and a rate limit refuses more"}, []int{http.StatusTooManyRequests, 509, 529}},
		{Obstacle{LongHeader, "the header fields of the request are too long"}, []int{http.StatusRequestHeaderFieldsTooLarge, 494}},
		{Obstacle{LongBody, "the body of the request is too long, although the doctor sends less than 1 KiB"}, []int{http.StatusRequestEntityTooLarge}},
		{Obstacle{LongURL, "the URL is too long"}, []int{http.StatusRequestURITooLong}},
		{Obstacle{SlowBody, "the request did not arrive as a whole in time"}, []int{http.StatusRequestTimeout}},
		{Obstacle{EarlyData, "the request was sent as early data of TLS, which is not accepted"}, []int{http.StatusTooEarly}},
		{Obstacle{Upgrade, "another protocol is wanted"}, []int{http.StatusUpgradeRequired, http.StatusHTTPVersionNotSupported}},
		{Obstacle{MediaTypes, "the media types of MCP are not accepted"}, []int{http.StatusNotAcceptable, http.StatusUnsupportedMediaType}},
		{Obstacle{Blocked, "the request is blocked for legal reasons"}, []int{http.StatusUnavailableForLegalReasons}},
		{Obstacle{NetLogin, "a proxy or a network on the way requires a login of its own"}, []int{http.StatusProxyAuthRequired, http.StatusNetworkAuthenticationRequired}},
		{Obstacle{CDN, "a CDN answers, but does not reach the site behind it"}, []int{520, 521, 522, 523, 524, 527, 530}},
		{Obstacle{CDNTLS, "a CDN answers, but TLS fails between it and the site"}, []int{525, 526}},
		{Obstacle{NoSpace, "there is no space left for what the server stores"}, []int{http.StatusInsufficientStorage}},
		{Obstacle{Circle, "the request leads back to where it came from"}, []int{http.StatusLoopDetected}},
	} {
		for _, status := range kind.statuses {
			m[status] = kind.Obstacle
		}
	}
	return m
}()

// ObstacleOf returns why a request with this status does not get through. ok is false if
// the status says something else.
func ObstacleOf(status int) (o Obstacle, ok bool) {
	o, ok = obstacles[status]
	return o, ok
}

// The obstacles that not only the status shows.
var (
	HeaderObstacle = obstacles[http.StatusRequestHeaderFieldsTooLarge]
	RobotObstacle  = Obstacle{Robots, "a check for browsers refuses other clients"}
	NameObstacle   = Obstacle{OtherName, "the header Host has another name than the TLS handshake"}
)

// inFront reports whether Caddy, or something in front of it, may have answered.
func inFront(_ *Situation, f report.Facts) bool { return f[Relayed] == "" && f[Other] == "" }

// behind reports whether the MCP server, or something in front of it, may have answered.
func behind(_ *Situation, f report.Facts) bool { return f[ByCaddy] == "" && f[Other] == "" }

// Passes is the rule about requests that do not get through.
const Passes = "connect.passes"

// passes is the rule about requests that do not get through. {other} is the origin that has
// refused one, if it is not that of the MCP server.
var passes = Rule{Passes, "requests do not get through", "RFC 9110 sections 15.5 and 15.6; RFC 6585; RFC 7725", []Remedy{
	{onCommand, "try again after the time in Retry-After, or in some minutes", is(RateLimited)},
	{inCaddyfile, "if Caddy answers: raise the limit of `rate_limit`", both(inFront, is(RateLimited))},
	{atServer, "raise its rate limit; if it takes all clients of the proxy for one, have it read X-Forwarded-For", both(behind, is(RateLimited))},
	{onNetwork, "if a CDN or a firewall answers: raise its rate limit for {path}", both(inFront, both(not(is(ByCaddy)), is(RateLimited)))},

	{onCommand, "send less: fewer or shorter fields (`--header`), a shorter token", is(LongHeader)},
	{inCaddyfile, "if Caddy answers: raise `max_header_size` in the global option `servers`", both(inFront, is(LongHeader))},
	{atServer, "raise its limit for header fields (Node.js: `--max-http-header-size`, nginx: large_client_header_buffers)", both(behind, is(LongHeader))},

	{inCaddyfile, "if Caddy answers: raise `max_request_body` or `max_message` in the block `limits`, or `max_size` of `request_body`", both(inFront, is(LongBody))},
	{atServer, "raise its limit for bodies (nginx: client_max_body_size)", both(behind, is(LongBody))},

	{onCommand, "use a shorter URL; its query counts", is(LongURL)},
	{atServer, "raise its limit for URLs (nginx: large_client_header_buffers)", both(behind, is(LongURL))},

	{onNetwork, "find what holds requests back before they reach what answers: a slow line, a firewall, a proxy", is(SlowBody)},
	{onNetwork, "turn off early data of TLS (0-RTT) at the CDN or proxy in front", is(EarlyData)},

	{atServer, "serve MCP over plain HTTP/1.1 or HTTP/2; WebSocket is not a transport of MCP", both(behind, is(Upgrade))},
	{onCommand, "if the server wants TLS, use {https}", both(behind, is(Upgrade))},

	{onCommand, "if this is not an MCP server, use the URL of one; often it is {origin}/mcp", both(behind, both(not(usualPath), is(MediaTypes)))},
	{atServer, "accept messages as application/json, and Accept with application/json and text/event-stream", both(behind, is(MediaTypes))},

	{onNetwork, "ask who blocks it, whom the header Link may name; or use another network or region", is(Blocked)},
	{onNetwork, "exempt {path} and /.well-known/* from the bot protection of the CDN: MCP clients are not browsers", both(inFront, is(Robots))},
	{onNetwork, "log in to the network, give its proxy the login in HTTPS_PROXY, or exempt {host} in NO_PROXY", is(NetLogin)},
	{onCommand, "do not send a Host of another site (`--header`)", is(OtherName)},
	{inCaddyfile, "name the site {host}, or remove `strict_sni_host`", is(OtherName)},

	{onNetwork, "start Caddy, give the CDN its address and port, and let the CDN through the firewall", both(inFront, is(CDN))},
	{inCaddyfile, "name the site {host}, so that Caddy has a certificate for it", both(inFront, is(CDNTLS))},
	{onNetwork, "have the CDN use https for the site, and trust its certificate", both(inFront, is(CDNTLS))},

	{atServer, "free space on its disk, or raise its quota", both(behind, is(NoSpace))},
	{inCaddyfile, "correct the address of the upstream: it leads back to this site", both(inFront, is(Circle))},
	{atServer, "correct where it, or the proxy in front of it, sends requests", both(behind, is(Circle))},

	{inCaddyfile, "find the directive of the site that answers so, and have it leave out {path}", both(is(ByCaddy), either(is(Upgrade), either(is(MediaTypes), is(NoSpace))))},
	{atServer, "look at the CDN in front of it, and whether that reaches the server", both(isRelayed, either(is(CDN), is(CDNTLS)))},

	{atIssuer, "look at {other}, and at what is in front of it", elsewhere},
}}
