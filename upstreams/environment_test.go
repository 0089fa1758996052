package upstreams

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/programenv"
)

// valueOfEntry is what a program gets for an entry of `env`.
func valueOfEntry(t *testing.T, entry string) (string, []*missingValue) {
	t.Helper()
	u := &Stdio{Env: []string{entry}}
	name, _, _ := strings.Cut(entry, "=")
	env, missing := u.environment(nil)
	i := slices.IndexFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") })
	if i < 0 {
		return "", missing
	}
	return strings.TrimPrefix(env[i], name+"="), missing
}

// Rule D5: {env.*} and {file.*} are replaced in values, once; what they stand for is not
// looked at again.
func TestProgramEnvironment(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "key")
	if err := os.WriteFile(file, []byte("of a file {env.T_SECRET}\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("T_SECRET", "s3cret")
	t.Setenv("T_NESTED", "{env.T_SECRET}{file."+file+"}\\{")
	t.Setenv("T_EMPTY", "")
	for entry, want := range map[string]string{
		"A=plain":                           "plain",
		"A=":                                "",
		"A=b=c":                             "b=c",
		"A={env.T_SECRET}":                  "s3cret",
		"A=x{env.T_SECRET}-{env.T_SECRET}y": "xs3cret-s3crety",
		"A={env.T_NESTED}":                  "{env.T_SECRET}{file." + file + "}\\{",
		"A={file." + file + "}":             "of a file {env.T_SECRET}",
		"A={env.T_EMPTY}":                   "",
		`A={"a":{"b":1},"c":[]}`:            `{"a":{"b":1},"c":[]}`,
		`A={"a":"{env.T_SECRET}"}`:          `{"a":"s3cret"}`,
		`A=\{env.T_SECRET\}`:                `{env.T_SECRET}`,
		`A=\{env.T_SECRET}`:                 `{env.T_SECRET}`,
		`A=C:\dir\file`:                     `C:\dir\file`,
		`A={`:                               `{`,
		`A={{env.T_SECRET}}`:                `{s3cret}`,
		`A=}{`:                              `}{`,
		`A={}`:                              `{}`,
		`A={ host }`:                        `{ host }`,
		`A=\`:                               `\`,
		"T_SECRET":                          "s3cret",
	} {
		if _, err := programenv.Parse(entry); err != nil {
			t.Errorf("%s: %v", entry, err)
		}
		if got, missing := valueOfEntry(t, entry); got != want || len(missing) > 0 {
			t.Errorf("%s: got %q, missing %v, want %q", entry, got, missing, want)
		}
	}
}

// Rule D5: nothing of a request reaches a program, so that no other placeholder is taken;
// no value, which may be a secret, is in an error.
func TestProgramEnvironmentRefused(t *testing.T) {
	for entry, want := range map[string]string{
		"A=hush{http.request.header.Authorization}": "{http.request.header.Authorization} is not replaced here",
		"A={http.auth.user.id}hush":                 "{http.auth.user.id} is not replaced here",
		"A=hush{system.hostname}":                   "{system.hostname}",
		"A={vars.hush}":                             "{vars.hush}",
		"A={$NAME}hush":                             "{$NAME}",
		"A={args[0]}":                               "{args[0]}",
		"A={env.}hush":                              "{env.}",
		"A={env.OK}{file.}":                         "{file.}",
		"A={file.{env.DIR}/hush}":                   "has another one in it",
		"A={env.hush":                               "is not closed",
		"{env.A}=hush":                              "placeholder in its name",
		"{env.A}":                                   "placeholder in its name",
		"=hush":                                     "no name before its `=`",
		"":                                          "no name before its `=`",
		"A=hush\x00":                                `"A" has a NUL byte`,
		"1X=hush":                                   "1X cannot be the name of a variable; write NAME=value",
		"1hush":                                     "an entry cannot be the name of a variable; write NAME=value",
		"MY VAR=hush":                               "MY VAR cannot be the name",
		"TOKEN:":                                    "an entry cannot be the name",
		"-PATH":                                     "an entry cannot be the name",
	} {
		_, err := programenv.Parse(entry)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(want, "hush") && strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want one line with %q and no value", entry, err, want)
		}
	}
}

// The second of two names may have been meant as the value of the first.
func TestProgramEnvironmentValueThatLooksLikeAName(t *testing.T) {
	t.Setenv("T_LEVEL", "info")
	_, missing := (&Stdio{Env: []string{"T_LEVEL", "T_NOT_SET"}}).environment(nil)
	if len(missing) != 1 || !strings.Contains(missing[0].advice, "or `env T_LEVEL=T_NOT_SET` if it is a value") {
		t.Errorf("got %v", missing)
	}
}

// A value that is not there is told with its cure; a program whose secret cannot be read
// is not started.
func TestProgramEnvironmentMissing(t *testing.T) {
	folder := t.TempDir()
	nul := filepath.Join(folder, "nul")
	if err := os.WriteFile(nul, []byte("hush\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	for entry, want := range map[string]missingValue{
		"T_NOT_SET":                    {reason: "it is not set in Caddy's environment", advice: "write `env T_NOT_SET=value`"},
		"A={env.T_NOT_SET}":            {reason: "T_NOT_SET is not set in Caddy's environment", advice: "set T_NOT_SET where Caddy is started"},
		"A={file." + folder + "/none}": {reason: "cannot be read", advice: "create the file", fatal: true},
		"A={file." + nul + "}":         {reason: "NUL byte", advice: "name a file of text", fatal: true},
	} {
		_, missing := valueOfEntry(t, entry)
		if len(missing) != 1 || !strings.Contains(missing[0].reason, want.reason) || !strings.Contains(missing[0].advice, want.advice) ||
			missing[0].fatal != want.fatal || strings.Contains(missing[0].Error(), "hush") {
			t.Errorf("%s: got %v, want %+v", entry, missing, want)
		}
	}
}

// Rule D5: a program gets what MCP SDKs hand to a server, no function of a shell, and
// nothing else that Caddy has; `env` overrides it.
func TestProgramEnvironmentHandedOn(t *testing.T) {
	for _, name := range handedOn {
		t.Setenv(name, "caddy's "+name)
	}
	t.Setenv("TERM", "() { :; }; echo hush")
	t.Setenv("T_SECRET", "hush")
	t.Setenv("MCP_OTHER", "hush")
	u := &Stdio{Env: []string{"LANG=C", "HOME=/srv"}}
	env, missing := u.environment(nil)
	want := []string{"HOME=caddy's HOME", "LOGNAME=caddy's LOGNAME", "PATH=caddy's PATH", "SHELL=caddy's SHELL", "USER=caddy's USER", "LANG=C", "HOME=/srv"}
	if !slices.Equal(env, want) || len(missing) > 0 {
		t.Errorf("got %q, missing %v, want %q", env, missing, want)
	}
	env, _ = u.environment(&account{name: "nobody", home: "/nonexistent", shell: "/bin/false"})
	want = []string{"PATH=caddy's PATH", "HOME=/nonexistent", "LOGNAME=nobody", "SHELL=/bin/false", "USER=nobody", "LANG=C", "HOME=/srv"}
	if !slices.Equal(env, want) {
		t.Errorf("of another user: got %q, want %q", env, want)
	}
	u.ClearEnv, u.Env = true, append(u.Env, "PATH")
	want = []string{"LANG=C", "HOME=/srv", "PATH=caddy's PATH"}
	for _, as := range []*account{nil, {name: "nobody", home: "/nonexistent", shell: "/bin/false"}} {
		if env, missing := u.environment(as); !slices.Equal(env, want) || len(missing) > 0 {
			t.Errorf("with clear_env: got %q, missing %v, want %q", env, missing, want)
		}
	}
	for _, name := range handedOn {
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	if env, _ := new(Stdio).environment(nil); len(env) > 0 {
		t.Errorf("of an empty environment: got %q", env)
	}
}
