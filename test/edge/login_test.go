package edge_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

// post posts a body to a URL. fields are names and values of header fields.
func post(t *testing.T, url, body string, fields ...string) mcptest.Answer {
	t.Helper()
	r := mcptest.NewRequest(t, http.MethodPost, url, body)
	for i := 0; i < len(fields); i += 2 {
		r.Header[fields[i]] = append(r.Header[fields[i]], fields[i+1])
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	return mcptest.Do(t, &http.Client{Transport: tr}, r)
}

// E1, E2, E8, E10: a program without a login gets one. Clients without a token are told where
// to log in, also from a page, and the program is not started for them; with a token they
// use it.
func TestProgramBehindALogin(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, "/files/mcp", program(t), authorize(issuer, "scope files:read")))
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	url, meta := base+"/files/mcp", base+"/.well-known/oauth-protected-resource/files/mcp"

	got := mcptest.Do(t, http.DefaultClient, mcptest.NewRequest(t, http.MethodGet, meta, ""))
	var doc struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Scopes   []string `json:"scopes_supported"`
	}
	if err := json.Unmarshal([]byte(got.Body), &doc); err != nil || doc.Resource != url || len(doc.Servers) != 1 || doc.Servers[0] != issuer.URL || fmt.Sprint(doc.Scopes) != "[files:read]" {
		t.Errorf("metadata: got %d %s", got.Status, got.Body)
	}
	challenge := `Bearer scope="files:read", resource_metadata="` + meta + `"`
	for _, method := range []string{"POST", "GET", "DELETE", "PUT"} {
		r := mcptest.NewRequest(t, method, url, initialize)
		r.Header.Set("Origin", base)
		got := mcptest.Do(t, http.DefaultClient, r)
		if got.Status != 401 || got.Header.Get("Www-Authenticate") != challenge || !strings.Contains(got.Header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate") {
			t.Errorf("%s: got %d %v", method, got.Status, got.Header)
		}
	}
	preflight := mcptest.NewRequest(t, http.MethodOptions, url, "")
	preflight.Header.Set("Origin", base)
	preflight.Header.Set("Access-Control-Request-Method", "POST")
	preflight.Header.Set("Access-Control-Request-Headers", "authorization")
	if got := mcptest.Do(t, http.DefaultClient, preflight); got.Status/100 != 2 || got.Header.Get("Access-Control-Allow-Origin") != base {
		t.Errorf("preflight: got %d %v", got.Status, got.Header)
	}
	if got := post(t, url, initialize, "Authorization", "Bearer "+issuer.Token("http://127.0.0.1:1/files/mcp", nil)); got.Status != 401 || !strings.Contains(got.Header.Get("Www-Authenticate"), `error="invalid_token", error_description="the token was issued for another audience", scope="files:read"`) {
		t.Errorf("another audience: got %d %v", got.Status, got.Header)
	}

	session := connect(t, url, issuer.Token(url, map[string]any{"scope": "files:read"}))
	if tools, err := session.ListTools(t.Context(), nil); err != nil || len(tools.Tools) != 1 {
		t.Errorf("got %v, %v", tools, err)
	}
	alice, bob := issuer.Token(url, map[string]any{"scope": "files:read"}), issuer.Token(url, map[string]any{"sub": "bob", "scope": "files:read"})
	call := `{"jsonrpc":"2.0","id":2,"method":"ping"}`
	for name, tc := range map[string]struct {
		token  string
		status int
	}{"the owner, refreshed": {alice, 200}, "another user": {bob, 404}} {
		if got := post(t, url, call, "Authorization", "Bearer "+tc.token, "Mcp-Session-Id", session.ID()); got.Status != tc.status {
			t.Errorf("%s: got %d %s; want %d", name, got.Status, got.Body, tc.status)
		}
	}
	if got := post(t, url, call, "Mcp-Session-Id", session.ID()); got.Status != 401 {
		t.Errorf("without a token: got %d", got.Status)
	}
}

// recorder is an MCP server over HTTP that notes the header of each request.
type recorder struct {
	*httptest.Server
	mu   sync.Mutex
	seen []http.Header
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	rec := new(recorder)
	rec.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec.mu.Lock()
		rec.seen = append(rec.seen, r.Header.Clone())
		rec.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}))
	rec.Start()
	t.Cleanup(rec.Close)
	return rec
}

func (rec *recorder) headers() []http.Header {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.seen
}

// E6: the token does not reach the server, the identity does, and no client can forge one.
func TestWhatReachesTheServer(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	server := newRecorder(t)
	port := testcaddy.FreePort(t)
	const key = "0123456789abcdef0123456789abcdef"
	testcaddy.Run(t, site(port, server.URL, authorize(issuer, "key_header X-API-Key", "key backup "+key, "identity X-User id", "identity X-Groups groups", "identity X-Empty none")))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	alice := issuer.Token(url, map[string]any{"groups": []string{"a", "b"}})
	forged := []string{"X-User", "root", "X_User", "root", "x_uSer", "root", "X-Groups", "root", "X-Empty", "root", "X_Empty", "root"}
	for name, tc := range map[string]struct {
		fields       []string
		user, groups string
	}{
		"token":        {[]string{"Authorization", "Bearer " + alice}, "alice", "a,b"},
		"key":          {[]string{"Authorization", "Bearer " + key}, "key#backup", ""},
		"key in field": {[]string{"X-Api-Key", key}, "key#backup", ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(server.headers())
			if got := post(t, url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, append(tc.fields, forged...)...); got.Status != 200 {
				t.Fatalf("got %d %s", got.Status, got.Body)
			}
			all := server.headers()
			if len(all) != before+1 {
				t.Fatalf("%d requests", len(all)-before)
			}
			h := all[before]
			if h.Get("X-User") != tc.user || h.Get("X-Groups") != tc.groups || len(h.Values("X-User")) != 1 {
				t.Errorf("got %v", h)
			}
			for name, values := range h {
				text := strings.Join(values, " ")
				if strings.Contains(text, "root") || strings.Contains(text, key) || strings.Contains(text, alice) || name == "Authorization" || name == "Dpop" {
					t.Errorf("the server got %s: %s", name, text)
				}
			}
		})
	}
	for name, fields := range map[string][]string{
		"nothing":   nil,
		"two":       {"Authorization", "Bearer " + alice, "Authorization", "Bearer " + alice},
		"token+key": {"Authorization", "Bearer " + alice, "X-Api-Key", key},
		"a wrong":   {"X-Api-Key", key + "0"},
	} {
		before := len(server.headers())
		if got := post(t, url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, fields...); got.Status != 401 && got.Status != 400 {
			t.Errorf("%s: got %d", name, got.Status)
		}
		if len(server.headers()) != before {
			t.Errorf("%s: reached the server", name)
		}
	}
	if got := post(t, url+"?access_token="+alice, `{"jsonrpc":"2.0","id":1,"method":"ping"}`); got.Status != 400 {
		t.Errorf("token in the query: got %d", got.Status)
	}
}

// E3: a body that two readers may understand in different ways reaches nothing.
func TestBodiesThatAreNotStrict(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	server := newRecorder(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, server.URL, authorize(issuer), "limits {\n\t\t\tmax_message 64KiB\n\t\t}"))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	token := "Bearer " + issuer.Token(url, nil)
	for name, tc := range map[string]struct {
		body   string
		status int
		want   string
	}{
		"no JSON":        {`{`, 400, `"code":-32700`},
		"empty":          {``, 400, `-32`},
		"Method":         {`{"jsonrpc":"2.0","id":7,"method":"ping","Method":"tools/call"}`, 400, `"code":-32600`},
		"a member twice": {`{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call"}`, 400, `"code":-32600`},
		"Name":           {`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","Name":"b"}}`, 400, `"id":7`},
		"name twice":     {`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","name":"b"}}`, 400, `"code":-32600`},
		"too large":      {`{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":"` + strings.Repeat("x", 70<<10) + `"}}`, 413, `-32600`},
		"good":           {`{"jsonrpc":"2.0","id":7,"method":"ping"}`, 200, `"result"`},
	} {
		before := len(server.headers())
		got := post(t, url, tc.body, "Authorization", token)
		if got.Status != tc.status || !strings.Contains(got.Body, tc.want) {
			t.Errorf("%s: got %d %s; want %d with %s", name, got.Status, got.Body, tc.status, tc.want)
		}
		if reached := len(server.headers()) != before; reached != (tc.status == 200) {
			t.Errorf("%s: reached the server: %t", name, reached)
		}
	}
}

// E1: a token is for the host that the operator means, not for the one that a request names.
func TestTokensOfAnotherHost(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	server := newRecorder(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, strings.Replace(site(port, server.URL, authorize(issuer)), "http://127.0.0.1:", "http://:", 1))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	r := mcptest.NewRequest(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	r.Host = "evil.example"
	r.Header.Set("Authorization", "Bearer "+issuer.Token("http://evil.example/mcp", nil))
	if got := mcptest.Do(t, http.DefaultClient, r); got.Status != 401 || len(server.headers()) != 0 {
		t.Errorf("got %d, reached %d times", got.Status, len(server.headers()))
	}
	if got := post(t, url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Authorization", "Bearer "+issuer.Token(url, nil)); got.Status != 200 {
		t.Errorf("on loopback: got %d %s", got.Status, got.Body)
	}
}

// E1: DPoP through Caddy: the proof is for the public URL, and a nonce is asked for.
func TestDPoPThroughCaddy(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	server := newRecorder(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, server.URL, "public_url https://mcp.example.com", authorize(issuer, "dpop required", "dpop_nonce")))
	url, public := fmt.Sprintf("http://127.0.0.1:%d/mcp", port), "https://mcp.example.com/mcp"
	mine := issuertest.NewKey(t, jose.ES256, "")
	token := issuer.Token(public, map[string]any{"cnf": map[string]any{"jkt": mine.Thumbprint(t)}})
	send := func(claims map[string]any) mcptest.Answer {
		return post(t, url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Authorization", "DPoP "+token, "Dpop", mine.Proof(t, "POST", public, token, claims))
	}
	got := send(nil)
	nonce := got.Header.Get("DPoP-Nonce")
	if got.Status != 401 || nonce == "" || !strings.Contains(strings.Join(got.Header["Www-Authenticate"], "\n"), `DPoP error="use_dpop_nonce"`) {
		t.Fatalf("got %d %v", got.Status, got.Header)
	}
	if got := send(map[string]any{"nonce": nonce}); got.Status != 200 {
		t.Errorf("got %d %v %s", got.Status, got.Header, got.Body)
	}
	if got := send(map[string]any{"nonce": nonce, "htu": url}); got.Status != 401 {
		t.Errorf("a proof for the address behind: got %d", got.Status)
	}
	if got := post(t, url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Authorization", "Bearer "+token); got.Status != 401 {
		t.Errorf("as Bearer: got %d", got.Status)
	}
}

// E1: a stream ends within a minute of its token.
func TestStreamEndsWithItsToken(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, "/mcp", program(t), authorize(issuer)))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	session := connect(t, url, issuer.Token(url, nil))
	r := mcptest.NewRequest(t, http.MethodGet, url, "")
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Mcp-Session-Id", session.ID())
	r.Header.Set("Authorization", "Bearer "+issuer.Token(url, map[string]any{"exp": time.Now().Unix() - 28, "iat": nil}))
	_ = mcptest.Do(t, http.DefaultClient, r) // reads the stream to its end
}
