package doctor

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// A redirect that is followed without a token is not followed with one.
func TestSlashRedirectWithToken(t *testing.T) {
	s := newSite()
	s.at["mcp.example.com/mcp"] = http.RedirectHandler("/mcp/", http.StatusPermanentRedirect).ServeHTTP
	s.at["mcp.example.com/mcp/"] = s.endpoint
	s.start(t)
	r, err := Run(t.Context(), Options{URL: mcpURL, Transport: s.transport(), Token: jwtFor(mcpURL, time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	want := "warn: the first message is redirected (308) to /mcp/\nwarn: the message with the token is redirected (308) to /mcp/; the doctor does not follow redirects with a token"
	if got := found(r, "endpoint.redirect"); got != want || r.Verdict.State != report.Healthy {
		t.Errorf("got %s\n%s\nwant\n%s", r.Verdict.State, got, want)
	}
	followed := false
	for _, q := range s.seen {
		if q.URL.Path == "/mcp/" {
			followed = true
			if q.Header.Get("Authorization") != "" {
				t.Error("the token was sent after the redirect")
			}
		}
	}
	if !followed {
		t.Error("the redirect was not followed at all")
	}
}

// Rule F3: no redirect is followed with a token or with the header fields of the caller,
// not even within the origin.
func TestRedirectWithToken(t *testing.T) {
	for _, to := range []string{"/elsewhere", "https://other.example.com/elsewhere", "https://mcp.example.com:8443/elsewhere"} {
		s := newSite()
		s.start(t)
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				s.refuse(w, "")
				return
			}
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}
		s.at["mcp.example.com"+metadataPath] = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/metadata", http.StatusFound)
		}
		s.at["mcp.example.com/metadata"] = func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, s.resource) }
		r, err := Run(t.Context(), Options{URL: mcpURL, Transport: s.transport(), Token: jwtFor(mcpURL, time.Hour), Header: http.Header{"X-Key": {"k3y-of-the-caller"}}})
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(to, "/") {
			want := "warn: the message with the token is redirected (307) to /elsewhere; the doctor does not follow redirects with a token"
			if got := found(r, "endpoint.redirect"); got != want || r.Verdict.State != report.Healthy {
				t.Errorf("got %s\n%s\nwant\n%s", r.Verdict.State, got, want)
			}
		} else {
			expect(t, r, report.Broken, "endpoint.redirect", "where clients do not follow", "command line: use the URL that the redirect leads to")
		}
		for _, q := range s.seen {
			secret := q.Header.Get("Authorization") != "" || q.Header.Get("X-Key") != ""
			if strings.HasSuffix(q.URL.Path, "/elsewhere") || secret && q.Host != "mcp.example.com" || q.URL.Path == "/metadata" && secret {
				t.Errorf("%s%s was asked, with %v", q.Host, q.URL.Path, q.Header)
			}
		}
	}
}
