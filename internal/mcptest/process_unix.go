//go:build unix

package mcptest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/need"
)

// Alive reports whether a process exists.
func Alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// WantGone waits until a process is gone.
func WantGone(t *testing.T, pid int) {
	t.Helper()
	Poll(t, 20*time.Second, func() string {
		if Alive(pid) {
			return fmt.Sprintf("process %d is left", pid)
		}
		return ""
	})
}

// Children lists the processes that this one has started.
func Children(t *testing.T) []string {
	t.Helper()
	var found []string
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		need.Missing(t, "the system has no list of child processes")
	}
	for _, task := range tasks {
		if raw, err := os.ReadFile(task); err == nil {
			found = append(found, strings.Fields(string(raw))...)
		}
	}
	return found
}

// WantChildren waits until this process has at most n children, but no longer than within.
func WantChildren(t *testing.T, within time.Duration, n int) {
	t.Helper()
	Poll(t, within, func() string {
		if left := Children(t); len(left) > n {
			return fmt.Sprintf("processes %v are left, want %d", left, n)
		}
		return ""
	})
}

// Holds is what this process holds that a child's end has to give back.
type Holds struct{ goroutines, descriptors, Children int }

// Held returns what this process holds now.
func Held(t *testing.T) Holds {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		need.Missing(t, "the system has no list of open descriptors")
	}
	return Holds{runtime.NumGoroutine(), len(entries), len(Children(t))}
}

// WantHeld waits until no more is held than before.
func WantHeld(t *testing.T, before Holds) {
	t.Helper()
	defer func() {
		if t.Failed() {
			stacks := make([]byte, 1<<20)
			t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
		}
	}()
	Poll(t, 30*time.Second, func() string {
		now := Held(t)
		if now.goroutines <= before.goroutines && now.descriptors <= before.descriptors && now.Children <= before.Children {
			return ""
		}
		return fmt.Sprintf("now %+v, before %+v", now, before)
	})
}
