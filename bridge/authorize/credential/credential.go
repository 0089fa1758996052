// Package credential finds the one credential of a request and says whose it is. It is
// decided from the header alone, before a body is read.
package credential

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/dpop"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/recent"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/token"
)

// Request has the parts of a request that its credentials are checked against.
type Request struct {
	// Authorization, DPoP and Key are the values of these header fields, one for each line.
	// Key is the field of [Config.KeyHeader].
	Authorization, DPoP, Key []string
	// Query is the raw query.
	Query string
	// Method and URL must be those in a DPoP proof. URL is the public URL; its query does not
	// count.
	Method, URL string
	// Audiences are accepted in a token besides those of its issuer: the public URLs of the
	// endpoint.
	Audiences []string
	// Certificate is the SHA-256 thumbprint in base64url of the client's certificate, if
	// Caddy has verified it.
	Certificate string
	// User is the id of the user that an earlier handler of Caddy has authenticated.
	User string
}

// Result is what credentials prove.
type Result struct {
	*principal.Principal
	// Token is the token of the request, which was verified. It is empty for keys and users.
	Token string
	// Nonce is a new nonce for the client's next DPoP proof (RFC 9449, section 8.2). It is
	// empty if the client need not be told one.
	Nonce string
}

// Authenticator checks credentials. Its methods may be called from several goroutines.
type Authenticator struct {
	cfg     Config
	client  *fetch.Client
	issuers []*issuer
	keys    []key
	cache   *recent.Cache[entry]
	replays *dpop.Replays
	nonces  *dpop.Nonces // nil if no nonce is asked for
	asking  singleflight.Group
	now     func() time.Time
}

const (
	// maxRemembered bounds the verified tokens that are remembered.
	maxRemembered = 20_000
	// maxRememberedSize bounds these tokens in bytes. Their principals have about as many.
	maxRememberedSize = 32 << 20
	// maxAge bounds how long a verified token is remembered.
	maxAge = 5 * time.Minute
)

// entry is what is remembered of a verified token.
type entry struct {
	principal *principal.Principal
	issuer    *issuer
	version   uint64 // of the keys of the issuer
}

type key struct {
	sum       [sha256.Size]byte
	principal *principal.Principal
}

// Authenticate returns the principal of a request. If the refusal asks for a nonce, the result has
// one.
func (a *Authenticator) Authenticate(ctx context.Context, req Request) (Result, *principal.Refusal) {
	found, refusal := a.find(req)
	if refusal != nil {
		return Result{}, refusal
	}
	tokens := len(a.issuers) > 0 || len(a.keys) > 0
	if found.value == "" || found.scheme != "" && !tokens {
		if a.cfg.CaddyUser && req.User != "" {
			return Result{Principal: &principal.Principal{Kind: principal.User, Subject: req.User}}, nil
		}
		return Result{}, &principal.Refusal{Code: principal.Missing, Reason: principal.NoCredentials}
	}
	if p := a.keyOf(found.value); p != nil {
		if found.scheme == dpopS {
			return Result{}, principal.Invalid(principal.WrongScheme)
		}
		return Result{Principal: p}, nil
	}
	if found.scheme == "" {
		return Result{}, principal.Invalid(principal.WrongKey)
	}
	p, refusal := a.token(ctx, found.value, req.Audiences)
	if refusal != nil {
		return Result{}, refusal
	}
	res, refusal := a.bound(p, found, req)
	if refusal == nil {
		res.Token = found.value
	}
	return res, refusal
}

// keyOf returns the principal of a static key, or nil. It compares all keys, in a time that
// does not depend on which one fits.
func (a *Authenticator) keyOf(value string) (p *principal.Principal) {
	if len(a.keys) == 0 {
		return nil
	}
	sum := sha256.Sum256([]byte(value))
	for i := range a.keys {
		if subtle.ConstantTimeCompare(sum[:], a.keys[i].sum[:]) == 1 {
			p = a.keys[i].principal
		}
	}
	return p
}

// token returns the principal of a token. The binding of the token to a key was not checked yet.
func (a *Authenticator) token(ctx context.Context, raw string, audiences []string) (*principal.Principal, *principal.Refusal) {
	now := a.now()
	hash := recent.Of(raw, audiences...)
	if e, ok := a.cache.Get(hash, now); ok {
		if e.issuer.unchanged(e.version) {
			return e.principal, nil
		}
		a.cache.Drop(hash)
	}
	if token.IsJWT(raw) {
		return a.verify(ctx, raw, hash, audiences)
	}
	for _, one := range a.issuers {
		if one.introspection != nil {
			return a.introspect(ctx, one, raw, hash, audiences)
		}
	}
	if len(a.issuers) == 0 {
		return nil, principal.Invalid(principal.WrongKey)
	}
	return nil, principal.Invalid(principal.MalformedToken)
}

func (a *Authenticator) verify(ctx context.Context, raw string, hash recent.Name, audiences []string) (*principal.Principal, *principal.Refusal) {
	parsed, refusal := token.Parse(raw)
	if refusal != nil {
		return nil, refusal
	}
	for _, one := range a.issuers {
		if one.cfg.Issuer != parsed.Issuer() || one.keys == nil {
			continue
		}
		for {
			version, _ := one.keys.Version()
			p, refusal := token.Verify(ctx, parsed, one.keys, token.Expected{Issuer: one.cfg.Issuer, Audiences: one.audiences(audiences), Now: a.now()})
			if refusal != nil {
				return nil, refusal
			}
			if now, _ := one.keys.Version(); now != version {
				continue // the keys came or changed meanwhile: which ones were used is not known
			}
			a.remember(hash, raw, entry{principal: p, issuer: one, version: version}, maxAge)
			return p, nil
		}
	}
	return nil, a.fromAnother(parsed.Issuer())
}

// fromAnother refuses a token of another issuer. Its cause says so if only a slash at the end of the
// configured one is wrong, which no login can cure (RFC 8414 section 3.3 compares byte for byte).
func (a *Authenticator) fromAnother(issuer string) *principal.Refusal {
	refusal := principal.Invalid(principal.UnknownIssuer)
	for _, one := range a.issuers {
		if one.cfg.Issuer != issuer && strings.TrimSuffix(one.cfg.Issuer, "/") == strings.TrimSuffix(issuer, "/") {
			refusal.Cause = fmt.Errorf("tokens name the issuer with another end than the configuration: write `issuer %s`", issuer)
		}
	}
	return refusal
}

// introspect asks about a token, once for all requests that bring it at the same time. The
// question goes on when one of them ends.
func (a *Authenticator) introspect(ctx context.Context, one *issuer, raw string, hash recent.Name, audiences []string) (*principal.Principal, *principal.Refusal) {
	type result struct {
		principal *principal.Principal
		refusal   *principal.Refusal
	}
	answer := a.asking.DoChan(string(hash[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*fetch.Timeout)
		defer cancel()
		p, refusal := one.introspection.Verify(ctx, raw, one.audiences(audiences), a.now)
		a.asked(one, refusal)
		if refusal == nil {
			a.remember(hash, raw, entry{principal: p, issuer: one}, introspectionAge)
		}
		return result{p, refusal}, nil
	})
	select {
	case got := <-answer:
		res := got.Val.(result)
		return res.principal, res.refusal
	case <-ctx.Done():
		return nil, &principal.Refusal{Code: principal.Unavailable, Reason: principal.IssuerUnreachable, RetryAfter: time.Second, Cause: ctx.Err()}
	}
}

// asked reports that an issuer could not be asked about a token, or that it can again.
func (a *Authenticator) asked(one *issuer, refusal *principal.Refusal) {
	if refusal != nil && refusal.Reason == principal.TooBusy { // it was not asked
		return
	}
	silent := refusal != nil && refusal.Code == principal.Unavailable
	if was := one.silent.Swap(silent); a.cfg.ReportTokens == nil || !silent && !was {
		return
	}
	var err error
	if silent {
		err = refusal.Cause
	}
	a.cfg.ReportTokens(one.cfg.Issuer, err)
}

// remember keeps an entry for at most age, and no longer than its token lives.
func (a *Authenticator) remember(hash recent.Name, raw string, e entry, age time.Duration) {
	until := a.now().Add(age)
	if end := e.principal.Expires; !end.IsZero() && end.Add(token.Leeway).Before(until) {
		until = end.Add(token.Leeway)
	}
	a.cache.Add(hash, e, until, len(raw))
}

// bound checks the proof of the key that a token is bound to.
func (a *Authenticator) bound(p *principal.Principal, found one, req Request) (Result, *principal.Refusal) {
	if p.Binding.Certificate != "" && subtle.ConstantTimeCompare([]byte(p.Binding.Certificate), []byte(req.Certificate)) == 0 {
		if req.Certificate == "" {
			return Result{}, principal.Invalid(principal.Unbound)
		}
		return Result{}, principal.Invalid(principal.WrongCertificate)
	}
	if found.scheme == bearer {
		switch {
		case p.Binding.JKT != "":
			return Result{}, principal.Invalid(principal.Unbound)
		case a.cfg.DPoP == Required:
			return Result{}, principal.Invalid(principal.WrongScheme)
		}
		return Result{Principal: p}, nil
	}
	switch {
	case a.cfg.DPoP == Off:
		return Result{}, principal.Invalid(principal.WrongScheme)
	case p.Binding.JKT == "":
		return Result{}, principal.Invalid(principal.NotBound)
	case len(req.DPoP) != 1:
		return Result{}, &principal.Refusal{Code: principal.InvalidProof, Reason: principal.Unbound}
	}
	return a.proven(p, found.value, req)
}

// proven checks the DPoP proof of a request.
func (a *Authenticator) proven(p *principal.Principal, raw string, req Request) (Result, *principal.Refusal) {
	now := a.now()
	proof, refusal := dpop.Parse(req.DPoP[0], dpop.Request{Method: req.Method, URL: req.URL, Token: raw, Now: now})
	if refusal != nil {
		return Result{}, refusal
	}
	if subtle.ConstantTimeCompare([]byte(proof.Thumbprint), []byte(p.Binding.JKT)) == 0 {
		return Result{}, principal.Invalid(principal.NotBound)
	}
	res := Result{Principal: p}
	if a.nonces != nil {
		renew, refusal := a.nonces.Check(proof, now)
		if renew {
			res.Nonce = a.nonces.New(now)
		}
		if refusal != nil {
			return Result{Nonce: res.Nonce}, refusal
		}
	}
	if refusal := a.replays.Use(proof, now); refusal != nil {
		return Result{}, refusal
	}
	return res, nil
}
