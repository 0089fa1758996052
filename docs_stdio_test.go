package mcpauthbridge_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
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
		program, self+" -test.run=^$ {\n\t\t\t\tenv "+stdioServer+"=1", "localhost:9091", strings.TrimPrefix(verify.URL, "http://"),
		"https://login.example.com", issuer,
	).Replace(caddyfile))
	testcaddy.Run(t, "{\n\tauto_https off\n}\n"+replaced)
	url := origins["mcp.example.com"] + "/mcp"

	report, err := doctor.Run(t.Context(), doctor.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	if v := report.Verdict; v.State != doctor.Healthy || v.Warnings > 0 || v.Text != "clients reach the login." {
		t.Errorf("without a token: got\n%s", text(t, report))
	}
	report, err = doctor.Run(t.Context(), doctor.Options{URL: url, Token: "token-of-alice-1"})
	if err != nil {
		t.Fatal(err)
	}
	if report.Verdict.State != doctor.Healthy || !strings.Contains(text(t, report), "tools/list is answered") {
		t.Errorf("with a token: got\n%s", text(t, report))
	}

	client := newClient(t)
	as := func(user, session, body string) answer {
		t.Helper()
		req := newRequest(t, http.MethodPost, url, body)
		req.Header.Set("Authorization", "Bearer token-of-"+user)
		if session != "" {
			req.Header.Set("Mcp-Session-Id", session)
		}
		return do(t, client, req)
	}
	session := as("alice-1", "", initReq).header.Get("Mcp-Session-Id")
	const ping = `{"jsonrpc":"2.0","id":2,"method":"ping"}`
	for user, want := range map[string]int{"alice-1": http.StatusOK, "alice-2": http.StatusOK, "mallory-1": http.StatusNotFound} {
		if got := as(user, session, ping); session == "" || got.status != want {
			t.Errorf("%s in the session of alice: got %d, want %d", user, got.status, want)
		}
	}
}
