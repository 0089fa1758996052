package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Errors of [Check] and [Start] about the command.
var (
	// ErrRelative says that a command is a path that is not absolute.
	ErrRelative = errors.New("neither an absolute path nor a name without slashes")
	// ErrNotFound says that the PATH of the environment has no such program.
	ErrNotFound = errors.New("not found in the PATH of its environment")
	// ErrNotExecutable says that a file is there, and cannot be run.
	ErrNotExecutable = errors.New("cannot be run")
	// ErrBatchFile says that a file is a batch file of Windows, which only a shell can run.
	ErrBatchFile = errors.New("is a batch file, which only a shell can run")
)

// Check returns an error if a command cannot be started, as far as this is seen without starting
// it: the program or its directory does not exist, or the file is not a program.
func Check(cfg Config) error {
	_, err := cfg.prepare()
	return err
}

// lookUp returns the absolute path of a command's program. Unlike
// exec.LookPath it looks at the environment the child will have, and only at
// absolute directories of its PATH.
func lookUp(command, env []string, user *Credential) (string, error) {
	if len(command) == 0 || command[0] == "" {
		return "", errors.New("no command")
	}
	name := command[0]
	if filepath.IsAbs(name) {
		return name, checkFile(name, user)
	}
	if filepath.Base(name) != name {
		return "", fmt.Errorf("command %q: %w", name, ErrRelative)
	}
	path, unfit := pathOf(env), error(nil)
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		for _, ext := range extensions {
			path := filepath.Join(dir, name+ext)
			err := checkFile(path, user)
			if err == nil {
				return path, nil
			}
			if unfit == nil && !errors.Is(err, fs.ErrNotExist) {
				unfit = err
			}
		}
		for _, ext := range batchExtensions {
			path := filepath.Join(dir, name+ext)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return "", fmt.Errorf("command %q: %w (%s)", name, ErrBatchFile, path)
			}
		}
	}
	err := fmt.Errorf("command %q: %w (%s)", name, ErrNotFound, path)
	if unfit != nil {
		err = fmt.Errorf("%w; %w", err, unfit)
	}
	return "", err
}

// checkFile returns an error if the file at an absolute path cannot be run. For another user it
// only looks at the mode of the file.
func checkFile(path string, user *Credential) error {
	info, err := os.Stat(path)
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("command %q: %w", path, failed.Err)
	}
	switch {
	case err != nil:
		return fmt.Errorf("command %q: %w", path, err)
	case info.IsDir():
		return fmt.Errorf("command %q: %w: it is a directory", path, ErrNotExecutable)
	case !info.Mode().IsRegular():
		return fmt.Errorf("command %q: %w: it is not a file", path, ErrNotExecutable)
	case !mayRun(info.Mode()):
		return fmt.Errorf("command %q: %w: permission denied to everyone (mode %s)", path, ErrNotExecutable, info.Mode())
	}
	if err := checkProgram(path); err != nil || user != nil {
		return err
	}
	if _, err := exec.LookPath(path); err != nil {
		return fmt.Errorf("command %q: %w: permission denied to this user (mode %s)", path, ErrNotExecutable, info.Mode())
	}
	return nil
}

// pathOf returns the value of PATH. If there are several, the last one counts, as for the child.
func pathOf(env []string) (path string) {
	for _, kv := range env {
		if name, value, _ := strings.Cut(kv, "="); isPath(name) {
			path = value
		}
	}
	return path
}
