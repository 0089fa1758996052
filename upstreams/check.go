package upstreams

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/process"
)

// programProblem is why a program cannot be started as configured, or may not work.
type programProblem struct {
	// refuses is set if the program cannot be started. Otherwise it may not work, and the
	// problem is a warning.
	refuses bool
	reason  error
	advice  string
}

func (p *programProblem) Error() string { return p.reason.Error() + "; " + p.advice }

// problems finds reasons why a program cannot start. It only looks at files, and starts nothing.
func (u *Stdio) problems() (found []*programProblem) {
	as, err := lookupUser(u.User)
	if err != nil {
		return []*programProblem{{true, fmt.Errorf("stdio user: %w", err), "name another"}}
	}
	env, missing := u.environment(as)
	for _, m := range missing {
		found = append(found, &programProblem{false, fmt.Errorf("stdio env %s: %s", m.name, m.reason), m.advice})
	}
	for i, argument := range u.Command[1:] {
		if m := runtimePlaceholder.FindStringSubmatch(argument); m != nil {
			found = append(found, &programProblem{
				false, fmt.Errorf("stdio: the placeholder %s in argument %d is not replaced", m[0], i+1),
				"pass the value with env, because other users of the machine can read arguments" + orAtLoad(m),
			})
		}
	}
	found = append(found, u.wordProblems()...)
	if p := u.containerProblem(); p != nil {
		found = append(found, p)
	}
	if p := u.dirProblem(); p != nil {
		found = append(found, p)
	}
	cfg := process.Config{Command: u.Command, Env: env}
	if as != nil {
		cfg.User = as.credential
	}
	if err := process.Check(cfg); err != nil {
		return append(found, u.commandProblem(err))
	}
	for _, path := range []string{u.Command[0], u.Dir} {
		if as == nil || !filepath.IsAbs(path) {
			continue
		}
		if at := as.credential.Blocks(path); at != "" {
			found = append(found, &programProblem{
				false, fmt.Errorf("stdio user: %q has no right to %q, it ends at %q", as.name, path, at),
				"give the user the right to enter or to run it, as with chmod o+x",
			})
		}
	}
	return found
}

// dirProblem returns the reason why the program cannot start in its folder; nil if it can.
func (u *Stdio) dirProblem() *programProblem {
	if u.Dir == "" {
		return nil
	}
	info, err := os.Stat(u.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &programProblem{true, fmt.Errorf("stdio dir: there is no folder %q", u.Dir), "create it, or name another"}
	case err != nil:
		return &programProblem{true, fmt.Errorf("stdio dir: %w", err), "let the user that Caddy runs as enter it"}
	case !info.IsDir():
		return &programProblem{true, fmt.Errorf("stdio dir: %q is not a folder", u.Dir), "name the folder that the program starts in"}
	case !filepath.IsAbs(u.Dir):
		path, err := filepath.Abs(u.Dir)
		if err != nil {
			path = "/path/to/" + u.Dir
		}
		return &programProblem{false, fmt.Errorf("stdio dir: %q is relative to the folder that Caddy is started in", u.Dir), "write its absolute path, " + path}
	}
	return nil
}

// commandProblem says what err, of [process.Check], means for the configuration.
func (u *Stdio) commandProblem(err error) *programProblem {
	name := u.Command[0]
	p := &programProblem{true, fmt.Errorf("stdio: %w", err), "name the program by its absolute path"}
	there := !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, process.ErrNotFound) && !errors.Is(err, process.ErrRelative)
	switch {
	case len(strings.Fields(name)) > 1 && !there:
		p.advice = "drop the quotes: `stdio " + name + "`"
	case strings.ContainsAny(name, "{}"):
		p.advice = "placeholders are replaced in values of env only"
		if m := runtimePlaceholder.FindStringSubmatch(name); m != nil {
			p.advice += orAtLoad(m)
		}
	case environmentWord.MatchString(name):
		variable, _, _ := strings.Cut(name, "=") // whose value may be a secret
		p.reason = fmt.Errorf("stdio: the command begins with the variable %s", variable)
		p.advice = "write the program first, and `env " + variable + "=...` in the block of stdio"
	case name == "cd":
		p.advice = "there is no shell: name the program itself, and its folder with `dir` in the block of stdio"
	case errors.Is(err, process.ErrRelative):
		p.advice = "write its absolute path"
		if path, aerr := filepath.Abs(filepath.Join(u.Dir, name)); aerr == nil && isFile(path) {
			p.advice += ", " + path
		}
	case errors.Is(err, process.ErrNotExecutable) && isFolder(name):
		p.advice = "name the program in it"
	case errors.Is(err, process.ErrNotExecutable):
		p.advice = "name a file that may be run (chmod +x)"
	case errors.Is(err, process.ErrBatchFile):
		p.advice = "start it with cmd: `stdio cmd /c " + name + "`"
	case errors.Is(err, process.ErrNotFound):
		p.advice = "install it, write its absolute path, or add its folder to the PATH with `env PATH=...`"
	case errors.Is(err, fs.ErrNotExist):
		p.advice = "install it, or correct the path"
	case errors.Is(err, fs.ErrPermission):
		p.advice = "let the user that Caddy runs as reach it"
	}
	return p
}

// environmentWord matches a variable in front of a command, as a shell takes it.
var environmentWord = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// runtimePlaceholder matches a placeholder that is replaced at run time elsewhere.
var runtimePlaceholder = regexp.MustCompile(`\{(env|file)\.([^{}]+)\}`)

// orAtLoad names the placeholder that is replaced when the Caddyfile is read, for a match of
// runtimePlaceholder.
func orAtLoad(m []string) string {
	if m[1] != "env" {
		return ""
	}
	return "; {$" + m[2] + "} is replaced when the Caddyfile is read"
}

// CheckLoad implements [Checked]. It refuses a program that cannot be started, and logs what
// may keep it from working.
func (u *Stdio) CheckLoad(logger *zap.Logger) error {
	found := u.problems()
	if p := u.switchProblem(); p != nil {
		found = append(found, p)
	}
	var errs []error
	for _, p := range found {
		if p.refuses {
			errs = append(errs, p)
			continue
		}
		logger.Warn("program may not work as configured", zap.String("reason", p.reason.Error()), zap.String("advice", p.advice))
	}
	return errors.Join(errs...)
}

// CheckStart implements [Checked]. It refuses a program whose user Caddy cannot switch to.
// `caddy validate`, which may be run by a user with fewer rights, only warns of it.
func (u *Stdio) CheckStart() error {
	if p := u.switchProblem(); p != nil {
		return p
	}
	return nil
}

// switchProblem says why Caddy cannot run the program as its user.
func (u *Stdio) switchProblem() *programProblem {
	as, err := lookupUser(u.User)
	if err != nil || as.switches() == nil || process.MaySwitchUser() {
		return nil
	}
	return &programProblem{
		false, fmt.Errorf("stdio user: Caddy has no right to switch to %q", u.User),
		fmt.Sprintf("run it as root or with CAP_SETUID and CAP_SETGID, or remove the line `user %s`", u.User),
	}
}
