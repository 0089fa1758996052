package edge_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// exchanged is the option that exchanges tokens at an issuer of issuertest.
const exchanged = `token exchange {
				audience files-api
				scope files:use
				client_id edge
				client_secret edge-secret
			}`

// tokenServer is an MCP server that wants a token of its own: one that an issuer has issued
// for files-api. It notes every credential that reaches it.
type tokenServer struct {
	*httptest.Server
	mu      sync.Mutex
	seen    []string            // method, path and subject of each request
	values  map[string]bool     // of Authorization
	refuses func(r string) bool // tokens that are refused; nil: none
	stray   []string            // other fields and trailers that may carry a credential
	public  []string            // Authorization of requests to /health
}

func newTokenServer(t *testing.T, next http.Handler) *tokenServer {
	t.Helper()
	s := &tokenServer{values: make(map[string]bool)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			s.mu.Lock()
			s.public = append(s.public, r.Header.Get("Authorization"))
			s.mu.Unlock()
			return
		}
		if !s.accepts(r) {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", resource_metadata="http://127.0.0.1:1/x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return s
}

// accepts notes a request, and reports whether its token is one for this server.
func (s *tokenServer) accepts(r *http.Request) bool {
	var claims struct {
		Audience string `json:"aud"`
		Subject  string `json:"sub"`
	}
	all := r.Header.Values("Authorization")
	raw := ""
	if len(all) == 1 {
		raw = strings.TrimPrefix(all[0], "Bearer ")
		if jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256}); err == nil {
			_ = json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, r.Method+" "+r.URL.Path+" "+claims.Subject)
	for _, value := range all {
		s.values[value] = true
	}
	for name, values := range r.Header {
		if lower := strings.ReplaceAll(strings.ToLower(name), "_", "-"); name != "Authorization" && (lower == "authorization" || lower == "dpop") {
			s.stray = append(s.stray, fmt.Sprint(name, values))
		}
	}
	return claims.Audience == "files-api" && claims.Subject != "" && (s.refuses == nil || !s.refuses(raw))
}

func (s *tokenServer) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// E6: a server with tokens of its own gets one for each token of a client, over each pair of
// transports, and nothing of the client's. The issuer is asked once for each.
func TestExchange(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	newServer := func(*http.Request) *mcp.Server { return newFiles() }
	for name, tc := range map[string]struct {
		server http.Handler
		front  string
	}{
		"Streamable HTTP":              {mcp.NewStreamableHTTPHandler(newServer, nil), "/mcp %s/mcp"},
		"Streamable HTTP, stateless":   {mcp.NewStreamableHTTPHandler(newServer, &mcp.StreamableHTTPOptions{Stateless: true}), "/mcp %s/mcp"},
		"HTTP+SSE":                     {mcp.NewSSEHandler(newServer, nil), "/mcp sse+%s/sse"},
		"handlers that follow it":      {mcp.NewStreamableHTTPHandler(newServer, nil), ""},
		"Streamable HTTP, with checks": {mcp.NewStreamableHTTPHandler(newServer, nil), "/mcp %s/mcp"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newTokenServer(t, tc.server)
			port := testcaddy.FreePort(t)
			options := []string{authorize(issuer, exchanged), "legacy_sse"}
			if strings.Contains(name, "checks") {
				options = append(options, "health_uri /health", "health_interval 50ms")
			}
			config := site(port, fmt.Sprintf(tc.front, server.URL), options...)
			if tc.front == "" {
				config = fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\troute {\n\t\tmcp_auth_bridge /mcp {\n\t\t%s\n\t}\n\t\treverse_proxy %s\n\t}\n}\n", port, authorize(issuer, exchanged), strings.TrimPrefix(server.URL, "http://"))
			}
			testcaddy.Run(t, config)
			at := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
			before := len(issuer.Exchanged())
			tokens := map[string]string{"alice": issuer.Token(at, nil), "bob": issuer.Token(at, map[string]any{"sub": "bob"})}
			for _, token := range tokens {
				session := connect(t, at, token)
				if _, err := session.ListTools(t.Context(), nil); err != nil {
					t.Errorf("listing tools: %v", err)
				}
				if res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "read_file"}); err != nil || len(res.Content) != 1 {
					t.Errorf("calling a tool: %v, %v", res, err)
				}
				if tc.front == "" {
					continue
				}
				tr := &http.Transport{}
				old, err := mcp.NewClient(&mcp.Implementation{Name: "old", Version: "1"}, nil).
					Connect(context.WithoutCancel(t.Context()), &mcp.SSEClientTransport{Endpoint: at + "/sse", HTTPClient: &http.Client{Transport: withToken{tr, token}}}, nil)
				if err != nil {
					t.Fatalf("HTTP+SSE: %v", err)
				}
				if _, err := old.ListTools(t.Context(), nil); err != nil {
					t.Errorf("HTTP+SSE: %v", err)
				}
				_ = old.Close()
				tr.CloseIdleConnections()
			}
			forms := issuer.Exchanged()[before:]
			if len(forms) != len(tokens) {
				t.Errorf("the issuer was asked %d times for %d tokens", len(forms), len(tokens))
			}
			for _, form := range forms {
				if form.Get("audience") != "files-api" || form.Get("scope") != "files:use" || form.Get("resource") != "" || form.Get("client_secret") != "" {
					t.Errorf("the issuer was asked %v", form)
				}
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			if len(server.values) != len(tokens) || len(server.stray) > 0 {
				t.Errorf("the server has seen %d tokens, and %v", len(server.values), server.stray)
			}
			for _, token := range tokens {
				if server.values["Bearer "+token] {
					t.Error("the server has seen the token of a client")
				}
			}
			for _, request := range server.seen {
				if !strings.HasSuffix(request, " alice") && !strings.HasSuffix(request, " bob") {
					t.Errorf("%q has reached the server without a token for it", request)
				}
			}
			for _, value := range server.public {
				if value != "" {
					t.Error("a check of the health has a token")
				}
			}
			if strings.Contains(name, "checks") && len(server.public) == 0 {
				t.Error("the health was not checked")
			}
		})
	}
}

// noteHandler answers everything, with a stream where one is asked for.
func noteHandler(begun chan<- string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, ": begun\n\n")
		_ = http.NewResponseController(w).Flush()
		begun <- r.Header.Get("Authorization")
		<-r.Context().Done()
		begun <- "over"
	})
}

// E6: what a client writes into fields and trailers does not take the place of the new token,
// and does not have it removed.
func TestExchangedTokenIsNotReplacedByTheClient(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	server := newTokenServer(t, noteHandler(nil))
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, "/mcp "+server.URL+"/mcp", authorize(issuer, exchanged)))
	at := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	token := issuer.Token(at, nil)
	for name, fields := range map[string][]string{
		"Connection names it":    {"Connection", "close, Authorization"},
		"another spelling":       {"authorization_", "Bearer x", "AUTHORIZATION", "Bearer x"},
		"an underscore for DPoP": {"Dpop_", "x"},
		"Proxy-Authorization":    {"Proxy-Authorization", "Bearer x"},
	} {
		r := mcptest.NewRequest(t, http.MethodPost, at, rpc("ping", `{}`), "Authorization", "Bearer "+token)
		for i := 0; i < len(fields); i += 2 {
			r.Header[fields[i]] = append(r.Header[fields[i]], fields[i+1])
		}
		r.Trailer = http.Header{"Authorization": {"Bearer x"}}
		r.ContentLength = -1
		got := mcptest.Do(t, mcptest.NewClient(t), r)
		want := http.StatusOK
		if name == "another spelling" {
			want = http.StatusBadRequest // two credentials
		}
		if got.Status != want {
			t.Errorf("%s: got %d %s", name, got.Status, got.Body)
		}
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if len(server.values) != 1 || len(server.stray) > 0 || len(issuer.Exchanged()) != 1 {
		t.Errorf("the server has seen %d values, and %v; the issuer was asked %d times", len(server.values), server.stray, len(issuer.Exchanged()))
	}
}

// E6, E7: a stream of the server has the new token, and ends with that of the client.
func TestExchangeForStreams(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	begun := make(chan string, 2)
	server := newTokenServer(t, noteHandler(begun))
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, "/mcp "+server.URL+"/mcp", authorize(issuer, exchanged)))
	at := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	// The token ended 28 seconds ago, of the 30 that clocks may differ by.
	token := issuer.Token(at, map[string]any{"exp": time.Now().Add(-28 * time.Second).Unix()})
	r := mcptest.NewRequest(t, http.MethodGet, at, "", "Authorization", "Bearer "+token, "Accept", "text/event-stream")
	res, err := mcptest.NewClient(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if got := <-begun; res.StatusCode != http.StatusOK || got == "" || got == "Bearer "+token {
		t.Fatalf("got %d, with the token %q", res.StatusCode, got)
	}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
	}
	if got := <-begun; got != "over" {
		t.Errorf("got %q", got)
	}
}

// E6: a bound token is exchanged once its proof was checked, for one that is not bound. The
// proof does not reach the server.
func TestExchangeOfABoundToken(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	server := newTokenServer(t, noteHandler(nil))
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, "/mcp "+server.URL+"/mcp", authorize(issuer, exchanged, "dpop required")))
	at := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	key := issuertest.NewKey(t, jose.ES256, "")
	token := issuer.Token(at, map[string]any{"cnf": map[string]any{"jkt": key.Thumbprint(t)}})
	if got := post(t, at, rpc("ping", `{}`), "Authorization", "Bearer "+token); got.Status != 401 || len(issuer.Exchanged()) != 0 {
		t.Errorf("without a proof: got %d, and %d exchanges", got.Status, len(issuer.Exchanged()))
	}
	if got := post(t, at, rpc("ping", `{}`), "Authorization", "DPoP "+token, "Dpop", key.Proof(t, "POST", at, token, nil)); got.Status != 200 {
		t.Errorf("with a proof: got %d %s", got.Status, got.Body)
	}
	if seen := server.requests(); len(seen) != 1 || len(server.stray) > 0 {
		t.Errorf("the server has seen %v %v", seen, server.stray)
	}
}

// E2, E6: what a client gets if its token is not exchanged. None of its requests reaches the
// server, and no log line has a secret.
func TestTokenIsNotExchanged(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	server := newTokenServer(t, noteHandler(nil))
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, "/mcp "+server.URL+"/mcp", authorize(issuer, "scope files:read", "tools other {\n\t\t\t\tdeny\n\t\t\t}", exchanged)))
	at := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	metadata := fmt.Sprintf("http://127.0.0.1:%d/.well-known/oauth-protected-resource/mcp", port)
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, strings.ReplaceAll(body, "TOKEN", r.PostFormValue("subject_token")))
		}
	}
	for name, tc := range map[string]struct {
		script    http.HandlerFunc
		status    int
		challenge string
		body      string
	}{
		"revoked": {
			answer(400, `{"error":"invalid_grant","error_description":"TOKEN is revoked"}`), 401,
			`Bearer error="invalid_token", error_description="the authorization server does not exchange this token", scope="files:read", resource_metadata="` + metadata + `"`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"the authorization server does not exchange this token"}}`,
		},
		"not for this user": {
			answer(400, `{"error":"invalid_target"}`), 502, "",
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"the authorization server gives this user no token for the MCP server"}}`,
		},
		"wrong secret": {
			answer(401, `{"error":"invalid_client","error_description":"edge-secret"}`), 502, "",
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"the token could not be exchanged for one for the MCP server"}}`,
		},
		"unusable":   {answer(200, `{"access_token":"TOKEN","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer"}`), 502, "", ""},
		"a page":     {answer(200, `<html>`), 502, "", ""},
		"away":       {answer(503, ``), 503, "", `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"the authorization server could not be asked"}}`},
		"breaks off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 503, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			issuer.SetExchange(tc.script)
			token := issuer.Token(at, map[string]any{"scope": "files:read"})
			got := post(t, at, rpc("tools/call", `{"name":"read"}`), "Authorization", "Bearer "+token)
			if got.Status != tc.status || strings.Join(got.Header["Www-Authenticate"], "\n") != tc.challenge || tc.body != "" && strings.TrimSpace(got.Body) != tc.body {
				t.Errorf("got %d %q %s", got.Status, got.Header["Www-Authenticate"], got.Body)
			}
			if retry := got.Header.Get("Retry-After"); (retry != "") != (tc.status == 503) || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("Retry-After is %q, Cache-Control %q", retry, got.Header.Get("Cache-Control"))
			}
			for _, line := range testcaddy.Logs() {
				if strings.Contains(line, token) || strings.Contains(line, "edge-secret") {
					t.Errorf("the log has a secret: %s", line)
				}
			}
		})
	}
	asked := len(issuer.Exchanged())
	for what, token := range map[string]string{
		"too little scope": issuer.Token(at, nil), "denied": issuer.Token(at, map[string]any{"scope": "files:read"}),
	} {
		if got := post(t, at, rpc("tools/call", `{"name":"other"}`), "Authorization", "Bearer "+token); got.Status != 403 {
			t.Errorf("%s: got %d", what, got.Status)
		}
	}
	if len(issuer.Exchanged()) != asked {
		t.Error("a request that is denied has had its token exchanged")
	}
	if seen := server.requests(); len(seen) > 0 {
		t.Errorf("%v have reached the server", seen)
	}
}

// E6, A6: a server that refuses the new token: clients get 502, and the next request has
// another token, once. A server that refuses each does not have the issuer asked each time.
func TestServerRefusesTheNewToken(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	for name, front := range map[string]string{"crosses": "/mcp %s/mcp", "is carried over": "/mcp sse+%s/sse"} {
		t.Run(name, func(t *testing.T) {
			var revoked sync.Map
			var all bool
			handler := http.Handler(noteHandler(nil))
			if strings.Contains(front, "sse+") {
				handler = mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return newFiles() }, nil)
			}
			server := newTokenServer(t, handler)
			server.refuses = func(raw string) bool {
				_, gone := revoked.Load(raw)
				return gone || all
			}
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, site(port, fmt.Sprintf(front, server.URL), authorize(issuer, exchanged)))
			at := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
			token := issuer.Token(at, nil)
			before := len(issuer.Exchanged())
			ask := func() int {
				return post(t, at, initialize, "Authorization", "Bearer "+token).Status
			}
			if got := ask(); got != 200 {
				t.Fatalf("got %d", got)
			}
			server.mu.Lock()
			for value := range server.values {
				revoked.Store(strings.TrimPrefix(value, "Bearer "), true)
			}
			server.mu.Unlock()
			if got := ask(); got != 502 {
				t.Errorf("with a token that was revoked: got %d", got)
			}
			if got := ask(); got != 200 || len(issuer.Exchanged())-before != 2 {
				t.Errorf("with a new one: got %d after %d exchanges", got, len(issuer.Exchanged())-before)
			}
			server.mu.Lock()
			all = true
			server.mu.Unlock()
			for range 5 {
				if got := ask(); got != 502 {
					t.Errorf("if every token is refused: got %d", got)
				}
			}
			if n := len(issuer.Exchanged()) - before; n != 2 {
				t.Errorf("the issuer was asked %d times", n)
			}
		})
	}
}

// E6: the token endpoint of the configuration takes the tokens of all issuers, and opaque ones.
func TestExchangeAtANamedEndpoint(t *testing.T) {
	issuer, other, broker := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one")), issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "two")), issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "three"))
	server := newTokenServer(t, noteHandler(nil))
	port := testcaddy.FreePort(t)
	at := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	option := strings.Replace(exchanged, "exchange {", "exchange "+broker.URL+"/token {\n\t\t\t\tauth_method client_secret_post", 1)
	testcaddy.Run(t, site(port, "/mcp "+server.URL+"/mcp", fmt.Sprintf("authorize {\n\t\t\tissuer %s {\n\t\t\t\tintrospect {\n\t\t\t\t\tclient_id edge\n\t\t\t\t\tclient_secret edge-secret\n\t\t\t\t}\n\t\t\t}\n\t\t\tissuer %s\n\t\t\t%s\n\t\t}", issuer.URL, other.URL, option)))
	broker.SetExchange(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("client_id") != "edge" || r.PostFormValue("client_secret") != "edge-secret" || r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": broker.Token("files-api", nil), "token_type": "Bearer", "issued_token_type": "urn:ietf:params:oauth:token-type:jwt",
		})
	})
	tokens := []string{issuer.Token(at, nil), other.Token(at, nil), issuer.Opaque(map[string]any{"sub": "alice", "aud": at})}
	for _, token := range tokens {
		if got := post(t, at, rpc("ping", `{}`), "Authorization", "Bearer "+token); got.Status != 200 {
			t.Errorf("got %d %s", got.Status, got.Body)
		}
	}
	forms := broker.Exchanged()
	if len(forms) != 3 || len(issuer.Exchanged())+len(other.Exchanged()) != 0 || !slices.EqualFunc(forms, tokens, func(f url.Values, token string) bool { return f.Get("subject_token") == token }) {
		t.Errorf("the endpoint was asked %v", forms)
	}
}
