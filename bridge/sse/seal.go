package sse

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
)

// KeySize is the size of a sealing key in bytes.
const KeySize = 32

// maxSealed bounds the length of a token that Open decodes.
const maxSealed = 4 << 10

// Sealer turns the message path that an upstream announced into a token for the
// public path, and back. A token is encrypted and authenticated: a client can
// neither read the upstream's path nor make a token for another one. Any replica
// with the same key can open it without stored state.
type Sealer struct {
	aead cipher.AEAD
	mac  []byte
}

// NewKey returns a random key.
func NewKey() ([]byte, error) {
	key := make([]byte, KeySize)
	if _, err := io.ReadFull(rand.Reader, key); err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	return key, nil
}

// NewSealer returns a sealer for a key of KeySize bytes.
func NewSealer(key []byte) (*Sealer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("key has %d bytes, not %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(derive(key, "seal message path"))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead: aead, mac: derive(key, "nonce of message path")}, nil
}

func derive(key []byte, purpose string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(purpose))
	return h.Sum(nil)
}

// Seal returns the token of path for one scope (the endpoint and its upstream). The nonce is
// a keyed hash of both, so the same path always has the same token.
func (s *Sealer) Seal(path, scope string) string {
	h := hmac.New(sha256.New, s.mac)
	fmt.Fprintf(h, "%d:%s%s", len(scope), scope, path)
	nonce := h.Sum(nil)[:s.aead.NonceSize()]
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, []byte(path), []byte(scope)))
}

// Open returns the path of a token that Seal made for the same scope.
func (s *Sealer) Open(token, scope string) (string, bool) {
	if len(token) > maxSealed {
		return "", false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < s.aead.NonceSize() {
		return "", false
	}
	n := s.aead.NonceSize()
	path, err := s.aead.Open(nil, b[:n], b[n:], []byte(scope))
	if err != nil {
		return "", false
	}
	return string(path), true
}
