package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge"

// page lists the packages, with what each may import.
const page = "../../docs/architecture.md"

// goList runs go list. Packages of another module below this one (test/plugins) are not
// listed, also if a go.work of the developer joins the two.
func goList(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// row is a package as the page has it.
type row struct {
	section  string
	name     string   // below the module; empty for the root package
	mayHave  []string // packages of the project, without the module's path; `x/...` for all below x
	modules  []string // other modules
	anything bool
}

// allows reports whether a package of the row may import another.
func (r row) allows(pkg string) bool {
	covers := func(arrow string) bool { return covers(arrow, pkg) }
	return r.anything || slices.ContainsFunc(r.mayHave, covers) || slices.ContainsFunc(r.modules, covers)
}

// unused returns the arrows of the row that none of the packages need. What "anything of
// Caddy" stands for is not listed one by one, so that it is not looked at.
func (r row) unused(imports []string) []string {
	var unused []string
	for _, arrow := range slices.Concat(r.mayHave, r.modules) {
		used := slices.ContainsFunc(imports, func(pkg string) bool { return covers(arrow, pkg) })
		if !used && !slices.Contains(caddyModules, arrow) {
			unused = append(unused, arrow)
		}
	}
	return unused
}

// covers reports whether an arrow of a row, to a package of the project, to all below it or
// to another module, is to a package.
func covers(arrow, pkg string) bool {
	if name, own := strings.CutPrefix(pkg, module); own {
		name = strings.TrimPrefix(name, "/")
		below, all := strings.CutSuffix(arrow, "/...")
		return name == arrow || all && (name == below || strings.HasPrefix(name, below+"/"))
	}
	return pkg == arrow || strings.HasPrefix(pkg, arrow+"/")
}

// caddyModules are those that "anything of Caddy" stands for.
var caddyModules = []string{
	"github.com/caddyserver", "github.com/dustin/go-humanize", "github.com/prometheus/client_golang",
	"github.com/spf13/cobra", "go.opentelemetry.io/otel", "go.uber.org/zap",
}

// readRows reads the tables of the page, from top to bottom.
func readRows(t *testing.T) []row {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	section := ""
	tree := false
	code := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "## "):
			tree = line == "## The tree"
		case strings.HasPrefix(line, "### "):
			section = strings.TrimPrefix(line, "### ")
		case tree && strings.HasPrefix(line, "| `"):
			cells := strings.Split(strings.Trim(line, "| "), " | ")
			if len(cells) != 3 || len(cells[1]) < 10 {
				t.Errorf("%s: a row needs a package, what it is for, and what it may import: %s", page, line)
				continue
			}
			r := row{section: section, name: strings.Trim(cells[0], "`/"), anything: cells[2] == "anything"}
			if strings.HasSuffix(cells[2], "anything of Caddy") {
				r.modules = slices.Clone(caddyModules)
			}
			for _, m := range code.FindAllStringSubmatch(cells[2], -1) {
				if first, _, _ := strings.Cut(m[1], "/"); strings.Contains(first, ".") {
					r.modules = append(r.modules, m[1])
				} else {
					r.mayHave = append(r.mayHave, strings.Trim(m[1], "/"))
				}
			}
			rows = append(rows, r)
		}
	}
	if len(rows) < 10 {
		t.Fatalf("%s: found only %d packages", page, len(rows))
	}
	return rows
}

// A row that lists an import which nothing needs is found, whether it names a package, all
// below one, or another module.
func TestUnusedArrowsAreFound(t *testing.T) {
	r := row{mayHave: []string{"a", "b", "c/...", "d/..."}, modules: append([]string{"example.com/m", "example.com/n"}, caddyModules...)}
	got := r.unused([]string{"fmt", module + "/a", module + "/bb", module + "/c/x", module + "/dd/x", "example.com/m/sub", "example.com/no"})
	if want := []string{"b", "d/...", "example.com/n"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The sections of the page.
const (
	sectionLeaves  = "Leaves"
	sectionBase    = "Base"
	sectionHelpers = "Programs, examples and helpers"
)

// Every package stands on docs/architecture.md and imports what its row lists, no more and no
// less. Arrows go down the page. Leaves know no other leaves. What people build in knows no test code.
func TestArchitecture(t *testing.T) {
	rows := readRows(t)
	at := make(map[string]int)
	for i, r := range rows {
		if _, twice := at[r.name]; twice {
			t.Errorf("%s: %q has two rows", page, r.name)
		}
		at[r.name] = i
	}
	for i, r := range rows {
		for _, may := range r.mayHave {
			if strings.HasSuffix(may, "/...") {
				continue
			}
			below, ok := at[may]
			switch {
			case !ok:
				t.Errorf("%s: %q may import %q, which has no row", page, r.name, may)
			case r.section == sectionHelpers:
			case below <= i:
				t.Errorf("%s: %q may import %q, which stands above it", page, r.name, may)
			case rows[below].section == r.section && (r.section == sectionLeaves || r.section == sectionBase):
				t.Errorf("%s: %q may import %q: both are in %q", page, r.name, may, r.section)
			}
		}
	}

	found := make(map[string]bool)
	imports := make(map[string][]string)
	packages := json.NewDecoder(strings.NewReader(string(goList(t, "-json=ImportPath,Name,Imports", module+"/..."))))
	for {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := packages.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(pkg.ImportPath, module), "/")
		found[name] = true
		imports[name] = pkg.Imports
		i, ok := at[name]
		if !ok {
			t.Errorf("%s: no row says what package %q is for and what it may import", page, name)
			continue
		}
		for _, imported := range pkg.Imports {
			first, _, _ := strings.Cut(imported, "/")
			standard := !strings.Contains(first, ".")
			testing := first == "testing" || imported == "net/http/httptest"
			switch {
			case testing && rows[i].section != sectionHelpers:
				t.Errorf("%q imports %q, which is for tests", name, imported)
			case !standard && !rows[i].allows(imported):
				t.Errorf("%q imports %q, which its row of %s does not list", name, strings.TrimPrefix(imported, module+"/"), page)
			}
		}
	}
	for i := range rows {
		for _, arrow := range rows[i].unused(imports[rows[i].name]) {
			t.Errorf("%s: %q may import %q, but does not: remove it from the row", page, rows[i].name, arrow)
		}
	}
	for _, r := range rows {
		if !found[r.name] {
			t.Errorf("%s: there is no package %q", page, r.name)
		}
	}
}

// What people build into Caddy has neither the demo nor what only tests need, not even by
// way of another module.
func TestDependencies(t *testing.T) {
	banned := []string{"github.com/luikyv/go-oidc", "github.com/modelcontextprotocol/go-sdk"}
	for _, r := range readRows(t) {
		if r.section == sectionHelpers && r.name != "cmd/caddy" {
			banned = append(banned, module+"/"+r.name)
		}
	}
	caddy := []string{"github.com/caddyserver/", "github.com/spf13/", "go.uber.org/"}
	for pkg, banned := range map[string][]string{
		module + "/cmd/caddy":       banned,
		module + "/bridge":          slices.Concat(banned, caddy),
		module + "/internal/doctor": slices.Concat(banned, caddy),
	} {
		deps := strings.Fields(string(goList(t, "-deps", pkg)))
		if len(deps) == 0 || deps[len(deps)-1] != pkg {
			t.Errorf("go list -deps %s ends with %q", pkg, deps[max(0, len(deps)-1):])
		}
		for _, dep := range deps {
			for _, prefix := range banned {
				if strings.HasPrefix(dep, prefix) {
					t.Errorf("%s imports %s", pkg, dep)
				}
			}
		}
	}
}
