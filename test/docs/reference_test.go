package docs_test

import (
	"regexp"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// around is what an example of docs/reference.md stands in, by the heading of its table.
var around = map[string]string{
	"Options of an endpoint":   "%s",
	"challenge":                "challenge {\n%s\n}",
	"cors":                     "cors {\n%s\n}",
	"metadata":                 "metadata {\n%s\n}",
	"authorization_server":     "authorization_server bridge {\n%s\n}",
	"authorize":                "authorize {\nkey script 0123456789abcdef0123\n%s\n}",
	"authorize issuer":         "authorize {\nissuer https://login.example.com {\n%s\n}\n}",
	"authorize introspect":     "authorize {\nissuer https://login.example.com {\nintrospect {\n%s\n}\n}\n}",
	"authorize token exchange": "authorize {\nissuer https://login.example.com\ntoken exchange {\n%s\n}\n}",
	"authorize rules":          "authorize {\nissuer https://login.example.com\ntools write_* {\n%s\n}\n}",
	"stdio":                    "stdio /bin/sh {\n%s\n}",
	"sessions":                 "legacy_sse\nsessions {\n%s\n}",
	"limits":                   "limits {\n%s\n}",
}

// Each option of the syntax has a row in docs/reference.md with an example that loads.
func TestReferenceExamples(t *testing.T) {
	documented := make(map[string]bool)
	for _, section := range regexp.MustCompile(`(?m)^## `).Split(read(t, reference), -1) {
		heading, text, _ := strings.Cut(section, "\n")
		block, ok := around[heading]
		if !ok {
			continue
		}
		rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [^|]*\\| `([^|]+)` \\| ").FindAllStringSubmatch(text, -1)
		if len(rows) == 0 {
			t.Errorf("%s has no table of options", heading)
		}
		for _, row := range rows {
			documented[row[1]] = true
			example := row[2]
			if name, _, _ := strings.Cut(example, " "); name != row[1] {
				t.Errorf("the example of %s is %q", row[1], example)
			}
			t.Run(heading+" "+row[1], func(t *testing.T) {
				upstream := "http://search-1:3000/mcp"
				switch {
				case heading == "stdio":
					upstream = ""
				case row[1] == "names":
					upstream = "/servers/{name}/mcp http://{name}:3000/mcp"
				case row[1] == "upstream_path":
					upstream = "localhost:3000"
				case row[1] == "message_path":
					upstream = "sse+http://localhost:8000/sse"
				}
				if row[1] == "dpop_nonce" {
					example = "dpop required\n" + example
				}
				if heading == "authorize token exchange" {
					for _, needed := range []string{"audience files-api", "client_id caddy", "client_secret {env.CLIENT_SECRET}"} {
						if !strings.HasPrefix(needed, row[1]+" ") {
							example += "\n" + needed
						}
					}
				}
				withSecrets(t, example)
				lines := strings.Replace(block, "%s", strings.ReplaceAll(example, "user nobody", "user 0"), 1)
				text := "http://mcp.example.com {\nbind 127.0.0.1\nmcp_auth_bridge " + upstream + " {\n" + lines + "\n}\n}"
				if err := testcaddy.Validate(t, text); err != nil {
					t.Errorf("%v\n%s", err, text)
				}
			})
		}
	}
	syntax := blocks(t, reference, "")[0]
	for _, option := range regexp.MustCompile(`(?m)^\t+([a-z_]+)`).FindAllStringSubmatch(syntax, -1) {
		switch name := option[1]; name {
		case "challenge", "cors", "metadata", "authorization_server", "authorize", "stdio", "sessions", "limits": // blocks
		default:
			if !documented[name] {
				t.Errorf("%s has no row for the option %s", reference, name)
			}
		}
	}
}

// The README is for the first ten minutes; what is longer belongs in docs/.
func TestReadmeIsShort(t *testing.T) {
	if n := strings.Count(read(t, "README.md"), "\n"); n >= 250 {
		t.Errorf("README.md has %d lines, want less than 250", n)
	}
}

// The reference has a row for each command of `caddy mcp`, and the help of `caddy mcp` names each.
func TestReferenceCommands(t *testing.T) {
	table := read(t, "docs/reference.md")
	root := &cobra.Command{Use: "mcp"}
	own := caddycmd.Commands()["mcp"]
	own.CobraFunc(root)
	for _, command := range root.Commands() {
		if !strings.Contains(table, "\n| `caddy mcp "+command.Name()) {
			t.Errorf("docs/reference.md has no row for `caddy mcp %s`", command.Name())
		}
		if !regexp.MustCompile(`\b` + command.Name() + `\b`).MatchString(own.Long) {
			t.Errorf("the help of `caddy mcp` does not name %s", command.Name())
		}
	}
}
