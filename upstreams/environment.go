package upstreams

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/programenv"

	"github.com/caddyserver/caddy/v2"
)

// handedOn are the variables of Caddy's environment that every program gets: those
// that the MCP SDKs hand to a server (getDefaultEnvironment of the TypeScript SDK,
// get_default_environment of the Python SDK).
var handedOn = func() []string {
	if runtime.GOOS == "windows" {
		return []string{
			"APPDATA", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATH", "PROCESSOR_ARCHITECTURE", "PROGRAMFILES",
			"SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "USERNAME", "USERPROFILE",
		}
	}
	return []string{"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"}
}()

// ofUser are the inherited variables that belong to the user whom Caddy runs as.
var ofUser = []string{"HOME", "LOGNAME", "SHELL", "USER"}

// missingValue is a variable that a program does not get, or gets with another value than `env`
// wants.
type missingValue struct {
	name   string // of the program's variable
	reason string
	advice string
	// fatal is set where a program must not be started without the value.
	fatal bool
}

func (m *missingValue) Error() string {
	return fmt.Sprintf("env %s: %s; %s", m.name, m.reason, m.advice)
}

// valueOf returns the value of a variable. What a placeholder stands for is not looked at
// again.
func valueOf(v programenv.Variable, repl *caddy.Replacer) (string, *missingValue) {
	if v.Own {
		value, ok := os.LookupEnv(v.Name)
		if !ok {
			return "", &missingValue{
				name: v.Name, reason: "it is not set in Caddy's environment",
				advice: fmt.Sprintf("set it where Caddy is started, or write `env %s=value`", v.Name),
			}
		}
		return value, nil
	}
	var all strings.Builder
	var missing *missingValue
	for _, part := range v.Parts {
		all.WriteString(part.Text)
		if part.Placeholder == "" {
			continue
		}
		got, _ := repl.Get(part.Placeholder)
		switch from, isEnv := strings.CutPrefix(part.Placeholder, "env."); {
		case got == nil:
			missing = &missingValue{
				name: v.Name, reason: fmt.Sprintf("the file of {%s} cannot be read", part.Placeholder), fatal: true,
				advice: "create the file, and let the user that Caddy runs as read it",
			}
		case isEnv && !isSet(from):
			missing = &missingValue{
				name: v.Name, reason: fmt.Sprintf("{%s} is empty, since %s is not set in Caddy's environment", part.Placeholder, from),
				advice: fmt.Sprintf("set %s where Caddy is started", from),
			}
		}
		all.WriteString(caddy.ToString(got))
	}
	value := all.String()
	if strings.ContainsRune(value, 0) {
		missing = &missingValue{
			name: v.Name, reason: "its value has a NUL byte, which no environment can have", fatal: true,
			advice: "name a file of text",
		}
	}
	return value, missing
}

func isSet(name string) bool {
	_, ok := os.LookupEnv(name)
	return ok
}

// environment returns the environment of a program that runs as a user. It is nil if it is the
// same as Caddy's own. missing has the values that are missing.
func (u *Stdio) environment(as *account) (env []string, missing []*missingValue) {
	for _, name := range handedOn {
		if u.ClearEnv || as != nil && slices.Contains(ofUser, name) {
			continue
		}
		// A value that begins so was a function of a shell once, which the SDKs leave out.
		if value, ok := os.LookupEnv(name); ok && !strings.HasPrefix(value, "()") {
			env = append(env, name+"="+value)
		}
	}
	if as != nil && !u.ClearEnv {
		env = append(env, "HOME="+as.home, "LOGNAME="+as.name)
		if as.shell != "" {
			env = append(env, "SHELL="+as.shell)
		}
		env = append(env, "USER="+as.name)
	}
	repl := caddy.NewReplacer()
	for i, s := range u.Env {
		v, err := programenv.Parse(s)
		if err != nil {
			missing = append(missing, &missingValue{name: "entry", reason: err.Error(), fatal: true})
			continue
		}
		value, m := valueOf(v, repl)
		if m != nil {
			if v.Own && i > 0 && !strings.Contains(u.Env[i-1], "=") {
				m.advice += fmt.Sprintf(", or `env %s=%s` if it is a value", u.Env[i-1], v.Name)
			}
			missing = append(missing, m)
		}
		if m == nil || !v.Own {
			env = append(env, v.Name+"="+value)
		}
	}
	return env, missing
}

// leastSecret is the length, in bytes, from which a value counts as a secret. A shorter value may
// be a common word, which would be removed everywhere.
const leastSecret = 6

// secretName matches names of variables whose values are secrets.
var secretName = regexp.MustCompile(`(?i)(token|secret|key|passw|passphrase|credential|auth|cookie)`)

// secrets returns the values of `env` that come from Caddy's environment or from files, and
// those whose names say that they are secrets. They must not be shown if the program writes
// them.
func (u *Stdio) secrets() *safetext.Secrets {
	all := new(safetext.Secrets)
	repl := caddy.NewReplacer()
	for _, s := range u.Env {
		v, err := programenv.Parse(s)
		if err != nil || v.Own && slices.Contains(handedOn, v.Name) {
			continue
		}
		parts := []programenv.Part{{Placeholder: "env." + v.Name}}
		if !v.Own {
			parts = v.Parts
		}
		for _, part := range parts {
			if part.Placeholder == "" {
				if len(part.Text) >= leastSecret && secretName.MatchString(v.Name) {
					all.Add(part.Text)
				}
				continue
			}
			if got, _ := repl.Get(part.Placeholder); len(caddy.ToString(got)) >= leastSecret {
				all.Add(caddy.ToString(got))
			}
		}
	}
	return all
}
