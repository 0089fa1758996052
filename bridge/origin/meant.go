package origin

import "strings"

// MeantURL returns the URL that an operator meant with a text that has no scheme:
// http for a local host, https for any other. It returns "" if the text has a scheme, or
// is no URL without one either.
func MeantURL(s string) string {
	if strings.Contains(s, "://") || strings.HasPrefix(s, "/") {
		return ""
	}
	u, err := Parse("https://" + s)
	switch {
	case err != nil:
		return ""
	case u.Local():
		return "http://" + s
	}
	return "https://" + s
}

// MeantOrigin returns the origin of a text that is a URL, with a scheme or without; "" if
// it is none.
func MeantOrigin(s string) string {
	if meant := MeantURL(s); meant != "" {
		s = meant
	}
	u, err := Parse(s)
	if err != nil {
		return ""
	}
	return u.Origin()
}

// MeantIssuer returns the issuer that an operator meant with the URL of its metadata (RFC 8414
// section 3.1, OpenID Connect Discovery 1.0 section 4); "" if the URL is not below /.well-known/.
func MeantIssuer(s string) string {
	before, after, ok := strings.Cut(s, "/.well-known/")
	if !ok {
		return ""
	}
	if _, path, ok := strings.Cut(after, "/"); ok && path != "" { // the path of the issuer stands behind
		return before + "/" + path
	}
	return before
}

// MeantHost returns the host name of a text that is a URL or begins as one does without a
// scheme; "" if it has none.
func MeantHost(s string) string {
	_, host, _ := strings.Cut(MeantOrigin(s), "://")
	if name, port, ok := strings.Cut(host, ":"); ok && !strings.Contains(port, ":") {
		return name
	}
	return host
}
