//go:build !linux

package process

import (
	"syscall"
	"testing"
)

func describeMore(*description) {}

func ownSession() *syscall.SysProcAttr { return nil }

func childExhausted([]string) {}

func childLeaky([]string) {}

func childParent([]string) {}

// descriptors and children are not counted here.
func descriptors() []string { return nil }

func children(testing.TB) []string { return nil }
