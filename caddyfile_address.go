package mcpauthbridge

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

// address is an upstream address of the Caddyfile taken apart.
type address struct {
	kind  bridge.Kind
	proxy string // what reverse_proxy is given
	path  string // empty if the address has none
}

// parseAddress takes an upstream address apart: `host:port`, `unix//path`,
// `http(s)://host[:port][/path]`, `sse+http(s)://host[:port][/path]`, or
// anything else that reverse_proxy knows.
func parseAddress(s string) (address, error) {
	a := address{kind: bridge.KindHTTP, proxy: s}
	rest, isSSE := strings.CutPrefix(s, "sse+")
	if isSSE {
		a.kind, a.proxy = bridge.KindSSE, rest
	}
	scheme, after, hasScheme := strings.Cut(rest, "://")
	if meant := meantAddress(rest, scheme, after, hasScheme); meant != "" {
		return a, fmt.Errorf("upstream %q: %s", s, meant)
	}
	switch {
	case isSSE && (!hasScheme || scheme != "http" && scheme != "https"):
		return a, fmt.Errorf("upstream %q: write sse+http://host:port/path or sse+https://host:port/path", s)
	case !hasScheme && isPort(s):
		return a, fmt.Errorf("upstream %q must be host:port; write localhost:%[1]s", s)
	case strings.Contains(rest, ",") && !strings.HasPrefix(rest, "unix"):
		return a, fmt.Errorf("upstream %q has a comma; separate upstreams with spaces, as in `%s`", s, suggest.WithoutCommas([]string{s, "..."}))
	case !hasScheme:
		network, _, _ := strings.Cut(rest, "/")
		host, path, found := strings.Cut(rest, "/")
		switch {
		case found && !strings.Contains(host, "{") && !knownNetwork(network):
			return a, fmt.Errorf("upstream %q: a path needs a scheme; write http://%s/%s", s, host, path)
		case !found:
			return a, checkHostPort(s, host)
		}
		return a, nil
	case scheme == "http" || scheme == "https":
		return parseURLAddress(a, s, scheme, after)
	case strings.Contains(after, "/"):
		return a, fmt.Errorf("upstream %q: a path stands only in http:// and https:// addresses; write it as `upstream_path`", s)
	}
	return a, checkHostPort(s, after)
}

// meantAddress says what to write in place of an address whose beginning is wrong; nothing if
// that is right.
func meantAddress(rest, scheme, after string, hasScheme bool) string {
	if rest == "" {
		return "the address is empty; write its host and port, such as localhost:3000"
	}
	if path, ok := strings.CutPrefix(rest, "unix:"); ok {
		return "write unix//" + strings.TrimLeft(path, "/")
	}
	if !hasScheme {
		for _, scheme := range []string{"https", "http"} {
			after, ok := strings.CutPrefix(rest, scheme)
			if after = strings.TrimLeft(after, ":/"); ok && after != "" && strings.ContainsAny(rest[len(scheme):len(scheme)+1], ":/") && !isPort(after) {
				return "write " + scheme + "://" + after
			}
		}
		return ""
	}
	switch scheme {
	case "http", "https", "h2c":
		return ""
	case "sse":
		return "write sse+http://" + after + ", or sse+https:// if it has TLS"
	case "http+sse", "https+sse":
		return "write sse+" + strings.TrimSuffix(scheme, "+sse") + "://" + after
	case "stdio":
		return "a stdio server has no address; write `stdio npx -y <package>` in the block of mcp_auth_bridge"
	case "wss":
		return "MCP servers speak HTTP; write https://" + after
	}
	if strings.Contains(scheme, "{") {
		return ""
	}
	return "the scheme must be http, https, sse+http or sse+https; write http://" + after
}

// checkHostPort refuses a host and port that nothing can be dialled at. s is the address that
// has them.
func checkHostPort(s, hostport string) error {
	if strings.Contains(hostport, "{") {
		return nil
	}
	i := strings.LastIndexByte(hostport, ':')
	if i < 0 || strings.HasSuffix(hostport, "]") {
		return nil
	}
	host, port := hostport[:i], hostport[i+1:]
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		for _, meant := range []struct{ ip, port string }{{host, port}, {hostport, "3000"}} {
			if _, err := netip.ParseAddr(meant.ip); err == nil && isPort(meant.port) {
				return fmt.Errorf("upstream %q: an IPv6 address needs brackets; write %s", s, strings.Replace(s, hostport, net.JoinHostPort(meant.ip, meant.port), 1))
			}
		}
		return fmt.Errorf("upstream %q has too many colons; write its host and port, such as localhost:3000", s)
	}
	if port != "" && !isPort(port) && !strings.Contains(port, "-") { // a range is several upstreams
		return fmt.Errorf("upstream %q: the port must be a number from 1 to 65535; write %s", s, strings.Replace(s, hostport, host+":3000", 1))
	}
	return nil
}

// hasTLS reports whether an address is dialled with TLS.
func hasTLS(s string) bool { return strings.HasPrefix(strings.TrimPrefix(s, "sse+"), "https://") }

// otherTLS returns an address with TLS in place of none, or without it.
func otherTLS(s string) string {
	if hasTLS(s) {
		return strings.Replace(s, "https://", "http://", 1)
	}
	if strings.Contains(s, "://") {
		return strings.Replace(s, "http://", "https://", 1)
	}
	return "https://" + s
}

// isPort reports whether an address is only a port.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// knownNetwork reports whether the text before the first slash of an address is a network and not
// a host.
func knownNetwork(s string) bool {
	switch s {
	case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix+h2c":
		return true
	}
	return caddy.IsUnixNetwork(s) || caddy.IsFdNetwork(s)
}

func parseURLAddress(a address, s, scheme, after string) (address, error) {
	host, path, hasPath := strings.Cut(after, "/")
	a.proxy = scheme + "://" + host
	if !strings.Contains(host, "@") {
		if err := checkHostPort(s, host); err != nil && !isPort(strings.TrimPrefix(host, ":")) {
			return a, err
		}
	}
	switch {
	case host == "" || strings.HasPrefix(host, ":"):
		return a, fmt.Errorf("upstream %q: the host is missing; write %s://localhost%s", s, scheme, after)
	case strings.Contains(host, "@"):
		return a, fmt.Errorf("upstream %q must not have a user name or password; remove them, and use `header_up Authorization`", a.proxy[:len(scheme)+3]+"...")
	case strings.ContainsAny(after, "?#"):
		return a, fmt.Errorf("upstream %q must not have a query or fragment; write %s", s, s[:strings.IndexAny(s, "?#")])
	case !hasPath:
		return a, nil
	}
	a.path = "/" + path
	if _, err := url.Parse(a.path); err != nil || strings.ContainsAny(a.path, "{}*%\\") {
		return a, fmt.Errorf("upstream %q must have a plain path, without wildcard, placeholder or escape, such as /mcp", s)
	}
	if upstreams.HasOddSegment(a.path) {
		return a, fmt.Errorf("upstream %q has an empty or dot segment in its path; write a path without it, such as /mcp", s)
	}
	return a, nil
}
