package doctor

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// Rule F3: the text for a healthy server begins with what works. It is shorter than 15
// lines.
func TestHealthy(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*site)
		opts  func(*testing.T, *site, *Options)
		text  string
		steps string // the steps that pass
		warns string // the rule of the warning, if any
	}{
		"login": {nil, nil, "Clients can start the login.", "connect preflight initialize discover get challenge resource-metadata authorization-server token-endpoint", ""},
		"login, walked through, as a page": {nil, func(t *testing.T, s *site, o *Options) {
			page(t, s, o)
			login(t, s, o)
		}, `Login works: signed in, opened a session with "site 1" (2025-06-18), 2 tools.`, "connect preflight initialize discover get challenge resource-metadata authorization-server token-endpoint login token", ""},
		"token":    {nil, token(mcpURL, time.Hour), `The token works: opened a session with "site 1" (2025-06-18), 2 tools.`, "connect preflight initialize discover get challenge resource-metadata authorization-server token-endpoint token", ""},
		"no login": {func(s *site) { s.open = true }, nil, `No login required: opened a session with "site 1" (2025-06-18), 2 tools.`, "connect preflight initialize discover get", "endpoint.open"},
		"login after initialize": {func(s *site) {
			s.answer = func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Mcp-Session-Id") != "" {
					s.refuse(w, "")
					return
				}
				speak(w, r)
			}
		}, nil, "Clients can start the login.", "connect preflight initialize discover get session challenge resource-metadata authorization-server token-endpoint", ""},
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
				s.server["jwks_uri"] = issuerURL + "/tenant/keys"
				s.server["subject_types_supported"] = []string{"public"}
				s.server["id_token_signing_alg_values_supported"] = []string{"RS256"}
				writeJSON(w, 200, s.server)
			}
		}, nil, "Clients can start the login.", "connect preflight initialize discover get resource-metadata authorization-server token-endpoint", "challenge.metadata"},
		"DPoP": {func(s *site) { s.answer = s.dpop(mcpURL) }, nil, "Clients can start the login.", "connect preflight initialize discover get challenge resource-metadata authorization-server token-endpoint dpop", ""},
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
			if err := r.WriteText(&text, report.TextOptions{}); err != nil {
				t.Fatal(err)
			}
			var passed []string
			for _, step := range r.Steps {
				if step.Level == report.Pass {
					passed = append(passed, step.ID)
				}
			}
			if v := r.Verdict; v.State != report.Healthy || v.Fails != 0 || v.Text != tc.text {
				t.Errorf("got %+v, want healthy: %s\n%s", v, tc.text, text.String())
			}
			if got := strings.Join(passed, " "); got != tc.steps {
				t.Errorf("passed %s\nwant   %s\n%s", got, tc.steps, text.String())
			}
			if lines := strings.Count(text.String(), "\n"); lines >= 15 {
				t.Errorf("%d lines, want fewer than 15\n%s", lines, text.String())
			}
			word, rule := "OK", ""
			if f := r.Verdict.Finding; f != nil {
				word, rule = "WARNING", f.Rule
			}
			if !strings.HasPrefix(text.String(), word+"  "+mcpURL+"\n  "+tc.text[:20]) || rule != tc.warns {
				t.Errorf("got %s\n%s\nwant %s", rule, text.String(), tc.warns)
			}
		})
	}
}

// The metadata is looked for in the order of the specification.
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

// An origin is sent as browsers send it. The host of an extension is opaque, so its case is
// kept.
func TestOrigin(t *testing.T) {
	for raw, want := range map[string]string{
		"https://App.Example.COM": "https://app.example.com", "HTTPS://app.example.com:443/": "https://app.example.com",
		"http://app.example.com:8080": "http://app.example.com:8080", extension: extension,
		"chrome-extension://abcdefghijklmnop": "chrome-extension://abcdefghijklmnop", "moz-extension://0A-1b": "moz-extension://0A-1b",
	} {
		s := newSite()
		s.start(t)
		r, err := Run(t.Context(), Options{URL: mcpURL, Origin: raw, Transport: s.transport()})
		if err != nil || r.Origin != want {
			t.Fatalf("%s: got %+v, %v", raw, r, err)
		}
		for _, q := range s.seen {
			if got := q.Header.Get("Origin"); got != "" && got != want {
				t.Errorf("%s: %s was sent", raw, got)
			}
		}
	}
}

// Blame is empty if the upstream was not reached.
func TestNoBlame(t *testing.T) {
	s := newSite()
	s.challenge, s.at, s.refused = nil, none(metadataPath), "upstream.example.com:443"
	s.start(t)
	r, err := Run(t.Context(), Options{URL: mcpURL, Upstream: "https://upstream.example.com/mcp", Transport: s.transport()})
	if err != nil {
		t.Fatal(err)
	}
	if v := r.Verdict; v.State != report.Broken || v.Blame != "" || r.Upstream.Verdict.State != report.Unreachable {
		t.Errorf("got %+v, and at the upstream %+v", v, r.Upstream.Verdict)
	}
}

// Wrong options are an error, whose text does not contain secrets.
func TestUsage(t *testing.T) {
	for name, opts := range map[string]Options{
		"no URL":             {},
		"another scheme":     {URL: "ftp://mcp.example.com"},
		"user":               {URL: "https://user:s3cr3t@mcp.example.com/mcp"},
		"fragment":           {URL: "https://mcp.example.com/mcp#s3cr3t"},
		"unreadable":         {URL: "https://mcp.example.com/%zz?key=s3cr3t"},
		"origin with a path": {URL: mcpURL, Origin: "https://app.example.com/page"},
		"token with a space": {URL: mcpURL, Token: "s3cr3t s3cr3t"},
		"token and login":    {URL: mcpURL, Token: "s3cr3t", Login: true},
		"upstream":           {URL: mcpURL, Upstream: "ftp://localhost:3000"},
	} {
		r, err := Run(t.Context(), opts)
		if err == nil || r != nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: got %v, %v", name, r, err)
		}
	}
}

// Rule F3: with an upstream the report has the differences, and the verdict names the side
// with the cause.
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
			// Both servers have the same host name, so that only what stands in front
			// differs.
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
			if r.Verdict.State != report.Broken || r.Verdict.Blame != tc.blame || r.Upstream == nil {
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
			if err := r.WriteText(&text, report.TextOptions{Verbose: true}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text.String(), "(upstream)") {
				t.Errorf("nothing is said of the upstream:\n%s", text.String())
			}
		})
	}
}
