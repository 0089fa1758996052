package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A test that needs something of the machine asks for it with internal/need, which fails in the
// gate where it is missing. Other tests are skipped only for the operating system, the race
// detector, or a case of their own table that says nothing.
func TestSkipsAreNotForWhatIsMissing(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || path == filepath.Join(root, "internal", "need")):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go") && !strings.HasPrefix(path, filepath.Join(root, "internal")) && !strings.HasPrefix(path, filepath.Join(root, "integration")):
			return nil
		case !strings.HasSuffix(path, ".go"):
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, at := range machineSkips(file) {
			t.Errorf("%s: skips a test for something that the machine lacks; use internal/need", fset.Position(at))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// machineSkips returns where a file skips a test because of what the machine has, or without a
// condition.
func machineSkips(file *ast.File) (found []token.Pos) {
	var conditions []ast.Node
	var walk func(n ast.Node)
	walk = func(n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.IfStmt:
				conditions = append(conditions, n)
				walk(n.Body)
				conditions = conditions[:len(conditions)-1]
				if n.Else != nil {
					walk(n.Else)
				}
				return false
			case *ast.CallExpr:
				if isSkip(n) && (len(conditions) == 0 || asksMachine(conditions[len(conditions)-1].(*ast.IfStmt))) {
					found = append(found, n.Pos())
				}
			}
			return true
		})
	}
	walk(file)
	return found
}

// isSkip reports whether a call is one of t.Skip, t.Skipf and t.SkipNow.
func isSkip(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !strings.HasPrefix(f.Sel.Name, "Skip") {
		return false
	}
	on, ok := f.X.(*ast.Ident)
	return ok && (on.Name == "t" || on.Name == "tb" || on.Name == "f" || on.Name == "b")
}

// askers are the packages that know the machine.
var askers = []string{"os", "exec", "user", "net", "syscall", "unix"}

// asksMachine reports whether a condition has an error in it, or one of the packages that know the
// machine.
func asksMachine(cond *ast.IfStmt) (asks bool) {
	look := func(n ast.Node) bool {
		if name, ok := n.(*ast.Ident); ok {
			asks = asks || name.Name == "err" || slices.Contains(askers, name.Name)
		}
		return true
	}
	ast.Inspect(cond.Cond, look)
	if cond.Init != nil {
		ast.Inspect(cond.Init, look)
	}
	return asks
}

// Skips are told apart by their condition.
func TestMachineSkipsAreFound(t *testing.T) {
	for body, want := range map[string]int{
		`t.Skip("x")`:                                           1,
		`if os.Getuid() != 0 { t.Skip("x") }`:                   1,
		`if _, err := f(); err != nil { t.Skipf("x") }`:         1,
		`if newCaller().Legacy { t.Skip("x") }`:                 0,
		`if err != nil { t.SkipNow() }`:                         1,
		`if runtime.GOOS == "windows" { t.Skip("x") }`:          0,
		`if c.Legacy { t.Skip("x") } else { t.Skip("y") }`:      1,
		`if mcptest.Raced { if a != "b" { t.Skip("x") } }`:      0,
		`c.Skip(); if f() { s.Skip("x") }`:                      0,
		`f(func() { if g() { return }; if a { t.Skip("x") } })`: 0,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\nfunc f() {\n"+body+"\n}\n", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(machineSkips(file)); got != want {
			t.Errorf("%s: found %d, want %d", body, got, want)
		}
	}
}
