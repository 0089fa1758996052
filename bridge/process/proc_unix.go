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

// pipe reads one pipe.
type pipe struct {
	conn syscall.RawConn
	try  func(fd uintptr) bool // readOnce
	wait bool
	buf  *[maxRead]byte // holds what was read
	n    int
	err  error
}

// open returns the descriptor of a pipe. Reads can follow.
func (p *pipe) open(f *os.File) (fd int, err error) {
	if p.conn, err = f.SyscallConn(); err != nil {
		return 0, err
	}
	p.try = p.readOnce
	return fd, p.conn.Control(func(n uintptr) { fd = int(n) })
}

// read returns what is in the pipe. Release has to follow if the error is nil. If nothing is in
// the pipe it waits, or returns errEmpty.
func (p *pipe) read(wait bool) (chunk []byte, err error) {
	p.wait = wait
	if err := p.conn.Read(p.try); err != nil {
		return nil, err
	}
	switch {
	case errors.Is(p.err, syscall.EAGAIN):
		return nil, errEmpty
	case p.err != nil:
		p.release()
		return nil, p.err
	case p.n <= 0:
		p.release()
		return nil, io.EOF
	}
	return p.buf[:p.n], nil
}

// readOnce reads, and returns false if it has to be called again when something is in the pipe.
func (p *pipe) readOnce(fd uintptr) bool {
	p.buf = readBuffers.Get().(*[maxRead]byte)
	for {
		p.n, p.err = syscall.Read(int(fd), p.buf[:])
		if !errors.Is(p.err, syscall.EINTR) {
			break
		}
	}
	if !errors.Is(p.err, syscall.EAGAIN) {
		return true
	}
	p.release()
	return !p.wait
}

// release ends the use of what was read.
func (p *pipe) release() {
	readBuffers.Put(p.buf)
	p.buf = nil
}
