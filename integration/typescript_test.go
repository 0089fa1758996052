package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// nodeServer is a running server-v1.mjs.
type nodeServer struct{ Origin, MCP string }

// startNodeServer starts the TypeScript SDK's MCP server with the SDK's own
// authorization server on the same origin. It ends with the test.
func startNodeServer(t *testing.T, options ...string) nodeServer {
	t.Helper()
	_, out := startNode(t, "server-v1.mjs", options...)
	line, err := out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("server-v1.mjs says nothing: %v", err)
	}
	var s nodeServer
	if err := json.Unmarshal(line, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// seenByServer is what server-v1.mjs remembers.
type seenByServer struct {
	Resources []struct {
		At    string
		Value *string
	}
	Cookies, Hosts []string
}

func (s nodeServer) seen(t *testing.T) seenByServer {
	t.Helper()
	res, err := http.Get(s.Origin + "/seen")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var seen seenByServer
	if err := json.NewDecoder(res.Body).Decode(&seen); err != nil {
		t.Fatal(err)
	}
	return seen
}

// runNodeServer puts a front before a server.
func (s nodeServer) run(t *testing.T, f front) {
	t.Helper()
	testcaddy.Run(t, strings.NewReplacer("UPSTREAM", s.MCP, "OPTIONS", "authorization_server bridge").Replace(f.caddyfile))
}

// check asserts what holds of every login at the server: it was asked for the
// resource that it knows, but for one first try with what its metadata names.
func (s nodeServer) check(t *testing.T, audience string) {
	t.Helper()
	at := make(map[string]int)
	for i, r := range s.seen(t).Resources {
		value := ""
		if r.Value != nil {
			value = strings.TrimSuffix(*r.Value, "/")
		}
		if value != audience && (i > 0 || value != s.MCP || r.At != "authorize") {
			t.Errorf("%s with resource %q, want %s", r.At, value, audience)
		}
		at[r.At]++
	}
	if at["authorize"] == 0 || at["token"] == 0 {
		t.Errorf("the server saw %v", at)
	}
}

// Rule C5: the clients log in at the TypeScript SDK's own authorization server
// on the MCP server's private origin, which gives tokens for its private URL or
// for the public one, and only for that.
func TestTypeScriptServer(t *testing.T) {
	integration.NeedNode(t)
	for name, newFront := range map[string]func(*testing.T) front{
		"plain": plainFront, "prefix": sitePrefixFront, "tls": tlsFront,
	} {
		for _, audience := range []string{"private", "public"} {
			for _, driver := range []string{"go-sdk", sdkV1, sdkV2} {
				if driver != "go-sdk" && name == "tls" {
					continue // Node does not find the host
				}
				t.Run(strings.Join([]string{name, audience, driver}, "/"), func(t *testing.T) {
					f := newFront(t)
					options := []string{"--name", "localhost"}
					if driver != "go-sdk" { // which wants it announced
						options = append(options, "--iss")
					}
					want := ""
					if audience == "public" {
						options, want = append(options, "--audience", f.public), f.public
					}
					s := startNodeServer(t, options...)
					if want == "" {
						want = s.MCP
					}
					s.run(t, f)
					if driver == "go-sdk" {
						o := &observer{base: f.httpTransport(t)}
						useTools(t, connect(t, f.public, streamable, o), o)
						o.checkCohosted(t, f, want)
					} else {
						checkNodeClient(t, drive(t, f, driver, streamable), f, want)
					}
					s.check(t, want)
				})
			}
		}
	}
}

// checkNodeClient asserts what holds of every login of a driver at a bridged
// server.
func checkNodeClient(t *testing.T, r report, f front, audience string) {
	t.Helper()
	if want := []string{"admin_secret", "echo", "steps", "whoami"}; !slices.Equal(r.Tools, want) {
		t.Errorf("got tools %q, want %q", r.Tools, want)
	}
	if r.Whoami != "alice" || r.Again != "alice" || r.Secret != secret {
		t.Errorf("the tools answered %q, %q, %q", r.Whoami, r.Secret, r.Again)
	}
	if len(r.Hosts) != 1 || !strings.Contains(f.public, "://"+r.Hosts[0]+"/") {
		t.Errorf("the client went to %q, want only to that of %s", r.Hosts, f.public)
	}
	if !slices.Equal(r.Audiences, []string{audience}) {
		t.Errorf("the tokens are for %q, want %s", r.Audiences, audience)
	}
	for _, a := range r.Authorizations {
		if a.Resource != f.public {
			t.Errorf("the client asked for a login at %q, want %s", a.Resource, f.public)
		}
	}
	if !r.has(403, `error="insufficient_scope"`, `scope="`+demo.ScopeAdmin+`"`, `resource_metadata="`+f.wellKnown()+`"`) {
		t.Errorf("got challenges %+v", r.Challenged)
	}
}

// Rules C5, D4: the token expires in the middle of a session, and the refresh
// names the resource as well.
func TestTypeScriptServerTokenExpires(t *testing.T) {
	integration.NeedNode(t)
	for _, driver := range []string{sdkV1, sdkV2} {
		t.Run(driver, func(t *testing.T) {
			f := plainFront(t)
			s := startNodeServer(t, "--lifetime", "2")
			s.run(t, f)
			checkNodeClient(t, drive(t, f, driver, streamable, "--until-expired"), f, s.MCP)
			s.check(t, s.MCP)
			if !slices.ContainsFunc(s.seen(t).Resources, func(r struct {
				At    string
				Value *string
			},
			) bool {
				return r.At == "refresh"
			}) {
				t.Error("no token was refreshed")
			}
		})
	}
}

// Rule C5: servers of the 2025-03-26 specification, which knows no metadata of
// protected resources: the authorization server is found at the endpoint's
// origin, by its document or by its default endpoints.
func TestOldTypeScriptServer(t *testing.T) {
	integration.NeedNode(t)
	for _, old := range []string{"server", "none"} {
		for _, driver := range []string{sdkV1, sdkV2} {
			t.Run(old+"/"+driver, func(t *testing.T) {
				f := plainFront(t)
				s := startNodeServer(t, "--old", old)
				s.run(t, f)
				r := drive(t, f, driver, streamable)
				if r.Whoami != "alice" || r.Secret != secret || r.Again != "alice" {
					t.Errorf("the tools answered %q, %q, %q", r.Whoami, r.Secret, r.Again)
				}
				if len(r.Hosts) != 1 || !strings.Contains(f.public, "://"+r.Hosts[0]+"/") {
					t.Errorf("the client went to %q, want only to that of %s", r.Hosts, f.public)
				}
				for _, a := range r.Challenged {
					if strings.Contains(a.Challenge, "resource_metadata") {
						t.Errorf("challenge %q names metadata that is not there", a.Challenge)
					}
				}
			})
		}
		t.Run(old+"/go-sdk", func(t *testing.T) {
			f := plainFront(t)
			s := startNodeServer(t, "--old", old)
			s.run(t, f)
			o := &observer{base: f.httpTransport(t)}
			wantCall(t, connect(t, f.public, streamable, o), "whoami", "alice")
			o.checkCohosted(t, f, s.MCP)
		})
	}
}

// Rules C5, D1, D2: one configuration serves every era at once, each client with
// the login that its specification has: sessions and no sessions, HTTP+SSE, and
// a client that looks for the authorization server at the endpoint's origin.
func TestOneConfigurationForAllEras(t *testing.T) {
	integration.NeedNode(t)
	d, err := demo.Start(t.Context(), demo.Options{SameOrigin: true, AutoConsent: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	addr := testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://%s {
	mcp_auth_bridge %s {
		authorization_server bridge
	}
	mcp_auth_bridge /sse sse+%s {
		authorization_server bridge
	}
}`, addr, d.MCPURL(), d.SSEURL()))
	mcp, sse := front{public: "http://" + addr + "/mcp", addr: addr}, front{public: "http://" + addr + "/sse", addr: addr}
	for _, tc := range []struct {
		f        front
		driver   string
		kind     transport
		audience string
	}{
		{mcp, sdkV1, streamable, d.MCPURL()},
		{mcp, sdkV2, streamable, d.MCPURL()},
		{sse, sdkV1, legacySSE, d.SSEURL()},
		{sse, sdkV2, legacySSE, d.SSEURL()},
	} {
		t.Run(tc.driver+"/"+string(tc.kind), func(t *testing.T) {
			checkNodeClient(t, drive(t, tc.f, tc.driver, tc.kind), tc.f, tc.audience)
		})
	}
	for f, kind := range map[front]transport{mcp: streamable, sse: legacySSE} {
		t.Run("go-sdk/"+string(kind), func(t *testing.T) {
			o := &observer{base: f.httpTransport(t)}
			useTools(t, connect(t, f.public, kind, o), o)
			o.checkCohosted(t, f, d.MCPURL(), d.SSEURL())
		})
	}
	t.Run("a client of 2025-03-26", func(t *testing.T) {
		// It knows nothing but the origin of the endpoint.
		res, err := http.Get("http://" + addr + "/.well-known/oauth-authorization-server")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var server struct {
			Issuer                string
			TokenEndpoint         string `json:"token_endpoint"`
			AuthorizationEndpoint string `json:"authorization_endpoint"`
			RegistrationEndpoint  string `json:"registration_endpoint"`
		}
		if err := json.NewDecoder(res.Body).Decode(&server); err != nil {
			t.Fatal(err)
		}
		for _, u := range []string{server.Issuer, server.TokenEndpoint, server.AuthorizationEndpoint, server.RegistrationEndpoint} {
			if !strings.HasPrefix(u, "http://"+addr) {
				t.Errorf("got %q, want it at the endpoint's origin", u)
			}
		}
	})
}
