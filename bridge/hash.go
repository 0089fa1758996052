package bridge

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// hashKey makes hashes of this process that nobody can guess at who does not know
// it.
var hashKey = sync.OnceValue(func() (key [sha256.Size]byte) {
	_, _ = rand.Read(key[:]) // it does not fail
	return key
})

// HashID returns a text that stands for a secret id, in logs and answers to the
// operator: the same id has the same until the process ends, and it leads nowhere
// back, not even where ids can be guessed. It has 16 hexadecimal digits; the empty id
// has none.
func HashID(id string) string {
	if id == "" {
		return ""
	}
	key := hashKey()
	sum := sha256.Sum256(append(key[:], id...))
	return hex.EncodeToString(sum[:8])
}
