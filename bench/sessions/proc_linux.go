package main

import (
	"os/exec"
	"syscall"
)

// endWithParent has the kernel end a child whose parent was killed.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
