package integration_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
)

// webReport is what webapp.mjs prints.
type webReport struct {
	report

	Error    string
	Logins   [][]struct{ Title, Origin string }
	Loads    int
	Messages []string // of Chromium
}

// startWebApp serves the clients in a web page on an origin of its own.
func startWebApp(t *testing.T) *httptest.Server {
	t.Helper()
	folder := integration.NeedNode(t)
	app := http.NewServeMux()
	app.Handle("GET /webapp/", http.FileServer(http.Dir(folder)))
	app.Handle("GET /node_modules/", http.FileServer(http.Dir(folder)))
	app.Handle("GET /bundled/", http.StripPrefix("/bundled/", http.FileServer(http.Dir(bundleWebApp(t, folder)))))
	for _, name := range []string{"driver.mjs", "sdk-v2.mjs"} {
		app.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(folder, name)) })
	}
	s := httptest.NewServer(app)
	t.Cleanup(s.Close)
	return s
}

// bundleWebApp returns a folder with the client that browsers cannot load as it is, v1.js.
func bundleWebApp(t *testing.T, folder string) string {
	t.Helper()
	into := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join("node_modules", ".bin", "esbuild"),
		filepath.Join("webapp", "v1.mjs"), "--bundle", "--format=esm", "--log-level=warning", "--outdir="+into)
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("esbuild: %v\n%s", err, out)
	}
	return into
}

// webClient is a client in a web page.
type webClient struct {
	app    string
	by     string   // what steps it up
	scopes []string // that it asks for at its logins
}

var webClients = map[string]webClient{
	"sdk-1.x": {"/bundled/v1.js", "application", []string{"mcp:read", "mcp:read mcp:admin"}},
	// This adds offline_access, which the authorization server announces.
	"sdk-2.x": {"/webapp/v2.mjs", "sdk", []string{"mcp:read offline_access", "mcp:read mcp:admin offline_access"}},
}

// driveInChromium has a person use the client in a web page.
func driveInChromium(t *testing.T, page string) webReport {
	t.Helper()
	r := runNode[webReport](t, 3*patience, "webapp.mjs", integration.NeedChromium(t), page, t.TempDir())
	if r.Error != "" {
		t.Fatalf("the page says %s; Chromium says %q", r.Error, r.Messages)
	}
	return r
}

// Rules B1, B2, B5, E1, E2, E7, E8: clients of both TypeScript SDKs in a web page on another
// origin log in at the edge, in front of a program and of a server over HTTP that have no
// login. They read the challenges of the 401 and of the 403, step up in a second window, and
// go on in the same page and the same session. A person clicks through the pages of
// oidc-provider, which asks for consent alone the second time.
func TestEdgeInChromium(t *testing.T) {
	integration.NeedChromium(t)
	app := startWebApp(t)
	for name, up := range upstreamsOfEdge(t) {
		for sdk, c := range webClients {
			t.Run(name+"/"+sdk, func(t *testing.T) {
				f := plainFront(t)
				i := startIssuer(t, "issuer-oidc.mjs", f.public, "--page", app.URL+"/webapp/callback.html")
				runEdge(t, f, i, up, "", "")
				r := driveInChromium(t, app.URL+"/webapp/?"+url.Values{"app": {c.app}, "endpoint": {f.public}, "client": {"page"}}.Encode())
				r.checkEdge(t, f, i, up.user, c.by)
				r.checkPage(t, f, i, c)
			})
		}
	}
}

// checkPage asserts what holds of every login at the edge that begins in a web page.
func (r webReport) checkPage(t *testing.T, f front, i *issuer, c webClient) {
	t.Helper()
	if r.First.Status != 401 || r.First.Method != "POST" {
		t.Errorf("the page read %+v first, want 401 to a POST", r.First)
	}
	var asked []string
	for _, a := range r.Authorizations {
		asked = append(asked, a.Scope)
		if a.Resource != f.public {
			t.Errorf("the page asked for a login at %q, want %s", a.Resource, f.public)
		}
	}
	if !slices.Equal(asked, c.scopes) {
		t.Errorf("the page asked for the scopes %q, want %q", asked, c.scopes)
	}
	var titles [][]string
	for _, pages := range r.Logins {
		var of []string
		for _, p := range pages {
			of = append(of, p.Title)
			if p.Origin != i.URL {
				t.Errorf("the person was asked at %s, want at %s", p.Origin, i.URL)
			}
		}
		titles = append(titles, of)
	}
	if want := [][]string{{"login", "consent"}, {"consent"}}; !slices.EqualFunc(titles, want, slices.Equal) {
		t.Errorf("the person was asked for %q, want %q", titles, want)
	}
	if r.Loads != 1 {
		t.Errorf("the page was loaded %d times, want once", r.Loads)
	}
	for _, message := range r.Messages { // Chromium logs each 401 and 403
		if !strings.Contains(message, "status of 401") && !strings.Contains(message, "status of 403") {
			t.Errorf("Chromium says %q", message)
		}
	}
}
