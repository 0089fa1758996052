package process

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/ready"
)

// afterExit calls f on its own goroutine when a child has exited. The child is not reaped, so that
// its process number stays taken until its group is killed, and f gets a nil state. If the system
// cannot do that, the child is reaped and f gets the state.
func afterExit(proc *os.Process, f func(*os.ProcessState, error)) {
	if pollExit(proc, f) {
		return
	}
	go func() {
		if _, err := hasExited(proc.Pid, 0); err != nil {
			f(proc.Wait())
			return
		}
		f(nil, nil)
	}()
}

// sysPidfdOpen is pidfd_open(2) on all architectures of Go except MIPS, where the system has no
// call with this number.
const sysPidfdOpen = 434

// pollExit is afterExit without a goroutine, or a thread, that waits. It returns false where the
// system cannot do that (Linux before 5.3).
func pollExit(proc *os.Process, f func(*os.ProcessState, error)) bool {
	pid := proc.Pid
	fd, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if errno != 0 {
		return false
	}
	var exit *ready.File
	exit, err := ready.New(int(fd), func() {
		exited, err := hasExited(pid, syscall.WNOHANG)
		if !exited && err == nil {
			exit.Wait()
			return
		}
		exit.Close()
		_ = syscall.Close(int(fd))
		if err != nil {
			f(proc.Wait())
			return
		}
		f(nil, nil)
	})
	if err != nil {
		_ = syscall.Close(int(fd))
		return false
	}
	exit.Wait()
	return true
}

// hasExited reports whether a child has exited; with the option WNOHANG it does not
// wait for that. It does not reap.
func hasExited(pid int, options uintptr) (bool, error) {
	const idPid = 1      // P_PID of wait.h
	var info [32]uintptr // siginfo_t has 128 bytes
	signal := (*int32)(unsafe.Pointer(&info))
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, idPid, uintptr(pid), uintptr(unsafe.Pointer(&info)),
			syscall.WEXITED|syscall.WNOWAIT|options, 0, 0)
		switch {
		case errno == 0:
			return *signal != 0, nil // si_signo is zero if no child has exited
		case !errors.Is(errno, syscall.EINTR):
			return false, errno
		}
	}
}

// groupLives reports whether to wait for a group: it has a process that runs, or a dead one that is a
// child of this one. Such a child cannot be reaped before its last thread has ended. Dead children of
// others are not waited for, because nobody may ever reap them.
func groupLives(pid int) bool {
	group, self := strconv.Itoa(pid), strconv.Itoa(os.Getpid())
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// "pid (name) state parent group ...", where a name may be anything
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 3 || string(fields[2]) != group {
			continue
		}
		if state := string(fields[0]); state != "Z" && state != "X" || string(fields[1]) == self {
			return true
		}
	}
	return len(stats) == 0
}
