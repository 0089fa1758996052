package mcpauthbridge

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/notes"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
)

// docs/observe.md lists the placeholders, events and attributes that there are,
// no others, and the words of their closed sets.
func TestDocumentedObservations(t *testing.T) {
	raw, err := os.ReadFile("docs/observe.md")
	if err != nil {
		t.Fatal(err)
	}
	_, log, _ := strings.Cut(string(raw), "| Placeholder,")
	log, rest, _ := strings.Cut(log, "\n## ")
	_, events, _ := strings.Cut(rest, "| Event |")
	events, attributes, _ := strings.Cut(events, "| Attribute |")

	compare(t, "placeholders", named(firstCells(log)), slices.Sorted(maps.Keys(placeholders)))

	emitted := eventData(t)
	for _, row := range strings.Split(events, "\n") {
		cells := strings.Split(row, " | ")
		if len(cells) != 3 || !strings.HasPrefix(row, "| `") {
			continue
		}
		name := named(cells[0])[0]
		data := regexp.MustCompile(`\([^)]*\)`).ReplaceAllString(cells[2], "") // the words of a set
		compare(t, name, named(data), slices.Sorted(slices.Values(emitted[name])))
		delete(emitted, name)
	}
	for name := range emitted {
		t.Errorf("there is no %s on the page", name)
	}

	compare(t, "attributes", named(firstCells(attributes)), attributeKeys(t))

	for set, words := range map[string][]string{
		"challenge.action":  texts(stats.Actions),
		"mcp_session_end":   append(texts(stats.Transports), texts(stats.EndReasons)...),
		"mcp_upstream_down": append(texts(stats.Failures), whyEndsEarly),
		"`target`":          {targetEndpoint, targetMessage, targetSSE, targetSSEMessage, targetMetadata, targetServer},
		"`era`":             {notes.EraStateless, notes.EraHandshake, notes.EraSSE},
		"challenge.reason": texts([]stats.Reason{
			stats.ReasonPolicy, stats.ReasonPublic, stats.ReasonForeign, stats.ReasonUnparsable, stats.ReasonUnknown, stats.ReasonScheme, stats.ReasonStatus, stats.ReasonHost,
		}),
	} {
		row := regexp.MustCompile(`(?m)^\| .*` + set + `.* \|$`).FindString(string(raw))
		for _, word := range words {
			if !strings.Contains(row, "`"+word+"`") {
				t.Errorf("%s: the page does not name %s: %s", set, word, row)
			}
		}
	}
}

// docs/observe.md quotes messages that the log has.
func TestDocumentedMessages(t *testing.T) {
	raw, err := os.ReadFile("docs/observe.md")
	if err != nil {
		t.Fatal(err)
	}
	_, levels, _ := strings.Cut(string(raw), "## In the log\n")
	levels, _, _ = strings.Cut(levels, "\n\nOf a challenge")
	quoted := regexp.MustCompile("`([A-Za-z]+(?: [A-Za-z]+)+)`").FindAllStringSubmatch(levels, -1)
	if len(quoted) < 8 {
		t.Fatalf("the page quotes only %q", quoted)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"upstreams", "edge"} {
		more, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	logged := make(map[string]bool)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		inspect(t, file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, _ := strconv.Unquote(lit.Value)
				logged[text] = true
			}
			return true
		})
	}
	for _, m := range quoted {
		if !logged[m[1]] {
			t.Errorf("the page quotes %q, which nothing logs", m[1])
		}
	}
}

func texts[T ~string](all []T) []string {
	var found []string
	for _, s := range all {
		found = append(found, string(s))
	}
	return found
}

// firstCells are the first cells of the rows of a table.
func firstCells(table string) string {
	var cells strings.Builder
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(table, -1) {
		cells.WriteString(m[1] + "\n")
	}
	return cells.String()
}

// named are what a text has in code.
func named(text string) []string {
	var found []string
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

func compare(t *testing.T, what string, page, code []string) {
	t.Helper()
	slices.Sort(page)
	if !slices.Equal(page, code) {
		t.Errorf("%s: the page names\n%q\nthere are\n%q", what, page, code)
	}
}

// inspect visits the nodes of a file.
func inspect(t *testing.T, file string, visit func(ast.Node) bool) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, visit)
}

// eventData are the events that handlers emit, with the keys of their data.
func eventData(t *testing.T) map[string][]string {
	t.Helper()
	names := map[string]string{
		"eventChallenge": eventChallenge, "eventDenied": eventDenied, "eventSessionEnd": eventSessionEnd, "eventUpstreamDown": eventUpstreamDown, "eventUpstreamUp": eventUpstreamUp,
	}
	found := make(map[string][]string)
	inspect(t, "observe.go", func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return true
		}
		id, ok := call.Args[0].(*ast.Ident)
		if !ok || names[id.Name] == "" {
			return true
		}
		ast.Inspect(call.Args[1], func(n ast.Node) bool {
			if pair, ok := n.(*ast.KeyValueExpr); ok {
				if key, ok := pair.Key.(*ast.BasicLit); ok {
					text, _ := strconv.Unquote(key.Value)
					found[names[id.Name]] = append(found[names[id.Name]], text)
				}
			}
			return true
		})
		return true
	})
	if len(found) != len(names) {
		t.Fatalf("found the data of %d events, want %d", len(found), len(names))
	}
	return found
}

// attributeKeys are the attributes of spans.
func attributeKeys(t *testing.T) []string {
	t.Helper()
	var found []string
	inspect(t, "internal/tracing/tracing.go", func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 1 {
			if f, ok := call.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Key" {
				if key, ok := call.Args[0].(*ast.BasicLit); ok {
					text, _ := strconv.Unquote(key.Value)
					found = append(found, text)
				}
			}
		}
		return true
	})
	slices.Sort(found)
	return found
}

// Rule E9: docs/observe.md lists each reason of a denial with the check that it belongs to, and
// with the text that clients get, if there is one. Each reason of credentials has such a text.
func TestDocumentedReasons(t *testing.T) {
	raw, err := os.ReadFile("docs/observe.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(raw), "\n| `reason` |")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (.*) \\|$").FindAllStringSubmatch(table, -1) {
		rows[m[1]] = m[2]
	}
	have := make(map[string]string) // the check of each reason
	for dir, check := range map[string]edge.Check{
		"bridge/authorize/principal": edge.CheckCredentials, "bridge/authorize/operation": edge.CheckMessage, "bridge/authorize/rules": edge.CheckRules, "edge": "",
	} {
		for name, reason := range reasonsIn(t, dir) {
			switch {
			case reason == string(rules.Allowed):
				continue
			case slices.Contains([]string{"NotExchanged", "ExchangeDenied", "ExchangeFailed"}, name):
				check = edge.CheckExchange
			case name == "reasonSession":
				check = edge.CheckSession
			case name == "reasonTask":
				check = edge.CheckTask
			case dir == "edge":
				check = edge.CheckMessage
			case dir == "bridge/authorize/principal":
				check = edge.CheckCredentials
			}
			have[reason] = string(check)
			row := rows[reason]
			if !strings.HasPrefix(row, "`"+string(check)+"` | ") {
				t.Errorf("%s of %s: the page has %q, want a row with the check %s", reason, dir, row, check)
			}
			if text := principal.Reason(reason).Text(); dir == "bridge/authorize/principal" && (text == "" || !strings.HasSuffix(row, "| "+text)) {
				t.Errorf("%s: the page has %q, and clients get %q", reason, row, text)
			}
		}
	}
	if len(have) < 50 {
		t.Errorf("found only %d reasons", len(have))
	}
	for reason := range rows {
		if have[reason] == "" {
			t.Errorf("there is no reason %s", reason)
		}
	}
}

// reasonsIn are the reasons that a package has, by the names of their constants: those of the type
// Reason, and those that have no type and whose name begins with "reason".
func reasonsIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		inspect(t, file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			kind, _ := spec.Type.(*ast.Ident)
			value, ok := spec.Values[0].(*ast.BasicLit)
			if !ok || value.Kind != token.STRING || (kind == nil || kind.Name != "Reason") && (kind != nil || !strings.HasPrefix(spec.Names[0].Name, "reason")) {
				return true
			}
			found[spec.Names[0].Name], _ = strconv.Unquote(value.Value)
			return true
		})
	}
	if len(found) == 0 {
		t.Errorf("%s has no reasons", dir)
	}
	return found
}
