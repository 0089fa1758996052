package cors

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Limits of an origin's text, in bytes.
const (
	maxScheme = 32  // longer than that of any app or browser extension
	maxHost   = 253 // RFC 1035 section 2.3.4, as text
	maxLabel  = 63  // RFC 1035 section 2.3.4
	maxOrigin = maxScheme + len("://") + maxHost + len(":65535")
)

// Reasons why a text is no origin; [ParseOrigin] returns no others.
var (
	errEmpty      = errors.New("is empty")
	errTooLong    = errors.New("is longer than any origin")
	errNull       = errors.New("names no origin: every sandboxed page and local file sends it")
	errNoScheme   = errors.New("an origin starts with a scheme, as in https://")
	errBadScheme  = errors.New("has no valid scheme")
	errPath       = errors.New("an origin has no path")
	errQuery      = errors.New("an origin has no query or fragment")
	errUserinfo   = errors.New("an origin has no user name or password")
	errByte       = errors.New("has a space, a control character or another character that no origin has")
	errNonASCII   = errors.New("has a host that is not ASCII; write it in its xn-- form")
	errHost       = errors.New("has no valid host")
	errTrailing   = errors.New("has a host that ends with a dot")
	errNumeric    = errors.New("has a numeric host that is no dotted-decimal IPv4 address")
	errBadIPv6    = errors.New("has no valid IPv6 address in its brackets")
	errBadPort    = errors.New("has no valid port; a port is a number from 1 to 65535")
	errBadPattern = errors.New("a wildcard stands alone as the first label, as in https://*.example.com")
)

// Origin is a tuple origin (RFC 6454, HTML standard section 7.1.1) in its
// normal form. Origins can be compared with ==. The zero value names nothing.
type Origin struct {
	text   string
	scheme string
	host   string // IPv6 in brackets
	port   uint16 // 0 where it is the scheme's default
}

// String returns the origin as browsers write it: lower case, without its
// scheme's default port, IPv6 compressed and in brackets.
func (o Origin) String() string { return o.text }

// Scheme returns the scheme in lower case.
func (o Origin) Scheme() string { return o.scheme }

// Host returns the host in lower case, an IPv6 address in brackets.
func (o Origin) Host() string { return o.host }

// Port returns the port, 0 where it is the scheme's default.
func (o Origin) Port() uint16 { return o.port }

// loopback reports whether the origin is a web page of this machine. Schemes
// of apps and extensions have no host in that sense.
func (o Origin) loopback() bool {
	return (o.scheme == "http" || o.scheme == "https") && Loopback(o.host)
}

// ParseOrigin parses scheme://host[:port]. It normalizes what browsers
// normalize (case, default port, form of an IPv6 address) and is stricter than
// they are about the rest, so that nobody can understand another host than the
// one judged here: no path, user, query, escape, trailing dot, Unicode or
// shorthand IPv4. Schemes other than http and https are those of apps and
// browser extensions. The origin "null" is an error. It does not allocate where
// s is in normal form.
func ParseOrigin(s string) (Origin, error) {
	switch {
	case s == "":
		return Origin{}, errEmpty
	case s == "null":
		return Origin{}, errNull
	case len(s) > maxOrigin:
		return Origin{}, errTooLong
	}
	rawScheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return Origin{}, errNoScheme
	}
	if !validScheme(rawScheme) {
		return Origin{}, errBadScheme
	}
	if err := checkBytes(rest); err != nil {
		return Origin{}, err
	}
	rawHost, rawPort, err := cutPort(rest)
	if err != nil {
		return Origin{}, err
	}
	o := Origin{scheme: strings.ToLower(rawScheme)}
	if o.host, err = normalHost(rawHost); err != nil {
		return Origin{}, err
	}
	if rawPort != "" {
		if o.port, err = parsePort(rawPort); err != nil {
			return Origin{}, err
		}
		if o.port == defaultPort(o.scheme) {
			o.port, rawPort = 0, ""
		}
	}
	o.text = s
	if o.scheme != rawScheme || o.host != rawHost || o.port == 0 && len(rest) != len(rawHost) {
		o.text = o.scheme + "://" + o.host
		if rawPort != "" {
			o.text += ":" + rawPort
		}
	}
	return o, nil
}

// validScheme reports whether s is a scheme (RFC 3986 section 3.1).
func validScheme(s string) bool {
	if s == "" || len(s) > maxScheme {
		return false
	}
	for i := range len(s) {
		c := s[i] | 0x20
		if 'a' <= c && c <= 'z' {
			continue
		}
		if c = s[i]; i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// checkBytes tells why s, which follows the scheme, is more or other than
// host[:port].
func checkBytes(s string) error {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', isDigit(c):
		case c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
		case c == '*' && i > 0 && s[i-1] == ':':
			return errBadPort
		case c == '*':
			return errBadPattern
		case c == '@':
			return errUserinfo
		case c == '/', c == '\\':
			return errPath
		case c == '?', c == '#':
			return errQuery
		case c >= 0x80:
			return errNonASCII
		default:
			return errByte
		}
	}
	return nil
}

// cutPort cuts host[:port]. Where there is no port it is "".
func cutPort(s string) (host, port string, err error) {
	end := strings.IndexByte(s, ':')
	if strings.HasPrefix(s, "[") {
		end = strings.IndexByte(s, ']') + 1
		if end == 0 {
			return "", "", errBadIPv6
		}
		if end < len(s) && s[end] != ':' {
			return "", "", errHost
		}
		if end == len(s) {
			end = -1
		}
	}
	if end < 0 {
		return s, "", nil
	}
	if end+1 == len(s) {
		return "", "", errBadPort
	}
	return s[:end], s[end+1:], nil
}

func parsePort(s string) (uint16, error) {
	if s[0] == '0' {
		return 0, errBadPort
	}
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, errBadPort
	}
	return uint16(port), nil
}

func defaultPort(scheme string) uint16 {
	switch scheme {
	case "http":
		return 80
	case "https":
		return 443
	}
	return 0
}

// normalHost returns a host name or an address as browsers write it.
func normalHost(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return normalIPv6(s)
	}
	switch {
	case s == "" || len(s) > maxHost || strings.ContainsAny(s, "[]"):
		return "", errHost
	case s[len(s)-1] == '.':
		return "", errTrailing
	}
	last := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			continue
		}
		if n := i - last; n == 0 || n > maxLabel {
			return "", errHost
		}
		if i < len(s) {
			last = i + 1
		}
	}
	s = strings.ToLower(s)
	if !numericLabel(s[last:]) {
		return s, nil
	}
	if addr, err := netip.ParseAddr(s); err != nil || !addr.Is4() {
		return "", errNumeric
	}
	return s, nil
}

// numericLabel reports whether browsers take a host with this last label, in
// lower case, for an IPv4 address (URL standard, "ends in a number checker").
func numericLabel(label string) bool {
	digits := label
	hex := strings.HasPrefix(label, "0x")
	if hex {
		digits = label[2:]
	}
	for i := range len(digits) {
		if c := digits[i]; !isDigit(c) && (!hex || c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// normalIPv6 returns a bracketed address as the URL standard serializes it.
func normalIPv6(s string) (string, error) {
	addr, err := netip.ParseAddr(strings.TrimSuffix(s[1:], "]"))
	if err != nil || !addr.Is6() || addr.Zone() != "" || s[len(s)-1] != ']' {
		return "", errBadIPv6
	}
	var buf [48]byte
	b := append(buf[:0], '[')
	if addr.Is4In6() {
		// Go writes these with dots, browsers in hexadecimal.
		a := addr.As16()
		b = append(b, "::ffff:"...)
		b = strconv.AppendUint(b, uint64(a[12])<<8|uint64(a[13]), 16)
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(a[14])<<8|uint64(a[15]), 16)
	} else {
		b = addr.AppendTo(b)
	}
	b = append(b, ']')
	if string(b) == s {
		return s, nil
	}
	return string(b), nil
}
