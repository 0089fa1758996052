package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every path that docs/architecture.md names is there. cmd/caddy/deps_test.go compares its
// tables with the packages.
func TestDocsArchitecturePaths(t *testing.T) {
	const page = "docs/architecture.md"
	n := 0
	number := 0
	for line := range strings.Lines(read(t, page)) {
		number++
		for _, m := range regexp.MustCompile("`([^`\\s]+)`").FindAllStringSubmatch(line, -1) {
			path := strings.TrimSuffix(m[1], "/...")
			first, _, below := strings.Cut(path, "/")
			isFile := regexp.MustCompile(`\.(go|md|json|mod|yml)$`).MatchString(path)
			if !isFile && !below || strings.Contains(first, ".") && below {
				continue // no path, or the path of another module
			}
			n++
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(path))); err != nil {
				t.Errorf("%s:%d: there is no %s; if it was moved, write its new place", page, number, m[1])
			}
		}
	}
	if n < 80 {
		t.Errorf("%s: found only %d paths", page, n)
	}
}
