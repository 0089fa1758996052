package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// identityField tells the server behind the edge who asks.
const identityField = "X-User"

// newOpenServer is an MCP server without a login.
func newOpenServer() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "open", Version: "1"}, nil)
	add := func(name string, do func(http.Header) string) {
		mcp.AddTool(s, &mcp.Tool{Name: name}, func(_ context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			var header http.Header
			if r.Extra != nil {
				header = r.Extra.Header
			}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: do(header)}}}, nil, nil
		})
	}
	add("whoami", func(h http.Header) string {
		if user := h.Get(identityField); user != "" {
			return user
		}
		return "somebody" // a program is not told
	})
	add("admin_secret", func(http.Header) string { return secret })
	return s
}

// issuer is a running authorization server that is not of this project.
type issuer struct {
	URL string

	in  io.Writer
	out *bufio.Reader
}

// startIssuer starts a program of integration/node as the issuer of tokens for an audience.
// It ends with the test.
func startIssuer(t *testing.T, program, audience string, options ...string) *issuer {
	t.Helper()
	in, out := startNode(t, program, append([]string{"--audience", audience}, options...)...)
	i := &issuer{in: in, out: out}
	var first struct{ Issuer string }
	i.read(t, &first)
	i.URL = first.Issuer
	return i
}

func (i *issuer) read(t *testing.T, to any) {
	t.Helper()
	line, err := i.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("the issuer says nothing: %v", err)
	}
	if err := json.Unmarshal(line, to); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
}

// do gives the issuer a command, and returns when it has obeyed.
func (i *issuer) do(t *testing.T, command string) {
	t.Helper()
	if _, err := io.WriteString(i.in, command+"\n"); err != nil {
		t.Fatal(err)
	}
	var answer struct{ Done string }
	if i.read(t, &answer); answer.Done != command {
		t.Fatalf("%s was answered with %q", command, answer.Done)
	}
}

// edgeRules is the option `authorize` for an issuer: one scope for every request, and one
// more for the tool of admins. ofIssuer are options of the issuer, more are others.
func (i *issuer) edgeRules(ofIssuer, more string) string {
	return fmt.Sprintf(`authorize {
			issuer %s {
				%s
			}
			%s
			scope mcp:read
			tools admin_* {
				scope mcp:admin
			}
			identity %s id
		}`, i.URL, ofIssuer, more, identityField)
}

// upstreamOfEdge is what stands behind mcp_auth_bridge, an option, and the user that the
// server is told of.
type upstreamOfEdge struct{ upstream, option, user string }

// upstreamsOfEdge are the kinds of servers without a login.
func upstreamsOfEdge(t *testing.T) map[string]upstreamOfEdge {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	open := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return newOpenServer() }, nil))
	t.Cleanup(open.Close)
	return map[string]upstreamOfEdge{
		"program": {"/mcp", fmt.Sprintf("stdio %q serve open", self), "somebody"},
		"HTTP":    {open.URL + "/mcp", "", "alice"},
	}
}

// runEdge puts a front with `authorize` before a server.
func runEdge(t *testing.T, f front, i *issuer, up upstreamOfEdge, ofIssuer, more string) {
	t.Helper()
	testcaddy.Run(t, strings.NewReplacer("UPSTREAM", up.upstream, "OPTIONS", up.option+"\n\t\t"+i.edgeRules(ofIssuer, more)).Replace(f.caddyfile))
}

// checkEdge asserts what holds of every login at the edge: the client found the issuer, its
// tokens are for the endpoint, it was asked for a further scope once, and went on.
func (r report) checkEdge(t *testing.T, f front, i *issuer, user, by string) {
	t.Helper()
	if want := []string{"admin_secret", "whoami"}; !slices.Equal(r.Tools, want) {
		t.Errorf("got tools %q, want %q", r.Tools, want)
	}
	if r.Whoami != user || r.Again != user || r.Secret != secret {
		t.Errorf("the tools answered %q, %q, %q", r.Whoami, r.Secret, r.Again)
	}
	slices.Sort(r.Hosts)
	want := []string{strings.TrimPrefix(i.URL, "http://"), f.addr}
	slices.Sort(want)
	if !slices.Equal(r.Hosts, want) {
		t.Errorf("the client went to %q, want %q", r.Hosts, want)
	}
	if len(r.Audiences) > 0 && !slices.Equal(r.Audiences, []string{f.public}) { // an opaque token shows none
		t.Errorf("the tokens are for %q, want %s", r.Audiences, f.public)
	}
	meta := `resource_metadata="` + f.wellKnown() + `"`
	if !r.has(401, `Bearer scope="mcp:read", `+meta) {
		t.Errorf("got challenges %+v, want a login", r.Challenged)
	}
	if !r.has(403, `Bearer error="insufficient_scope", `, `scope="mcp:read mcp:admin", `+meta) {
		t.Errorf("got challenges %+v, want one for mcp:admin", r.Challenged)
	}
	if len(r.StepUps) != 1 || r.StepUps[0].Tool != "admin_secret" || r.StepUps[0].By != by {
		t.Errorf("stepped up %+v, want for admin_secret by the %s", r.StepUps, by)
	}
	if r.Sessions != 1 {
		t.Errorf("the client used %d sessions, want the one that it began with", r.Sessions)
	}
}

// typescriptClient is a driver with its options, and what steps it up: the SDK or the
// application.
type typescriptClient struct {
	driver  string
	options []string
	by      string
}

var typescriptClients = []typescriptClient{
	{sdkV1, nil, "application"},
	{sdkV1, []string{"--no-refresh-token"}, "sdk"},
	{sdkV2, nil, "sdk"},
}

// Rules E1, E2, E6, E8, E10: the clients of both TypeScript SDKs and of the Go SDK log in at
// the edge, in front of a program and of a server over HTTP that have no login; they are
// refused a tool for want of scope, step up, and go on. The authorization server is
// oidc-provider, with each kind of key.
func TestEdgeWithOIDCProvider(t *testing.T) {
	for name, up := range upstreamsOfEdge(t) {
		for alg, clients := range map[string][]typescriptClient{"RS256": typescriptClients[2:], "ES256": typescriptClients, "EdDSA": typescriptClients[2:]} {
			t.Run(name+"/"+alg, func(t *testing.T) {
				f := plainFront(t)
				i := startIssuer(t, "issuer-oidc.mjs", f.public, "--alg", alg)
				runEdge(t, f, i, up, "", "")
				for _, c := range clients {
					t.Run(strings.Join(append([]string{c.driver}, c.options...), "/"), func(t *testing.T) {
						drive(t, f, c.driver, streamable, c.options...).checkEdge(t, f, i, up.user, c.by)
					})
				}
				t.Run("go-sdk", func(t *testing.T) { checkGoClient(t, f, up.user) })
			})
		}
	}
}

// checkGoClient logs the client of the Go SDK in, with its OAuth support.
func checkGoClient(t *testing.T, f front, user string) {
	t.Helper()
	o := &observer{base: f.httpTransport(t)}
	s := connect(t, f.public, streamable, o)
	wantCall(t, s, "whoami", user)
	if seen := o.with(http.StatusForbidden); len(seen) != 0 {
		t.Errorf("a 403 before anything needed more scope: %+v", seen)
	}
	wantCall(t, s, "admin_secret", secret)
	wantCall(t, s, "whoami", user)
	if got := o.with(http.StatusForbidden, `error="insufficient_scope"`, `scope="mcp:read mcp:admin"`); len(got) != 1 {
		t.Errorf("%d refusals asked for mcp:admin, want one", len(got))
	}
	if got := o.with(http.StatusUnauthorized); len(got) != 1 {
		t.Errorf("the client was sent to log in %d times, want once", len(got))
	}
}

// An authorization server that holds clients to the scopes that they registered with lets
// no client of a TypeScript SDK step up, because these register with the scopes of their
// first login. docs/authorize.md says so. The Go SDK registers without scopes.
func TestEdgeWithAnIssuerThatHoldsClientsToTheirRegistration(t *testing.T) {
	folder := integration.NeedNode(t)
	up := upstreamsOfEdge(t)["program"]
	f := plainFront(t)
	i := startIssuer(t, "issuer-oidc.mjs", f.public, "--hold-to-registration")
	runEdge(t, f, i, up, "", "")
	t.Run("go-sdk", func(t *testing.T) { checkGoClient(t, f, up.user) })
	for _, driver := range []string{sdkV1, sdkV2} {
		t.Run(driver, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "node", driver, "--no-refresh-token", f.public, "streamable")
			cmd.Dir = folder
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "error=invalid_scope") {
				t.Errorf("got %v %s; want the refusal of the authorization server: docs/authorize.md says that there is one", err, out)
			}
		})
	}
}
