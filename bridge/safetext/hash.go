package safetext

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// hashKey is a random key of this process. Without it, an id cannot be found by hashing
// guesses.
var hashKey = sync.OnceValue(func() (key [sha256.Size]byte) {
	_, _ = rand.Read(key[:]) // it does not fail
	return key
})

// HashID returns a text that stands for a secret id in logs and in answers to the
// operator. While the process runs, equal ids have equal hashes. The id cannot be found
// from its hash, even if ids can be guessed. A hash has 16 hexadecimal digits; that of
// the empty id is empty.
func HashID(id string) string {
	if id == "" {
		return ""
	}
	key := hashKey()
	sum := sha256.Sum256(append(key[:], id...))
	return hex.EncodeToString(sum[:8])
}
