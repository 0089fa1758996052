//go:build !linux

package ready

import "errors"

// File waits until one file can be read. This system cannot do that for many files at once.
type File struct{}

// New returns [errors.ErrUnsupported].
func New(int, func()) (*File, error) { return nil, errors.ErrUnsupported }

// Wait is not called: there is no File.
func (*File) Wait() {}

// Cancel is not called, either.
func (*File) Cancel() bool { return false }

// Close is not called, either.
func (*File) Close() {}
