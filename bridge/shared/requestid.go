package shared

import (
	"crypto/rand"
	"encoding/binary"
	"strconv"
)

// idBits is the size of the ids that requests have at a shared server. Ids are numbers, as those of
// nearly all clients, because some servers were never tested with strings. A number of 46 bits has
// 14 digits, so 64-bit integers, doubles and Lua (which prints 14 digits) all keep it exactly. A
// client that guesses a thousand ids a second needs months to hit one, even if as many requests
// are in progress as are allowed.
const idBits = 46

// unguessable returns a random id for a request to a shared server, as it is written in JSON. It is
// also the progress token and the subscription id of the request. A client that could guess it
// could send messages about another client's request (D5c).
func unguessable() []byte {
	var random [8]byte
	_, _ = rand.Read(random[:]) // it does not fail
	// The highest bit is always set, so that no id is 0: some servers take that for no id.
	n := binary.NativeEndian.Uint64(random[:])>>(64-idBits) | 1<<(idBits-1)
	return strconv.AppendUint(make([]byte, 0, 20), n, 10)
}
