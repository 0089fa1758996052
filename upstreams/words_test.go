package upstreams

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Words that only a shell understands, and containers that get no messages, are warned of.
func TestWords(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"docker", "sh", "server"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o700); err != nil { //nolint:gosec // it has to be executable
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	for command, want := range map[string]string{
		"server --root /srv/files":                        "",
		"server a|b $ $5 ~ x~/y {$HOME} --price=$5":       "",
		"server | tee /tmp/log":                           "start one: `stdio sh -c \"server | tee /tmp/log\"`",
		"server && server":                                "start one: `stdio sh -c \"server && server\"`",
		"server ~/files":                                  "such as `/home/caddy/files`",
		"server $HOME/files":                              "write `{$HOME}/files`",
		"server --root=${DATA_DIR}/a":                     "write `--root={$DATA_DIR}/a`",
		"sh -c server | tee":                              "",
		"docker run -i --rm image":                        "",
		"docker run --rm -i -e KEY --init image -t stdio": "",
		"docker run -v /srv:/srv --name x -i image":       "",
		"docker run --interactive image":                  "",
		"docker run -eKEY=t -i image":                     "",
		"docker run --rm image":                           "write `docker run -i`",
		"docker run --rm image -i":                        "write `docker run -i`",
		"docker run --interactive=false image":            "write `docker run -i`",
		"docker run --name -i image":                      "write `docker run -i`",
		"docker run -it --rm image":                       "write `docker run -i` in place of it",
		"docker run -i --tty image":                       "write `docker run -i` in place of it",
		"docker run":                                      "write `docker run -i`",
		"docker run -e":                                   "write `docker run -i`",
		"docker exec container server":                    "",
		"docker":                                          "",
	} {
		u := &Stdio{Command: strings.Fields(command)}
		var got []string
		for _, p := range u.problems() {
			if p.refuses {
				t.Errorf("%s: refused: %v", command, p)
			}
			got = append(got, p.advice)
		}
		if all := strings.Join(got, "; "); want == "" && all != "" || !strings.Contains(all, want) {
			t.Errorf("%s: got %q, want %q", command, all, want)
		}
	}
}
