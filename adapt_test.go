package mcpauthbridge_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

var update = flag.Bool("update", false, "rewrite the golden files of the Caddyfile adapter")

const separator = "----------"

// Every option exists in the Caddyfile and in JSON; each golden file is a
// Caddyfile, a line of hyphens, and the JSON or the one line of error that it
// adapts to.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/caddyfile_adapt/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no golden files")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			caddyfile, want, ok := strings.Cut(string(raw), separator+"\n")
			if !ok {
				t.Fatalf("%s has no line %s", file, separator)
			}
			got := adapt(t, caddyfile)
			if *update {
				if err := os.WriteFile(file, []byte(caddyfile+separator+"\n"+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// adapt returns the handlers of an adapted Caddyfile as JSON, or its error.
func adapt(t *testing.T, caddyfile string) string {
	t.Helper()
	adapted, err := testcaddy.Adapt(caddyfile)
	if err != nil {
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("error has more than one line: %q", err)
		}
		return err.Error() + "\n"
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, adapted, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return pretty.String() + "\n"
}
