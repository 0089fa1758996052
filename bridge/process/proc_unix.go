//go:build unix

package process

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// extensions of programs that are looked up.
var extensions = []string{""}

// batchExtensions of programs that are looked up and cannot be run.
var batchExtensions []string

// isPath reports whether a variable is the PATH.
func isPath(name string) bool { return name == "PATH" }

// mayRun reports whether any user may run a file of that mode.
func mayRun(mode fs.FileMode) bool { return mode&0o111 != 0 }

// checkProgram returns an error for a program that a shell would run. There is none here.
func checkProgram(string) error { return nil }

// sealDescriptors keeps descriptors that this program inherited, such as the listeners of
// systemd's socket activation, from its children. They may not be marked as close-on-exec; all
// others are in a Go program.
var sealDescriptors = sync.OnceFunc(func() {
	for _, dir := range []string{"/proc/self/fd", "/dev/fd"} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
				syscall.CloseOnExec(fd)
			}
		}
		if len(entries) > 0 {
			return
		}
	}
})

// sysProcAttr makes the child the leader of a session, and thereby of a
// process group, and without a terminal that it could ask for a password.
func sysProcAttr(user *Credential) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Setsid: true}
	if user != nil {
		attr.Credential = &syscall.Credential{Uid: user.UID, Gid: user.GID, Groups: user.Groups}
	}
	return attr, nil
}

// giveAway makes the user the owner of the child's ends of the pipes, so that
// it can open /dev/stderr and the like. On systems where pipes have no owner this fails and is
// not needed.
func giveAway(files []*os.File, user *Credential) {
	for _, f := range files {
		_ = f.Chown(int(user.UID), int(user.GID))
	}
}

// terminateGroup sends SIGTERM to a group. It returns false on systems without it.
func terminateGroup(pid int) bool {
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	return true
}

// killGroup kills a group, with processes that are being forked: the kernel signals the whole
// group or lets the fork fail.
func killGroup(_ *os.Process, pid int) {
	_ = syscall.Kill(-pid, syscall.SIGKILL)
}

// groupExists reports whether a process of a group is left after its leader was reaped. If
// orphans become children of this program (as they do of the first process of a container), it
// reaps them.
func groupExists(pid int) bool {
	for {
		got, err := syscall.Wait4(-pid, nil, syscall.WNOHANG, nil)
		if got <= 0 && !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	return !errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH)
}

// readBuffers are used while data is being read. A pipe without data holds none.
var readBuffers = sync.Pool{New: func() any { return new([maxRead]byte) }}

// readAsItComes calls take with what it reads from a pipe, up to its end. The end is no error.
func readAsItComes(f *os.File, take func(chunk []byte)) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var buf *[maxRead]byte
		var n int
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			buf = readBuffers.Get().(*[maxRead]byte)
			for {
				n, failed = syscall.Read(int(fd), buf[:])
				if !errors.Is(failed, syscall.EINTR) {
					break
				}
			}
			if errors.Is(failed, syscall.EAGAIN) {
				readBuffers.Put(buf)
				return false
			}
			return true
		})
		if err != nil {
			return err
		}
		if n > 0 {
			take(buf[:n])
		}
		readBuffers.Put(buf)
		if n <= 0 {
			return failed
		}
	}
}

// readNow reads what is in a pipe. It returns io.EOF when it would have to wait.
type readNow struct{ f *os.File }

// Read implements io.Reader.
func (r readNow) Read(p []byte) (n int, err error) {
	conn, err := r.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := conn.Read(func(fd uintptr) bool {
		for {
			n, err = syscall.Read(int(fd), p)
			if !errors.Is(err, syscall.EINTR) {
				return true
			}
		}
	})
	switch {
	case cerr != nil:
		return 0, cerr
	case err != nil || n <= 0:
		return 0, io.EOF
	default:
		return n, nil
	}
}
