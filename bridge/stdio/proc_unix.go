//go:build unix

package stdio

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

// isPath says whether a variable is the PATH.
func isPath(name string) bool { return name == "PATH" }

// mayRun says whether anybody may run a file of that mode.
func mayRun(mode fs.FileMode) bool { return mode&0o111 != 0 }

// checkProgram refuses what would be run by a shell.
func checkProgram(string) error { return nil }

// sealDescriptors keeps descriptors that this program itself inherited, such
// as the listeners of systemd's socket activation, from its children: nobody
// may have marked them. All others are close-on-exec in a Go program.
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
// it can open /dev/stderr and the like. Where pipes have no owner that is not
// needed.
func giveAway(files []*os.File, user *Credential) {
	for _, f := range files {
		_ = f.Chown(int(user.UID), int(user.GID))
	}
}

// terminateGroup asks a group to end; it says whether that is possible here.
func terminateGroup(pid int) bool {
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	return true
}

// killGroup ends a group. No process that is being forked escapes: the kernel
// sends a signal to all of a group or lets the fork fail.
func killGroup(_ *os.Process, pid int) {
	_ = syscall.Kill(-pid, syscall.SIGKILL)
}

// groupExists says whether a process of a group is left, once its leader is
// reaped. If this program is what orphans are given to (as the first process
// of a container is) it reaps them here.
func groupExists(pid int) bool {
	for {
		got, err := syscall.Wait4(-pid, nil, syscall.WNOHANG, nil)
		if got <= 0 && !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	return !errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH)
}

// readBuffers are for what is being read: a quiet pipe holds none.
var readBuffers = sync.Pool{New: func() any { return new([maxRead]byte) }}

// readAsItComes hands on what is read from a pipe, to its end, which is no error.
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

// readNow reads what is in a pipe; the end is where it would have to wait.
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
