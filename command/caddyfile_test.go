package command_test

import (
	"strings"
	"testing"

	_ "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge" // the directive
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/command"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// The printed Caddyfile is what a person would write.
func TestCaddyfileOfServe(t *testing.T) {
	npx := []string{"npx", "-y", "@modelcontextprotocol/server-everything"}
	const stdio = "\tmcp_auth_bridge {\n\t\tstdio npx -y @modelcontextprotocol/server-everything\n\t}\n}\n"
	for _, tt := range []struct {
		opts      command.Options
		want, url string
	}{
		{command.Options{Program: npx}, "http://localhost:8080, http://127.0.0.1:8080 {\n\tbind 127.0.0.1\n" + stdio, "http://localhost:8080"},
		{command.Options{Program: npx, Listen: "127.0.0.1:9000"}, "http://localhost:9000, http://127.0.0.1:9000 {\n\tbind 127.0.0.1\n" + stdio, "http://localhost:9000"},
		{command.Options{Program: npx, Listen: "[::1]:9000"}, "http://localhost:9000, http://[::1]:9000 {\n\tbind ::1\n" + stdio, "http://localhost:9000"},
		{command.Options{Program: npx, Domain: "mcp.example.com", Listen: "127.0.0.1"}, "mcp.example.com {\n\tbind 127.0.0.1\n" + stdio, "https://mcp.example.com"},
		{command.Options{To: "localhost:3000"}, "http://localhost:8080, http://127.0.0.1:8080 {\n\tbind 127.0.0.1\n\tmcp_auth_bridge localhost:3000\n}\n", "http://localhost:8080"},
		{command.Options{To: "https://up.example.com/mcp", Listen: ":8080", Path: "/tools"}, "http://:8080 {\n\tmcp_auth_bridge /tools https://up.example.com/mcp\n}\n", "http://<this machine>:8080"},
		{command.Options{To: "localhost:3000", Listen: "192.0.2.1:8080"}, "http://:8080 {\n\tbind 192.0.2.1\n\tmcp_auth_bridge localhost:3000\n}\n", "http://192.0.2.1:8080"},
		{command.Options{To: "sse+http://localhost:3000/sse", Domain: "mcp.example.com"}, "mcp.example.com {\n\tmcp_auth_bridge sse+http://localhost:3000/sse\n}\n", "https://mcp.example.com"},
		{command.Options{To: "localhost:3000", Domain: "mcp.example.com", Listen: ":8443"}, "https://mcp.example.com:8443 {\n\tmcp_auth_bridge localhost:3000\n}\n", "https://mcp.example.com:8443"},
	} {
		if tt.opts.Path == "" {
			tt.opts.Path = command.DefaultPath
		}
		got, at, err := tt.opts.Caddyfile()
		if err != nil || got != tt.want || at.URL != tt.url {
			t.Errorf("%+v: got %v, %s\n%s\nwant %s\n%s", tt.opts, err, at.URL, got, tt.url, tt.want)
		}
	}
}

// What cannot be served is refused in a line with the cure.
func TestRefusalsOfServe(t *testing.T) {
	npx := []string{"npx"}
	for _, tt := range []struct {
		opts command.Options
		want string
	}{
		{command.Options{}, "give a program, as in `caddy mcp serve -- npx -y <package>`, or --to"},
		{command.Options{To: "localhost:3000", Program: npx}, `--to localhost:3000 and the program "npx" are two servers`},
		{command.Options{Program: npx, Listen: ":8080"}, "add `--listen localhost:8080`"},
		{command.Options{Program: npx, Listen: "0.0.0.0:8080"}, "other machines can reach 0.0.0.0:8080, and everyone could run the program there; add `--listen localhost:8080`"},
		{command.Options{Program: npx, Listen: "192.0.2.1:80"}, "add `--listen localhost:80`"},
		{command.Options{Program: npx, Domain: "mcp.example.com"}, "other machines can reach :443, and everyone could run the program there; add `--listen 127.0.0.1`, or put a login in front of it in a Caddyfile, with allow_unauthenticated"},
		{command.Options{Program: []string{"x", "`\\"}}, "put the command into a script"},
		{command.Options{To: "x", Listen: "8080"}, "write localhost:8080"},
		{command.Options{To: "x", Listen: "localhost"}, "write localhost:8080"},
		{command.Options{To: "x", Listen: "localhost:"}, "write localhost:8080"},
		{command.Options{To: "x", Listen: "localhost:http"}, "write localhost:8080"},
		{command.Options{To: "x", Listen: "http://localhost:8080"}, "write localhost:8080"},
		{command.Options{To: "x", Domain: "https://mcp.example.com"}, "must be a host name, such as mcp.example.com"},
		{command.Options{To: "x", Domain: "mcp.example.com {"}, "must be a host name"},
	} {
		text, _, err := tt.opts.Caddyfile()
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: got %v, want %q\n%s", tt.opts, err, tt.want, text)
		}
	}
}

// words are commands whose arguments a Caddyfile has to quote.
var words = [][]string{
	{"npx", "-y", "@scope/server", "--flag=value", "a b", ""},
	{"sh", "-c", `echo "$HOME" | tr 'a' 'b' # no comment`},
	{"x", `back\slash`, `end\`, `"`, "`", "`\"", `\"`, "{", "}", "{}", `{"json":[1,2]}`},
	{"x", "#hash", "<<EOF", "line\nbreak", "\ttab ", "é\u2028", "import", "(snippet)", "@name", "*"},
}

func checkWords(t *testing.T, program []string) {
	t.Helper()
	opts := command.Options{Program: program, Path: command.DefaultPath, Listen: command.DefaultListen}
	text, _, err := opts.Caddyfile()
	if err != nil {
		t.Fatalf("%q: %v", program, err)
	}
	if _, err := command.Adapt(text, &opts); err != nil {
		t.Errorf("%q: %v", program, err)
	}
}

// Each word of a program reaches it as it was typed.
func TestWordsOfServe(t *testing.T) {
	for _, program := range words {
		checkWords(t, program)
	}
}

// A placeholder would be another word in a Caddyfile, and is refused.
func TestPlaceholdersOfServe(t *testing.T) {
	t.Setenv("SERVE_SECRET", "hush")
	for _, word := range []string{"{host}", "{$SERVE_SECRET}", "a{$SERVE_NONE:b}c", "\xff"} {
		opts := command.Options{Program: []string{"x", word}, Path: command.DefaultPath}
		text, _, err := opts.Caddyfile()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := command.Adapt(text, &opts); err == nil || !strings.Contains(err.Error(), "put the command into a script") || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: got %v", word, err)
		}
	}
}

// The Caddyfile loads when it is pasted.
func TestCaddyfileOfServeLoads(t *testing.T) {
	for _, opts := range []command.Options{
		{Program: []string{"sh", "-c", "cat"}},
		{Program: []string{"sh"}, Listen: "[::1]:9000", Path: "/tools"},
		{Program: []string{"sh"}, Domain: "mcp.example.com", Listen: "127.0.0.1"},
		{To: "localhost:3000", Listen: ":8080"},
		{To: "https://up.example.com/mcp", Domain: "mcp.example.com"},
		{To: "sse+http://localhost:3000/sse", Domain: "mcp.example.com", Listen: ":8443"},
	} {
		if opts.Path == "" {
			opts.Path = command.DefaultPath
		}
		text, _, err := opts.Caddyfile()
		if err == nil {
			err = testcaddy.Validate(t, text)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}
