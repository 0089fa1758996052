package exchange

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/token"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
)

// TokenType is an identifier of RFC 8693, section 3.
type TokenType string

// The types of tokens that an MCP server can be sent as Bearer.
const (
	AccessToken TokenType = "urn:ietf:params:oauth:token-type:access_token"
	JWT         TokenType = "urn:ietf:params:oauth:token-type:jwt"
)

const (
	// maxAge bounds, in seconds, how long a token is believed to live.
	maxAge = 365 * 24 * 3600
	// maxShown bounds, in bytes, a text of an issuer in an error.
	maxShown = 200
)

// issued is a successful answer.
type issued struct {
	token string
	lives time.Duration // 0: the answer does not say
}

// age returns how long the token is used.
func (i issued) age() time.Duration {
	if i.lives == 0 {
		return unknownAge
	}
	return i.lives - min(early, i.lives/10)
}

// text returns a member that is a text. It returns "" if the member is missing or is something
// else.
func text(all map[string]any, name string) string {
	s, _ := all[name].(string)
	return s
}

// read reads a successful answer (RFC 8693, section 2.2.1): a token of one of the types, that
// can be sent as Bearer. A refresh token in it is not looked at.
func read(doc []byte, requested TokenType) (issued, error) {
	all, err := token.Members(doc)
	if err != nil {
		return issued{}, fmt.Errorf("the answer: %w", err)
	}
	got := issued{token: text(all, "access_token")}
	switch kind := TokenType(text(all, "issued_token_type")); {
	case !token.IsToken68(got.token):
		return issued{}, errors.New("the answer has no access_token that can be sent as Bearer")
	case len(got.token) > token.MaxLength:
		return issued{}, fmt.Errorf("the access_token is longer than %d bytes", token.MaxLength)
	case kind != requested && kind != AccessToken && kind != JWT:
		return issued{}, fmt.Errorf("the issued_token_type is %q, not that of an access token", shown(string(kind)))
	}
	if kind := text(all, "token_type"); !strings.EqualFold(kind, "Bearer") {
		return issued{}, fmt.Errorf("the token_type is %q, not Bearer", shown(kind))
	}
	if value, ok := all["expires_in"]; ok {
		number, _ := value.(json.Number)
		seconds, err := number.Float64()
		if err != nil || seconds < 1 {
			return issued{}, errors.New("expires_in is not a number of seconds")
		}
		got.lives = time.Duration(min(seconds, maxAge)) * time.Second
	}
	return got, nil
}

// refusal reads an answer of 4xx (RFC 8693, section 2.2.2) to an exchange of raw, the token of p.
// If the error code is about that token, the client gets it. Any other code is a fault of the
// configuration or of the issuer. That includes invalid_target and invalid_scope, because target
// and scopes come from the configuration.
func (x *Exchanger) refusal(p *principal.Principal, status int, doc []byte, raw string) *principal.Refusal {
	all, err := token.Members(doc)
	code := text(all, "error")
	if err != nil || code == "" {
		return fault(fmt.Errorf("the answer has status %d, and no `error`", status))
	}
	var secrets safetext.Secrets // which the answer may quote
	as := x.cfg.Credentials
	for _, secret := range []string{raw, as.Secret, base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(as.ID) + ":" + url.QueryEscape(as.Secret)))} {
		secrets.Add(secret)
	}
	cause := fmt.Errorf("the authorization server says %q", shown(secrets.Text(code)))
	if more := text(all, "error_description"); more != "" {
		cause = fmt.Errorf("%w: %s", cause, shown(secrets.Text(more)))
	}
	switch code {
	case "temporarily_unavailable", "server_error":
		return unavailable(principal.IssuerUnreachable, cause)
	case "invalid_grant":
		return &principal.Refusal{Code: principal.InvalidToken, Reason: principal.NotExchanged, Cause: cause}
	case "invalid_request", "invalid_token":
		if x.loginHelps(p, raw) {
			return &principal.Refusal{Code: principal.InvalidToken, Reason: principal.NotExchanged, Cause: cause}
		}
	case "invalid_target", "invalid_scope", "access_denied":
		return &principal.Refusal{Code: principal.IssuerFault, Reason: principal.ExchangeDenied, Cause: cause}
	}
	return fault(cause)
}

// shown returns a text of the issuer in a form that can be shown.
func shown(s string) string { return safetext.Cut(safetext.Printable(s), maxShown) }
