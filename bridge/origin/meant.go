package origin

import "strings"

// MeantURL returns the URL that an operator meant with a text that is none: with http:// in front
// of a local host, with https:// in front of any other, or with the colon or the slash that is
// missing behind its scheme. It returns "" if the text has a scheme, or if no URL was meant.
func MeantURL(s string) string {
	if strings.Contains(s, "://") || strings.HasPrefix(s, "/") {
		return ""
	}
	for _, scheme := range []string{"https", "http"} {
		for _, end := range []string{":/", "//"} {
			rest, ok := strings.CutPrefix(s, scheme+end)
			if !ok {
				continue
			}
			if meant := scheme + "://" + rest; isURL(meant) {
				return meant
			}
			return ""
		}
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

func isURL(s string) bool {
	_, err := Parse(s)
	return err == nil
}
