package stats

import "time"

// SessionInfo describes a session, or a server that stateless requests share.
type SessionInfo struct {
	// ID is the hash of its id ([safetext.HashID]).
	ID        string
	Transport Transport
	// User is a hash of the user who began it. Two sessions of one user have the same. It
	// is empty if the user is not known.
	User string
	// Begun is when it was initialized. It is zero if it was not yet.
	Begun   time.Time
	Used    time.Time // when its last request ended
	Active  int       // requests under way
	Version string    // the negotiated protocol version, or empty
}
