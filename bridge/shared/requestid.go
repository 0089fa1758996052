package shared

import (
	"crypto/rand"
	"encoding/binary"
	"strconv"
)

// idBits is the size of the ids that requests have at a shared server. They are
// numbers, as those of nearly all clients are: servers that were never tried with text
// take them. A number of that size has 14 digits, and is the same to every reader of
// numbers in use: as 64 bits, as a double, and printed with the 14 digits of Lua. A
// client that tries a thousand ids a second needs months to hit one, even where there
// are as many requests under way as there may be.
const idBits = 46

// unguessable returns an id for a request to a shared server, as it is written in JSON.
// It is the request's progress token and the id of its subscription as well: a client
// that could name them could speak of another's request (D5c).
func unguessable() []byte {
	var random [8]byte
	_, _ = rand.Read(random[:]) // it does not fail
	// One bit is always set, so that no id is 0, which there are servers that take for
	// none.
	n := binary.NativeEndian.Uint64(random[:])>>(64-idBits) | 1<<(idBits-1)
	return strconv.AppendUint(make([]byte, 0, 20), n, 10)
}
