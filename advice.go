package mcpauthbridge

import (
	"cmp"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/oncelog"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// metadataMessages has the log message and the advice for each kind of event.
var metadataMessages = map[metadata.EventKind]struct {
	level           zapcore.Level
	message, advice string
}{
	metadata.SignedMetadataDropped: {zap.InfoLevel, "dropped signed_metadata, which contradicts the rewritten URLs", ""},
	metadata.PrivateAuthorizationServer: {
		zap.WarnLevel, "metadata names an authorization server on a private host",
		"clients on other machines cannot reach it: serve it with `authorization_server bridge`, or write its public URL (metadata authorization_servers)",
	},
	metadata.OwnAuthorizationServer: {
		zap.WarnLevel, "MCP server is its own authorization server",
		"its login pages are not served at the public URL, and it may refuse tokens for that URL; add the line in `add`",
	},
	metadata.ForeignResource: {
		zap.WarnLevel, "upstream's metadata names another resource",
		"clients refuse it; if that URL is the server's own, add the line in `add` to the block challenge; otherwise configure the server's own URL at the server",
	},
	metadata.ForeignMetadataURL: {
		zap.WarnLevel, "upstream's challenge names metadata on another origin",
		"it is not changed and not fetched; if that origin is the server's own, add the line in `add` to the block challenge",
	},
	metadata.DocumentInvalid: {
		zap.WarnLevel, "upstream's metadata cannot be used",
		"clients get 404 with the reason; fix it at the server, or write the metadata here (metadata authorization_servers)",
	},
	metadata.NotJSON: {
		zap.WarnLevel, "upstream's metadata is not JSON",
		"clients get 404; if the server has metadata, let the path through to it, or write it here (metadata authorization_servers)",
	},
	metadata.PassedOver: {zap.InfoLevel, "skipped an unusable metadata URL and found another", ""},
	metadata.ServerNotRelayed: {
		zap.WarnLevel, "authorization server's metadata is not passed on",
		"an authorization server on the MCP server's own origin has to be bridged: authorization_server bridge",
	},
	metadata.RedirectRefused: {
		zap.WarnLevel, "upstream redirects its metadata elsewhere",
		"it is not followed, and clients get 404; make the server answer at the path itself, or write the metadata here (metadata authorization_servers)",
	},
	metadata.Unavailable: {zap.WarnLevel, "upstream's metadata is not available", "clients get 503 with Retry-After"},
	metadata.Busy:        {zap.WarnLevel, "too many metadata requests at the same time", "more clients get 503 with Retry-After"},
	metadata.ForeignIssuer: {
		zap.WarnLevel, "authorization server's metadata names another issuer",
		"it is passed on unchanged; if that origin is the server's own, add the line in `add` to the block challenge",
	},
	metadata.ServerFeatureDropped: {zap.InfoLevel, "dropped members that do not work at the public origin", ""},
	metadata.PrivateURLDropped:    {zap.InfoLevel, "removed private URLs from the metadata", ""},
}

// logMetadata logs what an operator should know about the metadata of the upstream.
func logMetadata(h *Handler, e metadata.Event) {
	m, ok := metadataMessages[e.Kind]
	if !ok {
		m.level, m.message = zap.WarnLevel, "upstream's metadata"
	}
	if e.Kind == metadata.PrivateAuthorizationServer && h.bridgesServer() {
		e.Option = "challenge origins"
		m.advice = "clients on other machines cannot reach it; if that origin is the bridged server's own, add the line in `add` to the block challenge"
	}
	add := lineFor(h, e)
	if add == bridgeLine {
		h.observer.remember(stats.Notice{Message: m.message, Subject: cmp.Or(e.Value, e.Source), Advice: m.advice, Add: add})
	}
	c := h.logger.Check(m.level, m.message)
	if c == nil {
		return
	}
	fields := []zap.Field{zap.String("url", e.Endpoint)}
	for _, f := range []struct{ name, value string }{
		{"source", e.Source}, {"value", e.Value}, {"reason", e.Reason}, {"option", e.Option}, {"add", add}, {"advice", m.advice},
	} {
		if f.value != "" {
			fields = append(fields, zap.String(f.name, f.value))
		}
	}
	c.Write(fields...)
}

// bridgeLine serves the authorization server of an MCP server at the public URL.
const bridgeLine = "authorization_server bridge"

// lineFor returns the line that an operator adds to the Caddyfile to end the trouble that an event
// reports. It returns "" if that takes more than one line.
func lineFor(h *Handler, e metadata.Event) string {
	switch e.Kind {
	case metadata.OwnAuthorizationServer, metadata.ServerNotRelayed:
		if e.Option == bridgeLine && !h.bridgesServer() {
			return bridgeLine
		}
	default:
	}
	return originsLine(h, e.Kind, e.Value)
}

// originsLine returns the line of the block challenge that makes a URL the upstream's own. It is
// empty if value is not a URL, or if the event has another cause.
func originsLine(h *Handler, kind metadata.EventKind, value string) string {
	switch kind {
	case metadata.ForeignResource, metadata.ForeignMetadataURL, metadata.ForeignIssuer:
	case metadata.PrivateAuthorizationServer: // if it is bridged, but is not known to be the server's own
		if !h.bridgesServer() {
			return ""
		}
	default:
		return ""
	}
	u, err := origin.Parse(value)
	if err != nil || h.store == nil || h.store.Names().Own(u, origin.Seen{}, origin.Document) {
		return ""
	}
	return "origins " + u.Origin()
}

// logRefused logs a refused origin, at once and again after a while, with the line that would
// allow it.
func (o *observer) logRefused(origin, host string) {
	origin = safetext.Origin(origin)
	cause := origin
	if cause == "" {
		cause = "host " + safetext.Origin(host)
	}
	if _, due := o.refused.Due(cause); !due {
		return
	}
	fields := []zap.Field{zap.String("endpoint", o.endpoint), zap.String("origin", origin), zap.String("host", safetext.Origin(host))}
	line := allowingLine(origin, host)
	switch {
	case origin == "":
		o.logger.Warn("refused a browser's request for a host that is not configured", append(fields,
			zap.String("advice", "the request came to a loopback address; if clients use that host, name it with the line in add"),
			zap.String("add", line))...)
	case isOwnOrigin(origin, host):
		o.logger.Warn("refused a browser's request whose origin is not allowed", append(fields, zap.String("advice", adviceForOwnOrigin))...)
	case line == "":
		o.logger.Warn("refused a browser's request whose origin is not allowed", fields...)
	default:
		o.logger.Warn("refused a browser's request whose origin is not allowed", append(fields,
			zap.String("advice", "pages of that origin may call the endpoint if the line in add is in the block cors"),
			zap.String("add", line))...)
	}
}

// maxHost bounds a host that is written into a line of a Caddyfile, in bytes.
const maxHost = 256

// hostsLine is the line that configures the host of a request. It is empty if the host, which
// any client may have written, cannot be configured.
func hostsLine(host string) string {
	name := origin.Hostname(host)
	if _, err := compileHosts([]string{name}); err != nil || len(name) > maxHost {
		return ""
	}
	return "hosts " + name
}

// allowingLine is the line that would allow an origin, or a host if the origin is empty. It is
// empty if no line can.
func allowingLine(from, host string) string {
	if from == "" {
		return hostsLine(host)
	}
	parsed, err := origin.ParseTuple(from)
	if err != nil || isOwnOrigin(from, host) {
		return ""
	}
	return "allow_origins " + parsed.String()
}

// adviceForFailure says what to do if an upstream gives no answer.
func adviceForFailure(why stats.Failure) string {
	switch why {
	case stats.FailureTimeout:
		return "it is too slow, or a firewall drops the packets; `limits response_header_timeout` bounds the wait"
	case stats.FailureName:
		return "correct the host name, or the name server"
	case stats.FailureNoTLS:
		return "it speaks HTTP without TLS there: write http:// in the address"
	case stats.FailureCertificate:
		return "its certificate is not trusted, or is for another name: in a block `transport http`, write the CA as `tls_trust_pool file /path/to/ca.pem`, or the name as `tls_server_name <name>`"
	case stats.FailureBroken:
		return "check whether it speaks HTTP there, and whether it needs https:// in the address"
	case stats.FailureRefused:
	}
	return "start it, or correct the address"
}

// sessionsAdvice is the advice for warnings about sessions, by cause or by message.
var sessionsAdvice = map[string]string{
	"sessions": "raise `sessions max`, or have sessions end sooner with `sessions idle_timeout`",
	"bodies":   "see which clients send large bodies, or lower `limits max_message`",
	"backoff":  "look in the log for how the program has ended, and for its last lines of stderr",

	"server has not answered yet":               "npx and uvx download a program when it starts, which can take minutes the first time; install it once, and start the installed program",
	"server does not answer initialize in time": "send the server an initialize message by hand, and look at the answer",
	"refused a session to a request with other headers": "the client's requests differ in what the cause names, so they look like two users; " +
		"if it does not identify a user, remove it in front of the endpoint: request_header -<name>",
	"server could not be started": "look at the cause; docs/stdio.md says what a program needs",
}

// unmatchedEvery is the time after which output of the same kind, which is not a message, is
// logged again.
const unmatchedEvery = time.Minute

// unmatchedLog logs output of servers that is not a message, and answers that belong to no
// request. Each kind is logged at once, and again after unmatchedEvery. There are few kinds.
type unmatchedLog struct {
	oncelog.Set[unmatchedKind]
}

type unmatchedKind struct {
	odd  message.Oddity
	fate upstream.Fate
}

// report logs what a server has sent, and remembers it for the status.
func (l *unmatchedLog) report(h *Handler, u upstream.Unmatched) {
	text, reason := "server sends output that is not an MCP message", string(u.Odd)
	if u.Odd == "" {
		text, reason = "server answers with an unknown id", "unknown_id"
	}
	advice := adviceForUnmatched(u.Odd)
	h.observer.remember(stats.Notice{Message: text, Subject: reason + ", " + string(u.Fate), Advice: advice})
	since, ok := l.Due(unmatchedKind{u.Odd, u.Fate})
	if !ok {
		return
	}
	fields := []zap.Field{
		zap.String("reason", reason), zap.String("fate", string(u.Fate)), zap.String("id", u.ID), zap.String("came", u.Shape), zap.String("advice", advice),
	}
	if u.Cause != "" {
		fields = append(fields, zap.String("cause", u.Cause))
	}
	if since > 0 {
		fields = append(fields, zap.Int("dropped", since))
	}
	programLog(h).Warn(text, fields...)
}

// adviceForUnmatched says how to correct a server.
func adviceForUnmatched(odd message.Oddity) string {
	switch odd {
	case "":
		return "an answer must have the id of its request, with the same type (JSON-RPC 2.0 section 5); the server must be fixed"
	case message.OddMark:
		return "have the program write UTF-8 without a byte order mark"
	case message.OddTerminal:
		return "have the program write colours and progress to stderr, or turn them off (NO_COLOR=1, CI=1)"
	case message.OddSeveral:
		return "have the program end each message with a line end"
	case message.OddLines:
		return "have the program write each message on one line, without indentation"
	case message.OddLength:
		return "the program frames messages by Content-Length, as the Language Server Protocol does; MCP has one message per line; look for another mode of the program"
	case message.OddUTF16:
		return "have the program write UTF-8"
	case message.OddLong:
		return "raise `limits max_message`, or have the server answer in pages"
	case message.OddShape:
		return "stdout is only for JSON-RPC 2.0 messages with `jsonrpc`, `id`, and `result` or `error`; have the program write everything else to stderr"
	}
	return "stdout is only for messages; have the program write its log to stderr"
}

// adviceForOwnOrigin is the advice where a page of the endpoint's own host was refused.
const adviceForOwnOrigin = "the page is on the endpoint's own host, which Caddy is asked for over http: trust the proxy in front of Caddy (trusted_proxies), or set public_url"

// isOwnOrigin reports whether a refused origin is the host of the request, over https. Such an
// origin is refused only if Caddy believes that clients use http. Allowing the origin would not
// correct the other effects of that.
func isOwnOrigin(from, host string) bool {
	own, isHTTPS := strings.CutPrefix(from, "https://")
	return isHTTPS && strings.EqualFold(strings.TrimSuffix(own, ":443"), strings.TrimSuffix(host, ":443"))
}
