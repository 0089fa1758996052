package process

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"unsafe"
)

// awaitExit waits until a child has exited and does not reap it: its number
// stays taken until its group is killed.
func awaitExit(proc *os.Process) (*os.ProcessState, error) {
	if pollExit(proc.Pid) {
		return nil, nil
	}
	if _, err := hasExited(proc.Pid, 0); err != nil {
		return proc.Wait()
	}
	return nil, nil
}

// sysPidfdOpen is pidfd_open(2) on all architectures that Go knows but MIPS, where
// the number is none.
const sysPidfdOpen = 434

// pollExit waits for a child's exit with the runtime's poller, which, unlike a
// system call that waits, takes no thread. It returns false where the system cannot
// do that (Linux before 5.10).
func pollExit(pid int) (exited bool) {
	fd, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(pid), syscall.O_NONBLOCK, 0)
	if errno != 0 {
		return false
	}
	f := os.NewFile(fd, "pidfd")
	defer func() { _ = f.Close() }()
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	err = conn.Read(func(uintptr) bool {
		var failed error
		exited, failed = hasExited(pid, syscall.WNOHANG)
		return exited || failed != nil
	})
	return exited && err == nil
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
			return *signal != 0, nil // si_signo is zero where nothing has happened
		case !errors.Is(errno, syscall.EINTR):
			return false, errno
		}
	}
}

// groupLives says whether a process of a group is more than a dead one that
// nobody reaped.
func groupLives(pid int) bool {
	group := strconv.Itoa(pid)
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
		if state := string(fields[0]); state != "Z" && state != "X" {
			return true
		}
	}
	return len(stats) == 0
}
