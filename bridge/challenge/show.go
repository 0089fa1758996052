package challenge

import (
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
)

// shownParams are the parameters of challenges whose values are shown. They say what the
// server wants. Any other parameter may be a secret, as a nonce is (RFC 6750 section 3,
// RFC 7616 section 3.3, RFC 9449 section 7.1, RFC 9470 section 3, RFC 9728 section 5.1).
var shownParams = map[string]bool{
	"realm": true, "scope": true, "error": true, "error_description": true, "error_uri": true,
	"resource_metadata": true, "resource": true, "authorization_uri": true, "as_uri": true,
	"algs": true, "algorithm": true, "charset": true, "qop": true, "stale": true, "title": true, "max_age": true, "acr_values": true,
}

// MaxShown bounds the lines of one answer that are shown.
const MaxShown = 4

// redacted replaces a secret.
const redacted = "[redacted]"

// Show returns at most [MaxShown] WWW-Authenticate lines in a form that can be shown, of at
// most about [safetext.MaxLine] bytes each. It removes the secrets, token68, the values of
// parameters that may be secret, userinfo, query and fragment of URLs, and words that look
// like tokens.
func Show(lines []string, secrets *safetext.Secrets) []string {
	if len(lines) > MaxShown {
		lines = lines[:MaxShown]
	}
	shown := make([]string, 0, len(lines))
	for _, line := range lines {
		shown = append(shown, strings.Clone(showLine(secrets.Hide(line, safetext.MaxLine, redacted))))
	}
	return shown
}

// showLine returns a line without what looks like a secret in it.
func showLine(line string) string {
	l := Parse(line)
	if l.Err() != nil {
		return safetext.Masked(line)
	}
	return l.Replace(func(p Param) (string, bool) {
		if !shownParams[strings.ToLower(p.Name)] {
			return redacted, p.Value != ""
		}
		masked := safetext.Masked(p.Value)
		return masked, masked != p.Value
	}, func(string) string { return "redacted" }) // a token68 cannot have brackets
}
