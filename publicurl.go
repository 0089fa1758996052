package mcpauthbridge

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// publicBase is the part of the public URL that the configuration fixes.
type publicBase struct {
	origin string // "" if it depends on the request
	path   string // "" if it is the endpoint's path below its prefix
}

// clientOf returns what is known of the client of a request. Scheme and host are computed as
// reverse_proxy computes its X-Forwarded fields.
func clientOf(h *Handler, r *http.Request) bridge.Client {
	c := bridge.Client{Scheme: "http", Host: r.Host, Prefix: publicPrefix(r, h.placed().Prefix), Trusted: h.trustedProxies.sent(r)}
	if r.TLS != nil {
		c.Scheme = "https"
	}
	if c.Trusted {
		if v := last(r.Header["X-Forwarded-Proto"]); v == "http" || v == "https" {
			c.Scheme = v
		}
		if v := last(r.Header["X-Forwarded-Host"]); v != "" {
			c.Host = v
		}
	}
	if !c.Trusted && r.TLS == nil && last(r.Header["X-Forwarded-Proto"]) == "https" {
		c.ClaimsHTTPS, c.Peer = true, origin.Hostname(r.RemoteAddr)
	}
	return c
}

// publicOf returns the public URL of the endpoint for a request that is not the endpoint's own:
// its path does not depend on the request. It returns false if the request names no usable
// host.
func publicOf(h *Handler, r *http.Request) (metadata.Public, bool) {
	c := clientOf(h, r)
	public, ok := h.endpoint.Public(&c)
	public.Path = h.staticPath()
	return public, ok
}

// publicPrefix returns the prefix that enclosing routes have stripped from the path of a request.
// own is the prefix as it is configured.
//
// Caddy ignores case and doubled slashes when it strips a prefix. The public URL always has the
// prefix as it is configured, and only that URL has metadata. So a client cannot make the bridge
// fetch a document for a URL that the client has made up.
func publicPrefix(r *http.Request, own string) string {
	prefix := strippedPrefix(r)
	if prefix != own && strings.EqualFold(singleSlashes(prefix), own) {
		return own
	}
	return prefix
}

// singleSlashes returns a path with one slash in place of several.
func singleSlashes(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// strippedPrefix returns the part of the path that routes such as handle_path have stripped from a
// request.
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

// trustedProxies are the addresses of the proxies that the endpoint trusts beside those that
// its server trusts.
type trustedProxies []netip.Prefix

// sent reports whether a trusted proxy has sent a request.
func (t trustedProxies) sent(r *http.Request) bool {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		return true
	}
	if len(t) == 0 {
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
	for _, prefix := range t {
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

// compileHosts returns the host names of the option hosts in normal form.
func compileHosts(names []string) (map[string]bool, error) {
	hosts := make(map[string]bool, len(names))
	var errs []error
	for _, name := range names {
		normal, err := metadata.NormalizeOrigin("https://" + name)
		switch host := origin.Hostname(strings.TrimPrefix(normal, "https://")); {
		case err != nil || strings.Contains(name, "/"):
			errs = append(errs, fmt.Errorf("hosts: %q must be a host name%s", name, instead(origin.MeantHost(name), "mcp.example.com")))
		case portOf(name) != "":
			errs = append(errs, fmt.Errorf("hosts: %q has a port, which host names have not; write %q", name, host))
		default:
			hosts[host] = true
		}
	}
	return hosts, errors.Join(errs...)
}

// portOf is the port of a host, if one is written.
func portOf(host string) string {
	_, port, _ := strings.Cut(host[strings.LastIndexByte(host, ']')+1:], ":")
	return port
}

// parsePublicURL validates public_url and returns its origin and path.
func parsePublicURL(s string) (base, path string, err error) {
	if strings.ContainsAny(s, "{}") {
		return "", "", fmt.Errorf("public_url: %q: %s", s, atLoad(s))
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return "", "", fmt.Errorf("public_url: %q must be a URL that starts with https:// or http://%s", s, instead(origin.MeantURL(s), "https://mcp.example.com/mcp"))
	case u.User != nil:
		return "", "", errors.New("public_url: must not have a user name or password; remove them")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		plain, _, _ := strings.Cut(s, "#")
		plain, _, _ = strings.Cut(plain, "?")
		return "", "", fmt.Errorf("public_url: %q must not have a query or fragment; write %s", s, plain)
	}
	base, err = metadata.NormalizeOrigin(u.Scheme + "://" + u.Host)
	if err != nil {
		return "", "", fmt.Errorf("public_url: %w", err)
	}
	path = strings.TrimSuffix(u.EscapedPath(), "/")
	if path != "" {
		if err := checkEndpoint(path); err != nil {
			return "", "", fmt.Errorf("public_url: path of %q: %w", s, err)
		}
	}
	return base, path, nil
}
