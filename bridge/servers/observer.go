package servers

import (
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// Observer is called when something happens to servers or to sessions. No lock is held during
// the call.
type Observer interface {
	// SessionBegun is called when a session has been initialized, or when a server that
	// stateless requests share has started.
	SessionBegun(s stats.SessionInfo)
	// SessionEnded is called when a session that has begun is over.
	SessionEnded(s stats.SessionInfo, why stats.EndReason)
	// ServerStarted is called for each server that was started or connected to. again is
	// true if it replaces one that has ended by itself.
	ServerStarted(again bool)
	// ServerFailed is called if a server could not be started or connected to. err is a
	// [*upstream.Refusal] if the server has answered, perhaps with a challenge.
	ServerFailed(err error)
	// ServerLate is called when a late server has answered for the first time. after is the time
	// since its start.
	ServerLate(after time.Duration)
	// ServerEnded is called when a server has ended: by itself, or because its session has.
	ServerEnded(byItself bool)
	// BackingOff is called when the next start has to wait, because too many servers have ended
	// soon after theirs.
	BackingOff(wait time.Duration)
	// Unmatched is called with output of a server that is not a message, and with answers that
	// belong to no request. It must not block.
	Unmatched(u upstream.Unmatched)
	// Warned is called with what an operator should see: a constant text, and the cause.
	Warned(msg, cause string)
}

// Unobserved is an observer that does nothing. An observer that needs only some of the calls can
// embed it.
type Unobserved struct{}

// SessionBegun implements [Observer].
func (Unobserved) SessionBegun(stats.SessionInfo) {}

// SessionEnded implements [Observer].
func (Unobserved) SessionEnded(stats.SessionInfo, stats.EndReason) {}

// ServerStarted implements [Observer].
func (Unobserved) ServerStarted(bool) {}

// ServerFailed implements [Observer].
func (Unobserved) ServerFailed(error) {}

// ServerLate implements [Observer].
func (Unobserved) ServerLate(time.Duration) {}

// ServerEnded implements [Observer].
func (Unobserved) ServerEnded(bool) {}

// BackingOff implements [Observer].
func (Unobserved) BackingOff(time.Duration) {}

// Unmatched implements [Observer].
func (Unobserved) Unmatched(upstream.Unmatched) {}

// Warned implements [Observer].
func (Unobserved) Warned(string, string) {}
