package integration_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// statusView is what status.mjs reports of one width and colour scheme.
type statusView struct {
	Said, Live, Text, Background string
	Sections                     map[string]struct {
		Text, Row, Verdict string
		Steps              map[string]step
	}
	Open, Order, Pause []string
	Overflow           int
	Owned              bool
	Violations         []string
}

// statusVisit is what status.mjs reports.
type statusVisit struct {
	Views    map[string]statusView
	Fits     map[string]int // healthy endpoints on one screen, by its width
	Requests []struct{ Method, URL, Authorization string }
	Errors   []string
}

// The account of the status page, and the hash of its password as `caddy hash-password`
// gives it with the lowest cost.
const (
	operator     = "operator"
	password     = "page-password"
	passwordHash = "$2a$04$Zn2jbdwi9zuuPch8z2u0ueL3ho9Rar0tApogGOr6umY9IrRpKzXfC"
)

func visitStatus(t *testing.T, page string) statusVisit {
	t.Helper()
	return runNode[statusVisit](t, 3*time.Minute, "status.mjs", integration.NeedChromium(t), page, t.TempDir(), operator, password)
}

// hostile is a challenge that would run a script where it were taken for markup.
const hostile = `Bearer error="invalid_token", error_description="<script>window.owned = 1</script><img src=x onerror=owned=1>"`

// Rule F2: the status page shows in a browser what the admin API says, whatever a server
// sends, and says in words what a script there can do with each endpoint. It is
// accessible on a phone and on a desktop, dark and light; it sends its visitor's
// login nowhere else, and nothing can be ended from it.
func TestStatusPageInChromium(t *testing.T) {
	integration.NeedChromium(t)
	d, err := demo.Start(t.Context(), demo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", hostile)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(bad.Close)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var sites [7]string
	for i := range sites {
		sites[i] = "http://" + testcaddy.Addr(testcaddy.FreePort(t))
	}
	own, other, refusing, injecting, plain, program, down := sites[0], sites[1], sites[2], sites[3], sites[4], sites[5], sites[6]
	nothing := testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, strings.NewReplacer("OWN", own, "OTHER", other, "REFUSING", refusing, "INJECTING", injecting, "PLAIN", plain, "PROGRAM", program, "DOWN", down, "NOTHING", nothing, "SELF", self,
		"DEMO", d.Origin(), "BAD", bad.URL, "HASH", passwordHash).Replace(`{
	auto_https off
}
OWN {
	mcp_auth_bridge DEMO
	handle /mcp-status {
		basic_auth {
			operator HASH
		}
		mcp_auth_bridge status
	}
}
OTHER {
	mcp_auth_bridge DEMO
}
REFUSING {
	mcp_auth_bridge DEMO {
		cors {
			allow_origins https://app.example.com
		}
	}
}
INJECTING {
	mcp_auth_bridge BAD
}
PLAIN {
	mcp_auth_bridge DEMO {
		challenge relay
	}
}
DOWN {
	mcp_auth_bridge NOTHING
}
PROGRAM {
	bind 127.0.0.1
	mcp_auth_bridge {
		stdio SELF serve demo
	}
}`))
	wants := []statusWant{
		{own, "works", "Request", "works", "that says nothing about other pages"},
		{other, "works", "Request", "works", "A script on " + own + " reads the status."},
		{other, "works", "Challenge", "works", `resource_metadata="` + other + "/.well-known/oauth-protected-resource/mcp"},
		{other, "works", "Metadata", "works", "is for " + other + "/mcp."},
		{other, "works", "Authorization server", "works", "A script reads the metadata of " + d.Issuer()},
		{refusing, "fails", "Request", "fails", "allow_origins " + own},
		{injecting, "fails", "Challenge", "look", "it names no metadata"},
		{injecting, "fails", "Metadata", "fails", "HTTP 404"},
		{program, "works", "Request", "works", "HTTP 200: the endpoint requires no login."},
		{plain, "fails", "Challenge", "works", d.Origin()},
		{down, "fails", "Request", "fails", "HTTP 502 instead of 401"},
	}
	got := visitStatus(t, own+"/mcp-status")
	backgrounds := make(map[string]bool)
	for _, name := range []string{"360 light", "360 dark", "1280 light", "1280 dark"} {
		view, ok := got.Views[name]
		if !ok {
			t.Fatalf("%s was not visited", name)
		}
		backgrounds[view.Background] = true
		t.Run(name, func(t *testing.T) {
			view.check(t, wants)
			if text := view.Sections[injecting+"/mcp"].Text; !strings.Contains(text, `<script>window.owned = 1</script>`) {
				t.Errorf("the hostile challenge is not shown:\n%s", text)
			}
			if text := view.Sections[program+"/mcp"].Text; !strings.Contains(text, " 0 sessions") {
				t.Errorf("a session of the checks is left:\n%s", text)
			}
			for at, texts := range map[string][]string{
				down:     {"Failing", nothing, "upstream " + nothing + " does not answer (refused)", "From this browser: Upstream error (502)"},
				refusing: {"Needs attention", d.Origin()[len("http://"):], "1 refused origin", "From this browser: This page's origin is refused"},
				other:    {"OK", "From this browser: A login can start from this browser"},
			} {
				for _, want := range texts {
					if row := view.Sections[at+"/mcp"].Row; !strings.Contains(row, want) {
						t.Errorf("the row of %s lacks %q:\n%s", at, want, row)
					}
				}
			}
			if text := view.Sections[down+"/mcp"].Text; !strings.Contains(text, "Not reached: challenge, metadata, authorization server.") || strings.Contains(text, "Refused origins") {
				t.Errorf("steps that are not reached, or empty parts, are not folded:\n%s", text)
			}
			if slices.Contains(view.Open, other+"/mcp") || !slices.Contains(view.Open, down+"/mcp") {
				t.Errorf("open are %q", view.Open)
			}
			if !slices.Equal(view.Pause, []string{"Pause updates, As of", "Resume updates, Paused at", "Pause updates, As of"}) {
				t.Errorf("the button says %q", view.Pause)
			}
			if view.Said != "Checked: 3 of 7 work from this browser." || view.Live != "polite" {
				t.Errorf("it says %q, %s", view.Said, view.Live)
			}
		})
	}
	if order := got.Views["1280 dark"].Order; !slices.IsSortedFunc(order, func(a, b string) int {
		return strings.Index("failing attention ok", a) - strings.Index("failing attention ok", b)
	}) || order[0] != "failing" {
		t.Errorf("trouble is not first: %q", order)
	}
	if got.Fits["360"] < 3 || got.Fits["1280"] < 5 {
		t.Errorf("healthy endpoints on one screen: %v", got.Fits)
	}
	if len(backgrounds) != 2 {
		t.Errorf("dark and light have the backgrounds %v", backgrounds)
	}
	ended := 0
	for _, r := range got.Requests {
		page := strings.HasPrefix(r.URL, own+"/mcp-status")
		if r.Method == http.MethodDelete && r.URL == program+"/mcp" {
			ended++ // the session that it has begun there
			continue
		}
		if r.Method != http.MethodGet && (page || r.Method != http.MethodPost && r.Method != http.MethodOptions) {
			t.Errorf("it sent %s %s", r.Method, r.URL)
		}
		if r.Authorization != "" && !page {
			t.Errorf("%s got the login of the page's visitor", r.URL)
		}
	}
	if ended != len(got.Views) {
		t.Errorf("%d sessions were begun, %d ended", len(got.Views), ended)
	}
	if len(got.Errors) > 0 {
		t.Errorf("script errors: %q", got.Errors)
	}
}

// statusWant is what a step at an endpoint comes to, and the endpoint as a whole.
type statusWant struct{ at, verdict, step, state, text string }

func (view statusView) check(t *testing.T, wants []statusWant) {
	t.Helper()
	if len(view.Violations) > 0 {
		t.Errorf("axe finds\n%s", strings.Join(view.Violations, "\n"))
	}
	if view.Overflow > 0 {
		t.Errorf("the page is %d px wider than the screen", view.Overflow)
	}
	if view.Owned {
		t.Error("a challenge was taken for markup")
	}
	for _, want := range wants {
		section := view.Sections[want.at+"/mcp"]
		if s := section.Steps[want.step]; section.Verdict != want.verdict || s.State != want.state || !strings.Contains(s.Text, want.text) {
			t.Errorf("%s, %s: got %q, %+v, want %q, %s with %q", want.at, want.step, section.Verdict, s, want.verdict, want.state, want.text)
		}
	}
}
