package report

import (
	"net/url"
	"regexp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// Hidden is shown in place of a secret.
const Hidden = "(hidden)"

// ShownText is how many bytes are shown of a text that a server chose.
const ShownText = 300

// Secrets are texts that must not be shown.
type Secrets struct{ safetext.Secrets }

// query matches a URL with a query. Any query may contain a secret.
var query = regexp.MustCompile(`(/[^\s"'<>?]*)\?[^\s"'<>]+`)

// Show returns a text of a server in a form that may be shown: at most limit bytes,
// without secrets, queries and control characters.
func (s *Secrets) Show(text string, limit int) string {
	return safetext.Printable(query.ReplaceAllString(s.Hide(text, limit, Hidden), "$1?..."))
}

// Text is Show with the limit ShownText.
func (s *Secrets) Text(text string) string { return s.Show(text, ShownText) }

// Link is Text for a URL: it also removes the query and the user.
func (s *Secrets) Link(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return s.Text(safetext.URL(raw))
	}
	return s.Text(urls.WithoutQuery(u))
}
