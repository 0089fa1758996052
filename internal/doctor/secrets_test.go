package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// everything returns all forms of a report.
func everything(t *testing.T, r *report.Report) string {
	t.Helper()
	var text strings.Builder
	for _, verbose := range []bool{false, true} {
		if err := r.WriteText(&text, report.TextOptions{Verbose: verbose}); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return text.String() + string(raw)
}

// echo sends the secrets of a request back, in every place that a report shows.
func echo(w http.ResponseWriter, r *http.Request, status int) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	said := strings.Join([]string{
		r.Header.Get("Authorization"), r.Header.Get("X-Key"), "<" + r.Header.Get("X-Short") + ">", strings.TrimPrefix(r.Header.Get("Cookie"), "a=b; session="), r.URL.RawQuery, string(body),
		form.Get("code"), form.Get("code_verifier"), form.Get("client_secret"), strings.Join(r.URL.Query()["key"], ""),
	}, " | ")
	h := w.Header()
	h.Set("Content-Type", "application/json; echo=\""+r.Header.Get("X-Key")+"\"")
	h.Set("Server", said)
	h.Set("Via", r.Header.Get("Authorization"))
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("WWW-Authenticate", fmt.Sprintf(`Bearer resource_metadata="%s?%s", error="invalid_token", error_description="%s"`,
		mcpOrigin+metadataPath, url.QueryEscape(said), strings.NewReplacer(`"`, "", `\`, "").Replace(said)))
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": said, "error_description": said})
}

// Rule F1: no secret is shown, even if the server sends it back.
func TestSecrets(t *testing.T) {
	const key, query = "k3y-of-the-caller/+=", "qu3ry-of-the-caller"
	s := newSite()
	s.at["mcp.example.com/mcp"] = func(w http.ResponseWriter, r *http.Request) { echo(w, r, http.StatusUnauthorized) }
	s.resource["resource"] = mcpURL + "?key=" + query
	s.start(t)
	var secrets []string
	s.at["login.example.com/token"] = func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(raw))
		s.mu.Lock()
		secrets = append(secrets, form.Get("code"), form.Get("code_verifier"), form.Get("client_secret"))
		s.mu.Unlock()
		r.Body = io.NopCloser(strings.NewReader(string(raw)))
		echo(w, r, http.StatusBadRequest)
	}
	common := Options{URL: mcpURL + "?key=" + query, Transport: s.transport(), Header: http.Header{"X-Key": {key}, "X-Short": {"q7"}, "Cookie": {"a=b; session=c00kie-of-the-caller"}}, Origin: pageOrigin}

	withToken := common
	withToken.Token = "t0ken-of-the-caller.x.y"
	r, err := Run(t.Context(), withToken)
	if err != nil {
		t.Fatal(err)
	}
	shown := everything(t, r)

	withLogin := common
	withLogin.Login, withLogin.Browse = true, s.browse(t)
	if r, err = Run(t.Context(), withLogin); err != nil {
		t.Fatal(err)
	}
	shown += everything(t, r)

	secrets = append(secrets, "q7", "c00kie-of-the-caller", key, url.QueryEscape(key), query, withToken.Token, "s3cr3t-of-the-client", "session-of-the-site")
	if !strings.Contains(shown, "login.token") || !strings.Contains(shown, "token.a") {
		t.Errorf("the walks stopped before the tokens:\n%s", shown)
	}
	for _, secret := range secrets {
		switch {
		case secret == "":
		case strings.Contains(shown, secret):
			t.Errorf("%q is shown:\n%s", secret, shown)
		}
	}
	for _, r := range s.asked("login.example.com") {
		if r.Header.Get("X-Key") != "" || strings.Contains(r.Header.Get("Authorization"), "t0ken") {
			t.Errorf("the authorization server got %v", r.Header)
		}
	}
	sent := false
	for _, r := range s.asked("mcp.example.com") {
		sent = sent || r.Header.Get("X-Key") == key && r.URL.RawQuery == "key="+query
	}
	if !sent {
		t.Error("the server did not get what is its own")
	}
}

// The secrets of a successful login are not shown either.
func TestSecretsOfLogin(t *testing.T) {
	s := newSite()
	s.start(t)
	r, err := Run(t.Context(), Options{URL: mcpURL, Transport: s.transport(), Login: true, Browse: s.browse(t)})
	if err != nil {
		t.Fatal(err)
	}
	shown := everything(t, r)
	if r.Verdict.State != report.Healthy || !strings.Contains(shown, "the token is accepted") {
		t.Errorf("got\n%s", shown)
	}
	found := 0
	for _, q := range s.asked("login.example.com") {
		if code := q.URL.Query().Get("code_challenge"); code != "" && strings.Contains(shown, code) {
			t.Errorf("the challenge of PKCE is shown:\n%s", shown)
		}
	}
	for _, q := range s.asked("mcp.example.com") {
		if token, ok := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer "); ok {
			found++
			if strings.Contains(shown, token) {
				t.Errorf("the token is shown:\n%s", shown)
			}
		}
	}
	for code := range s.codes {
		if strings.Contains(shown, code) {
			t.Errorf("the code is shown:\n%s", shown)
		}
	}
	if found == 0 || strings.Contains(shown, "refresh-s3cr3t") || strings.Contains(shown, "s3cr3t-of-the-client") || strings.Contains(shown, "session-of-the-site") {
		t.Errorf("%d messages had the token; shown:\n%s", found, shown)
	}
}

// Secrets are not shown if an endpoint sends them in an unknown form.
func TestSecretsOfOddEndpoints(t *testing.T) {
	for _, path := range []string{"/token", "/register"} {
		for _, status := range []int{200, 400} {
			s := newSite()
			s.at["login.example.com"+path] = answers(status, "text/plain", "access_token=t0ken-in-a-form&client_secret=t0ken-in-a-form&token_type=bearer")
			s.start(t)
			r, err := Run(t.Context(), Options{URL: mcpURL, Transport: s.transport(), Login: true, Browse: s.browse(t)})
			if err != nil {
				t.Fatal(err)
			}
			if shown := everything(t, r); r.Verdict.Step != stepLogin || strings.Contains(shown, "t0ken-in-a-form") {
				t.Errorf("%s: the verdict is %+v, shown:\n%s", path, r.Verdict, shown)
			}
		}
	}
}

// Rule K4: the query is a part of the URL in requests and comparisons, and is never shown.
func TestQuery(t *testing.T) {
	const query = "project=a&key=k-1"
	for _, tc := range []struct {
		name      string
		challenge string
		resource  string
		rule      string
		want      string
	}{
		{"as it should be", `Bearer resource_metadata="` + mcpOrigin + metadataPath + "?" + query + `"`, mcpURL + "?" + query, "resource.identical", ""},
		{"found without a challenge", "Bearer", mcpURL + "?" + query, "resource.identical", ""},
		{"without the query", "Bearer", mcpURL, "resource.identical", "warn: the OAuth metadata is for " + mcpURL + ", with another query than the URL: some clients stop"},
		{"another query", "Bearer", mcpURL + "?project=b", "resource.identical", "warn: the OAuth metadata is for " + mcpURL + "?..., with another query than the URL: some clients stop"},
		{"the origin", "Bearer", mcpOrigin, "resource.identical", "warn: the OAuth metadata is for " + mcpOrigin + ", not only for this URL: some clients stop"},
		{"another path", "Bearer", mcpOrigin + "/other?" + query, "resource.identical", "fail: the OAuth metadata says this server is " + mcpOrigin + "/other?..., but clients use " + mcpURL + "?..."},
		{"another spelling", "Bearer", "https://mcp.example.com:443/mcp?" + query, "resource.identical", "warn: the OAuth metadata writes this server's URL as https://mcp.example.com:443/mcp?... instead of " + mcpURL + "?...: some clients stop"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite()
			s.challenge, s.resource["resource"] = []string{tc.challenge}, tc.resource
			s.at["mcp.example.com"+metadataPath] = func(w http.ResponseWriter, r *http.Request) {
				if r.URL.RawQuery != query {
					http.NotFound(w, r)
				} else if !openCORS(w, r) {
					writeJSON(w, 200, s.resource)
				}
			}
			s.start(t)
			r, err := Run(t.Context(), Options{URL: mcpURL + "?" + query, Transport: s.transport()})
			if err != nil {
				t.Fatal(err)
			}
			if got := found(r, tc.rule); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if shown := everything(t, r); strings.Contains(shown, "project") || strings.Contains(shown, "k-1") {
				t.Errorf("the query is shown:\n%s", shown)
			}
		})
	}
}
