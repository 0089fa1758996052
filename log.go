package mcpauthbridge

import (
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// maxRefusedLogged bounds how many distinct refused origins are logged.
const maxRefusedLogged = 64

// onceSet reports the first sight of a key, up to a bound.
type onceSet struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (o *onceSet) first(key string, bound int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen[key] || len(o.seen) >= bound {
		return false
	}
	if o.seen == nil {
		o.seen = make(map[string]bool)
	}
	o.seen[key] = true
	return true
}

// maxShown bounds a text of a client's in the log, in bytes.
const maxShown = 256

// shownText returns a host or an origin that a client names as it may be logged: without
// userinfo and query, which it should not have.
func shownText(s string) string {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i]
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	if ok {
		rest = scheme + "://" + rest
	}
	if len(rest) > maxShown {
		rest = rest[:maxShown]
	}
	return rest
}

// logRefused tells, once an origin, which line would allow it.
func (h *Handler) logRefused(origins []string, host string) {
	origin := ""
	if len(origins) > 0 {
		origin = shownText(origins[0])
	}
	if !h.refused.first(origin, maxRefusedLogged) {
		return
	}
	fields := []zap.Field{zap.String("endpoint", h.Endpoint), zap.String("origin", origin), zap.String("host", shownText(host))}
	parsed, err := cors.ParseOrigin(origin)
	switch {
	case origin == "":
		h.logger.Warn("refused a request of a browser for a host that is not configured, on a loopback address; if clients use that host, name it with the line in `add`",
			append(fields, zap.String("add", hostsLine(host)))...)
	case err != nil:
		h.logger.Warn("refused a request of a browser whose origin is not allowed", fields...)
	default:
		h.logger.Warn("refused a request of a browser whose origin is not allowed; to allow it, add the line in `add` to the cors block",
			append(fields, zap.String("add", "allow_origins "+parsed.String()))...)
	}
}

// hostsLine is the line that configures the host of a request, which anyone may have
// written; nothing, where none can.
func hostsLine(host string) string {
	name := hostname(host)
	if _, err := compileHosts([]string{name}); err != nil || len(name) > maxShown {
		return ""
	}
	return "hosts " + name
}

// allowingLine is the line that would allow what was refused; nothing, where none can:
// anyone may have written the origin. None was named where it is empty.
func allowingLine(origin, host string) string {
	if origin == "" {
		return hostsLine(host)
	}
	parsed, err := cors.ParseOrigin(origin)
	if err != nil {
		return ""
	}
	return "allow_origins " + parsed.String()
}

// logMetadata tells what an operator should know of the upstream's metadata.
func (h *Handler) logMetadata(e metadata.Event) {
	message, level := "", zap.WarnLevel
	switch e.Kind {
	case metadata.SignedMetadataDropped:
		message, level = "dropped signed_metadata from the upstream's metadata: it would contradict the mapped document", zap.InfoLevel
	case metadata.PrivateAuthorizationServer:
		message = "metadata names an authorization server on a private host, which clients elsewhere cannot reach"
	case metadata.ForeignResource:
		message = "metadata of the upstream names the resource of another server; it is left as it is, and clients refuse it"
	case metadata.ForeignMetadataURL:
		message = "upstream's challenge names metadata on another origin; it is not fetched"
	case metadata.DocumentInvalid:
		message = "metadata of the upstream cannot be used; clients cannot log in before the server mends it, or the block metadata says it"
	case metadata.NotJSON:
		message, level = "upstream answers a metadata URL with something that is not JSON; taken for not found", zap.InfoLevel
	case metadata.RedirectRefused:
		message = "upstream redirects its metadata elsewhere; it is not followed"
	case metadata.Unavailable:
		message = "metadata of the upstream is not available; clients are told to come back"
	case metadata.Busy:
		message = "too many searches for metadata at one time; their clients are told to come back"
	case metadata.ForeignIssuer:
		message = "metadata of the authorization server is of one elsewhere, and is passed on as it is; if it is the upstream's own, list its origin"
	case metadata.ServerFeatureDropped:
		message, level = "dropped members of the authorization server's metadata that cannot cross to the public origin", zap.InfoLevel
	default:
		message = "metadata of the upstream"
	}
	c := h.logger.Check(level, message)
	if c == nil {
		return
	}
	fields := []zap.Field{zap.String("url", e.Endpoint)}
	for _, f := range []struct{ name, value string }{
		{"source", e.Source}, {"value", e.Value}, {"reason", e.Reason}, {"option", e.Option},
	} {
		if f.value != "" {
			fields = append(fields, zap.String(f.name, f.value))
		}
	}
	c.Write(fields...)
}
