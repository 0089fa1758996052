package keyset

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const (
	// maxKeys bounds the keys of one issuer.
	maxKeys = 100
	// minRSA and maxRSA bound, in bits, the length of an RSA key. RFC 7518, section 3.3,
	// asks for the first; the second bounds the cost of a signature.
	minRSA, maxRSA = 2048, 8192
)

// Ed25519 is the algorithm of RFC 9864, section 2.2, that EdDSA is with the curve Ed25519.
// go-jose knows only EdDSA (RFC 8037).
const Ed25519 = jose.SignatureAlgorithm("Ed25519")

// algorithms are the signature algorithms of RFC 7518, RFC 8037 and RFC 9864 that have a public
// key, with the check whether a key is one of theirs.
var algorithms = map[jose.SignatureAlgorithm]func(key any) bool{
	jose.RS256: isRSA, jose.RS384: isRSA, jose.RS512: isRSA,
	jose.PS256: isRSA, jose.PS384: isRSA, jose.PS512: isRSA,
	jose.ES256: onCurve(elliptic.P256()), jose.ES384: onCurve(elliptic.P384()), jose.ES512: onCurve(elliptic.P521()),
	jose.EdDSA: isEd25519, Ed25519: isEd25519,
}

// Algorithms returns the signature algorithms that a token may have, in a fixed order. None
// of them is symmetric.
func Algorithms() []jose.SignatureAlgorithm {
	names := make([]jose.SignatureAlgorithm, 0, len(algorithms))
	for name := range algorithms {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Fits reports whether a key may have made a signature with this algorithm: its type, its
// curve and its length fit.
func Fits(key any, alg string) bool {
	check, ok := algorithms[jose.SignatureAlgorithm(alg)]
	return ok && check(key)
}

// Verify returns the payload of a JWS with one signature that the key has made. The algorithm
// of the signature and the key have to fit (see [Fits]).
func Verify(jws *jose.JSONWebSignature, key any) ([]byte, error) {
	if public, ok := key.(ed25519.PublicKey); ok && jws.Signatures[0].Protected.Algorithm == string(Ed25519) {
		key = ed25519Key{public}
	}
	return jws.Verify(key)
}

// ed25519Key verifies signatures with the algorithm [Ed25519].
type ed25519Key struct{ public ed25519.PublicKey }

// VerifyPayload implements [jose.OpaqueVerifier].
func (k ed25519Key) VerifyPayload(payload, signature []byte, alg jose.SignatureAlgorithm) error {
	if alg != Ed25519 || len(k.public) != ed25519.PublicKeySize || !ed25519.Verify(k.public, payload, signature) {
		return jose.ErrCryptoFailure
	}
	return nil
}

func fits(key *jose.JSONWebKey, alg string) bool {
	return (key.Algorithm == "" || key.Algorithm == alg) && Fits(key.Key, alg)
}

func isRSA(key any) bool {
	k, ok := key.(*rsa.PublicKey)
	return ok && k.N.BitLen() >= minRSA && k.N.BitLen() <= maxRSA
}

func onCurve(curve elliptic.Curve) func(any) bool {
	return func(key any) bool {
		k, ok := key.(*ecdsa.PublicKey)
		return ok && k.Curve == curve
	}
}

func isEd25519(key any) bool {
	k, ok := key.(ed25519.PublicKey)
	return ok && len(k) == ed25519.PublicKeySize
}

// Parse returns the keys of a JWK set that may sign tokens. It leaves out keys for another
// use, keys of another kind, private keys, and keys that it cannot read: one of these must
// not take the others away. It is an error if the set has members of another type, has more
// than 100 keys, or if no key is left.
func Parse(doc []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(doc, &set); err != nil {
		return nil, errors.New("it is not a JWK set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("it has more than %d keys", maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		if key, ok := parseKey(raw); ok {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no public key for signatures")
	}
	return keys, nil
}

func parseKey(raw []byte) (key jose.JSONWebKey, ok bool) {
	var purpose struct {
		Use string   `json:"use"`
		Ops []string `json:"key_ops"`
	}
	if json.Unmarshal(raw, &purpose) != nil || json.Unmarshal(raw, &key) != nil {
		return key, false
	}
	if purpose.Use != "" && purpose.Use != "sig" || purpose.Ops != nil && !slices.Contains(purpose.Ops, "verify") {
		return key, false
	}
	if !key.IsPublic() || !key.Valid() || len(key.KeyID) > MaxKeyID {
		return key, false
	}
	for alg := range algorithms {
		if fits(&key, string(alg)) {
			// What is not needed any more is not kept.
			return jose.JSONWebKey{Key: key.Key, KeyID: key.KeyID, Algorithm: key.Algorithm}, true
		}
	}
	return key, false
}
