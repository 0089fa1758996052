package upstreams

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A stdio server is started without a shell. What only a shell understands reaches the program as
// it is written, which is seldom meant.

// shells are programs that read a command line themselves.
var shells = []string{"sh", "bash", "dash", "zsh", "fish", "busybox", "cmd", "powershell", "pwsh"}

// operators are words that only a shell understands.
var operators = []string{"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>&1", "2>/dev/null"}

// shellVariable matches a variable that a shell replaces, and its name.
var shellVariable = regexp.MustCompile(`^(?:[^$]*[=/:,])?\$\{?([A-Z_][A-Z0-9_]*)`)

// wordProblems finds the words of the command that are for a shell.
func (u *Stdio) wordProblems() (found []*programProblem) {
	if isOneOf(u.Command[0], shells) {
		return nil
	}
	for i, argument := range u.Command[1:] {
		reason := fmt.Errorf("stdio: argument %d, %q, is for a shell, and there is none", i+1, argument)
		switch m := shellVariable.FindStringSubmatch(argument); {
		case slices.Contains(operators, argument):
			found = append(found, &programProblem{false, reason, "start one: `stdio sh -c \"" + strings.ReplaceAll(strings.Join(u.Command, " "), `"`, `\"`) + "\"`"})
			return found
		case strings.HasPrefix(argument, "~/"):
			found = append(found, &programProblem{false, reason, "write the absolute path, such as `/home/caddy" + argument[1:] + "`"})
		case m != nil:
			found = append(found, &programProblem{
				false, reason,
				"write `" + strings.NewReplacer("${"+m[1]+"}", "{$"+m[1]+"}", "$"+m[1], "{$"+m[1]+"}").Replace(argument) + "`, which is replaced when the Caddyfile is read",
			})
		}
	}
	return found
}

// isOneOf reports whether a command is one of some programs.
func isOneOf(command string, programs []string) bool {
	return slices.Contains(programs, strings.TrimSuffix(filepath.Base(command), ".exe"))
}

// alone are options of `docker run` that take no value.
var alone = []string{
	"--detach", "--init", "--interactive", "--no-healthcheck", "--oom-kill-disable", "--privileged", "--publish-all", "--quiet",
	"--read-only", "--rm", "--sig-proxy", "--tty",
}

// containerProblem says why a container gets no messages, or spoils them: without -i its standard
// input is closed, and with -t it has a terminal.
func (u *Stdio) containerProblem() *programProblem {
	if !isOneOf(u.Command[0], []string{"docker", "podman", "nerdctl"}) || len(u.Command) < 2 || u.Command[1] != "run" {
		return nil
	}
	interactive, terminal := false, ""
	for i := 2; i < len(u.Command) && strings.HasPrefix(u.Command[i], "-"); i++ {
		option := u.Command[i]
		if strings.HasPrefix(option, "--") {
			name, value, hasValue := strings.Cut(option, "=")
			on := value != "false"
			switch {
			case name == "--interactive":
				interactive = on
			case name == "--tty" && on:
				terminal = option
			}
			if !hasValue && !slices.Contains(alone, name) {
				i++ // its value
			}
			continue
		}
		letters := option[1:]
		end := strings.TrimLeft(letters, "itdPq")
		flags := letters[:len(letters)-len(end)]
		interactive = interactive || strings.Contains(flags, "i")
		if strings.Contains(flags, "t") {
			terminal = option
		}
		if len(end) == 1 {
			i++ // its value
		}
	}
	command := strings.Join(u.Command[:2], " ")
	switch {
	case terminal != "":
		return &programProblem{false, fmt.Errorf("stdio: %s has %s, a terminal, which adds to the messages or refuses to start", command, terminal), "write `" + command + " -i` in place of it"}
	case !interactive:
		return &programProblem{false, fmt.Errorf("stdio: %s has no -i, so the container gets no messages", command), "write `" + command + " -i`"}
	}
	return nil
}
