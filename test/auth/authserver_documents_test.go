package auth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

// Rule C5: the document of the server has its public URLs, and is found by the
// entry that the protected resource's metadata has for it; what is elsewhere
// stays, what cannot cross is gone.
func TestServerDocuments(t *testing.T) {
	s := newCohosted(t)
	base := startBridged(t, s, bridged)
	c := mcptest.NewClient(t)
	prm := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-protected-resource/mcp", ""))
	var resource struct {
		Resource             string
		AuthorizationServers []string `json:"authorization_servers"`
	}
	if err := json.Unmarshal([]byte(prm.Body), &resource); err != nil {
		t.Fatalf("%v in %s", err, prm.Body)
	}
	if want := []string{base + "/", "https://login.example.com"}; !slices.Equal(resource.AuthorizationServers, want) || resource.Resource != base+"/mcp" {
		t.Errorf("got %+v, want %q", resource, want)
	}
	want := strings.NewReplacer(
		`["none", "private_key_jwt"],
  "dpop_signing_alg_values_supported": ["ES256"],
  "x_private": "`+s.URL+`/private"`, `["none"]`, // nothing is served there
		s.URL, base,
	).Replace(s.document())
	for _, method := range []string{"GET", "HEAD"} {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, method, base+"/.well-known/oauth-authorization-server", "", "Origin", "https://anywhere.example"))
		if method == "GET" && got.Body != want {
			t.Errorf("got\n%s\nwant\n%s", got.Body, want)
		}
		if got.Status != 200 || got.Header.Get("Access-Control-Allow-Origin") != "*" || got.Header.Get("Content-Type") != "application/json" ||
			!strings.HasPrefix(got.Header.Get("Cache-Control"), "max-age=") || !strings.Contains(strings.Join(got.Header["Vary"], ","), "Origin") {
			t.Errorf("%s: got %d, header %v", method, got.Status, got.Header)
		}
	}
	for path, status := range map[string]int{
		"/.well-known/openid-configuration":                404,
		"/.well-known/oauth-authorization-server/":         200,
		"/.well-known/oauth-authorization-server/mcp":      404,
		"/.well-known/oauth-authorization-server/x":        404,
		"/x/.well-known/openid-configuration":              404,
		"/.well-known/oauth-authorization-server%2f..%2fx": 404,
	} {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+path, ""))
		if got.Status != status && !(strings.Contains(path, "%") && got.Body == "") {
			t.Errorf("%s: got %d %s, want %d", path, got.Status, got.Body, status)
		}
	}
	if got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/.well-known/oauth-authorization-server", "{}")); got.Status != 405 || got.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d, header %v", got.Status, got.Header)
	}
	if n := s.count("/.well-known/oauth-authorization-server"); n != 1 {
		t.Errorf("the server was asked %d times for its document", n)
	}
}

// Rules B5, C5: what scripts call is open to every origin, with one header of a
// kind; pages have none, whatever the server sends.
func TestServerCORS(t *testing.T) {
	s := newCohosted(t)
	base := startBridged(t, s, bridged+" {\n\t\t\tpaths /consent\n\t\t}")
	c := mcptest.NewClient(t)
	for path, open := range map[string]bool{
		"/token": true, "/register": true, "/revoke": true, "/jwks": true, "/par": true, "/register/abc": true,
		"/authorize": false, "/consent": false,
	} {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+path, "{}", "Origin", "https://anywhere.example"))
		want := []string(nil)
		if open {
			want = []string{"*"}
		}
		if got.Status >= 500 || !slices.Equal(got.Header["Access-Control-Allow-Origin"], want) {
			t.Errorf("%s: got %d with %q, want %q", path, got.Status, got.Header["Access-Control-Allow-Origin"], want)
		}
		preflight := mcptest.Do(t, c, mcptest.NewRequest(t, "OPTIONS", base+path, "", "Origin", "https://anywhere.example",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,x-anything"))
		if allowed := strings.Contains(preflight.Header.Get("Access-Control-Allow-Headers"), "x-anything"); allowed != open ||
			open && (preflight.Status != 204 || preflight.Header.Get("Access-Control-Allow-Origin") != "*") {
			t.Errorf("%s: preflight answered %d with %v", path, preflight.Status, preflight.Header)
		}
	}
}

// Rule C5, RFC 7592: where a client manages its registration is mapped, and can
// be reached.
func TestServerRegistration(t *testing.T) {
	s := newCohosted(t)
	at := "/register/abc"
	s.handlers["/register"] = func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding: got %q", got)
		}
		w.Header().Set("Content-Type", "application/json;charset=utf-8")
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{ "client_id": "abc", "registration_client_uri" : "%s%s", "redirect_uris":["%[1]s/cb"], "client_uri":"%[1]s"}`, s.URL, at)
	}
	base := startBridged(t, s, bridged)
	c := mcptest.NewClient(t)
	for _, where := range []string{"/register/abc", "/connect/client?id=abc", "/register?client_id=abc"} {
		at = where
		sent := `{"redirect_uris":["` + base + `/cb"],"client_uri":"` + base + `"}`
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/register", sent))
		want := fmt.Sprintf(`{ "client_id": "abc", "registration_client_uri" : "%s%s", "redirect_uris":["%s/cb"], "client_uri":"%[3]s"}`, base, where, s.URL)
		if got.Status != http.StatusCreated || got.Body != want {
			t.Errorf("got %d\n%s\nwant\n%s", got.Status, got.Body, want)
		}
		if r, _ := s.last("/register"); r.body != sent {
			t.Errorf("the server got %s", r.body)
		}
		mcptest.Do(t, c, mcptest.NewRequest(t, "DELETE", base+where, ""))
		path, _, _ := strings.Cut(where, "?")
		if r, ok := s.last(path); !ok || r.method != "DELETE" {
			t.Errorf("%s was not reached", where)
		}
	}
}
