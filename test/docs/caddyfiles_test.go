package docs_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/stage"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// blocks returns the fenced blocks of a language in a Markdown file.
func blocks(t *testing.T, file, language string) []string {
	t.Helper()
	var found []string
	for _, f := range fences(t, file) {
		if f.language == language {
			found = append(found, f.text)
		}
	}
	return found
}

// Every Caddyfile in the documentation adapts, and is valid where it is
// whole.
func TestDocumentedCaddyfiles(t *testing.T) {
	files := pages(t)
	n := 0
	for _, file := range files {
		for i, text := range blocks(t, file, "caddyfile") {
			n++
			t.Run(fmt.Sprintf("%s_%d", file, i+1), func(t *testing.T) { validate(t, text) })
		}
	}
	if n < 3 {
		t.Errorf("found only %d Caddyfiles in %q", n, files)
	}
}

// allCaddyfiles returns every Caddyfile of the examples and the pages, by its file.
func allCaddyfiles(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{"Caddyfile.example": read(t, "Caddyfile.example")}
	for _, file := range glob(t, "examples/*.Caddyfile") {
		texts[file] = read(t, file)
	}
	for _, file := range pages(t) {
		for i, text := range blocks(t, file, "caddyfile") {
			texts[fmt.Sprintf("%s_%d", file, i+1)] = text
		}
	}
	return texts
}

// Every Caddyfile is as `caddy fmt` writes it. Caddy warns of another one when it is pasted.
func TestDocumentedCaddyfilesAreFormatted(t *testing.T) {
	for name, text := range allCaddyfiles(t) {
		if want := string(caddyfile.Format([]byte(text))); strings.TrimSpace(text) != strings.TrimSpace(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, text, want)
		}
	}
}

// No Caddyfile of the documentation and the examples has anything that Caddy warns of.
func TestDocumentedCaddyfilesHaveNoWarning(t *testing.T) {
	for name, text := range allCaddyfiles(t) {
		t.Run(name, func(t *testing.T) {
			testcaddy.ForgetLogs()
			validate(t, text)
			for _, line := range testcaddy.Logs() {
				if strings.Contains(line, `"level":"warn"`) && ofModule.MatchString(line) && !strings.Contains(line, ofMachine) {
					t.Error(line)
				}
			}
		})
	}
}

// ofModule matches log lines of the module: those of the app, of an endpoint, and of its parts.
var ofModule = regexp.MustCompile(`"logger":"[a-z.]*mcp_auth_bridge[a-z._]*"`)

// ofMachine begins warnings about files, users and variables, which a reader's machine has.
const ofMachine = `"msg":"program may not work as configured"`

// validate adapts and provisions a Caddyfile as `caddy validate` does.
func validate(t *testing.T, caddyfile string) {
	t.Helper()
	if err := testcaddy.Validate(t, withPrograms(t, caddyfile)); err != nil {
		t.Fatalf("%v\n%s", err, caddyfile)
	}
}

// documentedProgram matches the programs that documented Caddyfiles start,
// documentedFolder the folders that they start in, and documentedSecret the variables with
// their keys and secrets.
var (
	documentedProgram = regexp.MustCompile(`(?m)^(\s*stdio )(\S+)`)
	documentedSecret  = regexp.MustCompile(`\{env\.([A-Z_]+_(?:KEY|SECRET))\}`)
	documentedFolder  = regexp.MustCompile(`(?m)^(\s*dir )(/\S+)`)
)

// withSecrets sets the variables from which documented Caddyfiles read keys and secrets.
func withSecrets(t *testing.T, caddyfile string) {
	t.Helper()
	for _, m := range documentedSecret.FindAllStringSubmatch(caddyfile, -1) {
		t.Setenv(m[1], "0123456789abcdef-"+m[1])
	}
}

// withPrograms returns a Caddyfile whose programs and folders exist on this machine, as a load
// needs them. Programs that are looked up in PATH are found there.
func withPrograms(t *testing.T, caddyfile string) string {
	t.Helper()
	withSecrets(t, caddyfile)
	dir := t.TempDir()
	for _, m := range documentedProgram.FindAllStringSubmatch(caddyfile, -1) {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(m[2])), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	caddyfile = documentedProgram.ReplaceAllStringFunc(caddyfile, func(s string) string {
		if name := s[strings.LastIndexByte(s, ' ')+1:]; strings.HasPrefix(name, "/") {
			return strings.TrimSuffix(s, name) + filepath.Join(dir, filepath.Base(name))
		}
		return s
	})
	return documentedFolder.ReplaceAllString(caddyfile, "${1}"+dir)
}

// The README's smallest Caddyfile adapts to the JSON of the reference.
func TestReadmeJSONTwin(t *testing.T) {
	twins := blocks(t, reference, "json")
	if len(twins) == 0 {
		t.Fatalf("%s has no JSON", reference)
	}
	var want, got any
	if err := json.Unmarshal([]byte(twins[0]), &want); err != nil {
		t.Fatal(err)
	}
	adapted, err := testcaddy.Adapt(blocks(t, "README.md", "caddyfile")[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(adapted, &got); err != nil {
		t.Fatal(err)
	}
	g, w := mustJSON(t, got), mustJSON(t, want)
	if g != w {
		t.Errorf("got:\n%s\nwant:\n%s", g, w)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The README's curl output is what Caddyfile.example gives in front of the
// demo.
func TestReadmeCurlOutput(t *testing.T) {
	port := testcaddy.FreePort(t)
	address := fmt.Sprintf("localhost:%d", port)
	d, err := demo.Start(t.Context(), demo.Options{Public: []string{"http://" + address + "/mcp"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	private := strings.TrimPrefix(d.Origin(), "http://")
	testcaddy.Run(t, "{\n\tdefault_bind 127.0.0.1\n}\n"+
		strings.NewReplacer("http://localhost:8080 {", "http://"+address+" {", "localhost:3000", private).Replace(read(t, "Caddyfile.example")))
	sessions := blocks(t, "README.md", "console")
	i := slices.IndexFunc(sessions, func(s string) bool { return strings.HasPrefix(s, "$ curl -i http://localhost:8080/mcp") })
	if i < 0 {
		t.Fatal("README.md shows no curl of the endpoint")
	}
	_, want, _ := strings.Cut(sessions[i], "\n")
	req := mcptest.NewRequest(t, http.MethodPost, "http://"+address+"/mcp", `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{res.Proto + " " + res.Status}
	for name, values := range res.Header {
		for _, value := range values {
			if name != "Date" {
				lines = append(lines, name+": "+value)
			}
		}
	}
	slices.Sort(lines[1:])
	got := strings.ReplaceAll(strings.Join(lines, "\n")+"\n\n"+string(body)+"\n", address, "localhost:8080")
	if got != want {
		t.Errorf("got:\n%s\nREADME.md says:\n%s", got, want)
	}
}

// Rule F3: what the README shows of the doctor is what it says of the
// demonstration behind plain reverse_proxy; behind the module it is healthy.
func TestReadmeDoctorOutput(t *testing.T) {
	s, err := stage.Start(t.Context(), stage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	report, err := doctor.Run(t.Context(), doctor.Options{URL: s.Plain})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := report.WriteText(&text, doctor.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	got, _, _ := strings.Cut(text.String(), "\n\n")
	got = strings.NewReplacer(s.Plain, "http://127.0.0.1:8081/mcp", s.Private(), "http://127.0.0.1:3000/mcp", strings.TrimSuffix(strings.TrimPrefix(s.Private(), "http://"), "/mcp"), "127.0.0.1:3000").Replace(got)
	sessions := blocks(t, "README.md", "console")
	i := slices.IndexFunc(sessions, func(s string) bool { return strings.HasPrefix(s, "$ caddy mcp doctor http://127.0.0.1:8081/mcp\n") })
	if i < 0 {
		t.Fatal("README.md shows no output of the doctor")
	}
	_, want, _ := strings.Cut(sessions[i], "\n")
	// The ports are of other lengths, and so lines break elsewhere.
	if g, w := strings.Join(strings.Fields(got), " "), strings.Join(strings.Fields(want), " "); g != w {
		t.Errorf("got:\n%s\nREADME.md says:\n%s", got, want)
	}
	report, err = doctor.Run(t.Context(), doctor.Options{URL: s.Bridge, Origin: strings.TrimSuffix(s.Page, "/"), Upstream: s.Plain})
	if err != nil {
		t.Fatal(err)
	}
	if v := report.Verdict; v.State != doctor.Healthy || v.Warnings != 0 || report.Upstream.Verdict.State != doctor.Broken {
		t.Errorf("behind the module: got %+v", v)
	}
}

// Rule F3: the doctor's cures name options that there are.
func TestDoctorCuresNameOptions(t *testing.T) {
	caddys := []string{"basic_auth", "forward_auth", "handle_path", "try_files", "trusted_proxies", "header_up", "upstream_hostport", "flush_interval", "lb_policy", "client_ip_hash", "reverse_proxy", "remote_ip", "resource_metadata", "rate_limit", "max_header_size", "request_body", "max_size", "strict_sni_host"}
	syntax := documentedSyntax(t)
	named := 0
	for _, rule := range doctor.Rules {
		for _, cure := range rule.Cures {
			if cure.Where != "Caddyfile" {
				continue
			}
			for _, word := range regexp.MustCompile("[a-z]+(_[a-z]+)+").FindAllString(cure.Text, -1) {
				if named++; !slices.Contains(caddys, word) && !strings.Contains(syntax, word) {
					t.Errorf("%s names %s, which the syntax in the reference does not have", rule.ID, word)
				}
			}
			if strings.Contains(strings.NewReplacer("{url}", "", "{origin}", "", "{page}", "", "{path}", "", "{host}", "", "{wellknown}", "", "{upstream}", "", "{other}", "", "{fields}", "", "{bridge}", "", "{http}", "", "{https}", "", "{upstream_hostport}", "").Replace(cure.Text), "{") {
				t.Errorf("%s has a block in one line, which is no Caddyfile: %s", rule.ID, cure.Text)
			}
		}
	}
	if named == 0 {
		t.Error("no cure names an option")
	}
}

// example is how a file of examples/ is run: what of it is replaced by what
// the test has, and the endpoints, with the challenge that a client gets.
type example struct {
	site      string   // the site's address, replaced by one of the test
	upstreams []string // replaced by the test's server
	endpoints []string
	header    http.Header // of the request
	origin    string      // of the public URL; empty: the site's
}

var examples = map[string]example{
	"local-development":             {site: "http://localhost:8080", upstreams: []string{"localhost:3000"}, endpoints: []string{"/mcp"}},
	"several-servers":               {site: "mcp.example.com", upstreams: []string{"github-mcp:3000", "search-1:3000", "search-2:3000", "https://files.internal.example.com"}, endpoints: []string{"/github/mcp", "/search/mcp", "/files/mcp"}},
	"server-names":                  {site: "mcp.example.com", upstreams: []string{"{name}-mcp:3000", "main-mcp:3000"}, endpoints: []string{"/servers/github/mcp", "/servers/files/mcp", "/servers/search-2/mcp", "/servers/main/mcp"}},
	"behind-proxy":                  {site: ":8080", upstreams: []string{"localhost:3000"}, endpoints: []string{"/mcp"}, header: http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"mcp.example.com"}}, origin: "https://mcp.example.com"},
	"external-authorization-server": {site: "mcp.example.com", upstreams: []string{"localhost:3000"}, endpoints: []string{"/mcp"}, origin: "https://mcp.example.com"},
	"cohosted-authorization-server": {site: "mcp.example.com", upstreams: []string{"localhost:3000"}, endpoints: []string{"/mcp"}},
	"handle-path":                   {site: "www.example.com", upstreams: []string{"localhost:3000"}, endpoints: []string{"/tools/mcp"}},
	"forward-auth":                  {site: "mcp.example.com", upstreams: []string{"localhost:3000", "localhost:9091"}, endpoints: []string{"/mcp"}},
	"legacy-sse":                    {site: "mcp.example.com", upstreams: []string{"localhost:8000"}, endpoints: []string{"/sse"}},
	"legacy-clients":                {site: "mcp.example.com", upstreams: []string{"localhost:3000", "localhost:8000"}, endpoints: []string{"/mcp", "/old/mcp"}},
	"authorize":                     {site: "mcp.example.com", upstreams: []string{"localhost:3000"}, endpoints: []string{"/files/mcp", "/notes/mcp"}},
	"unix-socket":                   {site: "mcp.example.com", upstreams: []string{"unix//run/mcp.sock"}, endpoints: []string{"/mcp"}},
}

// Every example is valid as it stands, and does what it says in front of a
// server that answers 401: the challenge names a URL of the public origin,
// and that URL names the endpoint.
func TestExamples(t *testing.T) {
	files := glob(t, "examples/*.Caddyfile")
	if len(files) != len(examples)+1 {
		t.Errorf("%d files in examples, %d are run", len(files), len(examples))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".Caddyfile")
		t.Run(name, func(t *testing.T) {
			text := read(t, file)
			validate(t, text)
			if name == "stdio" {
				return // its programs come from npm; the integration tests run such
			}
			ex, ok := examples[name]
			if !ok {
				t.Fatal("it is not run")
			}
			runExample(t, withPrograms(t, text), ex)
		})
	}
}

func runExample(t *testing.T, caddyfile string, ex example) {
	t.Helper()
	refusing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := "http://" + r.Host
		if strings.Contains(caddyfile, "unix//") {
			origin = "https://tools.internal.example.com"
		}
		switch suffix, ok := strings.CutPrefix(r.URL.Path, "/.well-known/oauth-protected-resource"); {
		case r.URL.Path == "/healthz":
		case ok && suffix != "":
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"resource":%q,"authorization_servers":["https://login.example.com"]}`, origin+suffix)
		case strings.HasPrefix(r.URL.Path, "/.well-known/"):
			http.NotFound(w, r)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+origin+"/.well-known/oauth-protected-resource"+r.URL.Path+`"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	server := httptest.NewServer(refusing)
	t.Cleanup(server.Close)
	port := testcaddy.FreePort(t)
	site := "http://" + testcaddy.Addr(port)
	replace := []string{"\n" + ex.site + " {", "\n" + site + " {"}
	for _, upstream := range ex.upstreams {
		to := strings.TrimPrefix(server.URL, "http://")
		switch {
		case strings.HasPrefix(upstream, "unix/"):
			to = "unix/" + mcptest.ListenUnix(t, refusing)
		case strings.HasPrefix(upstream, "https://"):
			to = server.URL
		}
		replace = append(replace, upstream, to)
	}
	replaced := strings.NewReplacer(replace...).Replace(caddyfile)
	if ex.site == ":8080" {
		replaced = strings.Replace(replaced, site+" {", ":"+fmt.Sprint(port)+" {\n\tbind 127.0.0.1", 1)
	}
	testcaddy.Run(t, replaced)
	origin := ex.origin
	if origin == "" {
		origin = site
	}
	client := mcptest.NewClient(t)
	for _, endpoint := range ex.endpoints {
		method := http.MethodPost
		if endpoint == "/sse" {
			method = http.MethodGet
		}
		req := mcptest.NewRequest(t, method, site+endpoint, mcptest.Initialize)
		for name, values := range ex.header {
			req.Header[name] = values
		}
		answer := mcptest.Do(t, client, req)
		wellKnown := origin + "/.well-known/oauth-protected-resource" + endpoint
		if got := answer.Header.Get("WWW-Authenticate"); answer.Status != http.StatusUnauthorized || !strings.Contains(got, `resource_metadata="`+wellKnown+`"`) {
			t.Errorf("%s: got %d, challenge %q, want 401 with %s", endpoint, answer.Status, got, wellKnown)
		}
		req = mcptest.NewRequest(t, http.MethodGet, strings.Replace(wellKnown, origin, site, 1), "")
		for name, values := range ex.header {
			req.Header[name] = values
		}
		answer = mcptest.Do(t, client, req)
		if want := `"resource":"` + origin + endpoint + `"`; answer.Status != http.StatusOK || !strings.Contains(answer.Body, want) {
			t.Errorf("%s: metadata is %d %s, want %s in it", endpoint, answer.Status, answer.Body, want)
		}
	}
}
