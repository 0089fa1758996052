package mcpauthbridge

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The syntax in the comment of parseCaddyfile, which is on Caddy's site, is that of
// docs/reference.md, and both have every option that the parser knows.
func TestSyntaxHasEveryOption(t *testing.T) {
	source, err := os.ReadFile("caddyfile.go")
	if err != nil {
		t.Fatal(err)
	}
	reference, err := os.ReadFile("docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(source), "// parseCaddyfile sets up a route from the directive. Syntax:\n//\n")
	comment, _, found := strings.Cut(after, "//\n// An upstream is")
	if !ok || !found {
		t.Fatal("parseCaddyfile has no syntax")
	}
	comment = regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(comment, "")
	_, after, _ = strings.Cut(string(reference), "```\n")
	documented, _, _ := strings.Cut(after, "```\n")
	if comment != documented {
		t.Errorf("caddyfile.go has\n%s\ndocs/reference.md has\n%s", comment, documented)
	}
	syntax := optionsOf(comment)
	var top []string
	for _, o := range options {
		top = append(top, o.name)
	}
	known := blocks()
	known[""] = top
	for block, names := range known {
		for _, name := range names {
			switch {
			case block == "limits":
				if !strings.Contains(string(reference), "\n| `"+name+"` |") {
					t.Errorf("docs/reference.md has no row for the limit %s", name)
				}
			case !slices.Contains(syntax[block], name):
				t.Errorf("the syntax has no %s in the block %q", name, block)
			}
		}
		for _, name := range syntax[block] {
			if !slices.Contains(names, name) && !strings.HasPrefix(name, "<") {
				t.Errorf("the syntax has %s in the block %q, which the parser does not know", name, block)
			}
		}
	}
	for block := range syntax {
		if known[block] == nil {
			t.Errorf("the syntax has the block %q, which the parser does not know", block)
		}
	}
}

// optionsOf returns the options in a syntax by their block. Those of mcp_auth_bridge itself
// have the empty name.
func optionsOf(syntax string) map[string][]string {
	all := make(map[string][]string)
	var path []string
	for line := range strings.Lines(syntax) {
		text := strings.TrimLeft(strings.TrimRight(line, "\n"), "\t")
		depth := len(strings.TrimRight(line, "\n")) - len(text)
		if text == "" || text == "}" || depth == 0 {
			continue
		}
		name, _, _ := strings.Cut(text, " ")
		path = append(path[:depth-1], name)
		block := strings.Join(path[:depth-1], " ")
		if rule := "authorize tools|"; strings.HasPrefix(block, rule) {
			block = "authorize rule"
		}
		if block == "authorize token" {
			block = exchangeBlock
		}
		for one := range strings.SplitSeq(name, "|") {
			if !slices.Contains(all[block], one) {
				all[block] = append(all[block], one)
			}
		}
	}
	return all
}
