//go:build !linux

package stdio

import "os/exec"

// startCommand starts a child.
func startCommand(cmd *exec.Cmd) error { return cmd.Start() }
