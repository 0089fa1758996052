package edge_test

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
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

// posts is an HTTP+SSE server of the SDK that notes the address of each POST.
type posts struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func newPosts(t *testing.T) *posts {
	t.Helper()
	p := new(posts)
	sdk := mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return newFiles() }, nil)
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			p.mu.Lock()
			p.seen = append(p.seen, r.URL.RequestURI())
			p.mu.Unlock()
		}
		sdk.ServeHTTP(w, r)
	}))
	p.Start()
	t.Cleanup(p.CloseClientConnections)
	return p
}

func (p *posts) all() []string {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

// openStream opens an event stream of HTTP+SSE, and returns the URL that it names.
func openStream(t *testing.T, at, token string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r := mcptest.NewRequest(t, http.MethodGet, at, "").WithContext(ctx)
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Authorization", "Bearer "+token)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	res, err := (&http.Client{Transport: tr}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if to, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			base, _ := url.Parse(at)
			named, err := base.Parse(to)
			if err != nil {
				t.Fatal(err)
			}
			return named.String()
		}
	}
	t.Fatalf("%d: the stream names no address", res.StatusCode)
	return ""
}

// addQuery adds to the query of a URL.
func addQuery(at, query string) string {
	if strings.Contains(at, "?") {
		return at + "&" + query
	}
	return at + "?" + query
}

// E7, D2, D5a: the message path of an HTTP+SSE session belongs to the principal whose stream
// named it. Another one's message is for a session that does not exist, also with a path of
// its own and the session id of the first, and no such message reaches the server.
func TestMessagePathsBelongToTheirPrincipal(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	streamable := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return newFiles() }, nil))
	t.Cleanup(streamable.CloseClientConnections)
	old := newPosts(t)
	for name, tc := range map[string]struct {
		upstream string
		options  []string
		stream   string // where old clients open their stream
		server   *posts
	}{
		"HTTP+SSE":                     {"sse+" + old.URL + "/sse", nil, "/mcp", old},
		"HTTP+SSE, for old clients":    {"sse+" + old.URL + "/sse", []string{"legacy_sse"}, "/mcp/sse", old},
		"HTTP+SSE, with message_path":  {"sse+" + old.URL + "/sse", []string{"message_path /sse"}, "/mcp", old},
		"Streamable HTTP, old clients": {streamable.URL + "/mcp", []string{"legacy_sse"}, "/mcp/sse", nil},
		"a program, old clients":       {"", []string{program(t), "legacy_sse"}, "/mcp/sse", nil},
	} {
		t.Run(name, func(t *testing.T) {
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, site(port, "/mcp "+tc.upstream, append([]string{authorize(issuer)}, tc.options...)...))
			base := fmt.Sprintf("http://127.0.0.1:%d", port)
			audience := base + "/mcp"
			alice, bob := issuer.Token(audience, nil), issuer.Token(audience, map[string]any{"sub": "bob"})
			hers, his := openStream(t, base+tc.stream, alice), openStream(t, base+tc.stream, bob)
			if got := post(t, hers, initialize, "Authorization", "Bearer "+alice); got.Status != http.StatusAccepted {
				t.Fatalf("alice: got %d %s", got.Status, got.Body)
			}
			attacks := map[string]string{
				"her path": hers, "her path, with more in the query": addQuery(hers, "x=1"), "a path that was made up": base + "/mcp/message/AAAA",
				"the path of the configuration": base + "/mcp/message",
			}
			if _, query, found := strings.Cut(hers, "?"); found {
				path, _, _ := strings.Cut(his, "?")
				attacks["his path, her query"] = path + "?" + query
			}
			session := "sessionid=x"
			if all := tc.server.all(); len(all) > 0 { // the server's own id of her session
				_, session, _ = strings.Cut(all[len(all)-1], "?")
			}
			for what, at := range maps.Clone(attacks) {
				attacks[what+", with her session"] = addQuery(at, session)
			}
			for what, at := range attacks {
				before := len(tc.server.all())
				got := post(t, at, initialize, "Authorization", "Bearer "+bob)
				if got.Status != http.StatusNotFound && got.Status != http.StatusBadRequest {
					t.Errorf("%s: got %d %s", what, got.Status, got.Body)
				}
				if len(tc.server.all()) != before {
					t.Errorf("%s: it reached the server: %q", what, tc.server.all()[before:])
				}
			}
			if got := post(t, hers, initialize); got.Status != http.StatusUnauthorized {
				t.Errorf("without a token: got %d", got.Status)
			}
			if tc.server != nil {
				if got := post(t, addQuery(his, session), initialize, "Authorization", "Bearer "+bob); got.Status != http.StatusAccepted {
					t.Errorf("bob, with more in the query: got %d %s", got.Status, got.Body)
				}
				if all := tc.server.all(); strings.Contains(all[len(all)-1], session) {
					t.Errorf("his message reached her session: %q", all[len(all)-1])
				}
			}
			refreshed := issuer.Token(audience, map[string]any{"jti": "next"})
			for who, fields := range map[string][2]string{"alice, with a refreshed token": {hers, refreshed}, "bob": {his, bob}} {
				if got := post(t, fields[0], `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Authorization", "Bearer "+fields[1]); got.Status != http.StatusAccepted {
					t.Errorf("%s: got %d %s", who, got.Status, got.Body)
				}
			}
		})
	}
}
