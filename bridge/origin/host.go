package origin

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Limits of a host name, RFC 1035 section 2.3.4.
const (
	maxHostLength  = 253
	maxLabelLength = 63
)

// Host is a host with a port, normalized. Hosts can be compared with ==. The zero value
// matches no host.
type Host struct {
	Name string     // lower case, no trailing dot, no brackets
	Addr netip.Addr // valid if the host is an IP literal; never IPv6-mapped
	Port uint16     // 0 if none was written and no default is known
}

// Hostname returns the host of host[:port], without brackets. It does not check or normalize it.
func Hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// HostnameOf returns the host of a normalized origin, without port and brackets.
func HostnameOf(origin string) string {
	_, hostport, _ := strings.Cut(origin, "://")
	return Hostname(hostport)
}

// ParseHost parses host[:port]. port is the default if none is written.
func ParseHost(s string, port uint16) (Host, error) {
	switch {
	case strings.Contains(s, "@"):
		return Host{}, errUserinfo
	case strings.Contains(s, "%"):
		return Host{}, errPercent
	}
	host, portText, _, ok := cutPort(s)
	if !ok {
		return Host{}, errHost
	}
	h := Host{Port: port}
	if strings.HasPrefix(host, "[") {
		if h.Addr, ok = parseIPv6(host); !ok {
			return Host{}, errHost
		}
		h.Addr = h.Addr.Unmap()
		h.Name = h.Addr.String()
	} else {
		var err error
		if h.Name, h.Addr, err = parseName(strings.TrimSuffix(host, ".")); err != nil {
			return Host{}, err
		}
	}
	if portText != "" {
		var err error
		if h.Port, err = parsePort(portText); err != nil {
			return Host{}, err
		}
	}
	return h, nil
}

// cutPort splits host[:port]. written says that there is a colon, which may have no port
// behind it. An IPv6 address keeps its brackets; ok is false if they do not close, or if
// something other than a port follows them.
func cutPort(s string) (host, port string, written, ok bool) {
	if !strings.HasPrefix(s, "[") {
		host, port, written = strings.Cut(s, ":")
		return host, port, written, true
	}
	end := strings.IndexByte(s, ']') + 1
	port, written = strings.CutPrefix(s[end:], ":")
	return s[:end], port, written, end > 0 && (written || end == len(s))
}

// parseIPv6 parses an address in brackets. A zone has a meaning only on this machine, so an
// address with a zone is no host.
func parseIPv6(s string) (netip.Addr, bool) {
	inner, closed := strings.CutSuffix(strings.TrimPrefix(s, "["), "]")
	addr, err := netip.ParseAddr(inner)
	return addr, closed && err == nil && addr.Is6() && addr.Zone() == ""
}

// parseName parses a host name or an IPv4 address, without a trailing dot. It returns the
// name in lower case, and the address if it is one. It does not allocate for a name in lower
// case.
func parseName(s string) (string, netip.Addr, error) {
	if s == "" || len(s) > maxHostLength {
		return "", netip.Addr{}, errHost
	}
	if !ascii(s) { // before the case is lowered: the Kelvin sign becomes a k
		return "", netip.Addr{}, errNonASCII
	}
	s = strings.ToLower(s)
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabelLength {
			return "", netip.Addr{}, errHost
		}
		for i := range len(label) {
			switch c := label[i]; {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			default:
				return "", netip.Addr{}, errHost
			}
		}
		last = label
	}
	if !numericLabel(last) {
		return s, netip.Addr{}, nil
	}
	// Browsers take each such name for an IPv4 address, in one of many notations. Only
	// dotted decimal is accepted here, because all clients agree on it.
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return "", netip.Addr{}, errNumeric
	}
	return s, addr, nil
}

// numericLabel reports whether browsers take a host that ends in this label, in lower case,
// for an IPv4 address: only digits, or hexadecimal after 0x (URL standard, "ends in a number
// checker").
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

// parsePort parses a port other than 0. Zeros in front are allowed.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errPort
	}
	return uint16(n), nil
}

// sharedAddressSpace is used between the machines of a carrier or a cloud (RFC 6598).
var sharedAddressSpace = netip.MustParsePrefix("100.64.0.0/10")

// localSuffixes end names that public DNS does not resolve: RFC 6761, RFC 6762,
// RFC 8375, ICANN's .internal, and the names that routers and Kubernetes use.
var localSuffixes = []string{".localhost", ".local", ".internal", ".localdomain", ".lan", ".home.arpa", ".svc"}

// privateSuffixes end other names that are used in private networks (RFC 6761, RFC 6762
// appendix G), but do not make a host local: some networks resolve them for clients elsewhere.
var privateSuffixes = []string{".test", ".intranet", ".private", ".corp", ".home"}

// IsPrivateSuffix reports whether every host below a name, in lower case, belongs to the
// operator of a private network, because nobody can register one.
func IsPrivateSuffix(name string) bool {
	return slices.Contains(localSuffixes, "."+name) || slices.Contains(privateSuffixes, "."+name)
}

// Local reports whether a client elsewhere cannot reach the host, or reaches another
// machine: loopback, unspecified, private and shared addresses, names of a single label, and
// names below a local suffix. A new private range goes here.
func (h Host) Local() bool {
	if h.Addr.IsValid() {
		return h.Addr.IsLoopback() || h.Addr.IsUnspecified() || h.Addr.IsPrivate() ||
			h.Addr.IsLinkLocalUnicast() || sharedAddressSpace.Contains(h.Addr)
	}
	if h.Name == "" {
		return false
	}
	if !strings.Contains(h.Name, ".") {
		return true
	}
	for _, suffix := range localSuffixes {
		if strings.HasSuffix(h.Name, suffix) {
			return true
		}
	}
	return false
}

const localhost = "localhost"

// IsLoopback reports whether host, without a port, always means this machine: localhost and
// the names below it (RFC 6761 section 6.3), 127.0.0.0/8, ::1, and both as IPv4-mapped IPv6.
// Brackets, a trailing dot and upper case are ignored.
func IsLoopback(host string) bool {
	host = bare(host)
	if i := len(host) - len(localhost); i >= 0 && strings.EqualFold(host[i:], localhost) {
		return i == 0 || i > 1 && host[i-1] == '.'
	}
	addr, ok := address(host)
	return ok && addr.IsLoopback()
}

// IsIPOrLocalhost reports whether host, without a port, is an IP address or localhost. DNS
// of others cannot rebind such a host. Brackets, a trailing dot and upper case are ignored.
func IsIPOrLocalhost(host string) bool {
	return strings.EqualFold(bare(host), localhost) || IsIP(host)
}

// IsIP reports whether host, without a port, is an IP address. Brackets and a trailing dot
// are ignored.
func IsIP(host string) bool {
	_, ok := address(bare(host))
	return ok
}

// bare removes the brackets of an IPv6 address, or one trailing dot.
func bare(host string) string {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return strings.TrimSuffix(host, ".")
}

// address parses an IP address. It recognizes names first, to save the allocation of an
// error.
func address(host string) (netip.Addr, bool) {
	if host == "" || (host[len(host)-1] < '0' || host[len(host)-1] > '9') && strings.IndexByte(host, ':') < 0 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(host)
	return addr, err == nil
}
