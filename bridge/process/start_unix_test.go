//go:build unix

package process

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAChildHasTheConfiguredEnvironment(t *testing.T) {
	t.Setenv("STDIO_TEST_SECRET", "not for the child")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		env, want []string
		dir       string
	}{
		{name: "none"},
		{name: "listed", env: []string{"A=1", "B=", "C=x=y z"}, want: []string{"A=1", "B=", "C=x=y z"}},
		{name: "directory", env: []string{"A=1"}, want: []string{"A=1"}, dir: dir},
		{name: "last counts", env: []string{"A=1", "B=2", "A=3"}, want: []string{"B=2", "A=3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := child("describe", "$HOME", "a b", "*", "")
			cfg.Env, cfg.Dir = tt.env, tt.dir
			d := describe(t, cfg)
			if !slices.Equal(d.Env, tt.want) {
				t.Errorf("environment %q, want %q", d.Env, tt.want)
			}
			if want := []string{"$HOME", "a b", "*", ""}; !slices.Equal(d.Args, want) {
				t.Errorf("arguments %q, want %q", d.Args, want)
			}
			if want, _ := os.Getwd(); d.Dir != cmpOr(tt.dir, want) {
				t.Errorf("directory %q, want %q", d.Dir, cmpOr(tt.dir, want))
			}
		})
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// describe runs a child that reports its environment.
func describe(t *testing.T, cfg Config) (d description) {
	t.Helper()
	p := start(t, cfg)
	if err := json.Unmarshal(receive(t, p), &d); err != nil {
		t.Fatal(err)
	}
	ended(t, p, "")
	return d
}

func TestAStartFailsWithAReason(t *testing.T) {
	before := descriptors()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("#!/no/such/interpreter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	self := child("echo").Command
	ended, end := context.WithCancel(t.Context())
	end()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		cfg  Config
		want string
	}{
		{name: "no command", want: "no command"},
		{name: "empty command", cfg: Config{Command: []string{""}}, want: "no command"},
		{name: "relative path", cfg: Config{Command: []string{"./x"}}, want: `command "./x": neither an absolute path`},
		{name: "nowhere", cfg: Config{Command: []string{"/no/such/program", "s3cret"}}, want: "no such file"},
		{name: "no PATH", cfg: Config{Command: []string{"sh", "s3cret"}}, want: `command "sh": not found in the PATH`},
		{name: "not in PATH", cfg: Config{Command: []string{"sh"}, Env: []string{"PATH=" + dir + ":.:"}}, want: "not found"},
		{name: "last PATH", cfg: Config{Command: []string{"script"}, Env: []string{"PATH=" + dir, "PATH="}}, want: "not found"},
		{name: "not executable in PATH", cfg: Config{Command: []string{"file"}, Env: []string{"PATH=" + dir}}, want: "not found"},
		{name: "not executable", cfg: Config{Command: []string{file}}, want: "permission denied"},
		{name: "no interpreter", cfg: Config{Command: []string{"script"}, Env: []string{"PATH=" + dir}}, want: "starting \"script\": fork/exec " + script},
		{name: "NUL", cfg: Config{Command: append(self, "s3cret\x00")}, want: "invalid argument"},
		{name: "no directory", cfg: Config{Command: self, Dir: filepath.Join(dir, "none")}, want: "working directory: "},
		{name: "directory is a file", cfg: Config{Command: self, Dir: file}, want: "is not a directory"},
		{name: "environment without name", cfg: Config{Command: self, Env: []string{"A=1", "=s3cret"}}, want: "environment entry 1: "},
		{name: "environment without value", cfg: Config{Command: self, Env: []string{"s3cret"}}, want: "environment entry 0: "},
		{name: "environment with NUL", cfg: Config{Command: self, Env: []string{"A=s3cret\x00"}}, want: "environment entry 0: "},
		{name: "context over", ctx: ended, cfg: Config{Command: self}, want: context.Canceled.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.ctx == nil {
				tt.ctx = t.Context()
			}
			tt.cfg.Stderr = func([]byte, int) {}
			p, err := Start(tt.ctx, tt.cfg)
			if err == nil {
				_ = p.Close()
				t.Fatal("it started")
			}
			if got := err.Error(); !strings.Contains(got, tt.want) || strings.Contains(got, "s3cret") {
				t.Errorf("got %q, want %q and no secret", got, tt.want)
			}
			nothingLeft(t, before)
		})
	}
}

func TestACommandIsFoundInItsOwnPath(t *testing.T) {
	exe := child("echo").Command[0]
	cfg := child("echo")
	cfg.Command[0] = filepath.Base(exe)
	cfg.Env = []string{"PATH=relative" + string(os.PathListSeparator) + "/no/such/dir" +
		string(os.PathListSeparator) + filepath.Dir(exe)}
	p := start(t, cfg)
	send(t, p, []byte("{}"))
	receive(t, p)
}
