package cors

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

var (
	errWildScheme = errors.New("the host of an app or extension has no subdomains; write it in full, or * in its place for all of the scheme")
	errWildFile   = errors.New("local files have the origin null, which only `*` allows")
	errWildIP     = errors.New("an IP address has no subdomains")
	errWildAll    = errors.New("covers every host; write * to allow every origin")
)

// pattern matches every subdomain, at any depth, of one host at one port, but not the host
// itself. Without a suffix it matches every host of a scheme of apps or browser extensions.
type pattern struct {
	scheme string
	suffix string // of the host, with its leading dot; empty: every host
	port   uint16 // as in [origin.Tuple]
}

// isPattern reports whether s is written like scheme://*.host, or like scheme://* with a
// scheme of apps or extensions.
func isPattern(s string) bool {
	_, rest, ok := strings.Cut(s, "://")
	return ok && strings.HasPrefix(rest, "*")
}

// parsePattern parses scheme://*.host[:port], and scheme://* for extensions of browsers that
// give them another host in each installation (moz-extension).
func parsePattern(s string) (pattern, error) {
	scheme, rest, _ := strings.Cut(s, "://")
	scheme, app := origin.AppScheme(scheme)
	if rest == "*" && app {
		if scheme == "file" {
			return pattern{}, errWildFile
		}
		return pattern{scheme: scheme}, nil
	}
	host, ok := strings.CutPrefix(rest, "*.")
	if !ok {
		if strings.Contains(rest, "/") {
			return pattern{}, origin.ErrPath
		}
		if app {
			return pattern{}, errWildScheme
		}
		if rest == "*" || strings.HasPrefix(rest, "*:") {
			return pattern{}, errWildAll
		}
		return pattern{}, origin.ErrWildcard
	}
	base, err := origin.ParseTuple(scheme + "://" + host)
	switch {
	case err != nil:
		return pattern{}, err
	case !base.Web():
		return pattern{}, errWildScheme
	}
	if origin.IsIP(base.Host()) {
		return pattern{}, errWildIP
	}
	suffix, _ := publicsuffix.PublicSuffix(base.Host())
	if suffix == base.Host() && !origin.IsPrivateSuffix(suffix) {
		return pattern{}, fmt.Errorf("anyone can get a host below the public suffix %s; name your own domain, as in https://*.example.com", suffix)
	}
	return pattern{scheme: base.Scheme(), suffix: "." + base.Host(), port: base.Port()}, nil
}

func (p pattern) match(o origin.Tuple) bool {
	if p.suffix == "" {
		return p.scheme == o.Scheme()
	}
	return p.scheme == o.Scheme() && p.port == o.Port() &&
		len(o.Host()) > len(p.suffix) && strings.HasSuffix(o.Host(), p.suffix)
}
