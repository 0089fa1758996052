//go:build !linux

package process

import "os"

// afterExit calls f on its own goroutine when a child has exited, and reaps the child, because
// only Linux is known to wait without reaping. Another group could get the child's number before
// this group is killed. For that the system would have to use up all process numbers within
// microseconds.
func afterExit(proc *os.Process, f func(*os.ProcessState, error)) {
	go func() { f(proc.Wait()) }()
}

// groupLives reports whether a group has a process other than dead ones that nobody has reaped.
// This system cannot tell.
func groupLives(int) bool { return true }
