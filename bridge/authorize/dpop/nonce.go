package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
)

const (
	// nonceLife is how long a nonce may be used, and nonceRenew the age at which an answer
	// brings a new one.
	nonceLife  = 5 * time.Minute
	nonceRenew = nonceLife / 2
	nonceTime  = 8
	nonceMAC   = 16
)

// Nonces makes and checks nonces without a store: a nonce is a time with a MAC, so every
// replica with the same key can check it (RFC 9449, section 9).
type Nonces struct {
	key [sha256.Size]byte
}

// NewNonces returns the nonces of a key. endpoint keeps those of two endpoints apart.
func NewNonces(key []byte, endpoint string) *Nonces {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("DPoP-Nonce\x00" + endpoint))
	return &Nonces{key: [sha256.Size]byte(mac.Sum(nil))}
}

// New returns the nonce of a time.
func (n *Nonces) New(now time.Time) string {
	text := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	return base64.RawURLEncoding.EncodeToString(append(text, n.mac(text)...))
}

// Check checks the nonce of a proof. renew reports that the answer should bring a new one.
func (n *Nonces) Check(p *Proof, now time.Time) (renew bool, refusal *principal.Refusal) {
	refused := &principal.Refusal{Code: principal.UseNonce, Reason: principal.ProofNonce}
	raw, err := base64.RawURLEncoding.DecodeString(p.nonce)
	if err != nil || len(raw) != nonceTime+nonceMAC || !hmac.Equal(raw[nonceTime:], n.mac(raw[:nonceTime])) {
		return true, refused
	}
	age := now.Sub(time.Unix(int64(binary.BigEndian.Uint64(raw)), 0))
	if age > nonceLife || age < -Window { // clocks of replicas differ
		return true, refused
	}
	return age > nonceRenew, nil
}

func (n *Nonces) mac(text []byte) []byte {
	mac := hmac.New(sha256.New, n.key[:])
	mac.Write(text)
	return mac.Sum(nil)[:nonceMAC]
}
