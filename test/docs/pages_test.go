package docs_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

func init() { caddy.RegisterModule(execHandler{}) }

// execHandler stands in for the event handler of another module that a page uses.
type execHandler struct{}

func (execHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.exec", New: func() caddy.Module { return new(execHandler) }}
}

func (*execHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name
	if !d.NextArg() {
		return d.ArgErr()
	}
	d.RemainingArgs()
	return nil
}

func (execHandler) Handle(context.Context, caddy.Event) error { return nil }

// pages are the Markdown files that are for users.
func pages(t *testing.T) []string {
	t.Helper()
	more := glob(t, "docs/*.md")
	if len(more) == 0 {
		t.Fatal("docs/ is empty")
	}
	return append(glob(t, "*.md"), more...)
}

// fence is a fenced block, with its language.
type fence struct{ language, text string }

// fences returns all fenced blocks of a page, in order.
func fences(t *testing.T, file string) []fence {
	t.Helper()
	return fencesOf(read(t, file))
}

// fencesOf finds the blocks of a text. A line of three backticks without a language ends a
// block if one is open, so all blocks have to be paired from the beginning.
func fencesOf(text string) (found []fence) {
	for _, m := range regexp.MustCompile("(?ms)^ *```(\\S*)\n(.*?)^ *```$").FindAllStringSubmatch(text, -1) {
		found = append(found, fence{m[1], m[2]})
	}
	return found
}

// The text between two blocks is not a block without a language.
func TestFencesArePaired(t *testing.T) {
	text := "```sh\na\n```\n\nprose\n\n```\nsyntax\n```\n\nmore\n\n```json\n{}\n```\n"
	want := []fence{{"sh", "a\n"}, {"", "syntax\n"}, {"json", "{}\n"}}
	if got := fencesOf(text); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// No block of a page is of a language that no test looks at.
func TestDocumentedLanguages(t *testing.T) {
	known := map[string]string{
		"caddyfile":  "TestDocumentedCaddyfiles",
		"caddy":      "TestRecipes of test/plugins: Caddyfiles with other plugins",
		"json":       "TestDocumentedJSON",
		"yaml":       "TestDocumentedKubernetes, TestDocumentedCompose",
		"sh":         "TestDocumentedCommands",
		"console":    "TestDocumentedCommands",
		"dockerfile": "TestDocumentedCommands", // its RUN lines
		"ini":        "TestDocumentedUnits",
		"":           "the syntax: TestAdapt and TestDocumentedOptions",
	}
	for _, file := range pages(t) {
		for _, f := range fences(t, file) {
			if known[f.language] == "" {
				t.Errorf("%s: no test looks at blocks of %q", file, f.language)
			}
		}
	}
}

// Every JSON is JSON; a metadata document is what the Caddyfile before it
// serves; what is for a client names an endpoint.
func TestDocumentedJSON(t *testing.T) {
	documents := 0
	for _, file := range pages(t) {
		caddyfile := ""
		for _, f := range fences(t, file) {
			switch f.language {
			case "caddyfile":
				caddyfile = f.text
			case "json":
				var v struct {
					Apps     map[string]any `json:"apps"`
					Resource string         `json:"resource"`
					Servers  map[string]struct{ Type, URL string }
				}
				if err := json.Unmarshal([]byte(f.text), &v); err != nil {
					t.Errorf("%s: %v\n%s", file, err, f.text)
				}
				switch {
				case v.Apps != nil: // TestReadmeJSONTwin
				case v.Resource != "":
					documents++
					servesDocument(t, file, caddyfile, f.text)
				case len(v.Servers) > 0:
					for name, s := range v.Servers {
						if s.Type != "http" || !strings.HasSuffix(s.URL, "/mcp") {
							t.Errorf("%s: server %q is %+v", file, name, s)
						}
					}
				default:
					t.Errorf("%s: no test looks at\n%s", file, f.text)
				}
			}
		}
	}
	if documents == 0 {
		t.Error("no page shows a metadata document")
	}
}

// onLoopback puts the sites of a Caddyfile on loopback, and returns the origin
// of each by the name that it had.
func onLoopback(t *testing.T, caddyfile string) (string, map[string]string) {
	t.Helper()
	origins := make(map[string]string)
	replaced := regexp.MustCompile(`(?m)^(\S*\.example\.com|http://localhost:8080|:8080) \{`).ReplaceAllStringFunc(caddyfile, func(line string) string {
		name := strings.TrimSuffix(line, " {")
		origins[name] = "http://" + testcaddy.Addr(testcaddy.FreePort(t))
		return origins[name] + " {"
	})
	return replaced, origins
}

func servesDocument(t *testing.T, file, caddyfile, want string) {
	t.Helper()
	replaced, origins := onLoopback(t, caddyfile)
	origin := origins["mcp.example.com"]
	testcaddy.Run(t, replaced)
	answer := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, http.MethodGet, origin+"/.well-known/oauth-protected-resource/mcp", ""))
	var got, wanted any
	if err := errors.Join(json.Unmarshal([]byte(strings.ReplaceAll(answer.Body, origin, "https://mcp.example.com")), &got), json.Unmarshal([]byte(want), &wanted)); err != nil {
		t.Fatalf("%s: %d, %v\n%s", file, answer.Status, err, answer.Body)
	}
	if g, w := mustJSON(t, got), mustJSON(t, wanted); g != w {
		t.Errorf("%s: its Caddyfile serves\n%s\nthe page says\n%s", file, g, w)
	}
}

// notRun are commands on the pages that no test runs, by how they begin, and
// why not.
var notRun = map[string]string{
	"git clone https://":            "needs the network",
	"go install ":                   "needs the network",
	"go run ./cmd/demo":             "runs until it is ended; internal/stage, which it starts, has tests",
	"go test ./...":                 "it runs this test",
	"go build ./cmd/caddy":          "the gate runs it",
	"go test -race ./bridge/...":    "the gate runs it, with all other packages",
	"xcaddy build":                  "the gate runs it, with this module in place of a release",
	"docker build":                  "needs a container; the workflow of the gate runs it",
	"RUN xcaddy build":              "needs a container",
	"docker compose":                "needs a container",
	"./caddy run":                   "runs until it is ended; TestReadmeCurlOutput and TestReadmeJSONTwin load the Caddyfile",
	"./caddy list-modules":          "the gate runs it, and TestDocumentedModules compares the output",
	"./caddy validate":              "the gate runs it",
	"npx @modelcontextprotocol/":    "comes from npm, and is a page in a browser",
	"claude mcp add":                "a program of another maker, with an account",
	"bin/kc.sh start":               "Keycloak, which is not on the machine",
	"kubectl ":                      "needs a cluster",
	"sudo ":                         "changes the machine",
	"journalctl ":                   "needs systemd",
	"curl -i http://localhost:8080": "TestReadmeCurlOutput makes the request",
}

// Every command on the pages is run, or is one of those that cannot be. Those
// of the doctor have flags that there are; what it prints is compared by
// TestReadmeDoctorOutput and the doctor's own TestTroubleshooting.
func TestDocumentedCommands(t *testing.T) {
	used := make(map[string]bool)
	doctors := 0
	for _, file := range pages(t) {
		for _, f := range fences(t, file) {
			for line := range strings.Lines(f.text) {
				command := strings.TrimSuffix(line, "\n")
				switch f.language {
				case "console":
					rest, ok := strings.CutPrefix(command, "$ ")
					if !ok {
						continue
					}
					command = rest
				case "dockerfile":
					if !strings.HasPrefix(command, "RUN ") {
						continue
					}
				case "sh":
				default:
					continue
				}
				for part := range strings.SplitSeq(command, " && ") {
					if strings.HasPrefix(part, "cd ") {
						continue
					}
					if rest, ok := strings.CutPrefix(strings.TrimPrefix(part, "./"), "caddy mcp "); ok {
						doctors++
						parseCommand(t, file, strings.Fields(rest))
						continue
					}
					prefixes := slices.Sorted(maps.Keys(notRun))
					i := slices.IndexFunc(prefixes, func(p string) bool { return strings.HasPrefix(part, p) })
					if i < 0 {
						t.Errorf("%s: nothing runs %q", file, part)
						continue
					}
					used[prefixes[i]] = true
				}
			}
		}
	}
	for prefix := range notRun {
		if !used[prefix] {
			t.Errorf("no page has %q", prefix)
		}
	}
	if doctors == 0 {
		t.Error("no page consults the doctor")
	}
}

// parseCommand parses what follows `caddy mcp` as Caddy does, without running
// it.
func parseCommand(t *testing.T, file string, args []string) {
	t.Helper()
	root := &cobra.Command{Use: "mcp"}
	caddycmd.Commands()["mcp"].CobraFunc(root)
	command, rest, err := root.Find(args)
	if err == nil {
		err = command.ParseFlags(rest)
	}
	if err == nil && command == root {
		err = errors.New("there is no such command")
	}
	if err == nil {
		err = command.ValidateArgs(command.Flags().Args())
	}
	if err != nil {
		t.Errorf("%s: caddy mcp %s: %v", file, strings.Join(args, " "), err)
	}
}

// Links of a page lead to files and headings that there are.
func TestDocumentedLinks(t *testing.T) {
	n := 0
	for _, file := range pages(t) {
		text := regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(read(t, file), "")
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			n++
			path, anchor, _ := strings.Cut(m[1], "#")
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: %s: %v", file, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(t, target), anchor) {
				t.Errorf("%s: %s has no heading for #%s", file, target, anchor)
			}
		}
	}
	if n < 50 {
		t.Errorf("found only %d links", n)
	}
	index := read(t, "docs/README.md")
	for _, file := range pages(t) {
		if name, ok := strings.CutPrefix(file, "docs/"); ok && name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
	if !strings.Contains(read(t, "README.md"), "](docs/README.md)") {
		t.Error("README.md does not name docs/README.md")
	}
}

// anchors are those that GitHub makes of the headings of a page.
func anchors(t *testing.T, file string) []string {
	t.Helper()
	text := regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(read(t, file), "")
	var found []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		anchor := regexp.MustCompile(`[^\p{L}\p{N}_\- ]`).ReplaceAllString(strings.ToLower(m[1]), "")
		found = append(found, strings.ReplaceAll(anchor, " ", "-"))
	}
	return found
}

// others are names with an underscore that pages mention, and that are no
// options of this module.
var others = strings.Fields(`
	file_server hung_up no_answer not_mcp
	signed_in stepped_up tls_trust_pool try_files delete_all jwks_uri introspection_endpoint token_endpoint expires_in invalid_grant invalid_scope access_denied not_exchanged client_secret_basic access_token
	mcp_auth_bridge
	rate_limit proxy_protocol connection_policy basic_auth forward_auth reverse_proxy handle_path try_files trusted_proxies header_up request_header grace_period
	proxy_buffering enable_full_duplex health_uri caddy_data
	authorization_servers resource_name scopes_supported signed_metadata resource_policy_uri
	token_type token_use client_id redirect_uri code_challenge_methods_supported private_key_jwt client_secret_jwt
	client_id_metadata_document_supported token_endpoint_auth_methods_supported
	invalid_request offline_access invalid_token invalid_target invalid_client invalid_redirect_uri
	input_required list_changed resource_url copy_headers caddy_mcp_auth_bridge_denials_total invalid_message unknown_session unknown_task read_body no_tls no_audience duplicate_id
	remote_ip client_ip insufficient_scope resource_metadata registration_client_uri redirect_uris lb_policy handle_response verification_uri error_description
	max_header_size max_size request_body
	replace_status header_down response_buffers unhealthy_latency unhealthy_status verbose_logs lb_retry_match
`)

// documentedSyntax returns the syntax in the reference, with the options that are in tables.
func documentedSyntax(t *testing.T) string {
	t.Helper()
	syntax := strings.Join(blocks(t, reference, ""), "\n")
	for limit := range strings.SplitSeq(read(t, reference), "\n") {
		if m := regexp.MustCompile("^\\| `([a-z_]+)` \\|").FindStringSubmatch(limit); m != nil {
			syntax += "\n" + m[1]
		}
	}
	return syntax
}

// A name in code on a page that looks like an option is one, or one of Caddy's
// or OAuth's.
func TestDocumentedOptions(t *testing.T) {
	syntax := documentedSyntax(t)
	named := make(map[string]bool)
	for _, file := range pages(t) {
		if file == "docs/observe.md" || file == "docs/status.md" { // TestDocumentedObservations and TestDocumentedStatus compare their names
			continue
		}
		text := regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(read(t, file), "")
		for _, code := range regexp.MustCompile("`[^`\n]+`").FindAllString(text, -1) {
			for _, name := range regexp.MustCompile(`(?:^|[\s`+"`"+`])([a-z]+(?:_[a-z]+)+)(?:$|[\s`+"`"+`])`).FindAllStringSubmatch(code, -1) {
				named[name[1]] = true
				if !slices.Contains(others, name[1]) && !regexp.MustCompile(`(?m)(^|\s)`+name[1]+`($|\s)`).MatchString(syntax) {
					t.Errorf("%s: there is no option %s; what is Caddy's or a protocol's belongs in others", file, name[1])
				}
			}
		}
	}
	for _, name := range others {
		if !named[name] {
			t.Errorf("no page names %s", name)
		}
	}
}

// xcaddy.md lists the modules that there are.
func TestDocumentedModules(t *testing.T) {
	var listed []string
	for _, session := range blocks(t, "xcaddy.md", "console") {
		for line := range strings.Lines(session) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "$") {
				listed = append(listed, line)
			}
		}
	}
	var have []string
	for _, id := range caddy.Modules() {
		if strings.Contains(id, "mcp_auth_bridge") && !strings.HasSuffix(id, ".memory") { // a test's own
			have = append(have, id)
		}
	}
	slices.Sort(have)
	if !slices.Equal(listed, have) {
		t.Errorf("xcaddy.md lists\n%s\nthere are\n%s", strings.Join(listed, "\n"), strings.Join(have, "\n"))
	}
}
