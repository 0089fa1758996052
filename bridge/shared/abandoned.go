package shared

import (
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const (
	// forgetAfter is how long a request counts as under way that its client has given
	// up and that the server has not answered, where others than that client may be
	// meant by what the server says without naming a request; forgetOwnAfter where all
	// requests are of one user.
	forgetAfter, forgetOwnAfter = time.Minute, 10 * time.Second
	// maxAbandoned bounds how many are known by their ids.
	maxAbandoned = 64
)

// abandoned are the requests that clients have given up while they were under way, for
// as long as a server may still speak of them. A server that answers one is done with it.
type abandoned struct {
	ids  map[message.Key]struct{}
	more bool      // than are known by their ids
	last time.Time // when a client gave one up
}

func (a *abandoned) add(id message.Key) {
	if time.Since(a.last) > forgetAfter {
		a.ids, a.more = nil, false
	}
	a.last = time.Now()
	if len(a.ids) >= maxAbandoned {
		a.more = true
		return
	}
	if a.ids == nil {
		a.ids = make(map[message.Key]struct{})
	}
	a.ids[id] = struct{}{}
}

func (a *abandoned) answered(id message.Key) { delete(a.ids, id) }

// any reports whether there are some, of which the last was given up within a time.
func (a *abandoned) any(within time.Duration) bool {
	return (a.more || len(a.ids) > 0) && time.Since(a.last) <= within
}
