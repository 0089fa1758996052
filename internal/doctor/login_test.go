package doctor

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// A page that sends a request to the redirect URI without the state cannot end a login.
func TestCallback(t *testing.T) {
	f := &flow{state: "right", back: make(chan url.Values, 1)}
	for at, want := range map[string]int{"/callback?state=wrong&code=x": 404, "/callback?code=x": 404, "/other?state=right": 404, "/callback?state=right&code=c": 200, "/callback?state=right&code=again": 200} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, at, nil))
		if w.Code != want || strings.Contains(w.Body.String(), "right") {
			t.Errorf("%s: got %d %s, want %d", at, w.Code, w.Body, want)
		}
	}
	if q := <-f.back; q.Get("state") != "right" {
		t.Errorf("got %v", q)
	}
}

// If the browser does not come back from a bridged authorization server, the cure names the
// option that opens more of its paths.
func TestBrowserDoesNotComeBack(t *testing.T) {
	for name, tc := range map[string]struct {
		bridged bool
		issuer  string
		paths   bool
	}{
		"bridged":                  {true, mcpOrigin, true},
		"bridged, another issuer":  {true, issuerURL, false},
		"another server's bridge":  {false, mcpOrigin, false},
		"no bridge, another's too": {false, issuerURL, false},
	} {
		w, err := newWalk(Options{URL: mcpURL}, mcpURL, new(report.Secrets))
		if err != nil {
			t.Fatal(err)
		}
		s := &report.Step{ID: stepLogin}
		w.Bridged, w.issuer.issuer, w.Report.Steps = tc.bridged, tc.issuer, []*report.Step{s}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, ok := (&flow{loginStage: w.login, s: s}).wait(gone); ok {
			t.Errorf("%s: there is a code", name)
		}
		w.cure()
		if got := s.Findings[0]; got.Rule != "login.returns" || strings.Contains(got.Cures[0].Text, "`paths <glob>`") != tc.paths {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
