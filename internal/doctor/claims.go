package doctor

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
)

// maxClaims is how many values of a claim are shown.
const maxClaims = 16

// claims are the claims of a token that is a JWT (RFC 9068), as far as they decide whether a
// server accepts it. They are not verified.
type claims struct {
	Issuer    string   `json:"iss"`
	Audience  audience `json:"aud"`
	Expires   float64  `json:"exp"`
	NotBefore float64  `json:"nbf"`
	Scope     scopes   `json:"scope"`
	Scp       scopes   `json:"scp"` // Entra ID, Okta
	Binding   struct {
		Key         string `json:"jkt"`
		Certificate string `json:"x5t#S256"`
	} `json:"cnf"`
}

// audience is a string or a list of strings.
type audience []string

func (a *audience) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(a))
}

// scopes is a string with spaces between the scopes, or a list of strings.
type scopes []string

func (s *scopes) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*s = strings.Fields(one)
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(s))
}

// readClaims returns the claims of a token, and whether it is a JWT.
func readClaims(token string) (claims, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c claims
	if err != nil || json.Unmarshal(raw, &c) != nil {
		return claims{}, false
	}
	return c, true
}

// granted returns the scopes of the token.
func (c claims) granted() []string { return slices.Concat(c.Scope, c.Scp) }

// bound says what the token is bound to, or "".
func (c claims) bound() string {
	switch {
	case c.Binding.Key != "":
		return "a DPoP key"
	case c.Binding.Certificate != "":
		return "a client certificate"
	}
	return ""
}

// latest is the latest time that is shown: the last year with four digits.
var latest = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// timeOf returns a time of a claim. ok is false if there is none that can be shown.
func timeOf(seconds float64) (t time.Time, ok bool) {
	if seconds <= 0 || seconds > float64(latest.Unix()) {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0).UTC(), true
}

// outside says why the token is not valid at a time, or "".
func (c claims) outside(now time.Time) string {
	if t, ok := timeOf(c.Expires); ok && t.Before(now) {
		return "expired at " + t.Format(time.RFC3339)
	}
	if t, ok := timeOf(c.NotBefore); ok && t.After(now) {
		return "is not valid before " + t.Format(time.RFC3339)
	}
	return ""
}

// explain says what the token of the caller is, and what in it does not fit the server. What
// made the server refuse it is a failure already. Nothing else of the token is shown.
func (u *sessions) explain(s *report.Step) {
	c, isJWT := readClaims(u.login.token)
	shown := &report.Token{JWT: isJWT}
	u.Report.Token = shown
	if !isJWT {
		return
	}
	if c.Issuer != "" {
		shown.Issuer = u.Secrets.Link(c.Issuer)
	}
	for _, audience := range c.Audience[:min(len(c.Audience), maxClaims)] {
		shown.Audience = append(shown.Audience, u.Secrets.Link(audience))
	}
	scopes := c.granted()
	for _, scope := range scopes[:min(len(scopes), maxClaims)] {
		shown.Scopes = append(shown.Scopes, u.Secrets.Text(scope))
	}
	if t, ok := timeOf(c.Expires); ok {
		shown.Expires = t.Format(time.RFC3339)
	}
	shown.Bound = c.bound()
	warn := func(rule string, seen report.Facts, format string, args ...any) {
		if !slices.ContainsFunc(s.Findings, func(f report.Finding) bool { return f.Rule == rule && f.Level != report.Pass }) {
			u.NoteWith(s, report.Warn, rule, seen, format, args...)
		}
	}
	if why := c.outside(time.Now()); why != "" {
		warn("token.time", nil, "the token %s", why)
	}
	if issuer := u.login.issuer.issuer; issuer != "" && c.Issuer != "" && c.Issuer != issuer {
		warn("token.issuer", nil, "the token is from %s, but the server's authorization server is %s", shown.Issuer, u.Secrets.Link(issuer))
	}
	resource := report.OrWord(u.resource.doc.resource, u.Report.URL)
	if len(c.Audience) > 0 && !slices.Contains(c.Audience, resource) {
		warn("token.audience", report.Facts{rules.Misdirected: "yes"}, "the token was issued for %s, not for %s", strings.Join(shown.Audience, ", "), u.Secrets.Link(resource))
	}
	if missing := lacking(u.login.challenge.scope, scopes); len(scopes) > 0 && len(missing) > 0 {
		warn("token.scope", nil, "the token does not have the scopes that WWW-Authenticate names: %s", u.Secrets.Text(strings.Join(missing, " ")))
	}
	if shown.Bound != "" {
		warn("token.binding", nil, "the token is bound to %s, so a request with only the token must be refused", shown.Bound)
	}
}

// lacking returns the scopes of a challenge that were not granted.
func lacking(named string, granted []string) []string {
	return slices.DeleteFunc(strings.Fields(named), func(scope string) bool { return slices.Contains(granted, scope) })
}
