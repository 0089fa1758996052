package process

import (
	"errors"
	"fmt"
	"io"
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

// isPath says whether a variable is the PATH.
func isPath(name string) bool { return strings.EqualFold(name, "PATH") }

// mayRun says whether anybody may run a file of that mode.
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

// terminateGroup asks a group to end; it says whether that is possible here.
func terminateGroup(int) bool { return false }

// killGroup ends the child.
func killGroup(proc *os.Process, _ int) { _ = proc.Kill() }

// groupExists says whether a process of a group is left.
func groupExists(int) bool { return false }

// readAsItComes hands on what is read from a pipe, to its end, which is no error.
func readAsItComes(f *os.File, take func(chunk []byte)) error {
	buf := make([]byte, 4<<10)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			take(buf[:n])
		}
		if n == len(buf) && n < maxRead {
			buf = make([]byte, 2*n)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// readNow reads nothing: there is no read deadline that would lead here.
type readNow struct{ f *os.File }

// Read implements io.Reader.
func (readNow) Read([]byte) (int, error) { return 0, io.EOF }
