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
)

// prover makes proofs of possession (RFC 9449 section 4) with a key of its own.
type prover struct{ key *ecdsa.PrivateKey }

func newProver() (*prover, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &prover{key}, err
}

// proof is one for a POST to a URL with a token.
func (p *prover) proof(target, token, nonce string) (string, error) {
	point, err := p.key.PublicKey.Bytes() // 4, x, y
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

// proveKey sends a token that is none with a proof that is good: a server that
// refuses the proof, and not the token, expects another URL in it.
func (w *walk) proveKey(ctx context.Context, s *Step) {
	if !w.challenged.dpop && !w.resource.truth("dpop_bound_access_tokens_required") {
		s.skip("no DPoP is offered")
		return
	}
	p, err := newProver()
	if err != nil {
		s.skip("no key could be made")
		return
	}
	public := *w.target
	public.RawQuery = ""
	switch w.proofError(ctx, s, p, "proof for the URL", public.String()) {
	case "invalid_dpop_proof":
	case "":
		w.pass(s, "dpop.url", "a proof for the URL of the server is not refused")
		return
	default:
		w.pass(s, "dpop.url", "a proof for the URL of the server is good; the token, which is none, is refused")
		return
	}
	for _, other := range w.otherURLs(&public) {
		if code := w.proofError(ctx, s, p, "proof for another URL", other.String()); code != "invalid_dpop_proof" && code != "" {
			w.fail(s, "dpop.url", "the server wants proofs for %s, but clients sign %s: it refuses every one", w.secrets.text(linkOf(other)), w.report.URL)
			return
		}
	}
	w.fail(s, "dpop.url", "the server refuses a good proof for %s: it may know itself by another URL", w.report.URL)
}

// otherURLs are those that a server behind a proxy may take for its own.
func (w *walk) otherURLs(public *url.URL) []*url.URL {
	var urls []*url.URL
	for _, raw := range []string{w.opts.Upstream, w.resource.resource} {
		if u, err := url.Parse(raw); err == nil && u.Host != "" && u.String() != public.String() {
			u.RawQuery = ""
			urls = append(urls, u)
		}
	}
	scheme := *public
	scheme.Scheme = map[string]string{"http": "https", "https": "http"}[public.Scheme]
	return append(urls, &scheme)
}

// proofError sends a proof, with the nonce that the server wants, and returns
// the error of the challenge.
func (w *walk) proofError(ctx context.Context, s *Step, p *prover, name, target string) string {
	token, nonce := rand.Text(), ""
	for range 2 {
		proof, err := p.proof(target, token, nonce)
		if err != nil {
			return ""
		}
		r := w.post(name, initializeMessage, initializeID)
		r.header.Set("Authorization", "DPoP "+token)
		r.header.Set("DPoP", proof)
		a := w.send(ctx, s, r)
		code := ""
		for _, line := range parseChallenge(a.header).lines {
			for _, one := range line.Challenges() {
				if value, ok := one.Param("error"); ok && (one.Is("DPoP") || code == "") {
					code = value
				}
			}
		}
		if code != "use_dpop_nonce" || a.header.Get("DPoP-Nonce") == nonce {
			return code
		}
		nonce, name = a.header.Get("DPoP-Nonce"), name+", with its nonce"
	}
	return ""
}
