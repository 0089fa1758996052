package doctor

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// screens is two screens of 24 lines.
const screens = 48

// Rule F3: of a healthy server that is said first, in under two screens, and
// no rule is broken.
func TestHealthy(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*site)
		opts  func(*testing.T, *site, *Options)
		text  string
		steps string // the steps that pass
	}{
		"login": {nil, nil, "clients reach the login.", "connect preflight initialize discover get challenge resource-metadata authorization-server token-endpoint"},
		"login, walked through, as a page": {nil, func(t *testing.T, s *site, o *Options) {
			page(t, s, o)
			login(t, s, o)
		}, "clients reach the login.", "connect preflight initialize discover get challenge resource-metadata authorization-server token-endpoint login token"},
		"token":    {nil, token(mcpURL, time.Hour), "clients reach the login.", "connect preflight initialize discover get challenge resource-metadata authorization-server token-endpoint token"},
		"no login": {func(s *site) { s.open = true }, nil, "clients get in, and need no login.", "connect preflight initialize discover get session"},
		"login after initialize": {func(s *site) {
			s.answer = func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Mcp-Session-Id") != "" {
					s.refuse(w, "")
					return
				}
				speak(w, r)
			}
		}, nil, "clients reach the login.", "connect preflight initialize discover get session challenge resource-metadata authorization-server token-endpoint"},
		"metadata at the root alone, issuer with a path": {func(s *site) {
			s.challenge = []string{"Bearer"}
			s.at = none(metadataPath)
			s.at["mcp.example.com/.well-known/oauth-protected-resource"] = func(w http.ResponseWriter, r *http.Request) {
				openCORS(w, r)
				writeJSON(w, 200, map[string]any{"resource": mcpURL, "authorization_servers": []string{issuerURL + "/tenant"}})
			}
			s.at["login.example.com/tenant/.well-known/openid-configuration"] = func(w http.ResponseWriter, r *http.Request) {
				openCORS(w, r)
				s.server["issuer"] = issuerURL + "/tenant"
				writeJSON(w, 200, s.server)
			}
		}, nil, "clients reach the login.", "connect preflight initialize discover get resource-metadata authorization-server token-endpoint"},
		"DPoP": {func(s *site) { s.answer = s.dpop(mcpURL) }, nil, "clients reach the login.", "connect preflight initialize discover get challenge resource-metadata authorization-server token-endpoint dpop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite()
			if tc.spoil != nil {
				tc.spoil(s)
			}
			s.start(t)
			opts := Options{URL: mcpURL, Transport: s.transport()}
			if tc.opts != nil {
				tc.opts(t, s, &opts)
			}
			r, err := Run(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			if err := r.WriteText(&text, TextOptions{}); err != nil {
				t.Fatal(err)
			}
			var passed []string
			for _, step := range r.Steps {
				if step.Level == Pass {
					passed = append(passed, step.ID)
				}
			}
			if v := r.Verdict; v.State != Healthy || v.Fails != 0 || v.Text != tc.text {
				t.Errorf("got %+v, want healthy: %s\n%s", v, tc.text, text.String())
			}
			if got := strings.Join(passed, " "); got != tc.steps {
				t.Errorf("passed %s\nwant   %s\n%s", got, tc.steps, text.String())
			}
			if lines := strings.Count(text.String(), "\n"); lines > screens+10*r.Verdict.Warnings {
				t.Errorf("%d lines, want at most %d\n%s", lines, screens, text.String())
			}
			if !strings.HasPrefix(text.String(), "HEALTHY  "+mcpURL+"\n") {
				t.Errorf("it begins %.80q", text.String())
			}
		})
	}
}

// The order of the places is that of the specification.
func TestPlaces(t *testing.T) {
	for raw, want := range map[string][]string{
		"https://login.example.com": {
			"https://login.example.com/.well-known/oauth-authorization-server", "https://login.example.com/.well-known/openid-configuration",
		},
		"https://login.example.com/": {
			"https://login.example.com/.well-known/oauth-authorization-server", "https://login.example.com/.well-known/openid-configuration",
		},
		"https://login.example.com/a/b": {
			"https://login.example.com/.well-known/oauth-authorization-server/a/b", "https://login.example.com/.well-known/openid-configuration/a/b",
			"https://login.example.com/a/b/.well-known/openid-configuration",
		},
		"https://login.example.com/a%2Fb/": {
			"https://login.example.com/.well-known/oauth-authorization-server/a%2Fb", "https://login.example.com/.well-known/openid-configuration/a%2Fb",
			"https://login.example.com/a%2Fb/.well-known/openid-configuration",
		},
	} {
		u, err := parseTarget(raw)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range issuerPlaces(u) {
			got = append(got, p.at.String())
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: got\n%s\nwant\n%s", raw, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// Arguments that cannot be walked with are refused, without what may be secret
// in them.
func TestUsage(t *testing.T) {
	for name, opts := range map[string]Options{
		"no URL":             {},
		"no scheme":          {URL: "mcp.example.com/mcp"},
		"another scheme":     {URL: "ftp://mcp.example.com"},
		"user":               {URL: "https://user:s3cr3t@mcp.example.com/mcp"},
		"fragment":           {URL: "https://mcp.example.com/mcp#s3cr3t"},
		"unreadable":         {URL: "https://mcp.example.com/%zz?key=s3cr3t"},
		"origin with a path": {URL: mcpURL, Origin: "https://app.example.com/page"},
		"token with a space": {URL: mcpURL, Token: "s3cr3t s3cr3t"},
		"token and login":    {URL: mcpURL, Token: "s3cr3t", Login: true},
		"upstream":           {URL: mcpURL, Upstream: "localhost:3000"},
	} {
		r, err := Run(t.Context(), opts)
		if err == nil || r != nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: got %v, %v", name, r, err)
		}
	}
}

// Each rule is one of a specification, is told apart from others, and says what
// mends it.
func TestRules(t *testing.T) {
	places := map[string]bool{inCaddyfile: true, atServer: true, atIssuer: true, onNetwork: true, onCommand: true}
	if len(rules) != len(Rules) {
		t.Errorf("%d rules have %d names", len(Rules), len(rules))
	}
	for _, r := range Rules {
		if r.Reference == "" || len(r.Cures) == 0 {
			t.Errorf("%s: no reference, or no cure", r.ID)
		}
		for _, c := range r.Cures {
			if !places[c.Where] || c.Text == "" {
				t.Errorf("%s: cure %+v", r.ID, c)
			}
		}
	}
}

// Rule F3: the walk with and without what stands in front: what differs is
// marked, and the verdict says on which side the cause is.
func TestUpstream(t *testing.T) {
	for name, tc := range map[string]struct {
		front, behind func(*site)
		blame         string
		differs       string
	}{
		"the front":  {func(s *site) { s.challenge = nil; s.at = none(metadataPath) }, nil, "front", "initialize, WWW-Authenticate"},
		"the server": {func(s *site) { s.server["issuer"] = issuerURL + "/" }, func(s *site) { s.server["issuer"] = issuerURL + "/" }, "server", ""},
	} {
		t.Run(name, func(t *testing.T) {
			front, behind := newSite(), newSite()
			tc.front(front)
			if tc.behind != nil {
				tc.behind(behind)
			}
			front.start(t)
			// The server behind has the name that its documents have too: what is
			// compared is what is in front.
			front.at["mcp.example.com/private"] = behind.endpoint
			front.at["mcp.example.com/.well-known/oauth-protected-resource/private"] = func(w http.ResponseWriter, r *http.Request) {
				openCORS(w, r)
				behind.resource["resource"] = mcpOrigin + "/private"
				writeJSON(w, 200, behind.resource)
			}
			behind.challenge = []string{`Bearer resource_metadata="` + mcpOrigin + `/.well-known/oauth-protected-resource/private"`}
			r, err := Run(t.Context(), Options{URL: mcpURL, Upstream: mcpOrigin + "/private", Transport: front.transport()})
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict.State != Broken || r.Verdict.Blame != tc.blame || r.Upstream == nil {
				t.Errorf("got %+v", r.Verdict)
			}
			found := tc.differs == ""
			for _, d := range r.Differences {
				found = found || d.What == tc.differs && d.Front == "none" && strings.HasPrefix(d.Upstream, "Bearer")
			}
			if !found {
				t.Errorf("got differences %+v, want one of %s", r.Differences, tc.differs)
			}
			var text strings.Builder
			if err := r.WriteText(&text, TextOptions{}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text.String(), "(upstream)") {
				t.Errorf("nothing is said of the upstream:\n%s", text.String())
			}
		})
	}
}
