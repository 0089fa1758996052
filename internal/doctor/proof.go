package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// prover makes proofs of possession (RFC 9449 section 4) with a key of its own.
type prover struct{ key *ecdsa.PrivateKey }

func newProver() (*prover, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &prover{key}, err
}

// proof returns a proof for a POST to a URL with a token.
func (p *prover) proof(target, token, nonce string) (string, error) {
	point, err := p.key.PublicKey.Bytes() // the byte 4, then x and y
	if err != nil {
		return "", err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	head, err := json.Marshal(map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": map[string]string{
		"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:]),
	}})
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256([]byte(token))
	body := map[string]any{"jti": rand.Text(), "htm": http.MethodPost, "htu": target, "iat": time.Now().Unix(), "ath": b64(hash[:])}
	if nonce != "" {
		body["nonce"] = nonce
	}
	claims, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	signed := b64(head) + "." + b64(claims)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, p.key, digest[:])
	if err != nil {
		return "", err
	}
	return signed + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)), nil
}

// proofStage checks whether the server accepts proofs of possession for its URL.
type proofStage struct {
	*record.Recorder
	endpoint  *endpoint
	challenge *challengeStage
	resource  *resourceStage
	upstream  string // the URL of the upstream that the caller gave, or ""
}

// proveKey sends a valid proof with a random token. If the server refuses the proof instead
// of the token, it expects another URL in the proof.
func (d *proofStage) proveKey(ctx context.Context, s *report.Step) {
	if !d.challenge.dpop && !d.resource.doc.Truth("dpop_bound_access_tokens_required") {
		s.Skip("the server does not offer DPoP")
		return
	}
	p, err := newProver()
	if err != nil {
		s.Skip("cannot create a key")
		return
	}
	public := *d.Target
	public.RawQuery = ""
	switch d.proofError(ctx, s, p, "proof for the URL", public.String()) {
	case "invalid_dpop_proof":
	case "":
		d.Pass(s, "dpop.url", "the server does not refuse a proof for its URL")
		return
	default:
		d.Pass(s, "dpop.url", "the server accepts a proof for its URL")
		return
	}
	for _, other := range d.otherURLs(&public) {
		if code := d.proofError(ctx, s, p, "proof for another URL", other.String()); code != "invalid_dpop_proof" && code != "" {
			d.Fail(s, "dpop.url", "the server expects DPoP proofs for %s, but clients sign %s", d.Secrets.Text(urls.WithoutQuery(other)), d.Report.URL)
			return
		}
	}
	d.Fail(s, "dpop.url", "the server refuses a valid DPoP proof for %s; it may expect another URL", d.Report.URL)
}

// otherURLs returns URLs that a server behind a proxy may believe to be its own.
func (d *proofStage) otherURLs(public *url.URL) []*url.URL {
	var urls []*url.URL
	for _, raw := range []string{d.upstream, d.resource.doc.resource} {
		if u, err := url.Parse(raw); err == nil && u.Host != "" && u.String() != public.String() {
			u.RawQuery = ""
			urls = append(urls, u)
		}
	}
	scheme := *public
	scheme.Scheme = map[string]string{"http": "https", "https": "http"}[public.Scheme]
	return append(urls, &scheme)
}

// proofError sends a proof and returns the error of the challenge. It sends the proof again
// if the server asks for a nonce.
func (d *proofStage) proofError(ctx context.Context, s *report.Step, p *prover, name, target string) string {
	token, nonce := rand.Text(), ""
	for range 2 {
		proof, err := p.proof(target, token, nonce)
		if err != nil {
			return ""
		}
		r := d.endpoint.post(name, probe.InitializeMessage, probe.InitializeID)
		r.Header.Set("Authorization", "DPoP "+token)
		r.Header.Set("DPoP", proof)
		a := d.Send(ctx, s, r)
		code := ""
		for _, line := range parseChallenge(a.Header).lines {
			for _, one := range line.Challenges() {
				if value, ok := one.Param("error"); ok && (one.Is("DPoP") || code == "") {
					code = value
				}
			}
		}
		if code != "use_dpop_nonce" || a.Header.Get("DPoP-Nonce") == nonce {
			return code
		}
		nonce, name = a.Header.Get("DPoP-Nonce"), name+", with its nonce"
	}
	return ""
}
