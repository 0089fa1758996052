// Package introspect asks an authorization server whether a token is valid (RFC 7662). It is
// for opaque tokens, which only their issuer can read.
package introspect

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/token"
)

const (
	// MaxAge bounds how long an answer is used.
	MaxAge = 60 * time.Second
	// maxInProgress bounds the questions at one time. Further tokens wait.
	maxInProgress = 32
	// retryAfter is the Retry-After for a client whose token could not be checked because the
	// issuer did not answer.
	retryAfter = 5 * time.Second
)

// Endpoint is an introspection endpoint.
type Endpoint struct {
	// URL returns where to ask. It may have to ask for the metadata of the issuer first.
	URL func(context.Context) (string, error)
	// Issuer is the issuer of the tokens. An answer that names another is refused.
	Issuer string
	// Credentials are those of the edge.
	Credentials fetch.Credentials
	// AudienceOptional accepts answers that name no audience.
	AudienceOptional bool

	client *fetch.Client
	slots  chan struct{}
}

// New returns e, ready to be asked.
func New(client *fetch.Client, e Endpoint) *Endpoint {
	e.client, e.slots = client, make(chan struct{}, maxInProgress)
	return &e
}

// Verify asks the issuer about a token. The principal that it returns has no proof of a binding
// yet. The answer must name one of audiences. RFC 7662 does not require `aud` in an answer;
// without it a token that the issuer gave out for another service would be accepted here.
func (e *Endpoint) Verify(ctx context.Context, raw string, audiences []string, now func() time.Time) (*principal.Principal, *principal.Refusal) {
	if len(raw) > token.MaxLength {
		return nil, principal.Invalid(principal.TokenTooLong)
	}
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return nil, &principal.Refusal{Code: principal.Unavailable, Reason: principal.TooBusy, RetryAfter: retryAfter, Cause: ctx.Err()}
	}
	claims, err := e.ask(ctx, raw)
	if err != nil {
		return nil, &principal.Refusal{Code: principal.Unavailable, Reason: principal.IssuerUnreachable, RetryAfter: retryAfter, Cause: err}
	}
	return e.read(claims, audiences, now())
}

// errNoAudience is the cause of a refusal for logs.
var errNoAudience = errors.New("the answer of the introspection endpoint has no `aud`")

func (e *Endpoint) ask(ctx context.Context, raw string) (token.Claims, error) {
	at, err := e.URL(ctx)
	if err != nil {
		return token.Claims{}, err
	}
	form := url.Values{"token": {raw}, "token_type_hint": {"access_token"}}
	status, body, err := e.client.PostForm(ctx, at, form, e.Credentials)
	if err != nil {
		return token.Claims{}, err
	}
	if status != http.StatusOK {
		return token.Claims{}, &fetch.StatusError{Status: status}
	}
	claims, err := token.ParseClaims(body)
	if err != nil {
		return token.Claims{}, err
	}
	if _, ok := claims.All["active"].(bool); !ok {
		return token.Claims{}, errors.New("the answer has no `active` that is true or false")
	}
	return claims, nil
}

// read makes a principal of an answer.
func (e *Endpoint) read(claims token.Claims, audiences []string, now time.Time) (*principal.Principal, *principal.Refusal) {
	if claims.All["active"] != true {
		return nil, principal.Invalid(principal.Inactive)
	}
	if claims.Issuer != "" && claims.Issuer != e.Issuer {
		return nil, principal.Invalid(principal.UnknownIssuer)
	}
	claims.Issuer = e.Issuer
	if refusal := claims.CheckUse(); refusal != nil { // RFC 7662, section 2.1: the endpoint knows refresh tokens, too
		return nil, refusal
	}
	if refusal := claims.CheckTimes(now); refusal != nil {
		return nil, refusal
	}
	switch {
	case len(claims.Audience) > 0:
	case e.AudienceOptional:
		return claims.Principal(principal.Introspected)
	default:
		return nil, &principal.Refusal{Code: principal.InvalidToken, Reason: principal.NoAudience, Cause: errNoAudience}
	}
	if !slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(claims.Audience, a) }) {
		return nil, principal.Invalid(principal.WrongAudience)
	}
	return claims.Principal(principal.Introspected)
}
