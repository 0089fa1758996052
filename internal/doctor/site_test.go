package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
)

const (
	mcpOrigin    = "https://mcp.example.com"
	mcpURL       = mcpOrigin + "/mcp"
	issuerURL    = "https://login.example.com"
	pageOrigin   = "https://app.example.com"
	metadataPath = "/.well-known/oauth-protected-resource/mcp"
	serverPath   = "/.well-known/oauth-authorization-server"
)

// site is a healthy MCP server with a login, and its authorization server. Tests break one
// thing in it. One web server with TLS answers for both, and every host name leads to it.
type site struct {
	mu sync.Mutex
	// challenge is what the 401 has in WWW-Authenticate.
	challenge []string
	// answer, if not nil, answers the endpoint in place of the MCP server.
	answer http.HandlerFunc
	// at has handlers for hosts with paths, which replace the usual ones.
	at map[string]http.HandlerFunc
	// resource and server are the metadata documents. A nil member is left out.
	resource, server map[string]any
	// open is true if the server needs no login.
	open bool
	// cors answers preflights and exposes the challenge.
	cors func(http.ResponseWriter, *http.Request) (done bool)
	// audience is the audience that the server expects. iss is sent when the browser
	// comes back.
	audience, iss string
	// upgrades makes port 80 redirect to https.
	upgrades bool
	// refused is an address at which nothing listens.
	refused string
	// scopes is true if the scopes of tokens are not sufficient.
	scopes bool

	http  *httptest.Server
	plain *httptest.Server
	codes map[string]url.Values // the authorization request, by its code
	seen  []*http.Request
}

func newSite() *site {
	return &site{
		challenge: []string{`Bearer resource_metadata="` + mcpOrigin + metadataPath + `", scope="mcp:read"`},
		at:        make(map[string]http.HandlerFunc),
		resource:  map[string]any{"resource": mcpURL, "authorization_servers": []string{issuerURL}},
		server: map[string]any{
			"issuer": issuerURL, "authorization_endpoint": issuerURL + "/authorize", "token_endpoint": issuerURL + "/token",
			"registration_endpoint": issuerURL + "/register", "code_challenge_methods_supported": []string{"S256"},
			"response_types_supported": []string{"code"},
		},
		cors: openCORS, audience: mcpURL, codes: make(map[string]url.Values),
	}
}

// openCORS allows every page.
func openCORS(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Mcp-Session-Id")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, MCP-Protocol-Version, Mcp-Session-Id")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// start starts the web server; it ends with the test.
func (s *site) start(t testing.TB) {
	t.Helper()
	s.http = httptest.NewUnstartedServer(s)
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.http.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, time.Now().Add(time.Hour))}}
	s.http.StartTLS()
	t.Cleanup(s.http.Close)
	if s.upgrades {
		s.plain = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+r.Host+r.URL.String(), http.StatusMovedPermanently)
		}))
		s.plain.Start()
		t.Cleanup(s.plain.Close)
	}
}

// certificate returns one for all host names of the tests.
func certificate(t testing.TB, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: until.Add(-48 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"example.com", "*.example.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// transport leads every name to the site.
func (s *site) transport() *http.Transport {
	pool := x509.NewCertPool()
	pool.AddCert(s.http.TLS.Certificates[0].Leaf)
	return &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if s.upgrades && strings.HasSuffix(addr, ":80") {
				return new(net.Dialer).DialContext(ctx, network, s.plain.Listener.Addr().String())
			}
			if addr == s.refused {
				return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
			}
			return new(net.Dialer).DialContext(ctx, network, s.http.Listener.Addr().String())
		},
	}
}

// ServeHTTP answers for both servers.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, r.Clone(context.Background()))
	s.mu.Unlock()
	if handler, ok := s.at[r.Host+r.URL.Path]; ok {
		handler(w, r)
		return
	}
	if s.cors(w, r) {
		return
	}
	switch r.Host + r.URL.Path {
	case "mcp.example.com/mcp":
		s.endpoint(w, r)
	case "mcp.example.com" + metadataPath:
		writeJSON(w, http.StatusOK, s.resource)
	case "login.example.com" + serverPath:
		writeJSON(w, http.StatusOK, s.server)
	case "login.example.com/register":
		s.register(w, r)
	case "login.example.com/authorize":
		s.authorize(w, r)
	case "login.example.com/token":
		s.token(w, r)
	default:
		http.NotFound(w, r)
	}
}

func writeJSON(w http.ResponseWriter, status int, v map[string]any) {
	for name, member := range v {
		if member == nil {
			delete(v, name)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// endpoint answers for the MCP server.
func (s *site) endpoint(w http.ResponseWriter, r *http.Request) {
	if s.answer != nil {
		s.answer(w, r)
		return
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token == "" && !s.open {
		s.refuse(w, "")
		return
	}
	if c, ok := readClaims(token); token != "" && (!ok || c.Audience[0] != s.audience) {
		s.refuse(w, `, error="invalid_token"`)
		return
	}
	if token != "" && s.scopes {
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="mcp:all"`)
		w.WriteHeader(http.StatusForbidden)
		return
	}
	speak(w, r)
}

func (s *site) refuse(w http.ResponseWriter, more string) {
	for _, line := range s.challenge {
		w.Header().Add("WWW-Authenticate", line+more)
	}
	w.WriteHeader(http.StatusUnauthorized)
}

// speak answers as an MCP server with sessions.
func speak(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	var message struct {
		ID     any    `json:"id"`
		Method string `json:"method"`
	}
	_ = json.NewDecoder(r.Body).Decode(&message)
	result := map[string]any{}
	if named := r.Header.Get("MCP-Protocol-Version"); named == probe.HandshakeRevision { // the server supports older revisions only
		answers(http.StatusBadRequest, "text/plain", "unsupported protocol version")(w, r)
		return
	}
	switch message.Method {
	case "initialize":
		w.Header().Set("Mcp-Session-Id", "session-of-the-site")
		result = map[string]any{"protocolVersion": "2025-06-18", "serverInfo": map[string]any{"name": "site", "version": "1"}}
	case "notifications/initialized":
		w.WriteHeader(http.StatusAccepted)
		return
	case "tools/list":
		result["tools"] = []any{map[string]any{"name": "one"}, map[string]any{"name": "two"}}
	case "tools/call":
		result["content"] = []any{}
	case "ping":
	default:
		writeJSON(w, http.StatusBadRequest, map[string]any{"jsonrpc": "2.0", "id": message.ID, "error": map[string]any{"code": -32601, "message": "no such method"}})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"jsonrpc": "2.0", "id": message.ID, "result": result})
}

// register registers every client (RFC 7591 section 3.2.1).
func (s *site) register(w http.ResponseWriter, r *http.Request) {
	client := make(map[string]any)
	_ = json.NewDecoder(r.Body).Decode(&client)
	client["client_id"], client["client_secret"], client["client_secret_expires_at"] = "registered", "s3cr3t-of-the-client", 0
	writeJSON(w, http.StatusCreated, client)
}

// authorize logs every user in.
func (s *site) authorize(w http.ResponseWriter, r *http.Request) {
	code := "code-" + rand.Text()
	s.mu.Lock()
	s.codes[code] = r.URL.Query()
	s.mu.Unlock()
	back := url.Values{"code": {code}, "state": {r.URL.Query().Get("state")}}
	if s.iss != "" {
		back.Set("iss", s.iss)
	}
	http.Redirect(w, r, r.URL.Query().Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// token issues a JWT for the requested resource.
func (s *site) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	asked := s.codes[r.FormValue("code")]
	s.mu.Unlock()
	if asked == nil || asked.Get("resource") != r.FormValue("resource") || r.FormValue("code_verifier") == "" {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "no such code"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"access_token": jwtWith(fmt.Sprintf(`{"aud":%q,"exp":%d,"scope":%q}`, asked.Get("resource"), time.Now().Add(time.Hour).Unix(), asked.Get("scope"))), "token_type": "bearer", "refresh_token": "refresh-s3cr3t"})
}

// jwtFor returns an unsigned token for an audience.
func jwtFor(audience string, lifetime time.Duration) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(`{"alg":"none"}`)) + "." + b64(fmt.Appendf(nil, `{"aud":%q,"exp":%d}`, audience, time.Now().Add(lifetime).Unix())) + "." + b64([]byte("signature"))
}

// asked returns the requests for a host.
func (s *site) asked(host string) []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*http.Request
	for _, r := range s.seen {
		if r.Host == host {
			found = append(found, r)
		}
	}
	return found
}

// browse returns a browser whose user agrees to everything.
func (s *site) browse(t testing.TB) func(string) error {
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: s.transport().TLSClientConfig,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, "login.example.com") {
				addr = s.http.Listener.Addr().String()
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	t.Cleanup(client.CloseIdleConnections)
	return func(at string) error {
		res, err := client.Get(at)
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
}
