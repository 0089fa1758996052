package metadata

import (
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// WellKnownPath is the well-known path of protected resource metadata (RFC 9728
// section 3).
const WellKnownPath = "/.well-known/oauth-protected-resource"

// wellKnownPrefix begins every well-known path (RFC 8615).
const wellKnownPrefix = "/.well-known/"

// Public is the public URL of one endpoint for one request. Challenge, metadata and CORS all
// use it.
type Public struct {
	// Origin is the public origin in lower case without its scheme's default
	// port: "https://mcp.example.com".
	Origin string
	// Path is the endpoint's path with any public prefix, escaped as in a URL:
	// "/mcp", or "/" for the whole origin, which alone ends in a slash.
	Path string
	// Query is the query of the MCP URL with its question mark ("?project=a"), or empty. It
	// must not appear in logs or metrics.
	Query string
	// Fixed says that the host is configured, and was not taken from a request. Only
	// metadata of fixed hosts is cached.
	Fixed bool

	// named is the document that a challenge named, or with relay the metadata of an
	// authorization server. Empty means the endpoint's own document.
	named target
	relay bool
}

// URL returns the resource identifier (RFC 8707 section 2) without query: origin and
// path, without a slash where the path is "/".
func (p Public) URL() string { return p.Origin + p.trimmedPath() }

// WellKnown returns the URL of the endpoint's metadata (RFC 9728 section 3.1).
func (p Public) WellKnown() string { return p.Origin + WellKnownPath + p.trimmedPath() + p.Query }

// IsWellKnown reports whether raw is the endpoint's well-known URL, with any query or none.
func (p Public) IsWellKnown(raw string) bool {
	raw, _, _ = strings.Cut(raw, "?")
	rest, ok := strings.CutPrefix(raw, p.Origin)
	if !ok {
		return false
	}
	rest, ok = strings.CutPrefix(rest, WellKnownPath)
	return ok && rest == p.trimmedPath()
}

// IsResource reports whether value is the endpoint's resource identifier, with or without a
// query.
func (p Public) IsResource(value string) bool {
	value, _, _ = strings.Cut(value, "?")
	return value == p.URL() || value == p.URL()+"/"
}

// resource returns the resource identifier for a metadata URL. A client compares it with the
// URL from which it derived the metadata URL (RFC 9728 section 3.3), so it has a final slash
// if that has one.
func (p Public) resource(suffix string) (string, bool) {
	if suffix == "" || suffix == "/" {
		return p.URL(), true
	}
	if p.Path == "/" || suffix[0] != '/' {
		return "", false
	}
	if suffix == p.Path || suffix == p.Path+"/" {
		return p.Origin + suffix, true
	}
	got, err := url.PathUnescape(strings.TrimSuffix(suffix, "/"))
	if err != nil {
		return "", false
	}
	want, err := url.PathUnescape(p.Path)
	if err != nil || got != want {
		return "", false
	}
	return p.Origin + suffix, true
}

// own returns p for the endpoint's own document.
func (p Public) own() Public {
	p.Query, p.named, p.relay = "", target{}, false
	return p
}

func (p Public) trimmedPath() string {
	if p.Path == "/" {
		return ""
	}
	return p.Path
}

// location returns the origin parsed. If it does not parse it returns the zero URL, which
// matches no host.
func (p Public) location() origin.URL {
	u, err := origin.Parse(p.Origin)
	if err != nil {
		return origin.URL{}
	}
	return u
}

// seen returns what an answer of the upstream adds to its names.
func (p Public) seen(sentHost string) origin.Seen {
	return origin.Seen{Public: p.location(), Sent: sentHost}
}

// NormalizeOrigin returns the origin that s names in the form of RFC 6454
// section 6.2: lower case, no default port, no trailing dot or slash. It refuses
// anything that is not an http or https origin, in an error of one line.
func NormalizeOrigin(s string) (string, error) {
	u, err := origin.ParseOrigin(s)
	if err != nil {
		return "", err
	}
	return u.Origin(), nil
}

// maxQuery bounds, in bytes, the query of an MCP URL for which there is metadata.
const maxQuery = 1 << 10

// UsableQuery returns the query of a request, with its question mark, for use in a URL that
// the bridge makes: it is part of the MCP URL (RFC 9728 section 3.1). It returns "" if the
// query is too long, or has characters that clients write differently.
func UsableQuery(raw string) string {
	if raw == "" || len(raw) > maxQuery || !origin.CleanText(raw) {
		return ""
	}
	for i := range len(raw) {
		if c := raw[i]; c >= 0x7f || c == '"' || c == '<' || c == '>' || c == '#' {
			return ""
		}
	}
	return "?" + raw
}
