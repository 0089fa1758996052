package stdio

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// awaitExit waits until a child has exited and does not reap it: its number
// stays taken until its group is killed.
func awaitExit(proc *os.Process) (*os.ProcessState, error) {
	const idPid = 1 // P_PID of wait.h
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, idPid, uintptr(proc.Pid), 0,
			syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		switch {
		case errno == 0:
			return nil, nil
		case !errors.Is(errno, syscall.EINTR):
			return proc.Wait()
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
