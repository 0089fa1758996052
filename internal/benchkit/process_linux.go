package benchkit

import (
	"os/exec"
	"syscall"
	"time"
	"unsafe"
)

// CPUTime returns the CPU time that a process has used, in all its threads. It
// reads the process's CPU clock (clock_getcpuclockid), which is exact to the
// nanosecond where /proc/<pid>/stat has ticks of 10 ms.
func CPUTime(pid int) (time.Duration, error) {
	const cpuClockSched = 2
	var ts syscall.Timespec
	clock := int32(^pid<<3 | cpuClockSched)
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0, errno
	}
	return time.Duration(ts.Nano()), nil
}

// EndWithParent has the kernel end a child whose parent was killed.
func EndWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
