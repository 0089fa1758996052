package cors

import (
	"net/netip"
	"strings"
)

const localhost = "localhost"

// Loopback reports whether host, without a port, is a name or an address of
// this machine alone: localhost and the names below it (RFC 6761 section 6.3),
// 127.0.0.0/8, ::1, and both as IPv4-mapped IPv6. Brackets, a trailing dot and
// upper case do not matter. Nothing is resolved.
func Loopback(host string) bool {
	host = bare(host)
	if i := len(host) - len(localhost); i >= 0 && strings.EqualFold(host[i:], localhost) {
		return i == 0 || i > 1 && host[i-1] == '.'
	}
	addr, ok := address(host)
	return ok && addr.IsLoopback()
}

// IPOrLocalhost reports whether host, without a port, is an IP address or
// localhost: a name that no foreign DNS server answers for, so that it cannot
// be rebound. Brackets, a trailing dot and upper case do not matter.
func IPOrLocalhost(host string) bool {
	host = bare(host)
	if strings.EqualFold(host, localhost) {
		return true
	}
	_, ok := address(host)
	return ok
}

// bare takes the brackets of an IPv6 address, or one trailing dot, off a host.
func bare(host string) string {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return strings.TrimSuffix(host, ".")
}

// address parses an IP address. Names are told apart first, which spares the
// allocation of an error.
func address(host string) (netip.Addr, bool) {
	if host == "" || !isDigit(host[len(host)-1]) && strings.IndexByte(host, ':') < 0 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(host)
	return addr, err == nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
