package cors

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// privateSuffixes are single names that stand for networks of one's own, so
// that every host below them belongs to the operator: RFC 6761, RFC 6762
// section 3 and appendix G, RFC 8375, and .internal as reserved by ICANN.
var privateSuffixes = []string{
	"localhost", "local", "internal", "test", "home.arpa",
	"intranet", "private", "corp", "home", "lan",
}

var (
	errWildScheme = errors.New("a wildcard stands in http and https origins alone")
	errWildIP     = errors.New("an IP address has no subdomains")
	errWildAll    = errors.New("covers every host; write * alone to allow every origin")
)

// pattern is every subdomain, at any depth, of one host: not the host itself,
// and at one port alone.
type pattern struct {
	scheme string
	suffix string // of the host, with its leading dot
	port   uint16 // as in Origin
}

// isPattern reports whether s is meant as scheme://*.host.
func isPattern(s string) bool {
	_, rest, ok := strings.Cut(s, "://")
	return ok && strings.HasPrefix(rest, "*")
}

// parsePattern parses scheme://*.host[:port].
func parsePattern(s string) (pattern, error) {
	scheme, rest, _ := strings.Cut(s, "://")
	host, ok := strings.CutPrefix(rest, "*.")
	if !ok {
		if rest == "*" || strings.HasPrefix(rest, "*:") {
			return pattern{}, errWildAll
		}
		return pattern{}, errBadPattern
	}
	base, err := ParseOrigin(scheme + "://" + host)
	switch {
	case err != nil:
		return pattern{}, err
	case base.scheme != "http" && base.scheme != "https":
		return pattern{}, errWildScheme
	}
	if _, ip := address(bare(base.host)); ip {
		return pattern{}, errWildIP
	}
	suffix, _ := publicsuffix.PublicSuffix(base.host)
	if suffix == base.host && !slices.Contains(privateSuffixes, suffix) {
		return pattern{}, fmt.Errorf("anyone can get a host below the public suffix %s", suffix)
	}
	return pattern{scheme: base.scheme, suffix: "." + base.host, port: base.port}, nil
}

func (p pattern) match(o Origin) bool {
	return p.scheme == o.scheme && p.port == o.port &&
		len(o.host) > len(p.suffix) && strings.HasSuffix(o.host, p.suffix)
}
