package doctor

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
)

// walkAt walks to a site, and returns the report.
func walkAt(t *testing.T, s *site, set ...func(*testing.T, *site, *Options)) *report.Report {
	t.Helper()
	s.start(t)
	opts := Options{URL: mcpURL, Transport: s.transport(), Timeout: 5 * time.Second}
	for _, f := range set {
		f(t, s, &opts)
	}
	r, err := Run(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// curesOf returns the cures of the verdict, a line each.
func curesOf(r *report.Report) string {
	var all []string
	if r.Verdict.Finding != nil {
		for _, c := range r.Verdict.Finding.Cures {
			all = append(all, c.Where+": "+c.Text)
		}
	}
	return strings.Join(all, "\n")
}

// Rule F3: a status of 4xx or 5xx that says nothing of MCP or OAuth is reported as what it
// is, with a cure of its kind, and with what has answered. No status gets a cure that speaks
// of JSON-RPC, of a login or of a path where only the status is known.
func TestStatusesOfInitialize(t *testing.T) {
	for status := 400; status < 600; status++ {
		o, known := rules.ObstacleOf(status)
		if !known {
			continue
		}
		for by, header := range map[string]http.Header{
			"unknown": {}, "nginx": {"Server": {"nginx"}}, "the server behind Caddy": {"Via": {"1.1 Caddy"}, "Server": {"uvicorn"}}, "Caddy itself": {"Server": {"Caddy"}},
		} {
			t.Run(strconv.Itoa(status)+" of "+by, func(t *testing.T) {
				t.Parallel()
				s := newSite()
				s.answer = odd(status, header, "")
				r := walkAt(t, s)
				from := ""
				if by != "unknown" {
					from = " from " + by
				}
				expect(t, r, report.Broken, rules.Passes, "initialize gets "+report.StatusText(status)+from+": "+o.Text, ": ")
				cures := curesOf(r)
				for _, wrong := range []string{"JSON-RPC", "401", "upstream_path"} {
					if strings.Contains(cures, wrong) {
						t.Errorf("got cures\n%s\nwant none with %q", cures, wrong)
					}
				}
				if strings.Contains(cures, "server: raise") && by == "Caddy itself" || strings.Contains(cures, "if Caddy answers") && by == "the server behind Caddy" {
					t.Errorf("%s has answered; got cures\n%s", by, cures)
				}
			})
		}
	}
}

// Rule F3: a refusal of any kind has at least one cure, wherever it comes from.
func TestEachStatusHasACure(t *testing.T) {
	for status := 400; status < 600; status++ {
		if status == http.StatusUnauthorized {
			continue
		}
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			s := newSite()
			s.answer = odd(status, http.Header{}, "")
			r := walkAt(t, s)
			if r.Verdict.State != report.Broken || curesOf(r) == "" || !strings.Contains(r.Verdict.Text, strconv.Itoa(status)) {
				t.Errorf("got %s, %q with cures %q", r.Verdict.State, r.Verdict.Text, curesOf(r))
			}
			if r.Verdict.Finding != nil && r.Verdict.Finding.Rule == "endpoint.answer" && strings.Contains(curesOf(r), "one JSON-RPC response") {
				t.Errorf("an empty %d gets the cure for a wrong answer: %s", status, curesOf(r))
			}
		})
	}
}

// Rule F3: a page of nginx, a check for browsers and a name that Caddy refuses are known by
// more than their status.
func TestObstaclesOfOtherStatuses(t *testing.T) {
	for name, tc := range map[string]struct {
		status     int
		header     http.Header
		body       string
		says, cure string
	}{
		"header too long for nginx": {400, http.Header{"Content-Type": {"text/html"}}, "<html><h1>400 Bad Request</h1>Request Header Or Cookie Too Large</html>", "the header fields of the request are too long", "nginx: large_client_header_buffers"},
		"check for browsers":        {403, http.Header{"Content-Type": {"text/html"}, "Cf-Mitigated": {"challenge"}, "Server": {"cloudflare"}}, "<html>", "403 Forbidden from cloudflare: a check for browsers", "network: exempt /mcp and /.well-known/* from the bot protection"},
		"strict host names":         {421, http.Header{"Server": {"Caddy"}}, "", "421 Misdirected Request from Caddy itself: the header Host has another name", "`strict_sni_host`"},
		"words of the server":       {429, http.Header{"Content-Type": {"application/json"}}, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"slow down"}}`, "refuses more; it says: slow down", "server: raise its rate limit"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite()
			s.answer = odd(tc.status, tc.header, tc.body)
			expect(t, walkAt(t, s), report.Broken, rules.Passes, tc.says, tc.cure)
		})
	}
}

// Rule F3: what does not get through after the first message is reported as that, too, and
// not as a fault of a preflight, of metadata, of a registration or of a token.
func TestObstaclesOfLaterRequests(t *testing.T) {
	limited := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	nth := func(match string, then http.HandlerFunc) func(*site) {
		return func(s *site) {
			open := s.open
			s.answer = func(w http.ResponseWriter, r *http.Request) {
				raw, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(raw))
				body := string(raw)
				if strings.Contains(cmp.Or(body, r.Method), match) {
					then(w, r)
					return
				}
				if open || r.Header.Get("Authorization") != "" {
					speak(w, r)
					return
				}
				s.refuse(w, "")
			}
		}
	}
	opened := func(match string, then http.HandlerFunc) func(*site) {
		return func(s *site) { s.open = true; nth(match, then)(s) }
	}
	for name, tc := range map[string]struct {
		spoil      func(*site)
		opts       func(*testing.T, *site, *Options)
		level      report.Level
		step, says string
		cure       string
	}{
		"preflight": {func(s *site) {
			s.cors = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodOptions {
					limited(w, r)
					return true
				}
				return false
			}
		}, nil, report.Warn, stepPreflight, "the CORS preflight gets 429", "command line: try again"},
		"server/discover": {nth("server/discover", limited), nil, report.Warn, stepDiscover, "server/discover gets 429", "command line: try again"},
		"GET":             {nth("GET", limited), nil, report.Warn, stepGet, "GET gets 429", "command line: try again"},
		"notification":    {opened("notifications/initialized", limited), nil, report.Fail, stepSession, "a message after initialize gets 429", "command line: try again"},
		"tools/list":      {opened("tools/list", limited), nil, report.Fail, stepSession, "gets 429", "command line: try again"},
		"with the token": {nth("\x00", nil), func(t *testing.T, s *site, o *Options) {
			token(mcpURL, time.Hour)(t, s, o)
			s.answer = limitsTokens(s, limited)
		}, report.Fail, stepToken, "initialize with the token gets 429", "command line: try again"},
		"metadata":             {func(s *site) { s.at["mcp.example.com"+metadataPath] = limited }, nil, report.Fail, stepResource, "gets 429", "command line: try again"},
		"authorization server": {func(s *site) { s.at["login.example.com"+serverPath] = limited }, nil, report.Fail, stepServer, "gets 429", "authorization server: look at https://login.example.com"},
		"its CDN": {func(s *site) {
			s.at["login.example.com"+serverPath] = odd(522, http.Header{"Server": {"cloudflare"}}, "")
		}, nil, report.Fail, stepServer, "gets 522 from cloudflare: a CDN answers", "authorization server: look at https://login.example.com"},
		"registration":             {func(s *site) { s.at["login.example.com/register"] = limited }, login, report.Fail, stepLogin, "the registration gets 429", "authorization server: look at https://login.example.com"},
		"token endpoint":           {func(s *site) { s.at["login.example.com/token"] = limited }, login, report.Fail, stepLogin, "the exchange of the code gets 429", "authorization server: look at https://login.example.com"},
		"token endpoint of a page": {func(s *site) { s.at["login.example.com/token"] = limited }, nil, report.Warn, stepEndpoints, "to the token endpoint gets 429", "authorization server: look at https://login.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite()
			tc.spoil(s)
			var set []func(*testing.T, *site, *Options)
			if tc.opts != nil {
				set = append(set, tc.opts)
			}
			r := walkAt(t, s, set...)
			i := slices.IndexFunc(r.Steps, func(s *report.Step) bool { return s.ID == tc.step })
			j := slices.IndexFunc(r.Steps[i].Findings, func(f report.Finding) bool { return f.Rule == rules.Passes })
			if j < 0 {
				t.Fatalf("got %+v", r.Steps[i].Findings)
			}
			f := r.Steps[i].Findings[j]
			cured := slices.ContainsFunc(f.Cures, func(c report.Cure) bool { return strings.Contains(c.Where+": "+c.Text, tc.cure) })
			if f.Level != tc.level || !strings.Contains(f.Text, tc.says) || !cured {
				t.Errorf("got %s %q with %+v, want %s %q with %q", f.Level, f.Text, f.Cures, tc.level, tc.says, tc.cure)
			}
		})
	}
}

// limitsTokens answers requests with a token by limited.
func limitsTokens(s *site, limited http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			limited(w, r)
			return
		}
		s.refuse(w, "")
	}
}

// Rule F3: a JSON-RPC error with 503 after the login is not the answer of a server without
// tools.
func TestUnavailableWithToken(t *testing.T) {
	s := newSite()
	s.answer = limitsTokens(s, answers(503, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"try again later"}}`))
	expect(t, walkAt(t, s, token(mcpURL, time.Hour)), report.Broken, "endpoint.upstream", "initialize with the token gets 503 Service Unavailable: try again later", "server: look into its log")
}

// Rule F3: the 502 of mcp_auth_bridge for a redirect in a circle is not the 502 of `challenge
// replace`, nor that of a server that is down.
func TestRedirectInACircle(t *testing.T) {
	for body, want := range map[string]struct{ says, cure, not string }{
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"the server redirects to the URL that it was asked for; its operator has to correct that"}}`: {"redirects in a circle (502)", "Caddyfile: write https:// before the upstream", "challenge replace"},
		`{"error":"down"}`: {"the server behind the proxy answers 502", "server: look into its log", "challenge replace"},
		"":                 {"the server behind the proxy answers 502", "Caddyfile: if the block has `challenge replace`", "https://"},
	} {
		s := newSite()
		s.cors = func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version, DPoP-Nonce, Retry-After")
			return corsAnswer(w, r)
		}
		s.answer = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Via", "1.1 Caddy")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte(body))
		}
		r := walkAt(t, s)
		expect(t, r, report.Broken, "endpoint.upstream", want.says, want.cure)
		if cures := curesOf(r); strings.Contains(cures, want.not) {
			t.Errorf("%s: got cures\n%s\nwant none with %q", body, cures, want.not)
		}
	}
}

// corsAnswer answers a preflight.
func corsAnswer(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodOptions {
		return false
	}
	w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, MCP-Protocol-Version, Mcp-Session-Id")
	w.WriteHeader(http.StatusNoContent)
	return true
}
