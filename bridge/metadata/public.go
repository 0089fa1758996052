package metadata

import (
	"fmt"
)

// WellKnownPath is the well-known path of protected resource metadata (RFC 9728
// section 3).
const WellKnownPath = "/.well-known/oauth-protected-resource"

// wellKnownPrefix begins every well-known path (RFC 8615).
const wellKnownPrefix = "/.well-known/"

// Public is the public URL of one endpoint for one request: the one place from
// which challenge, metadata and CORS take it.
type Public struct {
	// Origin is the public origin in lower case without its scheme's default
	// port: "https://mcp.example.com".
	Origin string
	// Path is the endpoint's path with any public prefix, escaped as in a URL:
	// "/mcp", or "/" for the whole origin, which alone ends in a slash.
	Path string
	// Fixed says that the host is configured and not merely what a request
	// named. Only metadata of fixed hosts is cached.
	Fixed bool
}

// URL returns the resource identifier (RFC 8707 section 2): origin and path,
// without a slash where the path is "/".
func (p Public) URL() string { return p.Origin + p.trimmedPath() }

// WellKnown returns the URL of the endpoint's metadata (RFC 9728 section 3.1).
func (p Public) WellKnown() string { return p.Origin + WellKnownPath + p.trimmedPath() }

func (p Public) trimmedPath() string {
	if p.Path == "/" {
		return ""
	}
	return p.Path
}

// location parses the origin. Where that fails nothing is on the public host.
func (p Public) location() location {
	l, err := parseLocation(p.Origin)
	if err != nil {
		return location{}
	}
	return l
}

// NormalizeOrigin returns the origin that s names in the form of RFC 6454
// section 6.2: lower case, no default port, no trailing dot or slash. It refuses
// anything that is not an http or https origin, in an error of one line.
func NormalizeOrigin(s string) (string, error) {
	l, err := parseOrigin(s)
	if err != nil {
		return "", err
	}
	return l.origin(), nil
}

func parseOrigin(s string) (location, error) {
	l, err := parseLocation(s)
	if err == nil && ((l.path != "" && l.path != "/") || l.query != "" || l.marked) {
		err = errNotOrigin
	}
	if err != nil {
		return location{}, fmt.Errorf("origin %q: %w", s, err)
	}
	l.path = ""
	return l, nil
}
