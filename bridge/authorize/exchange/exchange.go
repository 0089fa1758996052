// Package exchange gets an access token for the MCP server in place of that of the client
// (token exchange, RFC 8693). The token of the client was verified before.
package exchange

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/keyset"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/recent"
)

const (
	// grantType is `grant_type` of an exchange (RFC 8693, section 2.1).
	grantType = "urn:ietf:params:oauth:grant-type:token-exchange"
	// maxInProgress bounds the questions at one time. Further tokens wait.
	maxInProgress = 32
	// retryAfter is the Retry-After for a client whose token could not be exchanged because the
	// issuer did not answer.
	retryAfter = 5 * time.Second
	// unknownAge is how long a new token is used if the answer does not say how long it lives.
	unknownAge = time.Minute
	// refusedAge is how long a refusal is remembered.
	refusedAge = 10 * time.Second
	// early is how long before its end a token is not used any more, so that it does not end
	// on the way. For a token that lives less than ten times as long it is a tenth of that.
	early = 10 * time.Second
	// betweenDrops is the least time between two tokens that are dropped because the MCP
	// server refuses them, for each token of a client.
	betweenDrops = time.Minute
	// maxRemembered and maxRememberedSize bound the tokens that are remembered, in number and
	// in bytes.
	maxRemembered     = 20_000
	maxRememberedSize = 32 << 20
)

// Config is the configuration of an Exchanger. It exchanges all tokens for the same audience,
// resource and scope.
type Config struct {
	Client *fetch.Client
	// Issuers are those whose tokens are exchanged, each at the token endpoint of its metadata.
	Issuers []string
	// URL is the token endpoint for the tokens of all issuers, in place of the metadata.
	URL string
	// Credentials are those of the edge.
	Credentials fetch.Credentials
	// Audience, Resource and Scope are what the new token is for.
	Audience, Resource, Scope []string
	// Requested is the type of token that is asked for.
	Requested TokenType
	// Report may be nil. It is given the error where an issuer cannot be asked, and nil when
	// it can again.
	Report func(issuer string, err error)
	// Now is the time, for tests. If it is nil it is time.Now.
	Now func() time.Time
}

// Exchanger exchanges tokens. Its methods may be called from several goroutines.
type Exchanger struct {
	cfg    Config
	urls   map[string]func(context.Context) (string, error) // by issuer
	cache  *recent.Cache[entry]
	logins *recent.Cache[login] // by owner
	asking singleflight.Group
	slots  chan struct{}

	mu     sync.Mutex
	silent map[string]bool // issuers whose last question got no answer
}

// entry is the result of an exchange of one client's token.
type entry struct {
	// token is the new token. It is empty if there is none, because of refusal, or because the
	// MCP server has refused the last one.
	token   string
	sum     [sha256.Size]byte // of token
	refusal *principal.Refusal
	// dropped is when the MCP server has last refused a token; zero if it never has.
	dropped time.Time
}

// Issued identifies the token that was issued for a request, without having the text of any token.
type Issued struct {
	of  recent.Name
	sum [sha256.Size]byte
}

// New returns an Exchanger.
func New(cfg Config) *Exchanger {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	x := &Exchanger{
		cfg: cfg, urls: make(map[string]func(context.Context) (string, error)), silent: make(map[string]bool),
		cache: recent.New[entry](maxRemembered, maxRememberedSize), logins: recent.New[login](maxRemembered, maxRememberedSize), slots: make(chan struct{}, maxInProgress),
	}
	for _, issuer := range cfg.Issuers {
		x.urls[issuer] = func(context.Context) (string, error) { return cfg.URL, nil }
		if cfg.URL == "" {
			x.urls[issuer] = keyset.NewEndpoint(cfg.Client, issuer, tokenEndpoint)
		}
	}
	return x
}

func tokenEndpoint(meta keyset.Metadata) (string, error) {
	if meta.Token == "" {
		return "", errors.New("the metadata of the issuer has no token_endpoint; write `token exchange <url>`")
	}
	return meta.Token, nil
}

// Token returns the access token for the MCP server in place of raw, the verified token of p. A
// new token is remembered until it or raw expires. If several requests bring raw at the same time,
// the issuer is asked once for all of them, and the question continues if one of the requests
// ends.
func (x *Exchanger) Token(ctx context.Context, p *principal.Principal, raw string) (string, Issued, *principal.Refusal) {
	name := recent.Of(raw, p.Issuer)
	e, ok := x.known(name)
	if !ok {
		answer := x.asking.DoChan(string(name[:]), func() (any, error) {
			if e, ok := x.known(name); ok { // the question before this one has ended just now
				return e, nil
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*fetch.Timeout)
			defer cancel()
			return x.exchange(ctx, p, raw, name), nil
		})
		select {
		case got := <-answer:
			e = got.Val.(entry)
		case <-ctx.Done():
			return "", Issued{}, unavailable(principal.IssuerUnreachable, ctx.Err())
		}
	}
	if e.refusal != nil {
		return "", Issued{}, e.refusal
	}
	return e.token, Issued{name, e.sum}, nil
}

// known returns a token or a refusal that is remembered.
func (x *Exchanger) known(name recent.Name) (entry, bool) {
	e, ok := x.cache.Get(name, x.cfg.Now())
	return e, ok && (e.token != "" || e.refusal != nil)
}

// Refused is called when the MCP server has refused a token with 401. The next request then gets a
// new one, but not more than once a minute, because a server may refuse every token.
func (x *Exchanger) Refused(i Issued) {
	now := x.cfg.Now()
	e, ok := x.cache.Get(i.of, now)
	if !ok || e.token == "" || e.sum != i.sum || !e.dropped.IsZero() && now.Sub(e.dropped) < betweenDrops {
		return
	}
	x.cache.Add(i.of, entry{dropped: now}, now.Add(betweenDrops), 0)
}

// exchange asks for a token, and remembers the answer.
func (x *Exchanger) exchange(ctx context.Context, p *principal.Principal, raw string, name recent.Name) entry {
	begun := x.cfg.Now()
	before, _ := x.cache.Get(name, begun)
	select {
	case x.slots <- struct{}{}:
		defer func() { <-x.slots }()
	case <-ctx.Done():
		return entry{refusal: unavailable(principal.TooBusy, ctx.Err())}
	}
	got, refusal := x.ask(ctx, p, raw)
	x.asked(p.Issuer, refusal)
	e := entry{token: got.token, sum: sha256.Sum256([]byte(got.token)), refusal: refusal, dropped: before.dropped}
	switch {
	case refusal == nil:
		if owner, ok := p.Owner(); ok {
			x.logins.Drop(recent.Of(owner))
		}
		until := begun.Add(got.age())
		if !p.Expires.IsZero() && p.Expires.Before(until) {
			until = p.Expires
		}
		x.cache.Add(name, e, until, len(e.token))
	case refusal.Code != principal.Unavailable:
		x.cache.Add(name, e, begun.Add(refusedAge), 0)
	}
	return e
}

// ask sends the request of RFC 8693, section 2.1.
func (x *Exchanger) ask(ctx context.Context, p *principal.Principal, raw string) (issued, *principal.Refusal) {
	find, ok := x.urls[p.Issuer]
	if !ok {
		return issued{}, fault(errors.New("the issuer of the token is not configured"))
	}
	at, err := find(ctx)
	if err != nil {
		return issued{}, unavailable(principal.IssuerUnreachable, err)
	}
	form := url.Values{
		"grant_type":           {grantType},
		"subject_token":        {raw},
		"subject_token_type":   {string(AccessToken)},
		"requested_token_type": {string(x.cfg.Requested)},
	}
	for name, values := range map[string][]string{"audience": x.cfg.Audience, "resource": x.cfg.Resource} {
		if len(values) > 0 {
			form[name] = values
		}
	}
	if len(x.cfg.Scope) > 0 {
		form.Set("scope", strings.Join(x.cfg.Scope, " "))
	}
	status, body, err := x.cfg.Client.PostForm(ctx, at, form, x.cfg.Credentials)
	switch {
	case errors.Is(err, fetch.ErrRedirect), errors.Is(err, fetch.ErrNotJSON), errors.Is(err, fetch.ErrTooLarge):
		return issued{}, fault(err)
	case err != nil:
		return issued{}, unavailable(principal.IssuerUnreachable, err)
	case status >= http.StatusInternalServerError, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return issued{}, unavailable(principal.IssuerUnreachable, &fetch.StatusError{Status: status})
	case status != http.StatusOK:
		return issued{}, x.refusal(p, status, body, raw)
	}
	got, err := read(body, x.cfg.Requested)
	switch {
	case err != nil:
		return issued{}, fault(err)
	case got.token == raw:
		return issued{}, fault(errors.New("the new token is that of the client, which the MCP server must not get"))
	}
	return got, nil
}

// asked reports that an issuer could not be asked, or that it can again.
func (x *Exchanger) asked(issuer string, refusal *principal.Refusal) {
	silent := refusal != nil && (refusal.Code == principal.Unavailable || refusal.Reason == principal.ExchangeFailed) // which is not about one user
	x.mu.Lock()
	was := x.silent[issuer]
	x.silent[issuer] = silent
	x.mu.Unlock()
	if x.cfg.Report == nil || !silent && !was {
		return
	}
	var err error
	if silent {
		err = refusal.Cause
	}
	x.cfg.Report(issuer, err)
}

// unavailable is the refusal of a token that the issuer could not be asked to exchange.
func unavailable(reason principal.Reason, cause error) *principal.Refusal {
	return &principal.Refusal{Code: principal.Unavailable, Reason: reason, RetryAfter: retryAfter, Cause: cause}
}

// fault is the refusal of a token because of an answer that cannot be used.
func fault(cause error) *principal.Refusal {
	return &principal.Refusal{Code: principal.IssuerFault, Reason: principal.ExchangeFailed, Cause: cause}
}
