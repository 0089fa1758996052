package origin

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// Limits of a tuple origin's text, in bytes.
const (
	maxScheme = 32 // longer than that of any app or browser extension
	// MaxTuple is the length of the longest origin that [ParseTuple] accepts.
	MaxTuple = maxScheme + len("://") + maxHostLength + len(":65535")
)

// Errors of [ParseTuple] that callers add advice to.
var (
	ErrNoScheme = errors.New("an origin starts with a scheme, as in https://")
	ErrPath     = errors.New("an origin has no path")
	ErrWildcard = errors.New("a wildcard must be the whole first label, as in https://*.example.com")
)

// Other errors of [ParseTuple].
var (
	errEmpty      = errors.New("is empty")
	errTooLong    = errors.New("is longer than any origin")
	errNull       = errors.New("names no origin: every sandboxed page and local file sends it; remove it")
	errBadScheme  = errors.New("has no valid scheme")
	errQuery      = errors.New("an origin has no query or fragment")
	errNoUserinfo = errors.New("an origin has no user name or password")
	errOddByte    = errors.New("has a space, a control character or another character that no origin has")
	errTrailing   = errors.New("has a host that ends with a dot")
	errBadIPv6    = errors.New("has no valid IPv6 address in its brackets")
	errExactPort  = errors.New("has no valid port; a port is a number from 1 to 65535")
)

// Tuple is a tuple origin (RFC 6454, HTML standard section 7.1.1) in its normal form, of a
// web page, an app or a browser extension. Tuples can be compared with ==. The zero value
// matches no origin.
type Tuple struct {
	text   string
	scheme string
	host   string // IPv6 in brackets
	port   uint16 // 0 where it is the scheme's default
}

// String returns the origin as browsers write it: without its scheme's default port, IPv6
// compressed and in brackets, in lower case but for the host of an app or browser extension.
func (o Tuple) String() string { return o.text }

// Scheme returns the scheme in lower case.
func (o Tuple) Scheme() string { return o.scheme }

// Host returns the host, an IPv6 address in brackets. It is in lower case where the scheme
// is http or https, and as it was written elsewhere.
func (o Tuple) Host() string { return o.host }

// Port returns the port, or 0 if it is the scheme's default.
func (o Tuple) Port() uint16 { return o.port }

// Web reports whether the origin is that of a web page. Other origins are those of apps and
// browser extensions. Their host is opaque: browsers keep its case and compare it byte for
// byte (URL standard, "opaque host").
func (o Tuple) Web() bool { return isWeb(o.scheme) }

// Loopback reports whether the origin is a web page of this machine. Origins of apps and
// extensions have no host in that sense.
func (o Tuple) Loopback() bool { return o.Web() && IsLoopback(o.host) }

func isWeb(scheme string) bool { return scheme == "http" || scheme == "https" }

// AppScheme returns a scheme in lower case, and whether it is a valid one of apps or browser
// extensions: any but http and https.
func AppScheme(s string) (string, bool) {
	lower := strings.ToLower(s)
	return lower, validScheme(s) && !isWeb(lower)
}

// ParseTuple parses scheme://host[:port], as browsers send it in Origin and as operators
// list it for them. It normalizes what browsers normalize: case, default port, the form of
// an IPv6 address. Otherwise it is stricter than browsers, so that no client can see another
// host than the one that is seen here: it accepts no path, user, query, escape, trailing
// dot, Unicode or shorthand IPv4. [ParseOrigin] is for origins of servers: it accepts a
// final slash and a trailing dot, but only http and https.
//
// Schemes other than http and https are those of apps and browser extensions. Their host
// stays as it is written (`safari-web-extension` has upper case letters in it). The origin
// "null" is an error. ParseTuple does not allocate if s is in normal form.
func ParseTuple(s string) (Tuple, error) {
	switch {
	case s == "":
		return Tuple{}, errEmpty
	case s == "null":
		return Tuple{}, errNull
	case len(s) > MaxTuple:
		return Tuple{}, errTooLong
	}
	rawScheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return Tuple{}, ErrNoScheme
	}
	if !validScheme(rawScheme) {
		return Tuple{}, errBadScheme
	}
	if err := checkBytes(rest); err != nil {
		return Tuple{}, err
	}
	rawHost, rawPort, written, ok := cutPort(rest)
	switch {
	case !ok && !strings.Contains(rest, "]"):
		return Tuple{}, errBadIPv6
	case !ok:
		return Tuple{}, errHost
	case written && (rawPort == "" || rawPort[0] == '0'): // browsers write neither
		return Tuple{}, errExactPort
	}
	o := Tuple{scheme: strings.ToLower(rawScheme)}
	var err error
	if o.host, err = exactHost(rawHost, isWeb(o.scheme)); err != nil {
		return Tuple{}, err
	}
	if written {
		if o.port, err = parsePort(rawPort); err != nil {
			return Tuple{}, errExactPort
		}
		if isWeb(o.scheme) && o.port == defaultPort(o.scheme == "https") {
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
		if c = s[i]; i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// checkBytes returns why s, the text after the scheme, is not host[:port].
func checkBytes(s string) error {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
		case c == '*' && i > 0 && s[i-1] == ':':
			return errExactPort
		case c == '*':
			return ErrWildcard
		case c == '@':
			return errNoUserinfo
		case c == '/', c == '\\':
			return ErrPath
		case c == '?', c == '#':
			return errQuery
		case c >= 0x80:
			return errNonASCII
		default:
			return errOddByte
		}
	}
	return nil
}

// exactHost returns a host as browsers write it. The host of an app or a browser extension
// is kept as written, except for an IPv6 address, which is normalized in every URL.
func exactHost(s string, web bool) (string, error) {
	switch {
	case strings.HasPrefix(s, "["):
		addr, ok := parseIPv6(s)
		if !ok {
			return "", errBadIPv6
		}
		return exactIPv6(s, addr), nil
	case s == "" || len(s) > maxHostLength || strings.ContainsAny(s, "[]"):
		return "", errHost
	case !web:
		return s, nil
	case s[len(s)-1] == '.':
		return "", errTrailing
	}
	name, _, err := parseName(s)
	return name, err
}

// exactIPv6 returns an address in brackets as the URL standard serializes it: s itself if
// that is its form.
func exactIPv6(s string, addr netip.Addr) string {
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
		return s
	}
	return string(b)
}
