package mcpauthbridge_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Placeholders of the environment and of files are replaced in the options of an endpoint
// when the configuration is loaded, and the values are checked as if they were written.
func TestPlaceholdersInOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "issuer")
	if err := os.WriteFile(file, []byte("https://login.example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ options, want string }{
		"public_url":            {"public_url {env.VALUE}", "https://good.example.com"},
		"part of a value":       {"public_url https://{env.PART}.example.com", "https://good.example.com"},
		"hosts":                 {"hosts {env.VALUE}", "hosts: \"https://good.example.com\" must be a host name; write good.example.com"},
		"challenge origins":     {"challenge {\norigins {env.TWO}\n}", `origin "two:5000": must start with`},
		"challenge scope":       {"challenge {\nscope {env.QUOTE}\n}", `challenge scope: "\""`},
		"allow_origins":         {"cors {\nallow_origins {env.TWO}\n}", `cors allow_origins: "two:5000": an origin starts with a scheme`},
		"allow_headers":         {"cors {\nallow_headers {env.QUOTE}\n}", `cors allow_headers: "\""`},
		"expose_headers":        {"cors {\nexpose_headers {env.QUOTE}\n}", `cors expose_headers: "\""`},
		"authorization_servers": {"metadata {\nauthorization_servers {env.TWO}\n}", `metadata authorization_servers "two:5000"`},
		"scopes_supported":      {"metadata {\nscopes_supported {env.QUOTE}\n}", `metadata scopes_supported "\""`},
		"file":                  {"metadata {\nauthorization_servers {file." + file + "}\n}", "MCP endpoint ready"},
		"realm":                 {"challenge {\nrealm {env.NONE}\n}", `challenge realm: "{env.NONE}" is empty; set the environment variable`},
		"resource_name":         {"metadata {\nresource_name {env.NONE}\n}", `metadata resource_name: "{env.NONE}" is empty; set the environment variable`},
		"beside a literal":      {"cors {\nallow_origins {env.VALUE} https://x.example.com/\n}", `"https://x.example.com/": an origin has no path`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("VALUE", "https://good.example.com")
			t.Setenv("PART", "good")
			t.Setenv("TWO", "https://one.example.com two:5000")
			t.Setenv("QUOTE", `"`)
			lines, err := testcaddy.LoadUnserved(t, "http://mcp.example.com {\nmcp_auth_bridge localhost:3000 {\n"+tc.options+"\n}\n}")
			got := strings.Join(lines, "\n")
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, tc.want) {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// The global option replaces placeholders, too.
func TestPlaceholdersInGlobalOption(t *testing.T) {
	t.Setenv("TWO", "https://one.example.com two:5000")
	_, err := testcaddy.LoadUnserved(t, "{\nmcp_auth_bridge {\ncors {\nallow_origins {env.TWO}\n}\n}\n}\nhttp://mcp.example.com {\nmcp_auth_bridge localhost:3000\n}")
	if err == nil || !strings.Contains(err.Error(), `"two:5000": an origin starts with a scheme`) {
		t.Errorf("got %v", err)
	}
}
