package mcpauthbridge

import (
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

// logRefused tells, once an origin, which line would allow it.
func (h *Handler) logRefused(origins []string, host string) {
	origin := ""
	if len(origins) > 0 {
		origin = origins[0]
	}
	if len(origin) > 256 {
		origin = origin[:256]
	}
	if !h.refused.first(origin, maxRefusedLogged) {
		return
	}
	fields := []zap.Field{zap.String("endpoint", h.Endpoint), zap.String("origin", origin), zap.String("host", host)}
	parsed, err := cors.ParseOrigin(origin)
	switch {
	case origin == "":
		h.logger.Warn("refused a request of a browser for a host that is not configured, on a loopback address; if clients use that host, name it with the line in `add`",
			append(fields, zap.String("add", "hosts "+host))...)
	case err != nil:
		h.logger.Warn("refused a request of a browser whose origin is not allowed", fields...)
	default:
		h.logger.Warn("refused a request of a browser whose origin is not allowed; to allow it, add the line in `add` to the cors block",
			append(fields, zap.String("add", "allow_origins "+parsed.String()))...)
	}
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
		message = "metadata of the upstream cannot be used"
	case metadata.NotJSON:
		message, level = "upstream answers a metadata URL with something that is not JSON; taken for not found", zap.InfoLevel
	case metadata.RedirectRefused:
		message = "upstream redirects its metadata elsewhere; it is not followed"
	case metadata.Unavailable:
		message = "metadata of the upstream is not available"
	case metadata.Busy:
		message = "too many searches for metadata at one time"
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
