// Package cputime compares the work of two functions in tests. Wall time depends on what
// else the machine does; CPU time depends on it far less, so that two of them can be
// compared.
package cputime

import (
	"math"
	"runtime"
	"runtime/debug"
	"time"
)

// Rounds that Ratio takes: at least the first number of them, and at most the second.
const (
	minRounds = 3
	maxRounds = 25
)

// Ratio returns the CPU time of f as a multiple of that of base, both measured in the
// calling goroutine. They are called in turn, and the least time of each counts: other
// load can only add to a time, so that more rounds bring both nearer to the truth. Ratio
// ends as soon as the result is at most limit, and after 25 rounds. The garbage collector
// does not run meanwhile, as its work would count for whichever function allocates at the
// time. Where the system does not tell a thread's CPU time, it is wall time.
func Ratio(limit float64, base, f func()) float64 {
	leastBase, least := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	ratio := math.Inf(1)
	for round := 0; round < minRounds || round < maxRounds && ratio > limit; round++ {
		leastBase, least = min(leastBase, measure(base)), min(least, measure(f))
		ratio = float64(least) / float64(max(leastBase, 1))
	}
	return ratio
}

func measure(f func()) time.Duration {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	return of(f)
}
