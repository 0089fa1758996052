package shared

import (
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const (
	// forgetAfter is how long an abandoned request that the server has not answered still counts
	// as in progress: a message of the server that names no request may be about it, and must
	// not reach another client. forgetOwnAfter is the time if all requests are of one user.
	forgetAfter, forgetOwnAfter = time.Minute, 10 * time.Second
	// maxAbandoned bounds the ids that are kept.
	maxAbandoned = 64
)

// abandoned has the requests that clients have given up and the server has not answered yet. The
// server may still send messages about them.
type abandoned struct {
	ids  map[message.Key]struct{}
	more bool      // there are more than maxAbandoned
	last time.Time // when a client gave up the last one
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

// any reports whether there are abandoned requests, and the last was given up within that time.
func (a *abandoned) any(within time.Duration) bool {
	return (a.more || len(a.ids) > 0) && time.Since(a.last) <= within
}
