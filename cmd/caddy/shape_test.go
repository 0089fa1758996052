package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Bounds of the types and packages that are built into Caddy. What exceeds them is several
// things in one.
const (
	maxMethods     = 30 // of a type
	maxMethodFiles = 4  // that have methods of one type
	maxFiles       = 16 // of a package, without tests
)

// moreFiles has the packages that may have more files than maxFiles, with their bounds.
var moreFiles = map[string]int{
	"":                19, // the root package, without the Caddyfile parser: most are Caddy modules and their options
	"internal/doctor": 19, // a file for each stage
}

// typeShape is how many methods a type has, and which files they are in.
type typeShape struct {
	methods int
	files   map[string]bool
}

// shapeOf counts the files of a package and the methods of its types, without tests and without
// the Caddyfile parser.
func shapeOf(t *testing.T, dir string) (files int, types map[string]*typeShape) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	types = make(map[string]*typeShape)
	for _, name := range names {
		base := filepath.Base(name)
		if strings.HasSuffix(base, "_test.go") || strings.HasPrefix(base, "caddyfile") {
			continue
		}
		files++
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			method, ok := decl.(*ast.FuncDecl)
			if !ok || method.Recv == nil {
				continue
			}
			receiver := receiverOf(method)
			shape := types[receiver]
			if shape == nil {
				shape = &typeShape{files: make(map[string]bool)}
				types[receiver] = shape
			}
			shape.methods++
			shape.files[base] = true
		}
	}
	return files, types
}

// receiverOf returns the name of the type that a method belongs to.
func receiverOf(method *ast.FuncDecl) string {
	expr := method.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// No type has more methods, or methods in more files, and no package more files than the
// bounds. Packages for tests and benchmarks are not bounded.
func TestShape(t *testing.T) {
	helpers := make(map[string]bool)
	for _, r := range readRows(t) {
		helpers[r.name] = r.section == sectionHelpers
	}
	packages := json.NewDecoder(strings.NewReader(string(goList(t, "-json=ImportPath,Dir", module+"/..."))))
	for {
		var pkg struct{ ImportPath, Dir string }
		if err := packages.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(pkg.ImportPath, module), "/")
		if helpers[name] {
			continue
		}
		files, types := shapeOf(t, pkg.Dir)
		most, listed := moreFiles[name]
		if !listed {
			most = maxFiles
		}
		if files > most {
			t.Errorf("package %q has %d files, want %d at most", name, files, most)
		}
		if listed && files <= maxFiles {
			t.Errorf("package %q has %d files only: remove it from moreFiles", name, files)
		}
		for _, typ := range slices.Sorted(maps.Keys(types)) {
			shape := types[typ]
			if shape.methods > maxMethods {
				t.Errorf("type %s of %q has %d methods, want %d at most", typ, name, shape.methods, maxMethods)
			}
			if len(shape.files) > maxMethodFiles {
				t.Errorf("type %s of %q has methods in %q, want %d files at most", typ, name, slices.Sorted(maps.Keys(shape.files)), maxMethodFiles)
			}
		}
	}
}

// Methods are counted by their type, whether it is a pointer or has type parameters; tests and
// the Caddyfile parser are left out.
func TestShapeIsCounted(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.go":           "package p\ntype a[T any] struct{}\ntype b struct{}\nfunc (x *a[T]) one() {}\nfunc (b) one() {}\nfunc no() {}\n",
		"c.go":           "package p\nfunc (x a[T]) two() {}\n",
		"a_test.go":      "package p\nfunc (b) two() {}\n",
		"caddyfile_a.go": "package p\nfunc (b) three() {}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, types := shapeOf(t, dir)
	if files != 2 || len(types) != 2 || types["a"] == nil || types["a"].methods != 2 || len(types["a"].files) != 2 || types["b"] == nil || types["b"].methods != 1 {
		t.Errorf("got %d files, %v", files, types)
	}
}
