package demo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/luikyv/go-oidc/pkg/goidc"
	"github.com/luikyv/go-oidc/pkg/provider"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// authorizationServer is an OAuth 2.1 authorization server: authorization
// code flow with PKCE, dynamic client registration (RFC 7591), resource
// indicators (RFC 8707), JWT access tokens (RFC 9068), refresh tokens, and
// the issuer in its answers (RFC 9207).
type authorizationServer struct {
	key     *ecdsa.PrivateKey
	handler http.Handler
}

func newAuthorizationServer(issuer string, resources []string, lifetime time.Duration, autoConsent bool) (*authorizationServer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if lifetime <= 0 {
		lifetime = time.Hour
	}
	keys := goidc.JSONWebKeySet{Keys: []goidc.JSONWebKey{{Key: key, KeyID: "demo", Algorithm: string(goidc.ES256), Use: "sig"}}}
	scopes := []goidc.Scope{goidc.ScopeOpenID, goidc.ScopeOfflineAccess, goidc.NewScope(ScopeRead), goidc.NewScope(ScopeAdmin)}
	op, err := provider.New(
		provider.Config{
			Issuer:      issuer,
			JWKS:        func(context.Context) (goidc.JSONWebKeySet, error) { return keys, nil },
			IDTokenAlgs: []goidc.SignatureAlgorithm{goidc.ES256},
		},
		provider.WithScopes(scopes...),
		provider.WithNoneAuthn(),
		provider.WithSecretPostAuthn(),
		provider.WithSecretBasicAuthn(),
		provider.WithLocalhostRedirectURIs(),
		provider.WithAuthCodeGrant(
			provider.AuthCodeGrantConfig{ResponseTypes: []goidc.ResponseType{goidc.ResponseTypeCode}},
			provider.WithPKCE([]goidc.CodeChallengeMethod{goidc.CodeChallengeMethodSHA256}, provider.WithPKCERequired()),
			provider.WithIssuerResponseParameter(),
			provider.WithAuthPolicies(consentPolicy(autoConsent)),
		),
		provider.WithRefreshTokenGrant(nil,
			provider.WithRefreshTokenRotation(),
			provider.WithRefreshTokenShouldIssue(func(_ context.Context, c *goidc.Client, _ *goidc.Grant) bool {
				return slices.Contains(c.GrantTypes, goidc.GrantRefreshToken)
			}),
		),
		provider.WithDCR(nil, provider.WithDCRClientHandler(admitClient(scopes))),
		provider.WithResourceIndicators(resources),
		provider.WithJTIConsumer(func(context.Context, string) error { return nil }), // no assertion is accepted
		provider.WithTokenOptions(func(context.Context, *goidc.Grant, *goidc.Client) goidc.TokenOptions {
			return goidc.NewJWTTokenOptions(goidc.ES256, int(lifetime/time.Second))
		}),
	)
	if err != nil {
		return nil, err
	}
	return &authorizationServer{key: key, handler: op.Handler()}, nil
}

func (as *authorizationServer) publicKey() *ecdsa.PublicKey { return &as.key.PublicKey }

// admitClient lets every client have the demo's scopes and, with only
// loopback redirects, be a native one.
func admitClient(scopes []goidc.Scope) goidc.DCRHandleClientFunc {
	var ids []string
	for _, s := range scopes {
		ids = append(ids, s.ID)
	}
	return func(_ context.Context, _ string, meta *goidc.ClientMeta) error {
		meta.ScopeIDs = strings.Join(ids, " ")
		if meta.ApplicationType == goidc.ApplicationTypeNative {
			// The library compares without the port, on both sides.
			for _, redirect := range meta.RedirectURIs {
				meta.RedirectURIs = append(meta.RedirectURIs, withoutPort(redirect))
			}
		}
		return nil
	}
}

func isLoopback(redirect string) bool {
	u, err := url.Parse(redirect)
	return err == nil && u.Scheme == "http" && origin.IsLoopback(u.Hostname())
}

// withoutPort returns a redirect URI without its port, which RFC 8252 section
// 7.3 lets native clients choose.
func withoutPort(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil || u.Port() == "" {
		return redirect
	}
	u.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	return u.String()
}

// ServeHTTP adds what the library leaves out: the document under the name
// that OAuth gives it (RFC 8414), and CORS for the endpoints that scripts
// call.
func (as *authorizationServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	isPage := strings.HasPrefix(path, "/authorize")
	if !isPage {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, MCP-Protocol-Version")
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	if path == "/.well-known/oauth-authorization-server" {
		u := *r.URL
		u.Path = "/.well-known/openid-configuration"
		r = r.Clone(r.Context())
		r.URL = &u
	}
	if path == "/register" && r.Method == http.MethodPost {
		setDefaults(r)
	}
	as.handler.ServeHTTP(w, r)
}

// setDefaults adds to a registration what its client leaves out and RFC 7591 section 2
// gives a default, which the library requires. A client with only loopback redirects
// becomes a native one: the library takes it for a web application and refuses its
// redirects before it calls any handler. MCP clients on a desktop leave the member out.
func setDefaults(r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	var meta map[string]any
	if err == nil && json.Unmarshal(body, &meta) == nil && meta != nil {
		for name, value := range map[string]any{
			"token_endpoint_auth_method": "client_secret_basic",
			"grant_types":                []string{"authorization_code"},
			"response_types":             []string{"code"},
		} {
			if meta[name] == nil {
				meta[name] = value
			}
		}
		redirects, _ := meta["redirect_uris"].([]any)
		if meta["application_type"] == nil && !slices.ContainsFunc(redirects, func(v any) bool { s, _ := v.(string); return !isLoopback(s) }) {
			meta["application_type"] = "native"
		}
		if with, err := json.Marshal(meta); err == nil {
			body = with
		}
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
}

// consentPage asks who is logging in and whether the client may.
var consentPage = template.Must(template.New("consent").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Log in</title>
<meta name="color-scheme" content="light dark"><style>
:root{color-scheme:light dark;--page:light-dark(#ffffff,#14171a);--text:light-dark(#1b1f23,#e8eaed);--dim:light-dark(#565d64,#aab2ba);--card:light-dark(#f5f7f9,#1e2226);--focus:light-dark(#0b57d0,#8ab4f8);--on-focus:light-dark(#ffffff,#14171a)}
body{background:var(--page);color:var(--text);font:1rem/1.5 system-ui,sans-serif;margin:3rem auto;max-width:32rem;overflow-wrap:anywhere;padding:0 1rem}
button,input{background:var(--card);border:1px solid var(--dim);border-radius:.3rem;color:inherit;font:inherit;min-height:2.75rem;padding:.4rem 1rem}
button[value=yes]{background:var(--focus);border-color:var(--focus);color:var(--on-focus);font-weight:600}
:focus-visible{outline:.2rem solid var(--focus);outline-offset:.15rem}
</style>
<main><h1>Log in</h1>
<p><b>{{.Client}}</b> asks for <b>{{.Scopes}}</b> at <b>{{.Resources}}</b>.</p>
<form method="post" action="{{.Action}}">
<p><label>User <input name="user" value="alice" autocomplete="username"></label></p>
<button name="consent" value="yes">Allow</button> <button name="consent" value="no">Deny</button>
</form></main></html>
`))

// consentPolicy is the login: a form, or nothing where it consents by itself.
func consentPolicy(auto bool) goidc.AuthnPolicy {
	always := func(*http.Request, *goidc.AuthnSession, *goidc.Client) bool { return true }
	return goidc.NewPolicy("consent", always, func(w http.ResponseWriter, r *http.Request, s *goidc.AuthnSession, c *goidc.Client) (goidc.Status, error) {
		user, consent := r.PostFormValue("user"), r.PostFormValue("consent")
		if auto {
			user, consent = "alice", "yes"
		}
		switch {
		case consent == "":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			err := consentPage.Execute(w, map[string]string{
				"Client": c.Name, "Scopes": s.Scopes, "Resources": strings.Join(s.Resources, ", "),
				"Action": "/authorize/" + s.ID,
			})
			return goidc.StatusPending, err
		case consent != "yes" || user == "":
			return goidc.StatusFailure, errors.New("consent was not given")
		}
		s.Subject = user
		s.GrantedScopes, s.GrantedResources = s.Scopes, s.Resources
		return goidc.StatusSuccess, nil
	})
}
