package benchkit

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer is an authorization server. It serves its metadata and its keys.
type Issuer struct {
	URL    string
	server *http.Server
	signer jose.Signer
	keys   atomic.Int64 // how often they were asked for
}

// StartIssuer starts an authorization server on a loopback address.
func StartIssuer() (*Issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}},
		new(jose.SignerOptions).WithType("at+jwt"))
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	url := "http://" + l.Addr().String()
	document := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/oauth-authorization-server", document(map[string]string{
		"issuer": url, "authorization_endpoint": url + "/authorize", "token_endpoint": url + "/token", "jwks_uri": url + "/keys",
	}))
	keys := document(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "RS256", Use: "sig"}}})
	i := &Issuer{URL: url, signer: signer, server: &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}}
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		i.keys.Add(1)
		keys(w, r)
	})
	go func() { _ = i.server.Serve(l) }()
	return i, nil
}

// Close ends the authorization server.
func (i *Issuer) Close() { _ = i.server.Close() }

// KeysFetched returns how often the keys were asked for.
func (i *Issuer) KeysFetched() int64 { return i.keys.Load() }

// Token signs an access token (RFC 9068) that no other is equal to.
func (i *Issuer) Token(subject, audience, scope string) (string, error) {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": i.URL, "aud": audience, "sub": subject, "client_id": "bench", "scope": scope,
		"iat": now.Unix(), "exp": now.Add(12 * time.Hour).Unix(), "jti": rand.Text(),
	})
	if err != nil {
		return "", err
	}
	jws, err := i.signer.Sign(claims)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// Forger makes tokens that look like those of an issuer, which has signed none of them.
type Forger struct {
	issuer, audience string
	parts            []string // of a token that is good
}

// Forger returns a forger of tokens for an audience.
func (i *Issuer) Forger(audience string) (*Forger, error) {
	token, err := i.Token("user", audience, "mcp")
	return &Forger{i.URL, audience, strings.Split(token, ".")}, err
}

// OtherSignature returns token k of a user, with the signature of another token.
func (f *Forger) OtherSignature(k int) string {
	claims := fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"user-%d","exp":%d}`, f.issuer, f.audience, k, time.Now().Add(time.Hour).Unix())
	return f.parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + "." + f.parts[2]
}

// UnknownKey returns token k, of a key that does not exist.
func (f *Forger) UnknownKey(k int) string {
	head := fmt.Sprintf(`{"alg":"RS256","typ":"at+jwt","kid":"key-%d"}`, k)
	return base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + f.parts[1] + "." + f.parts[2]
}
