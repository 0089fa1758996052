package command_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ruled is a Caddyfile with endpoints that have rules.
const ruled = `mcp.example.com {
	mcp_auth_bridge /files/mcp localhost:3000 {
		authorize {
			issuer https://login.example.com
			scope files:read
			tools write_* move_file {
				scope files:write
			}
			tools delete_* {
				when ` + "`\"admin\" in principal.claims.groups`" + `
			}
			tools read_file {
				when ` + "`arguments.path.startsWith(\"/srv/\")`" + `
			}
			resources file:///srv/secret/* {
				deny
			}
			key backup {env.BACKUP_KEY} files:read files:write
			implies files:admin files:read files:write
		}
	}
	mcp_auth_bridge /notes/mcp localhost:3001 {
		authorize {
			issuer https://login.example.com
			default deny
			tools list_notes
		}
	}
	mcp_auth_bridge /open/mcp localhost:3002
	mcp_auth_bridge /sse/mcp sse+http://localhost:3003/sse {
		authorize {
			issuer https://login.example.com
		}
	}
	mcp_auth_bridge /told/mcp localhost:3004 {
		authorize {
			issuer https://login.example.com
			identity X-User id
		}
	}
	mcp_auth_bridge /named/mcp localhost:3005 {
		authorize {
			issuer https://login.example.com
			methods tasks/list
		}
	}
	mcp_auth_bridge /program/mcp {
		stdio cat
		authorize {
			issuer https://login.example.com
		}
	}
}
`

// Rule E9: `caddy mcp why` says what a principal may do, by which rule and with which scope,
// from a configuration alone.
func TestWhy(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := write("Caddyfile", ruled)
	reader := write("reader.json", `{"iss":"https://login.example.com","sub":"alice","scope":"files:read","groups":["staff"]}`)
	admin := write("admin.json", `{"iss":"https://login.example.com","sub":"bob","scp":["files:admin"],"groups":["admin"]}`)
	foreign := write("foreign.json", `{"iss":"https://login.example.org","sub":"bob","scope":"files:read"}`)
	broken := write("broken.json", `{"sub":"a","sub":"b"}`)
	at := func(endpoint string) []string { return []string{"why", "--config", config, "--endpoint", endpoint} }
	files, notes := at("/files/mcp"), at("/notes/mcp")
	for name, tt := range map[string]struct {
		of   []string
		args []string
		code int
		want string
	}{
		"base":              {files, []string{"--claims", reader, "tools/call", "list_directory"}, 0, `tools/call list_directory: allowed, with scope "files:read" (every request)`},
		"scope":             {files, []string{"--claims", reader, "tools/call", "write_file"}, 1, `refused, because scope "files:write" is missing; a token with scope "files:read files:write" would be allowed (tools write_* move_file)`},
		"implied":           {files, []string{"--claims", admin, "tools/call", "write_file"}, 0, "(tools write_* move_file)"},
		"expression":        {files, []string{"--claims", reader, "tools/call", "delete_all"}, 1, "the expression is false (tools delete_*)"},
		"expression true":   {files, []string{"--claims", admin, "tools/call", "delete_all"}, 0, "(tools delete_*)"},
		"arguments":         {files, []string{"--claims", reader, "--arguments", `{"path":"/srv/a"}`, "tools/call", "read_file"}, 0, "(tools read_file)"},
		"arguments refused": {files, []string{"--claims", reader, "--arguments", `{"path":"/etc/passwd"}`, "tools/call", "read_file"}, 1, "(tools read_file)"},
		"deny":              {files, []string{"--claims", admin, "resources/read", "file:///srv/secret/a"}, 1, "a rule denies it (resources file:///srv/secret/*)"},
		"deny, other form":  {files, []string{"--claims", admin, "resources/read", "file:///srv/x/../secret/a"}, 1, "(resources file:///srv/secret/*)"},
		"key":               {files, []string{"--key", "backup", "tools/call", "write_file"}, 0, "(tools write_* move_file)"},
		"issuer":            {files, []string{"--claims", foreign, "tools/list"}, 1, `"https://login.example.org" is not an issuer`},
		"default deny":      {notes, []string{"--claims", reader, "tools/call", "delete_note"}, 1, "(default)"},
		"list":              {notes, []string{"--claims", reader, "tools/list"}, 0, "tools/list: allowed"},

		"tasks of all":         {notes, []string{"--claims", reader, "tasks/list"}, 1, "tasks/list: refused, because the MCP server is not told who asks and would list the tasks of all; tell it with identity, or allow it with a rule for this method (default)"},
		"tasks of all, SSE":    {at("/sse/mcp"), []string{"--claims", reader, "tasks/list"}, 1, "tell it with identity"},
		"one task":             {notes, []string{"--claims", reader, "tasks/get"}, 0, "tasks/get: allowed"},
		"tasks, told":          {at("/told/mcp"), []string{"--claims", reader, "tasks/list"}, 0, "tasks/list: allowed"},
		"tasks, with a rule":   {at("/named/mcp"), []string{"--claims", reader, "tasks/list"}, 0, "tasks/list: allowed (methods tasks/list)"},
		"tasks of one program": {at("/program/mcp"), []string{"--claims", reader, "tasks/list"}, 0, "tasks/list: allowed"},

		"no method":        {files, []string{"--claims", reader}, 2, "tools/call write_file"},
		"no claims":        {files, []string{"tools/list"}, 2, "--claims claims.json"},
		"claims and key":   {files, []string{"--claims", reader, "--key", "backup", "tools/list"}, 2, "or the name of a static key"},
		"claims twice":     {files, []string{"--claims", broken, "tools/list"}, 2, "has a member twice"},
		"claims not there": {files, []string{"--claims", reader + "x", "tools/list"}, 2, "no such file"},
		"unknown key":      {files, []string{"--key", "other", "tools/list"}, 2, "no key with this name"},
		"tool as method":   {files, []string{"--claims", reader, "write_file"}, 2, "for a tool write `tools/call write_file`"},
		"call of nothing":  {files, []string{"--claims", reader, "tools/call"}, 2, "is not a request that a client can send"},
		"name of a list":   {files, []string{"--claims", reader, "tools/list", "x"}, 2, `tools/list takes no name "x"`},
		"arguments, list":  {files, []string{"--claims", reader, "--arguments", "{}", "tools/list"}, 2, "takes no --arguments"},
		"broken arguments": {files, []string{"--claims", reader, "--arguments", "{", "tools/call", "x"}, 2, "tools/call x"},
		"no flag":          {files, []string{"--what"}, 2, "unknown flag"},
		"all and method":   {files, []string{"--claims", reader, "--all", "tools/list"}, 2, "--all takes no argument"},
		"which endpoint":   {[]string{"why", "--config", config}, []string{"--claims", reader, "tools/list"}, 2, "mcp.example.com/files/mcp, mcp.example.com/notes/mcp"},
		"open endpoint":    {[]string{"why", "--config", config, "--endpoint", "/open/mcp"}, []string{"--claims", reader, "tools/list"}, 2, "there is mcp.example.com/files/mcp"},
		"other host":       {append(files, "--host", "a.example.com"), []string{"--claims", reader, "tools/list"}, 2, "no such endpoint"},
		"no config":        {[]string{"why", "--config", config + "x"}, []string{"--claims", reader, "tools/list"}, 2, "--config: open"},
		"no adapter":       {append(files, "--adapter", "xml"), []string{"--claims", reader, "tools/list"}, 2, "--adapter caddyfile"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := run(t, command(t, append(append([]string(nil), tt.of...), tt.args...)...))
			got, empty := stdout, stderr
			if tt.code == 2 {
				got, empty = stderr, stdout
			}
			if code != tt.code || !strings.Contains(got, tt.want) || empty != "" || strings.Count(got, "\n") != 1 {
				t.Errorf("got %d\n%s%s\nwant %d and one line with %s", code, stdout, stderr, tt.code, tt.want)
			}
		})
	}
}

// With --all there is a row for each pattern of the rules, and one for what no rule names.
func TestWhyAll(t *testing.T) {
	dir := t.TempDir()
	config, claims := filepath.Join(dir, "Caddyfile"), filepath.Join(dir, "claims.json")
	for path, text := range map[string]string{config: ruled, claims: `{"sub":"alice","scope":"files:read","groups":["staff"]}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stdout, stderr, code := run(t, command(t, "why", "--config", config, "--endpoint", "/files/mcp", "--claims", claims, "--all"))
	var rows []string
	for line := range strings.Lines(stdout) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	want := `initialize allowed by every request
tools/call write_* refused scope "files:read files:write" would open it (tools write_* move_file)
tools/call move_file refused scope "files:read files:write" would open it (tools write_* move_file)
tools/call delete_* refused expression (tools delete_*)
tools/call read_file depends on the arguments: give --arguments (tools read_file)
resources/read file:///srv/secret/* refused denied (resources file:///srv/secret/*)
tools/call (any other) allowed by every request
prompts/get (any other) allowed by every request
resources/read (any other) allowed by every request`
	if got := strings.Join(rows, "\n"); code != 0 || stderr != "" || got != want {
		t.Errorf("got %d %s\n%s\nwant\n%s", code, stderr, got, want)
	}
}
