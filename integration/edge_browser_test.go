package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
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

// startWebApp serves the client in a web page on an origin of its own.
func startWebApp(t *testing.T) *httptest.Server {
	t.Helper()
	folder := integration.NeedNode(t)
	app := http.NewServeMux()
	app.Handle("GET /webapp/", http.FileServer(http.Dir(folder)))
	app.Handle("GET /node_modules/", http.FileServer(http.Dir(folder)))
	for _, name := range []string{"driver.mjs", "sdk-v2.mjs"} {
		app.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(folder, name)) })
	}
	s := httptest.NewServer(app)
	t.Cleanup(s.Close)
	return s
}

// driveInChromium has a person use the client in a web page.
func driveInChromium(t *testing.T, page string) webReport {
	t.Helper()
	chromium := integration.NeedChromium(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "webapp.mjs", chromium, page, t.TempDir())
	cmd.Dir = integration.NeedNode(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.Bytes())
	}
	var r webReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if r.Error != "" {
		t.Fatalf("the page says %s; Chromium says %q", r.Error, r.Messages)
	}
	return r
}

// Rules B1, B2, B5, E1, E2, E7, E8: a client of the TypeScript SDK in a web page on another
// origin logs in at the edge, in front of a program and of a server over HTTP that have no
// login. It reads the challenges of the 401 and of the 403, steps up in a second window, and
// goes on in the same page and the same session. A person clicks through the pages of
// oidc-provider, which asks for consent alone the second time.
func TestEdgeInChromium(t *testing.T) {
	integration.NeedChromium(t)
	for name, up := range upstreamsOfEdge(t) {
		t.Run(name, func(t *testing.T) {
			f, app := plainFront(t), startWebApp(t)
			i := startIssuer(t, "issuer-oidc.mjs", f.public, "--page", app.URL+"/webapp/callback.html")
			runEdge(t, f, i, up, "", "")
			r := driveInChromium(t, app.URL+"/webapp/?"+url.Values{"endpoint": {f.public}, "client": {"page"}}.Encode())
			r.checkEdge(t, f, i, up.user, "sdk")
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
			// The SDK adds offline_access, which the authorization server announces.
			if want := []string{"mcp:read offline_access", "mcp:read mcp:admin offline_access"}; !slices.Equal(asked, want) {
				t.Errorf("the page asked for the scopes %q, want %q", asked, want)
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
		})
	}
}
