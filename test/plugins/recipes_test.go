package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// recipesPage has the Caddyfiles with other plugins, in blocks of the language `caddy`.
const recipesPage = "../../docs/recipes.md"

// recipes returns the Caddyfiles of the section about a plugin; of all, if it is empty.
func recipes(t *testing.T, plugin string) []string {
	t.Helper()
	return blocks(t, plugin, "caddy")
}

// blocks returns the blocks of a language in the section about a plugin; of all, if it is
// empty.
func blocks(t *testing.T, plugin, language string) []string {
	t.Helper()
	text, err := os.ReadFile(recipesPage)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for section := range strings.SplitSeq(string(text), "\n### ") {
		if name, _, _ := strings.Cut(section, "\n"); plugin != "" && name != plugin {
			continue
		}
		for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(section, -1) {
			found = append(found, m[1])
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no %s for %q", recipesPage, language, plugin)
	}
	return found
}

// runRecipe runs a documented Caddyfile at a port of loopback. replaced has names of the
// Caddyfile and what stands for them in the test, in turn.
func runRecipe(t *testing.T, port int, text string, replaced ...string) {
	t.Helper()
	text = strings.NewReplacer(append(replaced, "mcp.example.com {", "http://"+testcaddy.Addr(port)+" {\n\tbind 127.0.0.1")...).Replace(text)
	if strings.HasPrefix(text, "{") {
		text = "{\n\tauto_https off" + text[1:]
	} else {
		text = "{\n\tauto_https off\n}\n" + text
	}
	testcaddy.Run(t, text)
}

// Every documented Caddyfile with other plugins is valid as it is written, and Caddy warns of
// nothing in it.
func TestRecipes(t *testing.T) {
	key := issuertest.NewKey(t, jose.ES256, "one")
	file := keyFile(t, key.Public().Key)
	for _, text := range recipes(t, "") {
		text = strings.ReplaceAll(text, "/etc/caddy/issuer.pem", file)
		testcaddy.ForgetLogs()
		if err := testcaddy.Validate(t, text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
		for _, line := range testcaddy.Logs() {
			if strings.Contains(line, `"level":"warn"`) && strings.Contains(line, `"logger":"mcp_auth_bridge"`) {
				t.Errorf("%s\n%s", line, text)
			}
		}
	}
}

// In front of a program the recipes with a login need `allow_unauthenticated`, as the page
// says: the program itself asks for no login.
func TestRecipesWithProgram(t *testing.T) {
	key := issuertest.NewKey(t, jose.ES256, "one")
	file := keyFile(t, key.Public().Key)
	for _, plugin := range []string{"caddy-ratelimit", "caddy-security"} {
		for option, valid := range map[string]bool{"": false, "\t\t\t\tallow_unauthenticated\n": true} {
			block := strings.Replace(program(t), "\n\t\t}", "\n"+option+"\t\t\t}", 1)
			text := strings.NewReplacer("/etc/caddy/issuer.pem", file, "mcp_auth_bridge /mcp localhost:3000", "mcp_auth_bridge /mcp {\n\t\t\t"+block+"\n\t\t}").Replace(recipes(t, plugin)[0])
			if err := testcaddy.Validate(t, text); (err == nil) != valid {
				t.Errorf("%s: valid is to be %t: %v\n%s", plugin, valid, err, text)
			}
		}
	}
}
