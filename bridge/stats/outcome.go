package stats

import (
	"net/http"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/challenge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
)

// Outcome describes what the bridge did with the challenges of one answer. Its lines are as they
// were sent, and may have secrets in them. [Outcome.Shown] returns them without secrets.
type Outcome struct {
	Action Action
	Reason Reason
	// Status is the upstream's status, and Given the one that the client gets.
	Status, Given int
	// Sent are the WWW-Authenticate lines that the upstream sent, and Lines those that
	// the client gets.
	Sent, Lines []string
	// At is the public URL, if it was needed.
	At string

	scheme, code string // the result of Kind
}

// Kind returns scheme and error code of the most important challenge of the upstream's
// lines, as words of [Schemes] and [Errors]. That is the first with an error, else the
// first of Bearer or DPoP, else the first.
func (o *Outcome) Kind() (scheme, code string) {
	if o.scheme == "" {
		o.scheme, o.code = kindOf(o.Sent)
	}
	return o.scheme, o.code
}

// Shown returns Sent and Lines in a form that can be shown to an operator. r is the request of the
// client; its secrets are removed.
func (o *Outcome) Shown(r *http.Request) (sent, given []string) {
	secrets := safetext.SecretsOf(r)
	return challenge.Show(o.Sent, secrets), challenge.Show(o.Lines, secrets)
}

func kindOf(lines []string) (scheme, code string) {
	scheme, code = "none", "none"
	for _, line := range lines {
		for _, c := range challenge.Parse(line).Challenges() {
			name := strings.ToLower(c.Scheme)
			if text, ok := c.Param("error"); ok {
				return among(Schemes, name), among(Errors, text)
			}
			if scheme == "none" || scheme != "bearer" && scheme != "dpop" && (name == "bearer" || name == "dpop") {
				scheme = among(Schemes, name)
			}
		}
	}
	return scheme, code
}

// among returns s if it is in the set, else "other".
func among(set []string, s string) string {
	for _, known := range set {
		if s == known && s != "none" {
			return known
		}
	}
	return "other"
}
