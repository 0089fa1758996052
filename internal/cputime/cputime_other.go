//go:build !linux

package cputime

import "time"

func of(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}
