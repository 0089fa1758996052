package edge_test

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// named are MCP servers, each on a unix socket that has its name.
type named struct {
	dir string

	mu   sync.Mutex
	seen map[string]int // messages that have reached a server, by its name
}

func newNamed(t *testing.T, names ...string) *named {
	t.Helper()
	n := &named{dir: t.TempDir(), seen: make(map[string]int)}
	for _, name := range names {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(n.dir, name+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/.well-known/") {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			n.mu.Lock()
			n.seen[name]++
			n.mu.Unlock()
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":{"server":%q,"as":%q}}`, name, r.Header.Get("X-Server"))
		})}
		go func() { _ = s.Serve(l) }()
		t.Cleanup(func() { _ = s.Close() })
	}
	return n
}

// take returns the names of the servers that messages have reached since it was called last.
func (n *named) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	names := slices.Sorted(maps.Keys(n.seen))
	clear(n.seen)
	return names
}

// E1, E2, D8: each of the `names` of a directive is an endpoint of its own. Its challenge and
// its metadata name itself, a token or a session of one is refused at another, no way to write a
// path reaches a server of another name, and a new name ends no session of the others.
func TestNames(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	names := []string{"github", "files", "search-2"}
	servers := newNamed(t, "github", "files", "search-2", "secret")
	port, admin := testcaddy.FreePort(t), testcaddy.FreePort(t)
	caddyfile := fmt.Sprintf(`{
	auto_https off
	admin %s
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	mcp_auth_bridge /servers/{name}/mcp unix/%s/{name}.sock {
		names github files
		names search-2
		header_up X-Server {name}
		authorize {
			issuer %s
			scope {name}:use
		}
		metadata {
			resource_name "The {name} server"
		}
	}
	mcp_auth_bridge /programs/{name}/mcp {
		names github files
		legacy_sse
		%s
		authorize {
			issuer %[4]s {
				audience api://{name}
			}
		}
	}
}
`, testcaddy.Addr(admin), port, servers.dir, issuer.URL, strings.Replace(program(t), "\n\t\t}", "\n\t\t\tenv SERVER={name}\n\t\t}", 1))
	in := testcaddy.Run(t, caddyfile)
	base := "http://" + testcaddy.Addr(port)
	url := func(name string) string { return base + "/servers/" + name + "/mcp" }
	token := func(name string) string {
		return issuer.Token(url(name), map[string]any{"scope": "github:use files:use search-2:use"})
	}
	for _, name := range names {
		meta := base + "/.well-known/oauth-protected-resource/servers/" + name + "/mcp"
		got := mcptest.Do(t, http.DefaultClient, mcptest.NewRequest(t, http.MethodGet, meta, ""))
		if want := fmt.Sprintf(`"resource":%q`, url(name)); got.Status != 200 || !strings.Contains(got.Body, want) || !strings.Contains(got.Body, `"The `+name+` server"`) || !strings.Contains(got.Body, `["`+name+`:use"]`) {
			t.Errorf("metadata of %s: got %d %s", name, got.Status, got.Body)
		}
		got = post(t, url(name), initialize)
		if want := `Bearer scope="` + name + `:use", resource_metadata="` + meta + `"`; got.Status != 401 || got.Header.Get("Www-Authenticate") != want {
			t.Errorf("%s without a token: got %d %v, want %s", name, got.Status, got.Header, want)
		}
		for _, other := range names {
			status := 401
			if other == name {
				status = 200
			}
			got := post(t, url(other), initialize, "Authorization", "Bearer "+token(name))
			if got.Status != status || status == 200 && !strings.Contains(got.Body, fmt.Sprintf(`{"server":%q,"as":%[1]q}`, name)) {
				t.Errorf("%s with a token of %s: got %d %s", other, name, got.Status, got.Body)
			}
		}
	}
	if got := servers.take(); !slices.Equal(got, []string{"files", "github", "search-2"}) {
		t.Errorf("messages have reached %v", got)
	}

	t.Run("paths", func(t *testing.T) {
		c := &mcptest.LiteralClient{T: t, Addr: testcaddy.Addr(port)}
		t.Cleanup(c.Close)
		send := func(target, name string) []string {
			c.Send(testcaddy.Addr(port), http.MethodPost, target, "", "Authorization", "Bearer "+token(name))
			return servers.take()
		}
		for _, name := range []string{
			"secret", "Github", "GITHUB", "git", "githubx", "github.", ".github", "github%20", "github%00", "github%2e", "..%2fsecret", "..%2Fgithub", "%2e%2e%2fsecret", "github%2f..%2fsecret", "../servers/secret",
			"github%2fmcp%2f..%2f..%2fsecret", "", ".", "..", "{name}", "%7Bname%7D", "%7Benv.HOME%7D", "github:80", "github@secret", "github%23", "github;x", "/github", "./github", "github/", "*", "search_2", "search-2-", "\u212a",
		} {
			for _, as := range names {
				if got := send("/servers/"+name+"/mcp", as); len(got) > 0 {
					t.Errorf("%q with a token of %s: reached %v", name, as, got)
				}
			}
		}
		for _, name := range names {
			reached := false
			for _, target := range append(mcptest.SpellingsOf("/servers/"+name, "/mcp"), "/servers/"+strings.Replace(name, "i", "%69", 1)+"/mcp") {
				got := send(target, name)
				if reached = reached || len(got) > 0; len(got) > 1 || len(got) == 1 && got[0] != name {
					t.Errorf("%s: reached %v", target, got)
				}
			}
			if !reached {
				t.Errorf("no spelling has reached %s", name)
			}
		}
	})

	t.Run("programs", func(t *testing.T) {
		sessions := make(map[string]*mcp.ClientSession)
		for _, name := range names[:2] {
			sessions[name] = connect(t, base+"/programs/"+name+"/mcp", issuer.Token("api://"+name, nil))
			if got := mcptest.DoIn(t, sessions[name], "env", 0); !strings.Contains(got, "SERVER="+name) {
				t.Errorf("the program of %s has the environment %s", name, got)
			}
			r := mcptest.NewRequest(t, http.MethodGet, base+"/programs/"+name+"/mcp/sse", "")
			r.Header.Set("Authorization", "Bearer "+issuer.Token("api://"+name, nil))
			res, err := mcptest.HTTPClient(t).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(res.Body)
			for lines.Scan() && !strings.HasPrefix(lines.Text(), "data:") {
			}
			_ = res.Body.Close()
			if !strings.Contains(lines.Text(), "/programs/"+name+"/mcp/sse/message?") {
				t.Errorf("the stream of %s names %s", name, lines.Text())
			}
		}
		in.Load(strings.ReplaceAll(caddyfile, "names github files", "names docs github files")) // which ends no session
		mcptest.AfterReload(t, func() error {
			res, err := mcptest.HTTPClient(t).Do(mcptest.NewRequest(t, http.MethodGet, base+"/.well-known/oauth-protected-resource/programs/docs/mcp", ""))
			if err == nil {
				_ = res.Body.Close()
			}
			return err
		})
		call := `{"jsonrpc":"2.0","id":2,"method":"ping"}`
		for at, status := range map[string]int{"github": 200, "files": 404} {
			got := post(t, base+"/programs/"+at+"/mcp", call, "Authorization", "Bearer "+issuer.Token("api://"+at, nil), "Mcp-Session-Id", sessions["github"].ID())
			if got.Status != status {
				t.Errorf("a session of github at %s: got %d %s, want %d", at, got.Status, got.Body, status)
			}
		}
	})

	status := testcaddy.RunStatus(t, testcaddy.Addr(admin))
	for _, path := range []string{"/servers/github/mcp", "/servers/files/mcp", "/servers/search-2/mcp", "/programs/github/mcp", "/programs/files/mcp", "/programs/docs/mcp"} {
		if !strings.Contains(status, path) {
			t.Errorf("the status has no %s:\n%s", path, status)
		}
	}
}
