package process

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// starts takes what starts a child. One thread does so, which never ends: the kernel
// counts the end of the thread that forked as that of the parent.
var starts = sync.OnceValue(func() chan<- func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range c {
			start()
		}
	}()
	return c
})

// startCommand starts a child that gets SIGTERM if this program ends without having
// ended it, as when it is killed.
func startCommand(cmd *exec.Cmd) error {
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	done := make(chan error, 1)
	starts() <- func() { done <- cmd.Start() }
	return <-done
}
