package metadata

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Reasons why a text is no URL that can be judged.
var (
	errScheme    = errors.New("must start with http:// or https://")
	errByte      = errors.New("has a control character, a space or a backslash")
	errUserinfo  = errors.New("must not have a user name or password")
	errHost      = errors.New("has no valid host name")
	errNumeric   = errors.New("has a numeric host that is no dotted-decimal IPv4 address")
	errPercent   = errors.New("has a percent-encoded host or an IPv6 zone")
	errNonASCII  = errors.New("has a host that is not ASCII, write it in its xn-- form")
	errPort      = errors.New("has no valid port")
	errNotOrigin = errors.New("must be an origin, without path, query or fragment")
)

// Limits of a host name, RFC 1035 section 2.3.4.
const (
	maxHostLength  = 253
	maxLabelLength = 63
)

// hostPort is a host with a port, normalized. The zero value names nothing.
type hostPort struct {
	host string     // lower case, no trailing dot, no brackets
	addr netip.Addr // valid if host is an IP literal; never IPv6-mapped
	port uint16     // 0 where none was written and no default is known
}

// location is an absolute http or https URL, cut into the parts that are judged.
type location struct {
	hostPort

	https  bool
	path   string // as written, "" or from the first slash
	query  string // as written, with its question mark
	marked bool   // it has a fragment
}

// parseLocation cuts raw. It is stricter than browsers are, so that no client
// can understand another host than the one judged here.
func parseLocation(raw string) (location, error) {
	var l location
	rest, ok := cutPrefixFold(raw, "https://")
	if ok {
		l.https = true
	} else if rest, ok = cutPrefixFold(raw, "http://"); !ok {
		return l, errScheme
	}
	if !cleanText(rest) {
		return l, errByte
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, rest = rest[:i], rest[i:]
	} else {
		rest = ""
	}
	var err error
	if l.hostPort, err = parseAuthority(authority, defaultPort(l.https)); err != nil {
		return l, err
	}
	rest, _, l.marked = strings.Cut(rest, "#")
	l.path = rest
	if i := strings.IndexByte(rest, '?'); i >= 0 {
		l.path, l.query = rest[:i], rest[i:]
	}
	return l, nil
}

// parseAuthority parses host[:port]; port is what counts where none is written.
func parseAuthority(s string, port uint16) (hostPort, error) {
	switch {
	case strings.Contains(s, "@"):
		return hostPort{}, errUserinfo
	case strings.Contains(s, "%"):
		return hostPort{}, errPercent
	}
	host, portText := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return hostPort{}, errHost
		}
		host = s[:end+1]
		if after := s[end+1:]; after != "" {
			if after[0] != ':' {
				return hostPort{}, errHost
			}
			portText = after[1:]
		}
	} else {
		host, portText, _ = strings.Cut(s, ":")
	}
	hp, err := parseHost(host)
	if err != nil {
		return hostPort{}, err
	}
	hp.port = port
	if portText != "" {
		if hp.port, err = parsePort(portText); err != nil {
			return hostPort{}, err
		}
	}
	return hp, nil
}

// parseHost parses a host without port, an IPv6 address in brackets.
func parseHost(s string) (hostPort, error) {
	if strings.HasPrefix(s, "[") {
		addr, err := netip.ParseAddr(strings.TrimSuffix(s[1:], "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return hostPort{}, errHost
		}
		addr = addr.Unmap()
		return hostPort{host: addr.String(), addr: addr}, nil
	}
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > maxHostLength {
		return hostPort{}, errHost
	}
	if !ascii(s) { // before the case is lowered: the Kelvin sign becomes a k
		return hostPort{}, errNonASCII
	}
	s = strings.ToLower(s)
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabelLength {
			return hostPort{}, errHost
		}
		for i := range len(label) {
			switch c := label[i]; {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			default:
				return hostPort{}, errHost
			}
		}
		last = label
	}
	if !numericLabel(last) {
		return hostPort{host: s}, nil
	}
	// The host parser of browsers takes each such name for an IPv4 address, in
	// one of many notations. Only the one that all agree on is understood.
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return hostPort{}, errNumeric
	}
	return hostPort{host: addr.String(), addr: addr}, nil
}

// numericLabel reports whether a host that ends in this label is an IPv4
// address to the URL standard: all digits, or hexadecimal after 0x.
func numericLabel(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func parsePort(s string) (uint16, error) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, errPort
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errPort
	}
	return uint16(n), nil
}

func defaultPort(https bool) uint16 {
	if https {
		return 443
	}
	return 80
}

// sameOrigin compares scheme, host and port.
func (l location) sameOrigin(o location) bool {
	return l.https == o.https && l.hostPort == o.hostPort
}

// origin returns the serialized origin, without the scheme's default port.
func (l location) origin() string {
	host := l.host
	if l.addr.Is6() {
		host = "[" + host + "]"
	}
	if l.port != defaultPort(l.https) {
		host += ":" + strconv.Itoa(int(l.port))
	}
	if l.https {
		return "https://" + host
	}
	return "http://" + host
}

// onDefaultPort reports whether the port is the one of the URL's scheme.
func (l location) onDefaultPort() bool { return l.port == defaultPort(l.https) }

// sharedAddressSpace is RFC 6598's, between a carrier's or cloud's own machines.
var sharedAddressSpace = netip.MustParsePrefix("100.64.0.0/10")

// localSuffixes end names that no public DNS resolves: RFC 6761, RFC 6762,
// RFC 8375, ICANN's .internal, and what routers and Kubernetes use.
var localSuffixes = []string{".localhost", ".local", ".internal", ".localdomain", ".lan", ".home.arpa", ".svc"}

// local reports whether the host means nothing, or another machine, to a client
// elsewhere: loopback, unspecified, private, or a name of a single label.
func (h hostPort) local() bool {
	if h.addr.IsValid() {
		return h.addr.IsLoopback() || h.addr.IsUnspecified() || h.addr.IsPrivate() ||
			h.addr.IsLinkLocalUnicast() || sharedAddressSpace.Contains(h.addr)
	}
	if h.host == "" {
		return false
	}
	if !strings.Contains(h.host, ".") {
		return true
	}
	for _, suffix := range localSuffixes {
		if strings.HasSuffix(h.host, suffix) {
			return true
		}
	}
	return false
}

// cleanText refuses what clients strip, convert or stumble over.
func cleanText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '\\' {
			return false
		}
	}
	return true
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
