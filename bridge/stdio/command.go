package stdio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// lookUp returns the absolute path of a command's program. Unlike
// exec.LookPath it looks at the environment the child will have, and only at
// absolute directories of its PATH.
func lookUp(command, env []string) (string, error) {
	if len(command) == 0 || command[0] == "" {
		return "", errors.New("no command")
	}
	name := command[0]
	if filepath.IsAbs(name) {
		return name, checkProgram(name)
	}
	if filepath.Base(name) != name {
		return "", fmt.Errorf("command %q: neither an absolute path nor a name without slashes", name)
	}
	for _, dir := range filepath.SplitList(pathOf(env)) {
		if !filepath.IsAbs(dir) {
			continue
		}
		for _, ext := range extensions {
			path := filepath.Join(dir, name+ext)
			if isProgram(path) {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("command %q: not found in the PATH of its environment", name)
}

// pathOf returns the value of PATH; as for the child, the last one counts.
func pathOf(env []string) (path string) {
	for _, kv := range env {
		if name, value, _ := strings.Cut(kv, "="); isPath(name) {
			path = value
		}
	}
	return path
}

// isProgram says whether path is a file that can be run.
func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && mayRun(info.Mode()) && checkProgram(path) == nil
}
