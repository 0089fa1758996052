package doctor

import (
	"flag"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// update writes the output of the doctor into the page.
var update = flag.Bool("update", false, "write the doctor's output into docs/troubleshooting.md")

const troubleshooting = "../../docs/troubleshooting.md"

// symptoms maps the headings of docs/troubleshooting.md to the names of set-ups. The empty
// name is a healthy site.
var symptoms = map[string]string{
	"Troubleshooting":                                            "",
	"Failed to fetch, CORS error":                                "pages of another origin only",
	"403 for pages, 200 or 401 for curl":                         "origin refused after its preflight",
	"Response to preflight request does not have HTTP ok status": "preflight answered 401",
	"WWW-Authenticate is null in the browser":                    "header not exposed",
	"200 instead of 401":                                         "200 with an error inside",
	"CORS error on the token endpoint":                           "token endpoint without CORS",
	"CORS error on the metadata":                                 "metadata without CORS",
	"401 and nothing happens":                                    "bare 401",
	"The client goes to localhost or a private address":          "metadata on a private host",
	"The URL begins with http:":                                  "wrong scheme behind a proxy",
	"Metadata 404":                                               "metadata 404",
	"Unexpected token '<', is not valid JSON":                    "metadata HTML",
	"The browser asks for a name and a password":                 "basic alone",
	"Resource mismatch":                                          "resource mismatch",
	"Resource mismatch by a slash":                               "resource mismatch by a slash",
	"The client takes the wrong challenge":                       "two Bearer challenges",
	"Discovery times out":                                        "metadata slow",
	"The authorization server is at localhost":                   "authorization server on loopback",
	"Authorization server metadata 404":                          "authorization server without metadata",
	"Issuer mismatch":                                            "issuer mismatch",
	"Does not support dynamic client registration":               "no registration way",
	"Does not support PKCE":                                      "no PKCE",
	"expected array, received null":                              "registered with nulls",
	"A header of the page is refused":                            "a field of the caller's that pages may not send",
	"302 to a login page":                                        "login by a redirect, with a challenge",
	"redirect_uri mismatch":                                      "registration refused",
	"iss mismatch":                                               "login with the wrong iss",
	"invalid_grant":                                              "code not taken",
	"invalid_token right after the login":                        "audience mismatch after login",
	"The token is for something else":                            "token for another audience",
	"403 insufficient_scope":                                     "too little scope",
	"invalid_dpop_proof":                                         "DPoP with a private URL",
	`Inspector says "Error Connecting"`:                          "",
	"502 or 504":                                                 "server down behind a proxy",
	`421 or "Invalid Host header"`:                               "host refused with 421",
	"429, 431 or 413":                                            "too many requests",
	"404 or 405 at the URL":                                      "endpoint path wrong, 405",
	"307, and the token is gone":                                 "redirect to another host",
	"Mcp-Session-Id missing":                                     "session id lost",
	"Session not found, 404":                                     "session lost",
	"SSE hangs":                                                  "SSE buffered",
	"Client sent an HTTP request to an HTTPS server":             "plain HTTP to a TLS server",
	"A website answers":                                          "plain website",
	"Anyone can use the server":                                  "open to everyone",
}

// Rule F3: the page on troubleshooting shows what the doctor says of the set-up that belongs
// to the heading, up to the fix.
func TestTroubleshooting(t *testing.T) {
	raw, err := os.ReadFile(troubleshooting)
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile(`(?m)^#+ `).Split(string(raw), -1)
	page := string(raw)
	shown := make(map[string]bool)
	for _, section := range sections[1:] {
		heading, text, _ := strings.Cut(section, "\n")
		blocks := regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(text, -1)
		if len(blocks) == 0 {
			continue
		}
		name, known := symptoms[heading]
		if !known || len(blocks) > 1 || shown[heading] {
			t.Errorf("%q: %d outputs, want one and a set-up for it", heading, len(blocks))
			continue
		}
		shown[heading] = true
		t.Run(heading, func(t *testing.T) {
			want := firstLines(t, name)
			switch got := blocks[0][1]; {
			case *update:
				page = strings.Replace(page, section, strings.Replace(section, got, want, 1), 1)
			case got != want:
				t.Errorf("the page has\n%s\nthe doctor says\n%s", got, want)
			}
		})
	}
	for _, heading := range slices.Sorted(maps.Keys(symptoms)) {
		if !shown[heading] {
			t.Errorf("the page shows nothing for %q", heading)
		}
	}
	if *update {
		if err := os.WriteFile(troubleshooting, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// firstLines starts a set-up. It returns the command for it, and the first lines of the
// output.
func firstLines(t *testing.T, name string) string {
	t.Helper()
	tc := setup{}
	if name != "" {
		i := slices.IndexFunc(setups, func(s setup) bool { return s.name == name })
		if i < 0 {
			t.Fatalf("there is no set-up %q", name)
		}
		tc = setups[i]
	}
	s := newSite()
	if tc.spoil != nil {
		tc.spoil(s)
	}
	s.start(t)
	opts := Options{URL: mcpURL, Transport: s.transport(), Timeout: 5 * time.Second}
	if tc.opts != nil {
		tc.opts(t, s, &opts)
	}
	command := "$ caddy mcp doctor " + opts.URL
	if opts.Origin != "" {
		command += " --origin " + opts.Origin
	}
	for _, name := range slices.Sorted(maps.Keys(opts.Header)) {
		if !slices.Contains([]string{"Accept-Language", "Cookie"}, name) {
			command += " --header " + name + ":..."
		}
	}
	if opts.Login {
		command += " --login"
	}
	if opts.Token != "" {
		command += " --token @token"
	}
	if opts.Upstream != "" {
		command += " --upstream " + opts.Upstream
	}
	r, err := Run(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := r.WriteText(&text, report.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(text.String(), "\n\n")
	first, _, _ = strings.Cut(first, "\n  Fix (")
	return command + "\n" + strings.TrimSuffix(first, "\n") + "\n"
}
