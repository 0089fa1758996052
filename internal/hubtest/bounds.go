package hubtest

import "time"

// MaxRounds, MaxInputs and MaxHandshakes are bounds of package translate.
const MaxRounds, MaxInputs, MaxHandshakes = 32, 64, 5

// Bounds of package upstream, as its clients see them.
const (
	// LostEdge is how much of either end of a text is looked at.
	LostEdge = 1 << 10
	// MaxResumes is how often a stream that brings nothing is asked for again.
	MaxResumes = 5
	// UnmatchedHold is how long an answer with another id is held back.
	UnmatchedHold = time.Second
	// UnmatchedSoon is how long a request waits if the server is known to change ids.
	UnmatchedSoon = 2 * time.Second
)
