package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// extensions of programs that are looked up.
var extensions = []string{"", ".exe", ".com"}

// batchExtensions of programs that are looked up and cannot be run.
var batchExtensions = []string{".cmd", ".bat"}

// isPath reports whether a variable is the PATH.
func isPath(name string) bool { return strings.EqualFold(name, "PATH") }

// mayRun reports whether the mode of a file lets somebody run it.
func mayRun(fs.FileMode) bool { return true }

// checkProgram refuses what would be run by a shell: batch files, and names
// without an extension, for which os/exec may choose one.
func checkProgram(path string) error {
	switch ext := filepath.Ext(path); {
	case strings.EqualFold(ext, ".exe"), strings.EqualFold(ext, ".com"):
		return nil
	case slices.ContainsFunc(batchExtensions, func(batch string) bool { return strings.EqualFold(ext, batch) }):
		return fmt.Errorf("command %q: %w", path, ErrBatchFile)
	default:
		return fmt.Errorf("command %q: not an .exe file", path)
	}
}

// sealDescriptors has nothing to do: handles are inherited one by one.
func sealDescriptors() {}

// sysProcAttr keeps Ctrl-C in this program's console from the child.
func sysProcAttr(user *Credential) (*syscall.SysProcAttr, error) {
	if user != nil {
		return nil, fmt.Errorf("switching the user: %w", errors.ErrUnsupported)
	}
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP, HideWindow: true}, nil
}

// giveAway is for systems where the user can be switched.
func giveAway([]*os.File, *Credential) {}

// terminateGroup asks a group to end. It returns false, because that is not possible here.
func terminateGroup(int) bool { return false }

// killGroup ends the child.
func killGroup(proc *os.Process, _ int) { _ = proc.Kill() }

// groupExists reports whether a process of a group is left.
func groupExists(int) bool { return false }

// pipe reads one pipe.
type pipe struct {
	f    *os.File
	buf  []byte
	full bool // the last read has filled it
}

// open makes p ready to read. There is no descriptor to wait for.
func (p *pipe) open(f *os.File) (fd int, err error) {
	p.f, p.buf = f, make([]byte, 4<<10)
	return -1, nil
}

// read waits for what comes. Release has to follow if the error is nil.
func (p *pipe) read(bool) (chunk []byte, err error) {
	n, err := p.f.Read(p.buf)
	if n > 0 {
		err = nil // which is returned again
	}
	p.full = n == len(p.buf)
	return p.buf[:n], err
}

// release ends the use of what was read. The buffer grows with what comes.
func (p *pipe) release() {
	if p.full && len(p.buf) < maxRead {
		p.buf = make([]byte, 2*len(p.buf))
	}
}
