package docs_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ruleEntry is where docs/contract.md states a rule.
var ruleEntry = regexp.MustCompile(`(?m)^- \*\*([A-G][0-9a-c]*)\*\* `)

// ruleName is a rule's name in a comment. The section without numbers, G, is a name
// only after the word "rule": see [ruleList].
var ruleName = regexp.MustCompile(`\b[A-F][0-9]{1,2}[a-c]?\b`)

// ruleList is the beginning of a comment that says which rules a test proves.
var ruleList = regexp.MustCompile(`\bRules? ((?:[A-G][0-9a-c]*(?:, | and )?)+)`)

// rulesOf returns the rules that a comment names.
func rulesOf(comment string) []string {
	rules := ruleName.FindAllString(comment, -1)
	for _, list := range ruleList.FindAllStringSubmatch(comment, -1) {
		for name := range strings.FieldsFuncSeq(list[1], func(r rune) bool { return r == ',' || r == ' ' }) {
			if name == "G" {
				rules = append(rules, name)
			}
		}
	}
	return rules
}

// Every rule that a test names is in docs/contract.md, and every rule there is named by
// a test.
func TestContractAndTestsNameTheSameRules(t *testing.T) {
	stated := make(map[string]bool)
	for _, m := range ruleEntry.FindAllStringSubmatch(read(t, "docs/contract.md"), -1) {
		if stated[m[1]] {
			t.Errorf("docs/contract.md states %s twice", m[1])
		}
		stated[m[1]] = true
	}
	if len(stated) < 30 {
		t.Fatalf("docs/contract.md states %d rules; the test does not find them", len(stated))
	}
	named := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "contract_test.go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, group := range file.Comments {
			for _, rule := range rulesOf(group.Text()) {
				named[rule] = true
				if !stated[rule] {
					t.Errorf("%s names rule %s, which docs/contract.md does not state", path, rule)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for rule := range stated {
		if !named[rule] {
			t.Errorf("no test names rule %s", rule)
		}
	}
}

func TestRulesOf(t *testing.T) {
	for comment, want := range map[string]string{
		"Rules D5, G: a program":          "D5 G",
		"Rule D5a: the owner":             "D5a",
		"F1: no secret":                   "F1",
		"Rules C1 and G: whatever":        "C1 G",
		"G is a letter, and UTF-8 is not": "",
	} {
		if got := strings.Join(rulesOf(comment), " "); got != want {
			t.Errorf("rulesOf(%q) = %q, want %q", comment, got, want)
		}
	}
}
