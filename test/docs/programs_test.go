package docs_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// The Caddyfile of docs/stdio.md that offers a program to others: who has no
// token is led to the login, who has one gets in, stays in the session with
// another token, and does not get into that of another user.
func TestDocumentedProgramForOthers(t *testing.T) {
	const program = "/usr/local/bin/mcp-files --root /srv/shared {\n\t\t\t\tuser nobody"
	found := blocks(t, "docs/stdio.md", "caddyfile")
	var caddyfile string
	for _, text := range found {
		if strings.Contains(text, program) {
			caddyfile = text
		}
	}
	if caddyfile == "" {
		t.Fatal("docs/stdio.md offers no program to others")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var issuer string
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { authorizationServer(w, r, issuer) }))
	t.Cleanup(login.Close)
	issuer = login.URL
	verify := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer token-of-")
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		user, _, _ = strings.Cut(user, "-") // a token has a number
		w.Header().Set("Remote-User", user)
	}))
	t.Cleanup(verify.Close)
	replaced, origins := onLoopback(t, strings.NewReplacer(
		program, self+" -test.run=^$ {\n\t\t\t\tenv "+mcptest.ChildServer+"=1", "localhost:9091", strings.TrimPrefix(verify.URL, "http://"),
		"https://login.example.com", issuer,
	).Replace(caddyfile))
	testcaddy.Run(t, "{\n\tauto_https off\n}\n"+replaced)
	url := origins["mcp.example.com"] + "/mcp"

	report, err := doctor.Run(t.Context(), doctor.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	if v := report.Verdict; v.State != doctor.Healthy || v.Warnings > 0 || v.Text != "Clients can start the login." {
		t.Errorf("without a token: got\n%s", text(t, report))
	}
	report, err = doctor.Run(t.Context(), doctor.Options{URL: url, Token: "token-of-alice-1"})
	if err != nil {
		t.Fatal(err)
	}
	if report.Verdict.State != doctor.Healthy || !strings.Contains(text(t, report), "tools/list is answered") {
		t.Errorf("with a token: got\n%s", text(t, report))
	}

	client := mcptest.NewClient(t)
	as := func(user, session, body string) mcptest.Answer {
		t.Helper()
		req := mcptest.NewRequest(t, http.MethodPost, url, body)
		req.Header.Set("Authorization", "Bearer token-of-"+user)
		if session != "" {
			req.Header.Set("Mcp-Session-Id", session)
		}
		return mcptest.Do(t, client, req)
	}
	session := as("alice-1", "", mcptest.Initialize).Header.Get("Mcp-Session-Id")
	const ping = `{"jsonrpc":"2.0","id":2,"method":"ping"}`
	for user, want := range map[string]int{"alice-1": http.StatusOK, "alice-2": http.StatusOK, "mallory-1": http.StatusNotFound} {
		if got := as(user, session, ping); session == "" || got.Status != want {
			t.Errorf("%s in the session of alice: got %d, want %d", user, got.Status, want)
		}
	}
}

// The Caddyfile of docs/stdio.md with an environment hands the program what the page
// says, and none of the placeholders themselves.
func TestDocumentedProgramEnvironment(t *testing.T) {
	const program, file = "stdio /usr/local/bin/mcp-files --root /srv/shared {\n\t\t\tdir /srv/shared", "/run/secrets/files-key"
	var caddyfile string
	for _, text := range blocks(t, "docs/stdio.md", "caddyfile") {
		if strings.Contains(text, program) && strings.Contains(text, file) {
			caddyfile = text
		}
	}
	if caddyfile == "" {
		t.Fatal("docs/stdio.md has no program with an environment")
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("key of a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("FILES_TOKEN", "token of Caddy")
	t.Setenv("LANG", "C.UTF-8")
	t.Setenv("OF_CADDY_ALONE", "hush")
	replaced, origins := onLoopback(t, strings.NewReplacer(program, "stdio "+self+" -test.run=^$ {\n\t\t\tenv "+mcptest.ChildServer+"=1", file, key).Replace(caddyfile))
	testcaddy.Run(t, "{\n\tauto_https off\n}\n"+replaced)
	for _, origin := range origins {
		got := "\n" + mcptest.DoIn(t, mcptest.Connect(t, origin+"/files/mcp"), "env", 0) + "\n"
		for _, want := range []string{"TOKEN=token of Caddy", "KEY=key of a file", "LANG=C.UTF-8", "LOG_LEVEL=info", "PATH=" + os.Getenv("PATH")} {
			if !strings.Contains(got, "\n"+want+"\n") {
				t.Errorf("got environment %q, want %s", got, want)
			}
		}
		if strings.Contains(got, "hush") || strings.Contains(got, "FILES_TOKEN") {
			t.Errorf("got environment %q, which has more than the page says", got)
		}
	}
	if len(origins) != 1 {
		t.Errorf("got origins %v, want one", origins)
	}
}

// hashOfToken is the hash of the password "token", for basic_auth, at the lowest cost.
const hashOfToken = "$2a$04$67ymlos1wTiCP0rekS9sWO9seu1yuoKrnz5F2sHEnMlMVFvjAoEpe"

// Rules A10, D5: what the documentation puts in front of an endpoint guards every path
// that the endpoint answers, however it is written, and a client's own Remote-User is
// believed on none of them.
func TestDocumentedGuards(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	files := append([]string{"README.md"}, pages(t)...)
	examples := glob(t, "examples/*.Caddyfile")
	caddyfiles := make(map[string]string)
	for _, file := range files {
		for i, text := range blocks(t, file, "caddyfile") {
			caddyfiles[fmt.Sprintf("%s %d", file, i)] = text
		}
	}
	for _, file := range examples {
		caddyfiles[file] = read(t, file)
	}
	tested := 0
	for name, text := range caddyfiles {
		if !regexp.MustCompile(`(?m)^\s+(forward_auth|basic_auth)\b`).MatchString(text) || strings.Contains(text, "not path /mcp ") || strings.Contains(text, "mcp_auth_bridge status") {
			continue // no guard, or none of the endpoint
		}
		tested++
		t.Run(name, func(t *testing.T) {
			verify := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer token" {
					w.WriteHeader(http.StatusUnauthorized)
				}
			}))
			t.Cleanup(verify.Close)
			var reached atomic.Int64
			var mu sync.Mutex
			seen := make(http.Header) // fields that name a user, at the server
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					reached.Add(1)
					mu.Lock()
					for name, values := range r.Header {
						seen[name] = append(seen[name], values...)
					}
					mu.Unlock()
				}
				w.WriteHeader(http.StatusNotFound)
			}))
			t.Cleanup(up.Close)
			text := regexp.MustCompile(`(?m)stdio (npx|/usr/local/bin/mcp-files).* \{`).ReplaceAllString(text, "stdio "+self+" -test.run=^$$ {\n\t\t\tenv "+mcptest.ChildServer+"=1")
			text = regexp.MustCompile(`\$2a\$14\$\S+`).ReplaceAllLiteralString(text, hashOfToken)
			text = strings.NewReplacer("user nobody", "", "localhost:9091", strings.TrimPrefix(verify.URL, "http://"), "localhost:4180", strings.TrimPrefix(verify.URL, "http://"), "localhost:3000", strings.TrimPrefix(up.URL, "http://")).Replace(text)
			replaced, origins := onLoopback(t, text)
			testcaddy.Run(t, "{\n\tauto_https off\n}\n"+replaced)
			for site, origin := range origins {
				if !strings.HasSuffix(site, ".example.com") {
					continue // on loopback, without a guard
				}
				addr := strings.TrimPrefix(origin, "http://")
				client := &mcptest.LiteralClient{T: t, Addr: addr}
				defer client.Close()
				for _, target := range mcptest.SpellingsOf("", "/mcp") {
					res := client.Send(addr, http.MethodPost, target, "x", "Remote-User", "alice", "X-User", "alice")
					if res.StatusCode != http.StatusUnauthorized && slices.Contains(res.Header.Values("Vary"), "Origin") {
						t.Errorf("%s without a token: got %d", target, res.StatusCode)
					}
					if res.Header.Get("Mcp-Session-Id") != "" {
						t.Errorf("%s without a token: got a session", target)
					}
				}
				if n := reached.Load(); n > 0 {
					t.Errorf("%d requests without a token reached the server", n)
				}
				credentials := "Bearer token"
				if strings.Contains(text, "basic_auth") {
					credentials = "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:token"))
				}
				for _, target := range []string{"/mcp", "/mcp/", "/%6dcp"} {
					client.Send(addr, http.MethodPost, target, "x", "Remote-User", "alice", "X-User", "alice", "Authorization", credentials)
				}
				if strings.Contains(text, up.URL[len("http://"):]) && reached.Load() == 0 {
					t.Error("no request with a token reached the server")
				}
				mu.Lock()
				if m := regexp.MustCompile(`copy_headers (\S+)`).FindStringSubmatch(text); m != nil && seen.Get(m[1]) != "" {
					t.Errorf("the server sees the client's own %s", m[1])
				}
				mu.Unlock()
			}
		})
	}
	if tested < 5 {
		t.Errorf("%d configurations with a guard", tested)
	}
}
