package integration_test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo/page"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/stage"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// step is what one step of the page came to.
type step struct{ State, Text string }

// walk is what page.mjs reports.
type walk struct {
	Before, After    map[string]map[string]step
	Consents         map[string]struct{ Origin, Text string }
	Refused          step // what the tool for admins came to before the second login
	Last             step
	Cookies          []string
	Requests, Errors []string
	Violations       []string // of the pages of this project, by axe
}

// visit drives the page in Chromium.
func visit(t *testing.T, page string, options ...string) walk {
	t.Helper()
	return runNode[walk](t, 3*time.Minute, "page.mjs", append([]string{integration.NeedChromium(t), page, t.TempDir()}, options...)...)
}

// check asserts what the page shows of a bridge and of plain reverse_proxy
// before it, and after a login.
func (got walk) check(t *testing.T, private string) {
	t.Helper()
	for column, want := range map[string]map[string]string{
		"bridge": {"request": "ok", "challenge": "ok", "metadata": "ok", "login": "waiting", "tool": "pending"},
		"plain":  {"request": "failed", "challenge": "skipped", "metadata": "skipped", "login": "skipped", "tool": "skipped"},
	} {
		for name, state := range want {
			if g := got.Before[column][name]; g.State != state {
				t.Errorf("before the login, %s, %s: got %q (%s), want %q", column, name, g.State, g.Text, state)
			}
		}
	}
	for column, states := range got.After {
		for _, name := range []string{"request", "challenge", "metadata", "login", "tool"} {
			want := "ok"
			if column == "stdio" && name != "request" && name != "tool" {
				want = "unasked"
			}
			if g := states[name]; g.State != want {
				t.Errorf("after the login, %s, %s: got %q (%s), want %s", column, name, g.State, g.Text, want)
			}
		}
		want := "whoami: alice"
		if column == "stdio" || column == "edge" { // a program is not told
			want = "whoami: somebody"
		}
		if g := states["tool"].Text; g != want {
			t.Errorf("%s: tool call: got %q, want %q", column, g, want)
		}
	}
	for _, r := range got.Requests {
		if strings.Contains(r, private) {
			t.Errorf("the browser was sent to the private address: %s", r)
		}
	}
	if len(got.Errors) > 0 {
		t.Errorf("script errors: %q", got.Errors)
	}
}

// Rules A1, A5, B1, B2, B5, C1, C3: a page on another origin reads the 401
// and its challenge on the first request, fetches the metadata that it names,
// logs in and calls a tool; with plain reverse_proxy it does not get past the
// first request. It is the same where the server speaks HTTP+SSE (rules A1, D3, D4);
// one that is a program is called without a login (D5).
func TestPageInChromium(t *testing.T) {
	integration.NeedChromium(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := startStage(t, stage.Options{Program: []string{self, "serve", "demo"}})
	got := visit(t, s.Page)
	got.check(t, s.Private())
	if len(got.Violations) > 0 {
		t.Errorf("axe finds\n%s", strings.Join(got.Violations, "\n"))
	}
	if len(got.After) != 4 || got.Consents["sse"].Origin != s.Issuer() || !strings.Contains(got.Consents["sse"].Text, s.SSE) {
		t.Errorf("after the logins: %v, consent %v", got.After, got.Consents["sse"])
	}
	got.checkStepUp(t, s)
	wellKnown := strings.TrimSuffix(s.Bridge, "/mcp") + "/.well-known/oauth-protected-resource/mcp"
	if g := got.Before["bridge"]["request"].Text; g != "HTTP 401" {
		t.Errorf("first request: got %q, want HTTP 401", g)
	}
	if g, want := got.Before["bridge"]["challenge"].Text, `Bearer resource_metadata="`+wellKnown+`", scope="mcp:read"`; g != want {
		t.Errorf("challenge as the script reads it: got %q, want %q", g, want)
	}
	if !slices.Contains(got.Requests, "GET "+wellKnown) {
		t.Errorf("requests %q lack the metadata that the challenge names, %s", got.Requests, wellKnown)
	}
	if got.Consents["bridge"].Origin != s.Issuer() || !strings.Contains(got.Consents["bridge"].Text, s.Bridge) {
		t.Errorf("consent page at %s says %q, want it at %s and for %s", got.Consents["bridge"].Origin, got.Consents["bridge"].Text, s.Issuer(), s.Bridge)
	}
}

// checkStepUp asserts what the page shows of the program behind `authorize`: the script reads
// the challenge of the 403, and the second login is for the scopes in it.
func (got walk) checkStepUp(t *testing.T, s *stage.Stage) {
	t.Helper()
	const scopes = demo.ScopeRead + " " + demo.ScopeAdmin
	if g := got.Refused; g.State != "waiting" || !strings.Contains(g.Text, `error="insufficient_scope"`) || !strings.Contains(g.Text, `scope="`+scopes+`"`) {
		t.Errorf("tool for admins before the second login: got %q (%s), want the challenge", g.State, g.Text)
	}
	if g := got.After["edge"]["stepup"]; g.State != "ok" || g.Text != "admin_secret: "+secret {
		t.Errorf("tool for admins after the second login: got %q (%s), want the secret", g.State, g.Text)
	}
	if g := got.Consents["edge"]; g.Origin != s.Issuer() || !strings.Contains(g.Text, s.Edge) || strings.Contains(g.Text, demo.ScopeAdmin) {
		t.Errorf("consent page at %s says %q, want it at %s for %s without %s", g.Origin, g.Text, s.Issuer(), s.Edge, demo.ScopeAdmin)
	}
	if g := got.Consents["stepup"]; g.Origin != s.Issuer() || !strings.Contains(g.Text, scopes) {
		t.Errorf("second consent page at %s says %q, want it at %s for %s", g.Origin, g.Text, s.Issuer(), scopes)
	}
}

func startStage(t *testing.T, opts stage.Options) *stage.Stage {
	t.Helper()
	s, err := stage.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Rules B5, C5: the same against an authorization server on the MCP server's
// private origin, whose consent page is on the public one; the tokens are for
// the private URL, and one that has expired is refreshed.
func TestCohostedPageInChromium(t *testing.T) {
	integration.NeedChromium(t)
	s := startStage(t, stage.Options{Demo: demo.Options{SameOrigin: true, TokenLifetime: lifetime}})
	got := visit(t, s.Page, "until-refreshed")
	got.check(t, s.Issuer())
	if want := strings.TrimSuffix(s.Bridge, "/mcp"); got.Consents["bridge"].Origin != want || !strings.Contains(got.Consents["bridge"].Text, s.Private()) {
		t.Errorf("consent page at %s says %q, want it at %s and for %s", got.Consents["bridge"].Origin, got.Consents["bridge"].Text, want, s.Private())
	}
	if got.Last.State != "ok" || !strings.Contains(got.Last.Text, "refreshed") {
		t.Errorf("the last call was %+v, want a refreshed token", got.Last)
	}
}

// Rules B5, C5: the same against the TypeScript SDK's authorization server, with
// a consent page that the server redirects to and a cookie that it needs.
func TestTypeScriptPageInChromium(t *testing.T) {
	integration.NeedChromium(t)
	for _, audience := range []string{"private", "public"} {
		t.Run(audience, func(t *testing.T) {
			bridge, plain := testcaddy.Addr(testcaddy.FreePort(t)), testcaddy.Addr(testcaddy.FreePort(t))
			options := []string{"--consent", "--name", "localhost", "--lifetime", "2", "--iss"}
			if audience == "public" {
				options = append(options, "--audience", "http://"+bridge+"/mcp")
			}
			s := startNodeServer(t, options...)
			testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://%s {
	mcp_auth_bridge %s {
		authorization_server bridge
	}
}
http://%s {
	reverse_proxy %s
}`, bridge, s.MCP, plain, s.Origin))
			p := httptest.NewServer(page.Handler(
				page.Target{ID: "bridge", Title: "bridge", URL: "http://" + bridge + "/mcp"},
				page.Target{ID: "plain", Title: "plain", URL: "http://" + plain + "/mcp"},
			))
			t.Cleanup(p.Close)
			got := visit(t, p.URL+"/", "until-refreshed")
			got.check(t, s.Origin)
			if want := "http://" + bridge; got.Consents["bridge"].Origin != want {
				t.Errorf("consent page at %s, want it at %s", got.Consents["bridge"].Origin, want)
			}
			if got.Last.State != "ok" || !strings.Contains(got.Last.Text, "refreshed") {
				t.Errorf("the last call was %+v, want a refreshed token", got.Last)
			}
			if cookies := s.seen(t).Cookies; !slices.Equal(cookies, []string{"sid"}) {
				t.Errorf("the server got cookies %q, the browser has %q", cookies, got.Cookies)
			}
		})
	}
}
