//go:build !linux

package process

import "os"

// awaitExit waits until a child has exited and reaps it. Elsewhere than on
// Linux there is no portable way to wait without reaping; that its number is
// given to another group before this one is killed takes a whole turn of the
// system's process numbers within microseconds.
func awaitExit(proc *os.Process) (*os.ProcessState, error) { return proc.Wait() }

// groupLives says whether a process of a group is more than a dead one that
// nobody reaped; here that is not looked for.
func groupLives(int) bool { return true }
