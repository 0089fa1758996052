package mcp

import (
	"crypto/rand"
	"encoding/base64"
)

// NewID returns 192 random bits as text: an id that cannot be guessed.
func NewID() string {
	id := make([]byte, 24)
	_, _ = rand.Read(id) // it does not fail
	return base64.RawURLEncoding.EncodeToString(id)
}
