package process

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// describeMore adds what only Unix knows.
func describeMore(d *description) {
	d.Group = syscall.Getpgrp()
	session, _, _ := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
	d.Session = int(session)
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.Contains(target, "anon_inode") && !strings.Contains(target, "/cgroup/") { // those of the Go runtime
			d.Descriptors = append(d.Descriptors, e.Name()+" "+target)
		}
	}
	if tty, err := os.Open("/dev/tty"); err == nil {
		d.Terminal = true
		_ = tty.Close()
	}
	if out, err := os.OpenFile("/dev/stdout", os.O_WRONLY, 0); err == nil {
		d.Reopened = true
		_ = out.Close()
	}
}

// ownSession makes a process leave its group.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// childExhausted starts processes with ever more descriptors to be had, and
// says what was left of those that did not start.
func childExhausted([]string) {
	cfg := child("exit", "0")
	cfg.Stderr = func([]byte, int) {}
	try := func() bool {
		p, err := Start(context.Background(), cfg)
		if err == nil {
			err = p.Close()
		}
		return err == nil
	}
	if !try() { // also opens what the runtime keeps open
		say([]string{"does not start at all"})
		return
	}
	var limit syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	before, failed := descriptors(), 0
	for n := range uint64(30) {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: limit.Max})
		ok := try()
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
		if after := descriptors(); len(after) != len(before) {
			say([]string{fmt.Sprintf("limit %d, started %t: %v, before %v", n, ok, after, before)})
			return
		}
		if !ok {
			failed++
		}
	}
	if failed < 5 || failed == 30 {
		say([]string{fmt.Sprintf("%d starts failed", failed)})
	}
	say([]string{"nothing left"})
}

// childLeaky has a descriptor that was given to it, as a listener is by
// systemd, and lets a child of its own say which it has.
func childLeaky([]string) {
	if _, err := syscall.Dup(1); err != nil { // not close-on-exec
		panic(err)
	}
	p, err := Start(context.Background(), child("describe"))
	if err != nil {
		panic(err)
	}
	for frame := range p.Frames() {
		_, _ = os.Stdout.Write(append(frame, '\n'))
	}
	if err := p.Close(); err != nil {
		panic(err)
	}
}

// childParent starts a child that does not end at EOF, names it, and stays. Threads of
// it that have started nothing else come and go meanwhile.
func childParent([]string) {
	p, err := Start(context.Background(), child("signals", "eof"))
	if err != nil {
		panic(err)
	}
	<-p.Frames()
	for range 20 {
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread() // it ends with the goroutine
			close(done)
		}()
		<-done
	}
	if p.Err() != nil {
		panic(p.Err())
	}
	say([]int{p.Pid()})
	select {}
}
