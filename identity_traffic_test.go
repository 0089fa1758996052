package mcpauthbridge

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() { caddy.RegisterModule(namedUpstream{}) }

// namedUpstream is a source of dynamic upstreams that needs no name server.
type namedUpstream struct {
	Name string `json:"name"`
}

// CaddyModule returns the Caddy module information.
func (namedUpstream) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.identity_test", New: func() caddy.Module { return new(namedUpstream) }}
}

// GetUpstreams implements reverseproxy.UpstreamSource.
func (u *namedUpstream) GetUpstreams(*http.Request) ([]*reverseproxy.Upstream, error) {
	return []*reverseproxy.Upstream{{Dial: u.Name}}, nil
}

// tenants are two MCP servers, or one that serves two tenants, which are told apart by a
// field. Clients of tenant "a" have the token "of-a"; a server that sees it while it
// serves "b" notes that.
type tenants struct {
	mu      sync.Mutex
	strays  []string
	streams map[string]chan string
	openers map[string]string
}

func (s *tenants) stray(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strays = append(s.strays, fmt.Sprintf(format, args...))
}

// server returns the handler of the server of a tenant; empty: of that which X-Tenant or
// the query names.
func (s *tenants) server(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant := name
		if tenant == "" {
			tenant = r.Header.Get("X-Tenant") + r.URL.Query().Get("tenant")
		}
		if token := r.Header.Get("Authorization"); token != "" && token != "Bearer of-"+tenant {
			s.stray("the server of %s got %s %s with %q", tenant, r.Method, r.URL, token)
		}
		for _, other := range []string{"a", "b"} {
			if other != tenant && strings.HasSuffix(r.URL.Path, "-of-"+other) {
				s.stray("the server of %s was asked for %s %s", tenant, r.Method, r.URL)
			}
		}
		s.serve(w, r, tenant)
	})
}

func (s *tenants) serve(w http.ResponseWriter, r *http.Request, tenant string) {
	origin := "http://" + r.Host
	reply := func(format string, args ...any) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, format, args...)
	}
	switch {
	case r.URL.Path == "/.well-known/oauth-authorization-server":
		reply(`{"issuer":%[1]q,"authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token"}`, origin)
	case r.URL.Path == "/.well-known/oauth-protected-resource/mcp":
		reply(`{"resource":"%[1]s/mcp","authorization_servers":[%[1]q]}`, origin)
	case r.URL.Path == "/authorize":
		w.Header().Set("Location", "/page-of-"+tenant)
		w.WriteHeader(http.StatusFound)
	case strings.HasPrefix(r.URL.Path, "/page-"):
		reply(`"page of %s"`, tenant)
	case r.URL.Path == "/sse" && r.Method == http.MethodGet:
		s.stream(w, r, tenant)
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
	default:
		s.post(w, r, tenant)
	}
}

// stream is the event stream of an HTTP+SSE server, which knows its user by it.
func (s *tenants) stream(w http.ResponseWriter, r *http.Request, tenant string) {
	s.mu.Lock()
	id := fmt.Sprint(len(s.streams))
	messages := make(chan string, 16)
	s.streams[id], s.openers[id] = messages, tenant
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = fmt.Fprintf(w, "event: endpoint\ndata: /messages-of-%s?s=%s\n\n", tenant, id)
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case m := <-messages:
			_, _ = fmt.Fprintf(w, "event: message\ndata: %s\n\n", m)
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func (s *tenants) post(w http.ResponseWriter, r *http.Request, tenant string) {
	body, _ := io.ReadAll(r.Body)
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	_ = json.Unmarshal(body, &m)
	s.mu.Lock()
	messages, opener := s.streams[r.URL.Query().Get("s")], s.openers[r.URL.Query().Get("s")]
	s.mu.Unlock()
	if opener != "" {
		tenant = opener
	}
	text := `{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{"content":[{"type":"text","text":"data of ` + tenant + `"}]}}`
	if m.Method == "initialize" {
		text = `{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{"name":"data of ` + tenant + `","version":"1"}}}`
	}
	switch {
	case m.ID == nil:
		w.WriteHeader(http.StatusAccepted)
	case messages == nil:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text)
	default:
		w.WriteHeader(http.StatusAccepted)
		messages <- text
	}
}

// doorway is where a tenant's endpoint is.
type doorway struct{ host, prefix string }

func (a doorway) request(t *testing.T, ctx context.Context, listen, tenant, method, path, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+listen+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listen)
	r.Host = net.JoinHostPort(a.host, port)
	r.Header.Set("Authorization", "Bearer of-"+tenant)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	return r
}

// ways are the ways in which the endpoints of two tenants may differ. Each changes the
// endpoint of a tenant that leads to 127.0.0.1 with servers.
var ways = map[string]func(t *testing.T, s *stand, servers *tenants, tenant string, shared string){
	"unix sockets": func(t *testing.T, s *stand, servers *tenants, tenant, _ string) {
		dir, err := os.MkdirTemp("", "id") // a short name: sockets have a limit
		if err != nil {
			t.Fatal(err)
		}
		socket := filepath.Join(dir, "s")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		up := &httptest.Server{Listener: l, Config: &http.Server{Handler: servers.server(tenant)}}
		up.Start()
		t.Cleanup(func() {
			up.CloseClientConnections()
			up.Close()
			_ = os.RemoveAll(dir)
		})
		s.dial("unix/" + socket)
	},
	"{env.*}": func(t *testing.T, s *stand, servers *tenants, tenant, _ string) {
		t.Setenv("IDENTITY_OF_"+tenant, serveTenant(t, servers, tenant))
		s.dial("{env.IDENTITY_OF_" + tenant + "}")
	},
	"dynamic": func(t *testing.T, s *stand, servers *tenants, tenant, _ string) {
		delete(s.proxy(), "upstreams")
		s.proxy()["dynamic_upstreams"] = members{"source": "identity_test", "name": serveTenant(t, servers, tenant)}
	},
	"header_up": func(_ *testing.T, s *stand, _ *tenants, tenant, shared string) {
		s.dial(shared)
		s.headerUp("X-Tenant", tenant)
	},
	"transport": func(_ *testing.T, s *stand, _ *tenants, tenant, shared string) {
		s.dial(shared)
		s.proxy()["transport"] = members{"protocol": "identity_test", "tenant": tenant}
	},
	"rewrite": func(_ *testing.T, s *stand, _ *tenants, tenant, shared string) {
		s.dial(shared)
		s.proxy()["rewrite"] = members{"uri": "?tenant=" + tenant + "&{http.request.uri.query}"}
	},
}

func init() { caddy.RegisterModule(tenantTransport{}) }

// tenantTransport says which tenant a request is of, as one with a client certificate
// does.
type tenantTransport struct {
	Tenant string `json:"tenant"`
}

// CaddyModule returns the Caddy module information.
func (tenantTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.identity_test", New: func() caddy.Module { return new(tenantTransport) }}
}

// plainTransport has no connections that stay.
var plainTransport = &http.Transport{DisableKeepAlives: true}

// RoundTrip implements http.RoundTripper.
func (u *tenantTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("X-Tenant", u.Tenant)
	r.URL.Scheme = "http"
	return plainTransport.RoundTrip(r)
}

// serveTenant serves one tenant and returns its address.
func serveTenant(t *testing.T, servers *tenants, tenant string) string {
	t.Helper()
	up := httptest.NewServer(servers.server(tenant))
	t.Cleanup(func() {
		up.CloseClientConnections()
		up.Close()
	})
	return strings.TrimPrefix(up.URL, "http://")
}

// Rules D5b, A9: requests of clients of one endpoint never reach another's server, nor go
// as another, whatever the endpoints differ in, and whatever is kept for them.
func TestNoEndpointGetsWhatIsAnothers(t *testing.T) {
	kinds := map[string]struct {
		endpoint members
		drive    func(t *testing.T, listen string, at map[string]doorway)
	}{
		"legacy_sse":           {members{"legacy_sse": members{}}, driveLegacy("/mcp/sse")},
		"sse":                  {members{"upstream": members{"protocol": "sse", "path": "/sse"}}, driveLegacy("/mcp")},
		"sse, shared servers":  {members{"upstream": members{"protocol": "sse", "path": "/sse"}}, driveStateless},
		"sse, message paths":   {members{"upstream": members{"protocol": "sse", "path": "/sse"}}, driveMessagePaths},
		"authorization server": {members{"authorization_server": members{"mode": "bridge"}}, drivePages},
	}
	for kind, tc := range kinds {
		for way, differ := range ways {
			for _, placed := range []string{"hosts", "prefixes"} {
				if kind == "authorization server" && (placed == "prefixes" || way == "rewrite") {
					continue // two of them cannot share a host; and their query is the client's
				}
				t.Run(kind+"/"+way+"/"+placed, func(t *testing.T) {
					servers := &tenants{streams: make(map[string]chan string), openers: make(map[string]string)}
					shared := serveTenant(t, servers, "")
					listen := otherListen(t)
					at := make(map[string]doorway)
					var routes []any
					for _, tenant := range []string{"a", "b"} {
						s := &stand{host: "localhost", match: members{}, endpoint: members{"handler": "mcp_auth_bridge"}}
						raw, _ := json.Marshal(tc.endpoint)
						if err := json.Unmarshal(raw, &s.endpoint); err != nil {
							t.Fatal(err)
						}
						if placed == "hosts" {
							s.host = tenant + ".localhost"
						} else {
							s.prefix, s.match = "/"+tenant, members{"path": []string{"/" + tenant + "/*"}}
						}
						differ(t, s, servers, tenant, shared)
						at[tenant] = doorway{s.host, s.prefix}
						routes = append(routes, s.routes(1)...)
					}
					if err := load(t, listen, routes, nil); err != nil {
						t.Fatal(err)
					}
					tc.drive(t, listen, at)
					servers.mu.Lock()
					defer servers.mu.Unlock()
					for _, stray := range servers.strays {
						t.Error(stray)
					}
				})
			}
		}
	}
}

// both has something done for both tenants, twice: whichever came last or first must
// not matter.
func both(do func(tenant string)) {
	for range 2 {
		do("a")
		do("b")
	}
}

const initializeFrame = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`

// driveLegacy has clients of HTTP+SSE begin, at a path.
func driveLegacy(path string) func(t *testing.T, listen string, at map[string]doorway) {
	return func(t *testing.T, listen string, at map[string]doorway) {
		both(func(tenant string) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			a := at[tenant]
			messages, lines := openStream(t, ctx, listen, a, tenant, path)
			post(t, a.request(t, ctx, listen, tenant, http.MethodPost, messages, initializeFrame), http.StatusAccepted)
			if got := nextData(lines); !strings.Contains(got, "data of "+tenant) {
				t.Errorf("%s: got %q", tenant, got)
			}
		})
	}
}

// openStream opens an event stream, and returns the path that it announces and what
// follows.
func openStream(t *testing.T, ctx context.Context, listen string, a doorway, tenant, path string) (messages string, lines *bufio.Scanner) {
	t.Helper()
	res, err := plainTransport.RoundTrip(a.request(t, ctx, listen, tenant, http.MethodGet, a.prefix+path, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	lines = bufio.NewScanner(res.Body)
	if messages = nextData(lines); messages == "" {
		t.Fatalf("%s: no path is announced: %d", tenant, res.StatusCode)
	}
	return messages, lines
}

// nextData returns the data of the next event.
func nextData(lines *bufio.Scanner) string {
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			return data
		}
	}
	return ""
}

// post sends a request and returns the body of its answer.
func post(t *testing.T, r *http.Request, want int) string {
	t.Helper()
	res, err := plainTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != want {
		t.Errorf("%s %s at %s: got %d %s, want %d", r.Method, r.URL.Path, r.Host, res.StatusCode, body, want)
	}
	return string(body)
}

// driveStateless has clients without a session share servers.
func driveStateless(t *testing.T, listen string, at map[string]doorway) {
	const call = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"whoami","arguments":{},` +
		`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	both(func(tenant string) {
		r := at[tenant].request(t, t.Context(), listen, tenant, http.MethodPost, at[tenant].prefix+"/mcp", call)
		r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
		r.Header.Set("Mcp-Method", "tools/call")
		r.Header.Set("Mcp-Name", "whoami")
		if got := post(t, r, http.StatusOK); !strings.Contains(got, "data of "+tenant) {
			t.Errorf("%s: got %s", tenant, got)
		}
	})
}

// driveMessagePaths posts at one endpoint to the path that the other one has announced.
func driveMessagePaths(t *testing.T, listen string, at map[string]doorway) {
	both(func(tenant string) {
		other := "a"
		if tenant == "a" {
			other = "b"
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		messages, _ := openStream(t, ctx, listen, at[tenant], tenant, "/mcp")
		elsewhere := at[other].prefix + strings.TrimPrefix(messages, at[tenant].prefix)
		post(t, at[other].request(t, ctx, listen, other, http.MethodPost, elsewhere, initializeFrame), http.StatusNotFound)
		post(t, at[tenant].request(t, ctx, listen, tenant, http.MethodPost, messages, initializeFrame), http.StatusAccepted)
	})
}

// drivePages asks each tenant's authorization server for the pages of the other one's
// logins.
func drivePages(t *testing.T, listen string, at map[string]doorway) {
	ask := func(tenant, path string) string {
		r := at[tenant].request(t, t.Context(), listen, tenant, http.MethodGet, path, "")
		res, err := plainTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return string(body)
	}
	both(func(tenant string) { ask(tenant, "/authorize?response_type=code") })
	for _, tenant := range []string{"a", "b"} {
		if got := ask(tenant, "/page-of-"+tenant); !strings.Contains(got, "page of "+tenant) {
			t.Errorf("%s: its own page is %q", tenant, got)
		}
	}
	ask("a", "/page-of-b")
	ask("b", "/page-of-a")
}

// Rule D5: one program for one endpoint: those of two sites with the same command are two.
func TestProgramsOfTwoEndpoints(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := members{"protocol": "stdio", "command": []string{self, "-test.run=^$"}, "env": []string{"MCP_AUTH_BRIDGE_TEST_SERVER=1"}}
	for name, stands := range map[string][2]stand{
		"hosts":    {{host: "a.localhost"}, {host: "b.localhost"}},
		"prefixes": {{host: "localhost", prefix: "/a", match: members{"path": []string{"/a/*"}}}, {host: "localhost", prefix: "/b", match: members{"path": []string{"/b/*"}}}},
		"matchers": {{host: "localhost", match: members{"header": members{"X-Tenant": []string{"a"}}}}, {host: "localhost", match: members{"header": members{"X-Tenant": []string{"b"}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			listen := otherListen(t)
			var routes []any
			for i := range stands {
				stands[i].endpoint = members{"handler": "mcp_auth_bridge", "upstream": program}
				routes = append(routes, stands[i].routes(1)...)
			}
			if err := load(t, listen, routes, nil); err != nil {
				t.Fatal(err)
			}
			const call = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"do","arguments":{"do":"pid","n":0},` +
				`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
			pids := make(map[string]string)
			for range 2 {
				for i, tenant := range []string{"a", "b"} {
					at := doorway{stands[i].host, stands[i].prefix}
					r := at.request(t, t.Context(), listen, "one", http.MethodPost, at.prefix+"/mcp", call)
					r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
					r.Header.Set("Mcp-Method", "tools/call")
					r.Header.Set("Mcp-Name", "do")
					r.Header.Set("X-Tenant", tenant)
					got := post(t, r, http.StatusOK)
					if before := pids[tenant]; before != "" && before != got {
						t.Errorf("%s: another program serves the second request: %s, %s", tenant, before, got)
					}
					pids[tenant] = got
				}
			}
			if pids["a"] == pids["b"] {
				t.Errorf("both have the program %s", pids["a"])
			}
		})
	}
}

// Rules D2, D8: a message path that one replica has announced is served by every other one
// with the same storage, whatever they listen on, and after a reload that changes nothing
// of the upstream.
func TestMessagePathsOnReplicas(t *testing.T) {
	servers := &tenants{streams: make(map[string]chan string), openers: make(map[string]string)}
	address, storage := serveTenant(t, servers, "a"), t.TempDir()
	replica := func(node string, options members) (listen string) {
		t.Setenv("IDENTITY_NODE", node)
		s := &stand{host: "a.localhost", match: members{}, endpoint: members{"handler": "mcp_auth_bridge", "upstream": members{"protocol": "sse", "path": "/sse"}}}
		maps.Copy(s.endpoint, options)
		s.dial(address)
		s.headerUp("X-Node", "{env.IDENTITY_NODE}")
		listen = otherListen(t)
		if err := loadWith(t, storage, listen, s.routes(1), nil); err != nil {
			t.Fatal(err)
		}
		return listen
	}
	at := doorway{host: "a.localhost"}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	messages, _ := openStream(t, ctx, replica("one", nil), at, "a", "/mcp")
	post(t, at.request(t, ctx, replica("two", nil), "a", http.MethodPost, messages, initializeFrame), http.StatusAccepted)
	post(t, at.request(t, ctx, replica("two", members{"limits": members{"max_message": 1 << 20}}), "a", http.MethodPost, messages, initializeFrame), http.StatusAccepted)
	post(t, at.request(t, ctx, replica("two", members{"public_url": "https://other.example"}), "a", http.MethodPost, messages, initializeFrame), http.StatusNotFound)
}
