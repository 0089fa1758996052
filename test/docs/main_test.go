// Package docs_test has the tests of what is documented: every Caddyfile, command, link and
// output in the README and below docs/ is run or compared, and every cure that the doctor
// or a page names is tried.
package docs_test

import (
	"os"
	"path/filepath"
	"testing"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge" // the handler
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

func TestMain(m *testing.M) { mcptest.Main(m, nil) }

// root leads to the root of the repository. All other paths start there.
const root = "../.."

// reference is the page with the syntax and every option.
const reference = "docs/reference.md"

// read returns the text of a file.
func read(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// glob returns the files that match a pattern.
func glob(t *testing.T, pattern string) (files []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		file, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}
