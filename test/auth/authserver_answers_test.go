package auth_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// postForm posts a form.
func postForm(t *testing.T, url, form string) mcptest.Answer {
	t.Helper()
	r := mcptest.NewRequest(t, "POST", url, form)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return mcptest.Do(t, mcptest.NewClient(t), r)
}

// Rule C5, RFC 8628 section 3.2: the page that a device authorization answer names is public
// and served; the answer of a server that has no private URL crosses byte for byte.
func TestDeviceFlow(t *testing.T) {
	s := newCohosted(t)
	s.says("/.well-known/oauth-authorization-server", 200, "application/json", strings.Replace(s.document(), "{", `{"device_authorization_endpoint": "UP/device_authorization",`, 1))
	s.says("/device_authorization", 200, "application/json", `{"device_code": "d", "user_code":"ABCD-EFGH",
 "verification_uri":"UP/device","verification_uri_complete":"UP\/device?user_code=ABCD-EFGH", "expires_in": 1800,"interval":5.0}`)
	s.says("/device", 200, "text/html", "<form method=post action=/device>")
	base := startBridged(t, s, bridged)
	want := fmt.Sprintf(`{"device_code": "d", "user_code":"ABCD-EFGH",
 "verification_uri":"%[1]s/device","verification_uri_complete":"%[1]s/device?user_code=ABCD-EFGH", "expires_in": 1800,"interval":5.0}`, base)
	if got := postForm(t, base+"/device_authorization", "client_id=x"); got.Status != 200 || got.Body != want || got.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("got %d %s, header %v", got.Status, got.Body, got.Header)
	}
	if got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", base+"/device?user_code=ABCD-EFGH", "")); got.Status != 200 || !strings.Contains(got.Body, "<form") {
		t.Errorf("the page: got %d %s", got.Status, got.Body)
	}

	// What a client names itself opens nothing, and neither does what is not listed where
	// only that is served.
	s.says("/device_authorization", 200, "application/json", `{"verification_uri":"UP/admin","user_code":"x"}`)
	if got := postForm(t, base+"/device_authorization", "client_id=x&page="+url.QueryEscape("/admin")); got.Body != `{"user_code":"x"}` {
		t.Errorf("got %s", got.Body)
	}
	mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", base+"/admin", ""))
	if _, reached := s.last("/admin"); reached {
		t.Error("a path that the client has named is served")
	}
	base = startBridged(t, s, bridged+" {\n\t\t\tonly_listed\n\t\t}")
	if got := postForm(t, base+"/device_authorization", "client_id=x"); got.Body != `{"user_code":"x"}` {
		t.Errorf("got %s", got.Body)
	}
	testcaddy.WantAdvice(t, "removed a private URL from the authorization server's response", "paths /admin")
	base = startBridged(t, s, bridged+" {\n\t\t\tonly_listed\n\t\t\tpaths /admin\n\t\t}")
	if got := postForm(t, base+"/device_authorization", "client_id=x"); got.Body != `{"verification_uri":"`+base+`/admin","user_code":"x"}` {
		t.Errorf("got %s", got.Body)
	}
}

// Rule C5: no private URL leaves in a JSON answer of the bridged authorization server:
// it is mapped where its path is served, and else its member is gone. What is the client's
// own, or elsewhere, stays, and so does every other byte.
func TestAnswersHaveNoPrivateURL(t *testing.T) {
	for name, tc := range map[string]struct {
		path, mediaType, in, want string // PUB is the public origin
		status                    int
	}{
		"token error":             {"/token", "application/json", `{"error":"invalid_grant", "error_uri":"UP/docs/errors","error_description":"see UP/docs."}`, `{"error":"invalid_grant","error_description":"see PUB/docs."}`, 400},
		"error with a served URI": {"/token", "application/json;charset=UTF-8", `{"error_uri":"UP/jwks"}`, `{"error_uri":"PUB/jwks"}`, 401},
		"issuer":                  {"/token", "application/json", `{"access_token":"a","iss":"UP/", "x":{"y":["UP/x",1],"z":2}}`, `{"access_token":"a","iss":"PUB/", "x":{"z":2}}`, 200},
		"escaped slashes":         {"/token", "application/json", `{"a":"UP\/private","b":"\u0068ttp:\/\/HOST\/jwks"}`, `{"b":"PUB/jwks"}`, 200},
		"an array":                {"/token", "application/json", `["UP/private"]`, `["PUB/private"]`, 200},
		"no media type":           {"/token", "", `{"a":"UP/private","b":1}`, `{"b":1}`, 200},
		"text":                    {"/token", "text/plain", `{"a":"UP/private","b":1}`, `{"b":1}`, 200},
		"byte order mark":         {"/token", "application/json", "\xef\xbb\xbf" + `{"a":"UP/private","b":1}`, `{"b":1}`, 200},
		"a web page":              {"/token", "text/html", `{"a":"UP/private"}`, `{"a":"UP/private"}`, 200},
		"no JSON":                 {"/token", "application/json", `{"a":"UP/private"`, `{"a":"UP/private"`, 200},
		"nothing private":         {"/token", "application/json", "\n{ \"a\" : \"https:\\/\\/x\\u002eexample\" ,\"a\":1e2}\t", "\n{ \"a\" : \"https:\\/\\/x\\u002eexample\" ,\"a\":1e2}\t", 200},
		"another port":            {"/token", "application/json", `{"a":"http://127.0.0.1:1/x","b":"UPx","c":"UP@evil.test"}`, `{"a":"http://127.0.0.1:1/x","b":"UPx","c":"UP@evil.test"}`, 200},
		"pushed request":          {"/par", "application/json", `{"request_uri":"UP/requests/1","expires_in":60}`, `{"request_uri":"PUB/requests/1","expires_in":60}`, 201},
		"urn":                     {"/par", "application/json", `{"request_uri":"urn:ietf:params:oauth:request_uri:x"}`, `{"request_uri":"urn:ietf:params:oauth:request_uri:x"}`, 201},
		"keys":                    {"/jwks", "application/jwk-set+json", `{"keys":[{"kty":"EC","x5u":"UP/private"}]}`, `{"keys":[{"kty":"EC"}]}`, 200},
		"client metadata": {
			"/register", "application/json",
			`{"client_id":"UP/c","redirect_uris":["UP/cb","http://127.0.0.1/cb"],"client_uri":"UP/","mine":"UP/mine", "registration_client_uri":"UP/register/abc","x":"UP/private","docs":"UP/jwks"}`,
			`{"client_id":"UP/c","redirect_uris":["UP/cb","http://127.0.0.1/cb"],"client_uri":"UP/","mine":"UP/mine", "registration_client_uri":"PUB/register/abc","docs":"PUB/jwks"}`, 201,
		},
		"a page's script": {"/consent", "application/json", `{"next":"UP/consent/2","back":"UP/cb?code=x&state=y","to":"UP/admin"}`, `{"next":"PUB/consent/2","back":"UP/cb?code=x&state=y","to":"PUB/admin"}`, 200},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCohosted(t)
			s.says(tc.path, tc.status, tc.mediaType, strings.ReplaceAll(tc.in, "HOST", strings.TrimPrefix(s.URL, "http://")))
			base := startBridged(t, s, bridged+" {\n\t\t\tpaths /consent\n\t\t}")
			want := strings.NewReplacer("PUB", base, "UP", s.URL).Replace(tc.want)
			r := mcptest.NewRequest(t, "POST", base+tc.path, `{"redirect_uris":["x"],"mine":"x"}`)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Range", "bytes=0-5")
			got := mcptest.Do(t, mcptest.NewClient(t), r)
			if got.Status != tc.status || got.Body != want || got.Header.Get("Content-Length") != fmt.Sprint(len(want)) {
				t.Errorf("got %d, length %s:\n%s\nwant\n%s", got.Status, got.Header.Get("Content-Length"), got.Body, want)
			}
			if sent, ok := s.last(tc.path); !ok || tc.path != "/consent" && sent.header.Get("Range") != "" {
				t.Errorf("sent %+v", sent)
			}
		})
	}
}

// Rule C5: a content coding that the server uses although none was asked for hides no
// private URL, and an answer without one keeps it.
func TestCodedAnswers(t *testing.T) {
	s := newCohosted(t)
	packed := func(text string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, text)
		_ = z.Close()
		return b.Bytes()
	}
	document := ""
	s.handlers["/token"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Digest", "sha-256=:AAAA:")
		_, _ = w.Write(packed(document))
	}
	base := startBridged(t, s, bridged)
	ask := func() mcptest.Answer {
		r := mcptest.NewRequest(t, "POST", base+"/token", "")
		r.Header.Set("Accept-Encoding", "gzip") // so that the client does not unpack
		return mcptest.Do(t, mcptest.NewClient(t), r)
	}
	document = `{"a":1,"b":"` + s.URL + `/private"}`
	if got := ask(); got.Body != `{"a":1}` || got.Header.Get("Content-Encoding") != "" || got.Header.Get("Content-Digest") != "" {
		t.Errorf("got %q, header %v", got.Body, got.Header)
	}
	document = `{"a":1}`
	if got := ask(); got.Body != string(packed(document)) || got.Header.Get("Content-Encoding") != "gzip" || got.Header.Get("Content-Digest") == "" {
		t.Errorf("got %q, header %v", got.Body, got.Header)
	}
	if sent, _ := s.last("/token"); sent.header.Get("Accept-Encoding") != "identity" {
		t.Errorf("asked for %q", sent.header.Get("Accept-Encoding"))
	}
}

// Rules C5, G: an answer that is longer than the limit is not held: it passes as it comes.
func TestLongAnswers(t *testing.T) {
	s := newCohosted(t)
	more := make(chan struct{})
	first := `{"a":"` + strings.Repeat("x", 8<<10)
	s.handlers["/token"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, first)
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, `"}`)
	}
	base := startBridged(t, s, bridged+"\nlimits {\n max_metadata_size 4KiB\n}")
	res, err := mcptest.NewClient(t).Do(mcptest.NewRequest(t, "POST", base+"/token", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	head := make([]byte, len(first))
	if _, err := io.ReadFull(res.Body, head); err != nil || string(head) != first {
		t.Fatalf("%v: got %q", err, head)
	}
	close(more)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != `"}` {
		t.Errorf("%v: got %q", err, rest)
	}
	testcaddy.WantAdvice(t, "response of the authorization server is passed unread", "")
}

// Rule C5, RFC 9126: a request_uri that is a URL of the server comes back to it as the
// server wrote it.
func TestPushedRequestURI(t *testing.T) {
	s := newCohosted(t)
	s.says("/par", 201, "application/json", `{"request_uri":"UP/requests/a?b=1"}`)
	base := startBridged(t, s, bridged)
	var pushed struct {
		RequestURI string `json:"request_uri"`
	}
	if err := json.Unmarshal([]byte(postForm(t, base+"/par", "client_id=x").Body), &pushed); err != nil || pushed.RequestURI != base+"/requests/a?b=1" {
		t.Fatalf("%v: got %+v", err, pushed)
	}
	mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", base+"/authorize?client_id=x&request_uri="+url.QueryEscape(pushed.RequestURI), ""))
	if sent, _ := s.last("/authorize"); sent.query != "client_id=x&request_uri="+url.QueryEscape(s.URL+"/requests/a?b=1") {
		t.Errorf("sent %s", sent.query)
	}
}

// Rule C5: fields of the server's answers that name its URLs name public ones.
func TestFieldsHaveNoPrivateURL(t *testing.T) {
	s := newCohosted(t)
	fields := map[string]string{
		"Link":                    `<UP/style.css>; rel=preload, <https://cdn.example/x>; rel=next`,
		"WWW-Authenticate":        `Bearer realm="UP/", resource_metadata="UP/.well-known/oauth-protected-resource/mcp", error="x"`,
		"Content-Security-Policy": `default-src 'self'; form-action UP https://login.example.com`,
		"Refresh":                 `3; url=UP/consent`,
	}
	for _, path := range []string{"/authorize", "/token"} {
		s.handlers[path] = func(w http.ResponseWriter, _ *http.Request) {
			for name, value := range fields {
				w.Header().Set(name, strings.ReplaceAll(value, "UP", s.URL))
			}
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	base := startBridged(t, s, bridged)
	for _, path := range []string{"/authorize", "/token"} {
		got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", base+path, ""))
		for name, value := range fields {
			if want := strings.ReplaceAll(value, "UP", base); got.Header.Get(name) != want {
				t.Errorf("%s: %s: %s, want %s", path, name, got.Header.Get(name), want)
			}
		}
	}
}
