package mcpauthbridge_test

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

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/stage"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// blocks returns the fenced blocks of a language in a Markdown file.
func blocks(t *testing.T, file, language string) []string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(raw), -1) {
		found = append(found, m[1])
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

// validate adapts and provisions a Caddyfile as `caddy validate` does.
func validate(t *testing.T, caddyfile string) {
	t.Helper()
	adapted, err := testcaddy.Adapt(caddyfile)
	if err != nil {
		t.Fatalf("%v\n%s", err, caddyfile)
	}
	var cfg caddy.Config
	if err := json.Unmarshal(adapted, &cfg); err != nil {
		t.Fatal(err)
	}
	cfg.StorageRaw = json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, t.TempDir()))
	if err := caddy.Validate(&cfg); err != nil {
		t.Fatalf("%v\n%s", err, caddyfile)
	}
}

// The README's smallest Caddyfile adapts to its JSON twin.
func TestReadmeJSONTwin(t *testing.T) {
	twins := blocks(t, "README.md", "json")
	if len(twins) == 0 {
		t.Fatal("README.md has no JSON")
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
	raw, err := os.ReadFile("Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	private := strings.TrimPrefix(d.Origin(), "http://")
	testcaddy.Run(t, "{\n\tdefault_bind 127.0.0.1\n}\n"+
		strings.NewReplacer("http://localhost:8080 {", "http://"+address+" {", "localhost:3000", private).Replace(string(raw)))
	sessions := blocks(t, "README.md", "console")
	i := slices.IndexFunc(sessions, func(s string) bool { return strings.HasPrefix(s, "$ curl -i http://localhost:8080/mcp") })
	if i < 0 {
		t.Fatal("README.md shows no curl of the endpoint")
	}
	_, want, _ := strings.Cut(sessions[i], "\n")
	req := newRequest(t, http.MethodPost, "http://"+address+"/mcp", `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
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
	got = strings.NewReplacer(s.Plain, "http://127.0.0.1:8081/mcp", s.Private(), "http://127.0.0.1:3000/mcp").Replace(got)
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
	caddys := []string{"basic_auth", "forward_auth", "handle_path", "try_files", "trusted_proxies", "header_up", "upstream_hostport", "flush_interval", "lb_policy", "client_ip_hash"}
	syntax := strings.Join(blocks(t, "README.md", ""), "\n")
	named := 0
	for _, rule := range doctor.Rules {
		for _, cure := range rule.Cures {
			if cure.Where != "Caddyfile" {
				continue
			}
			for _, word := range regexp.MustCompile("[a-z]+(_[a-z]+)+").FindAllString(cure.Text, -1) {
				if named++; !slices.Contains(caddys, word) && !strings.Contains(syntax, word) {
					t.Errorf("%s names %s, which the README's syntax does not have", rule.ID, word)
				}
			}
			if strings.Contains(strings.NewReplacer("{url}", "", "{origin}", "", "{page}", "", "{path}", "", "{host}", "", "{wellknown}", "", "{upstream_hostport}", "").Replace(cure.Text), "{") {
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
	"behind-proxy":                  {site: ":8080", upstreams: []string{"localhost:3000"}, endpoints: []string{"/mcp"}, header: http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"mcp.example.com"}}, origin: "https://mcp.example.com"},
	"external-authorization-server": {site: "mcp.example.com", upstreams: []string{"localhost:3000"}, endpoints: []string{"/mcp"}, origin: "https://mcp.example.com"},
	"cohosted-authorization-server": {site: "mcp.example.com", upstreams: []string{"localhost:3000"}, endpoints: []string{"/mcp"}},
	"handle-path":                   {site: "www.example.com", upstreams: []string{"localhost:3000"}, endpoints: []string{"/tools/mcp"}},
	"forward-auth":                  {site: "mcp.example.com", upstreams: []string{"localhost:3000", "localhost:9091"}, endpoints: []string{"/mcp"}},
	"legacy-sse":                    {site: "mcp.example.com", upstreams: []string{"localhost:8000"}, endpoints: []string{"/sse"}},
	"legacy-clients":                {site: "mcp.example.com", upstreams: []string{"localhost:3000", "localhost:8000"}, endpoints: []string{"/mcp", "/old/mcp"}},
	"unix-socket":                   {site: "mcp.example.com", upstreams: []string{"unix//run/mcp.sock"}, endpoints: []string{"/mcp"}},
}

// Every example is valid as it stands, and does what it says in front of a
// server that answers 401: the challenge names a URL of the public origin,
// and that URL names the endpoint.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(examples)+1 {
		t.Errorf("%d files in examples, %d are run", len(files), len(examples))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".Caddyfile")
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			validate(t, string(raw))
			if name == "stdio" {
				return // its programs come from npm; the integration tests run such
			}
			ex, ok := examples[name]
			if !ok {
				t.Fatal("it is not run")
			}
			runExample(t, string(raw), ex)
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
			to = "unix/" + listenUnix(t, refusing)
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
	client := newClient(t)
	for _, endpoint := range ex.endpoints {
		method := http.MethodPost
		if endpoint == "/sse" {
			method = http.MethodGet
		}
		req := newRequest(t, method, site+endpoint, initReq)
		for name, values := range ex.header {
			req.Header[name] = values
		}
		answer := do(t, client, req)
		wellKnown := origin + "/.well-known/oauth-protected-resource" + endpoint
		if got := answer.header.Get("WWW-Authenticate"); answer.status != http.StatusUnauthorized || !strings.Contains(got, `resource_metadata="`+wellKnown+`"`) {
			t.Errorf("%s: got %d, challenge %q, want 401 with %s", endpoint, answer.status, got, wellKnown)
		}
		req = newRequest(t, http.MethodGet, strings.Replace(wellKnown, origin, site, 1), "")
		for name, values := range ex.header {
			req.Header[name] = values
		}
		answer = do(t, client, req)
		if want := `"resource":"` + origin + endpoint + `"`; answer.status != http.StatusOK || !strings.Contains(answer.body, want) {
			t.Errorf("%s: metadata is %d %s, want %s in it", endpoint, answer.status, answer.body, want)
		}
	}
}
