package identity

import (
	"net/http"
	"strings"
)

// ofMessage are the header fields that describe one message or one connection. A request that the
// bridge makes on behalf of a client does not have them ([Carry]).
var ofMessage = set(
	"Accept", "Accept-Encoding", "Expect", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since",
	"Range", "Digest", "Repr-Digest", "Want-Content-Digest", "Want-Repr-Digest",
	"Last-Event-Id", "Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version", "Mcp-Session-Id",
	// RFC 9110 section 7.6.1: reverse_proxy drops them as well.
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
)

// Carried reports whether a header field of a client's request, in canonical form, is sent
// on when the message is carried over to another transport.
func Carried(name string) bool {
	return !ofMessage[name] && !strings.HasPrefix(name, "Content-") && !strings.HasPrefix(name, "Mcp-Param-")
}

// Carry removes the fields that are not [Carried].
func Carry(h http.Header) {
	for name := range h {
		if !Carried(name) {
			delete(h, name)
		}
	}
}

// incidental are the carried fields that do not tell users apart: they differ between
// requests of one user, or are the same for many users. Every other field counts, whatever
// its name is, because API keys are sent in fields of all names.
var incidental = set(
	// The browser or HTTP library, and the page. A browser sends Origin with some methods
	// and not with others.
	"Accept-Charset", "Accept-Language", "Cache-Control", "Date", "Device-Memory", "Dnt", "Downlink", "Dpr", "Ect", "Origin", "Pragma", "Priority",
	"Referer", "Rtt", "Save-Data", "Sec-Gpc", "Sec-Purpose", "Upgrade-Insecure-Requests", "User-Agent", "Viewport-Width", "Width",
	"X-Stainless-Retry-Count",
	// Traces, request ids and times.
	"B3", "Baggage", "Cf-Ray", "Connect-Time", "Correlation-Context", "Elastic-Apm-Traceparent", "Fly-Request-Id", "Fly-Traceparent",
	"Fly-Tracestate", "Newrelic", "Request-Id", "Rndr-Id", "Sentry-Trace", "Total-Route-Time", "Traceparent", "Tracestate", "Uber-Trace-Id",
	"X-Amz-Cf-Id", "X-Amzn-Requestid", "X-Amzn-Trace-Id", "X-Arr-Log-Id", "X-Azure-Ref", "X-Cloud-Trace-Context", "X-Correlation-Id",
	"X-Datadog-Origin", "X-Datadog-Parent-Id", "X-Datadog-Sampling-Priority", "X-Datadog-Tags", "X-Datadog-Trace-Id",
	"X-Envoy-Attempt-Count", "X-Envoy-Expected-Rq-Timeout-Ms", "X-Kong-Request-Id", "X-Ms-Client-Request-Id", "X-Ms-Request-Id",
	"X-Nf-Request-Id", "X-Queue-Start", "X-Railway-Edge", "X-Railway-Request-Id", "X-Request-Id", "X-Request-Start", "X-Timer", "X-Trace-Id",
	"X-Unique-Id", "X-Varnish", "X-Vercel-Id",
	// The route that a request took. Forwarding fields with a host, a prefix or a user
	// count.
	"Cdn-Loop", "Cf-Connecting-Ip", "Cf-Connecting-Ipv6", "Cf-Ew-Via", "Cf-Ipcity", "Cf-Ipcontinent", "Cf-Ipcountry", "Cf-Iplatitude",
	"Cf-Iplongitude", "Cf-Metro-Code", "Cf-Postal-Code", "Cf-Pseudo-Ipv4", "Cf-Region", "Cf-Region-Code", "Cf-Timezone", "Cf-Visitor",
	"Client-Ip", "Fastly-Client-Ip", "Fly-Client-Ip", "Fly-Forwarded-Port", "Fly-Region", "Forwarded", "True-Client-Ip", "Via",
	"X-Azure-Clientip", "X-Azure-Socketip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Envoy-External-Address", "X-Forwarded-For",
	"X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Original-Forwarded-For", "X-Real-Ip",
	// A DPoP proof is made for each request (RFC 9449). It belongs to the token in
	// Authorization, which counts.
	"Dpop",
)

// incidentalPrefixes are the prefixes of further such fields.
var incidentalPrefixes = []string{"Cloudfront-Is-", "Cloudfront-Viewer-", "Sec-Ch-", "Sec-Fetch-", "X-B3-", "X-Vercel-Ip-"}

// Counts reports whether a header field, in canonical form, may tell one user from another.
func Counts(name string) bool {
	if !Carried(name) || incidental[name] {
		return false
	}
	for _, prefix := range incidentalPrefixes {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return true
}

// guardFields are fields in which an authenticating proxy in front names the user. If no
// proxy sets them, a client can write anything there.
var guardFields = []string{
	"Remote-User", "Remote-Email", "Remote-Groups", "X-Remote-User", "X-Forwarded-User", "X-Forwarded-Email",
	"X-Forwarded-Preferred-Username", "X-Auth-Request-User", "X-Auth-Request-Email", "X-Webauth-User", "X-User",
	"X-User-Id", "X-Authenticated-User", "X-Authentik-Username", "X-Authentik-Uid", "X-Goog-Authenticated-User-Id",
	"X-Ms-Client-Principal-Id", "Cf-Access-Authenticated-User-Email", "Tailscale-User-Login",
}

var guards = set(guardFields...)

// incidentalCookies are set by load balancers and bot protection. They change with every
// answer and do not tell users apart.
var incidentalCookies = set("AWSALB", "AWSALBCORS", "AWSALBTG", "AWSALBTGCORS", "AWSELB", "AWSELBCORS", "__cf_bm", "_cfuvid", "__cflb")

// cookies returns the cookies of a request that count, as written.
func cookies(lines []string) []string {
	var all []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			if name, _, _ := strings.Cut(pair, "="); !incidentalCookies[name] && pair != "" {
				all = append(all, pair)
			}
		}
	}
	return all
}

func set(names ...string) map[string]bool {
	all := make(map[string]bool, len(names))
	for _, name := range names {
		all[name] = true
	}
	return all
}
