package doctor

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// places answers at URLs, and records the requests. At another URL the answer is 404, and at
// a URL of refused there is none.
type places struct {
	answers map[string]answerSeed // by method and URL
	refused string                // prefix of URLs
	asked   []string
}

func (p *places) RoundTrip(r *http.Request) (*http.Response, error) {
	at := r.Method + " " + r.URL.String()
	p.asked = append(p.asked, at)
	if p.refused != "" && strings.HasPrefix(r.URL.String(), p.refused) {
		return nil, io.ErrUnexpectedEOF
	}
	answer, ok := p.answers[at]
	if !ok {
		answer = answerSeed{status: http.StatusNotFound}
	}
	return answer.RoundTrip(r)
}

// A URL without a scheme or a path is completed. Plain HTTP is tried on loopback only, and a
// URL that is whole is not changed.
func TestComplete(t *testing.T) {
	login := answerSeed{status: 401, challenge: "Bearer"}
	basic := answerSeed{status: 401, challenge: "Basic"}
	reply := answerSeed{status: 200, kind: "application/json", body: `{"jsonrpc":"2.0","id":"doctor-initialize","result":{}}`}
	stream := answerSeed{status: 200, kind: "text/event-stream"}
	plain := answerSeed{status: 200, kind: "text/html", body: "<p>"}
	for name, tc := range map[string]struct {
		given   string
		answers map[string]answerSeed
		want    string
		found   bool
		tried   int // 0: no search
	}{
		"whole":                    {"https://mcp.example.com/api", nil, "https://mcp.example.com/api", false, 0},
		"whole, plain":             {"http://mcp.example.com/api", nil, "http://mcp.example.com/api", false, 0},
		"no scheme":                {"mcp.example.com/api?k=http://x", map[string]answerSeed{"POST https://mcp.example.com/api?k=http://x": login}, "https://mcp.example.com/api?k=http://x", true, 1},
		"no path":                  {"https://mcp.example.com", map[string]answerSeed{"POST https://mcp.example.com/mcp": login}, "https://mcp.example.com/mcp", true, 1},
		"no scheme and no path":    {"mcp.example.com", map[string]answerSeed{"POST https://mcp.example.com/mcp": reply}, "https://mcp.example.com/mcp", true, 1},
		"at /sse":                  {"mcp.example.com", map[string]answerSeed{"GET https://mcp.example.com/sse": stream}, "https://mcp.example.com/sse", true, 2},
		"at the root":              {"https://mcp.example.com", map[string]answerSeed{"POST https://mcp.example.com/": reply}, "https://mcp.example.com/", true, 3},
		"the root is given":        {"https://mcp.example.com/", map[string]answerSeed{"POST https://mcp.example.com/": reply, "POST https://mcp.example.com/mcp": reply}, "https://mcp.example.com/", true, 1},
		"another login first":      {"https://mcp.example.com/", map[string]answerSeed{"POST https://mcp.example.com/": basic, "POST https://mcp.example.com/mcp": login}, "https://mcp.example.com/mcp", true, 2},
		"another login only":       {"mcp.example.com", map[string]answerSeed{"POST https://mcp.example.com/mcp": basic, "POST https://mcp.example.com/": basic}, "https://mcp.example.com/mcp", true, 3},
		"a website":                {"mcp.example.com", map[string]answerSeed{"POST https://mcp.example.com/": plain}, "https://mcp.example.com/mcp", false, 3},
		"https on loopback":        {"localhost:8080", map[string]answerSeed{"POST https://localhost:8080/mcp": reply}, "https://localhost:8080/mcp", true, 1},
		"a query":                  {"mcp.example.com?key=s3cr3t", map[string]answerSeed{"POST https://mcp.example.com/mcp?key=s3cr3t": reply}, "https://mcp.example.com/mcp?key=s3cr3t", true, 1},
		"a host with a port":       {"mcp.example.com:8443", map[string]answerSeed{"POST https://mcp.example.com:8443/mcp": reply}, "https://mcp.example.com:8443/mcp", true, 1},
		"an address of version 6":  {"[::1]:8080/api", map[string]answerSeed{"POST https://[::1]:8080/api": reply}, "https://[::1]:8080/api", true, 1},
		"a path that is not usual": {"https://mcp.example.com/x/", nil, "https://mcp.example.com/x/", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := &places{answers: tc.answers}
			at, search, err := complete(t.Context(), Options{Transport: p, Timeout: DefaultTimeout}, tc.given, new(report.Secrets))
			if err != nil {
				t.Fatal(err)
			}
			if search == nil {
				search = new(report.Search)
			}
			if at != tc.want || search.Found != tc.found || len(search.Tried) != tc.tried || strings.Contains(search.Given+strings.Join(search.Tried, " "), "s3cr3t") {
				t.Errorf("got %s, %+v, want %s, %t, %d tried", at, search, tc.want, tc.found, tc.tried)
			}
			if slices.ContainsFunc(p.asked, func(at string) bool { return strings.Contains(at, " http://") }) {
				t.Errorf("plain HTTP was asked: %s", p.asked)
			}
		})
	}
}

// FuzzGiven parses what a caller gives as URL.
func FuzzGiven(f *testing.F) {
	for _, seed := range []string{"mcp.example.com", "localhost:8080/mcp", "https://a/b?c#d", "//x", "http:x", "a@b", "[::1]:1", "mailto:a", "%zz", "ftp://x", "x?http://y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		g, err := parseGiven(raw)
		if err != nil {
			return
		}
		for _, scheme := range g.schemes() {
			for _, path := range g.paths() {
				u, err := parseTarget(g.with(scheme, path).String())
				if err != nil || u.Host != g.url.Host || u.RawQuery != g.url.RawQuery || u.Path == "" {
					t.Errorf("%q with %s and %q: got %v, %v", raw, scheme, path, u, err)
				}
			}
		}
	})
}
