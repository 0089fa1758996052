// Package dpop checks proofs of possession of a key (DPoP, RFC 9449).
package dpop

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/keyset"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/token"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

const (
	// Window is by how much `iat` of a proof may differ from the time here.
	Window = 60 * time.Second
	// maxProof bounds, in bytes, a proof that is looked at.
	maxProof = 8 << 10
	// maxID bounds, in bytes, the id of a proof.
	maxID = 256
)

// Request has the parts of a request that a proof must name.
type Request struct {
	Method string
	// URL is the public URL of the request. Its query does not count.
	URL string
	// Token is the access token that is sent with the proof.
	Token string
	Now   time.Time
}

// Proof is a proof that has passed all checks but that for a replay, and that of the
// binding of the token.
type Proof struct {
	// Thumbprint is that of the key (RFC 7638, SHA-256), as in `jkt`.
	Thumbprint string
	id         string
	nonce      string
}

// Parse checks a proof against a request (RFC 9449, section 4.3).
func Parse(raw string, req Request) (*Proof, *principal.Refusal) {
	if len(raw) > maxProof {
		return nil, invalid(principal.ProofMalformed)
	}
	jws, err := jose.ParseSignedCompact(raw, keyset.Algorithms())
	if err != nil {
		return nil, invalid(principal.ProofMalformed)
	}
	key, ok := keyOf(jws.Signatures[0].Protected)
	if !ok {
		return nil, invalid(principal.ProofMalformed)
	}
	payload, err := keyset.Verify(jws, key.Key)
	if err != nil {
		return nil, invalid(principal.ProofKey)
	}
	claims, err := token.ParseClaims(payload)
	if err != nil {
		return nil, invalid(principal.ProofMalformed)
	}
	id, _ := claims.All["jti"].(string)
	number, _ := claims.All["iat"].(json.Number)
	if id == "" || len(id) > maxID || number == "" {
		return nil, invalid(principal.ProofMalformed)
	}
	if reason := fits(claims, req); reason != "" {
		return nil, invalid(reason)
	}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, invalid(principal.ProofMalformed)
	}
	nonce, _ := claims.All["nonce"].(string)
	return &Proof{
		Thumbprint: base64.RawURLEncoding.EncodeToString(thumbprint),
		id:         id, nonce: nonce,
	}, nil
}

// keyOf returns the public key in the header of a proof.
func keyOf(header jose.Header) (*jose.JSONWebKey, bool) {
	typ, _ := header.ExtraHeaders[jose.HeaderType].(string)
	_, critical := header.ExtraHeaders["crit"]
	_, unencoded := header.ExtraHeaders["b64"]
	key := header.JSONWebKey // go-jose has refused a private one
	if typ != "dpop+jwt" || critical || unencoded || key == nil || !key.IsPublic() || !keyset.Fits(key.Key, header.Algorithm) {
		return nil, false
	}
	return key, true
}

// fits returns why the claims of a proof are not for a request; an empty text if they are.
func fits(claims token.Claims, req Request) principal.Reason {
	method, _ := claims.All["htm"].(string)
	at, _ := claims.All["htu"].(string)
	hash, _ := claims.All["ath"].(string)
	sum := sha256.Sum256([]byte(req.Token))
	age := req.Now.Sub(claims.IssuedAt)
	switch {
	case method != req.Method:
		return principal.ProofMethod
	case !sameURL(at, req.URL):
		return principal.ProofURL
	case age > Window || age < -Window:
		return principal.ProofTime
	case subtle.ConstantTimeCompare([]byte(hash), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) == 0:
		return principal.ProofToken
	}
	return ""
}

// sameURL compares `htu` with the URL of a request, after the normalization of RFC 3986,
// sections 6.2.2 and 6.2.3, which RFC 9449, section 4.3, asks for: the case of scheme, host
// and percent-encoding, characters that are encoded without need, and the default port.
// Query and fragment of both do not count.
func sameURL(a, b string) bool {
	x, ok := normalize(a)
	y, ok2 := normalize(b)
	return ok && ok2 && x == y
}

func normalize(raw string) (string, bool) {
	u, err := origin.Parse(raw)
	if err != nil {
		return "", false
	}
	path, ok := normalizePath(u.Path)
	if path == "" {
		path = "/"
	}
	return u.Origin() + path, ok
}

// normalizePath decodes the unreserved characters of an escaped path, writes the other
// escapes in upper case, and escapes what may not stand in a path.
func normalizePath(path string) (string, bool) {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		escaped := c == '%'
		if escaped {
			if i+2 >= len(path) {
				return "", false
			}
			hi, lo := strings.IndexByte(hex, upper(path[i+1])), strings.IndexByte(hex, upper(path[i+2]))
			if hi < 0 || lo < 0 {
				return "", false
			}
			c = byte(hi<<4 | lo)
			i += 2
		}
		if isUnreserved(c) || !escaped && strings.IndexByte("/!$&'()*+,;=:@", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + hex[c>>4:c>>4+1] + hex[c&15:c&15+1])
		}
	}
	return b.String(), true
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'f' {
		return c - 'a' + 'A'
	}
	return c
}

// isUnreserved is RFC 3986, section 2.3.
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func invalid(reason principal.Reason) *principal.Refusal {
	return &principal.Refusal{Code: principal.InvalidProof, Reason: reason}
}
