// Package ready waits until files can be read. One goroutine waits for all of them: a goroutine
// that waits for one file has a stack of 2 KiB at least, and often of 8 KiB.
package ready
