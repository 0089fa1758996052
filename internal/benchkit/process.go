package benchkit

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// lives says whether a process is more than a dead one.
func lives(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// WaitGone waits until processes are gone.
func WaitGone(ctx context.Context, limit time.Duration, pids ...int) error {
	return Poll(ctx, limit, func() error {
		for _, pid := range pids {
			if lives(pid) {
				return fmt.Errorf("process %d is left", pid)
			}
		}
		return nil
	})
}
