package stdio_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/need"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// programFiles is a folder with a program that leaves a mark when it is started, a file
// that cannot be run, and a folder.
func programFiles(t *testing.T) (dir, mark string) {
	t.Helper()
	dir = t.TempDir()
	mark = filepath.Join(dir, "started")
	for name, mode := range map[string]os.FileMode{"program": 0o755, "another program": 0o755, "plain": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n: > "+mark+"\nexec cat\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, mark
}

// Rule D5: what keeps a program from its start is said when the configuration is loaded,
// in one line with the cure, and not at the first request. `caddy validate` refuses what a
// load refuses.
func TestWhatKeepsAProgramFromItsStartIsLoggedAtLoad(t *testing.T) {
	dir, mark := programFiles(t)
	t.Setenv("STDIO_PATH", dir)
	t.Setenv("STDIO_SECRET", "hush")
	port := testcaddy.FreePort(t)
	type want struct {
		refused, warn string // empty: none
	}
	for _, tc := range []struct {
		name, line, block string
		want              want
	}{
		{"a program by its path", dir + "/program", "", want{}},
		{"with a space in its path", fmt.Sprintf("%q", dir+"/another program"), "", want{}},
		{"a name in Caddy's PATH", "cat", "", want{}},
		{"a name in the program's PATH alone", "program", "env PATH=/bin:" + dir, want{}},
		{"a name in a PATH of a placeholder", "program", "env PATH {env.STDIO_PATH}", want{}},
		{"a name in no PATH", "program", "", want{refused: "not found in the PATH of its environment"}},
		{"a name and a clear environment", "cat", "clear_env", want{refused: "write its absolute path"}},
		{"a path and a clear environment", dir + "/program", "clear_env", want{}},
		{"a name, a clear environment and Caddy's PATH", "cat", "clear_env\nenv PATH", want{}},
		{"a name and an empty PATH", "cat", "env PATH=", want{refused: "add its folder to the PATH with `env PATH=...`"}},
		{"a name in a relative PATH", "program", "env PATH=.:" + dir[1:], want{refused: "not found in the PATH"}},
		{"a file in PATH that cannot be run", "plain", "env PATH=" + dir, want{refused: "chmod +x"}},
		{"a file that cannot be run", dir + "/plain", "", want{refused: "name a file that may be run (chmod +x)"}},
		{"a folder", dir + "/folder", "", want{refused: "it is a directory"}},
		{"a path that is not there", dir + "/none", "", want{refused: "install it, or correct the path"}},
		{"a relative path", "./program", "", want{refused: "write its absolute path"}},
		{"a relative path in dir", "./program", "dir " + dir, want{refused: "write its absolute path, " + dir + "/program"}},
		{"a line in quotes", `"npx -y some-package"`, "", want{refused: "drop the quotes: `stdio npx -y some-package`"}},
		{"a path and its arguments in quotes", fmt.Sprintf("%q", dir+"/program --root /srv"), "", want{refused: "drop the quotes: `stdio " + dir + "/program --root /srv`"}},
		{"a placeholder as program", "{env.STDIO_PATH}/program", "", want{refused: "{$STDIO_PATH} is replaced when the Caddyfile is read"}},
		{"a placeholder in an argument", "cat {env.STDIO_SECRET}", "", want{warn: "pass the value with env"}},
		{"a folder that is there", "cat", "dir " + dir, want{}},
		{"a folder that is not there", "cat", "dir " + dir + "/none", want{refused: "create it, or name another"}},
		{"a file as folder", "cat", "dir " + dir + "/plain", want{refused: "is not a folder"}},
		{"a user who is not there", "cat", "user no-such-user", want{refused: "there is no user"}},
		{"a name that Caddy has", "cat", "env STDIO_SECRET", want{}},
		{"a name that Caddy has not", "cat", "env STDIO_NONE", want{warn: "write `env STDIO_NONE=value`"}},
		{"a placeholder that Caddy has not", "cat", "env A={env.STDIO_NONE}", want{warn: "set STDIO_NONE where Caddy is started"}},
		{"a file that Caddy has not", "cat", "env A={file." + dir + "/none}", want{warn: "create the file"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			site := fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio %s {\n\t\t\t%s\n\t\t}\n\t}\n}", port, tc.line, tc.block)
			in := testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n}", port))
			check := func(what string, err error, want string) {
				t.Helper()
				if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")) {
					t.Errorf("%s: got %v, want one line with %q", what, err, want)
				}
			}
			err := in.TryLoad(site)
			check("load", err, tc.want.refused)
			if tc.want.warn != "" && !testcaddy.Logged(`"level":"warn"`, "program may not work as configured", tc.want.warn) {
				t.Errorf("the log has no warning with %q: %q", tc.want.warn, testcaddy.Logs())
			}
			if tc.want == (want{}) && testcaddy.Logged("may not work as configured") {
				t.Errorf("the log warns: %q", testcaddy.Logs())
			}
			if err != nil && strings.Contains(err.Error(), "hush") || testcaddy.Logged("hush") {
				t.Error("a secret is told")
			}
			adapted, err := testcaddy.Adapt(site)
			if err == nil {
				err = testcaddy.ValidateJSON(t, adapted)
			}
			check("validate", err, tc.want.refused)
			if strings.Contains(string(adapted), "hush") {
				t.Errorf("a secret is in the adapted JSON: %s", adapted)
			}
			if _, err := os.Stat(mark); err == nil {
				t.Error("the program was started")
			}
		})
	}
}

// Rule D5: {file.*} is read at each start of the program, so that a secret that was
// changed reaches the next session; without it nothing is started.
func TestSecretOfAFileIsReadAtEachStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	port := testcaddy.FreePort(t)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first-secret")
	testcaddy.Run(t, mcptest.SiteOfProgram(t, port, "env SECRET={file."+file+"}", ""))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	for _, want := range []string{"first-secret", "second-{env.PATH}"} {
		write(want)
		if got := mcptest.DoIn(t, mcptest.Connect(t, url), "env", 0); !strings.Contains(got+"\n", "SECRET="+want+"\n") {
			t.Errorf("got environment %q, want SECRET=%s", got, want)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", url, mcptest.Initialize))
	if got.Status != 502 || strings.Contains(got.Body, file) || !testcaddy.Logged("could not be started", "env SECRET", "cannot be read") {
		t.Errorf("without the file: got %d %s, log %q", got.Status, got.Body, testcaddy.Logs())
	}
	if testcaddy.Logged("first-secret") || testcaddy.Logged("second-") {
		t.Error("the secret is in the log")
	}
}

// Rule D5: a user whom Caddy has no right to switch to is told when the configuration
// starts, and not with each session.
func TestUserThatCaddyCannotSwitchToIsLoggedAtLoad(t *testing.T) {
	need.Root(t, "start Caddy as a user without rights")
	dir := t.TempDir()
	self := filepath.Join(dir, "caddy")
	text, err := os.ReadFile(must(os.Executable()))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(self, text, 0o755), os.Chmod(dir, 0o777), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "Caddyfile")
	run := func(user, command string) string {
		t.Helper()
		site := fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge {\n\t\tstdio cat {\n\t\t\tuser %s\n\t\t}\n\t}\n}", testcaddy.FreePort(t), user)
		if err := os.WriteFile(config, []byte(site), 0o644); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, self, command, "--config", config, "--adapter", "caddyfile")
		cmd.Env = []string{testcaddy.CommandProgram + "=1", "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if (err == nil) != (command == "validate") {
			t.Errorf("%s as nobody, user %s: %v", command, user, err)
		}
		return string(out)
	}
	const want = `stdio user: Caddy has no right to switch to \"daemon\"; run it as root or with CAP_SETUID and CAP_SETGID, or remove the line`
	if got := run("daemon", "run"); !strings.Contains(strings.ReplaceAll(got, `\\`, `\`), strings.ReplaceAll(want, `\"`, `"`)) && !strings.Contains(got, want) {
		t.Errorf("got %s", got)
	}
	if got := run("daemon", "validate"); !strings.Contains(got, "Valid configuration") || !strings.Contains(got, "Caddy has no right to switch to") {
		t.Errorf("validate by somebody else: got %s", got)
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}
