package mcpauthbridge

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// publicBase is the part of the public URL that the configuration fixes.
type publicBase struct {
	origin string // "" where the request tells
	path   string // "" where the endpoint's path and its prefix tell
}

// publicOf computes the public URL of the endpoint for a request: public_url
// where it is given, else scheme and host as reverse_proxy computes its
// X-Forwarded headers, and the path that the client used. It is the one place
// that does. It returns false where the request names no usable host.
func (h *Handler) publicOf(r *http.Request) (metadata.Public, bool) {
	return h.publicFrom(r, func() (origin, host string, ok bool) { return h.requestOrigin(r) })
}

// publicFrom is publicOf with what may be known already of the request.
func (h *Handler) publicFrom(r *http.Request, seen func() (origin, host string, ok bool)) (metadata.Public, bool) {
	p := metadata.Public{Origin: h.base.origin, Path: h.base.path, Fixed: h.base.origin != ""}
	if p.Origin == "" {
		origin, host, ok := seen()
		if !ok {
			return metadata.Public{}, false
		}
		p.Origin, p.Fixed = origin, h.isConfiguredHost(host)
	}
	if p.Path == "" {
		p.Path = h.publicPath(r)
	}
	return p, true
}

// publicPath is the endpoint's path with the prefix that enclosing routes
// have stripped.
//
// Caddy strips a prefix without regard to case and to doubled slashes. The
// public URL has it as it is configured: there is metadata for that one alone,
// and no client makes up a URL that the upstream is asked for again.
func (h *Handler) publicPath(r *http.Request) string {
	if prefix := strippedPrefix(r); prefix != "" {
		if own := h.placed().prefix; prefix != own && strings.EqualFold(singleSlashes(prefix), own) {
			prefix = own
		}
		if h.Endpoint == "/" {
			return prefix
		}
		return prefix + h.Endpoint
	}
	return h.Endpoint
}

// singleSlashes returns a path with one slash in place of several.
func singleSlashes(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// strippedPrefix is what stood before the present path when the request
// arrived, as handle_path leaves it.
func strippedPrefix(r *http.Request) string {
	orig, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || orig.URL == nil || len(orig.URL.Path) <= len(r.URL.Path) {
		return ""
	}
	if r.URL.Path == "/" && orig.URL.Path[len(orig.URL.Path)-1] != '/' {
		return orig.URL.Path // nothing was left, which is the root
	}
	prefix, ok := strings.CutSuffix(orig.URL.Path, r.URL.Path)
	if !ok || !strings.HasPrefix(prefix, "/") {
		return ""
	}
	return strings.TrimSuffix(prefix, "/")
}

// requestOrigin returns scheme and host of the request as the client sees
// them: the last X-Forwarded-Proto and -Host of a trusted proxy, else the
// state of TLS and the Host field.
func (h *Handler) requestOrigin(r *http.Request) (origin, host string, ok bool) {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if h.trusted(r) {
		if v := last(r.Header["X-Forwarded-Proto"]); v == "http" || v == "https" {
			scheme = v
		}
		if v := last(r.Header["X-Forwarded-Host"]); v != "" {
			host = v
		}
	}
	origin, err := metadata.NormalizeOrigin(scheme + "://" + host)
	if err != nil {
		return "", "", false
	}
	return origin, hostname(strings.TrimPrefix(strings.TrimPrefix(origin, "http://"), "https://")), true
}

// trusted reports whether the request came through a trusted proxy: the
// server's trusted_proxies, or the proxy's own.
func (h *Handler) trusted(r *http.Request) bool {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		return true
	}
	if len(h.trustedProxies) == 0 {
		return false
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	host, _, _ = strings.Cut(host, "%")
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, prefix := range h.trustedProxies {
		if prefix.Contains(ip) {
			return true
		}
	}
	return false
}

// last returns the last element of the last line of a list field.
func last(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	line := lines[len(lines)-1]
	if i := strings.LastIndexByte(line, ','); i >= 0 {
		line = line[i+1:]
	}
	return strings.TrimSpace(line)
}

// originHost is the host of a normalized origin.
func originHost(origin string) string {
	_, hostport, _ := strings.Cut(origin, "://")
	return hostname(hostport)
}

// hostname is the host of a normalized host with or without a port.
func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}
