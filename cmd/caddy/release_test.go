package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The page of a release has the text of its version alone, and none is published without.
func TestReleaseNotesAreThoseOfTheVersion(t *testing.T) {
	script, err := os.ReadFile("../../.ci/release-notes")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(".ci/release-notes", script, 0o755)
	write("CHANGELOG.md", []byte("# Changelog\n\n## Unreleased\n\n- new\n\n## [1.10.0] - 2026-01-02\n\n### Added\n- ten\n\n## 1.1.0\n- one\n\n## 0.9.0\n\n"), 0o644)
	for version, want := range map[string]string{
		"v1.10.0": "### Added\n- ten", "1.1.0": "- one", "Unreleased": "- new",
		"v1.1": "", "v0.9.0": "", "v1.1.1": "", "": "",
	} {
		out, err := exec.CommandContext(t.Context(), filepath.Join(dir, ".ci/release-notes"), version).Output()
		if got := strings.TrimSpace(string(out)); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, error %v; want %q", version, got, err, want)
		}
	}
}
