package credential

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/dpop"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/introspect"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/keyset"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/recent"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/token"
)

// introspectionAge bounds how long the answer of an introspection endpoint is used.
const introspectionAge = introspect.MaxAge

// Mode says whether tokens have to be bound to a key by DPoP.
type Mode string

// The modes of DPoP.
const (
	// Off: a bound token is refused, because its proof is not looked at.
	Off Mode = ""
	// Optional: a bound token needs its proof, other tokens are accepted without.
	Optional Mode = "optional"
	// Required: every token has to be bound.
	Required Mode = "required"
)

// Config says which credentials are accepted.
type Config struct {
	Issuers []Issuer
	Keys    []Key
	// CaddyUser accepts the user of an earlier handler where a request brings no token.
	CaddyUser bool
	DPoP      Mode
	// NonceKey is the key of nonces for DPoP. If it is empty no nonce is asked for. Replicas
	// need the same key.
	NonceKey []byte
	// Endpoint keeps the nonces of endpoints with the same key apart.
	Endpoint string
	// Client sends requests to issuers.
	Client *fetch.Client
	// Report may be nil. It is given the error where the keys of an issuer cannot be had,
	// and nil when they can again.
	Report func(issuer string, err error)
	// ReportTokens may be nil. It is given the error where an issuer cannot be asked about a
	// token, and nil when it can again.
	ReportTokens func(issuer string, err error)
	// Now is the time, for tests. If it is nil it is time.Now.
	Now func() time.Time
}

// Issuer is an authorization server.
type Issuer struct {
	// Issuer is compared with `iss`, byte for byte.
	Issuer string
	// JWKS is where the keys are. If it is empty the metadata of the issuer says it.
	JWKS string
	// Audiences are accepted in addition to those of the request.
	Audiences []string
	// Introspect asks the issuer about tokens that are not JWTs.
	Introspect *Introspect
}

// Introspect is how to ask an issuer about a token.
type Introspect struct {
	// URL is the endpoint. If it is empty the metadata of the issuer says it.
	URL         string
	Credentials fetch.Credentials
	// AudienceOptional accepts answers that name no audience.
	AudienceOptional bool
}

// Key is a static key.
type Key struct {
	Name   string
	Value  string
	Scopes []string
}

// minKey is the least length of a static key, in bytes: shorter ones can be guessed.
const minKey = 16

// issuer is an issuer with what is known of it.
type issuer struct {
	cfg           Issuer
	keys          *keyset.Set
	introspection *introspect.Endpoint
	silent        atomic.Bool // the last question about a token got no answer
}

// audiences returns the audiences that a token of the issuer may have.
func (i *issuer) audiences(endpoint []string) []string {
	return append(endpoint[:len(endpoint):len(endpoint)], i.cfg.Audiences...)
}

// unchanged reports whether a token that was verified with the keys of this version is still
// valid.
func (i *issuer) unchanged(version uint64) bool {
	if i.introspection != nil && version == 0 {
		return true
	}
	now, ok := i.keys.Version()
	return ok && now == version
}

// New returns an authenticator. An error names what is wrong with the configuration.
func New(cfg Config) (*Authenticator, error) {
	a := &Authenticator{cfg: cfg, client: cfg.Client, cache: recent.New[entry](maxRemembered, maxRememberedSize), replays: dpop.NewReplays(), now: cfg.Now}
	if a.client == nil {
		a.client = fetch.New(nil)
	}
	if a.now == nil {
		a.now = time.Now
	}
	if len(cfg.NonceKey) > 0 {
		a.nonces = dpop.NewNonces(cfg.NonceKey, cfg.Endpoint)
	}
	if err := a.addKeys(cfg.Keys); err != nil {
		return nil, err
	}
	if err := a.addIssuers(cfg.Issuers); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (a *Authenticator) addKeys(keys []Key) error {
	for _, k := range keys {
		switch {
		case k.Name == "":
			return errors.New("key: a key needs a name: write `key NAME VALUE`")
		case len(k.Value) < minKey || !token.IsToken68(k.Value):
			return fmt.Errorf("key %q: the value must have at least %d of the characters A-Z a-z 0-9 - . _ ~ + /: make one with `openssl rand -hex 32`, and write it as `{env.BACKUP_KEY}`", k.Name, minKey)
		}
		sum := sha256.Sum256([]byte(k.Value))
		for _, other := range a.keys {
			if other.sum == sum || other.principal.KeyName == k.Name {
				return fmt.Errorf("key %q: the name or the value is that of key %q: give each key its own", k.Name, other.principal.KeyName)
			}
		}
		a.keys = append(a.keys, key{sum, &principal.Principal{Kind: principal.Key, KeyName: k.Name, Scopes: principal.NewScopes(k.Scopes...)}})
	}
	return nil
}

func (a *Authenticator) addIssuers(issuers []Issuer) error {
	asks := ""
	for _, cfg := range issuers {
		if _, err := keyset.MetadataURLs(cfg.Issuer); err != nil {
			return fmt.Errorf("issuer: %w", err)
		}
		for _, other := range a.issuers {
			if other.cfg.Issuer == cfg.Issuer {
				return fmt.Errorf("issuer %q is given twice: remove one of the two", cfg.Issuer)
			}
		}
		if cfg.Introspect != nil {
			if asks != "" {
				return fmt.Errorf("issuer %q: only one issuer can be asked about opaque tokens, and %q has `introspect` already", cfg.Issuer, asks)
			}
			asks = cfg.Issuer
		}
		a.issuers = append(a.issuers, a.newIssuer(cfg))
	}
	return nil
}

func (a *Authenticator) newIssuer(cfg Issuer) *issuer {
	one := &issuer{cfg: cfg}
	load := keyset.OfIssuer(a.client, cfg.Issuer)
	if cfg.JWKS != "" {
		load = keyset.At(a.client, cfg.JWKS)
	}
	one.keys = keyset.New(load, func(err error) {
		if a.cfg.Report != nil {
			a.cfg.Report(cfg.Issuer, err)
		}
	})
	if cfg.Introspect != nil {
		one.introspection = introspect.New(a.client, introspect.Endpoint{
			URL: a.introspectionURL(cfg), Issuer: cfg.Issuer, Credentials: cfg.Introspect.Credentials, AudienceOptional: cfg.Introspect.AudienceOptional,
		})
	}
	return one
}

// introspectionURL returns a function that finds where to ask about a token.
func (a *Authenticator) introspectionURL(cfg Issuer) func(context.Context) (string, error) {
	if cfg.Introspect.URL != "" {
		return func(context.Context) (string, error) { return cfg.Introspect.URL, nil }
	}
	return keyset.NewEndpoint(a.client, cfg.Issuer, func(meta keyset.Metadata) (string, error) {
		if meta.Introspection == "" {
			return "", errors.New("the metadata of the issuer has no introspection_endpoint; write `introspect <url>`")
		}
		return meta.Introspection, nil
	})
}

// Close ends what is in progress.
func (a *Authenticator) Close() {
	for _, one := range a.issuers {
		one.keys.Close()
	}
	a.client.Close()
}
