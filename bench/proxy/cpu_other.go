//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"time"
)

func cpuTime(int) (time.Duration, error) {
	return 0, errors.New("the CPU time of other processes is read on Linux only")
}

func endWithParent(*exec.Cmd) {}
