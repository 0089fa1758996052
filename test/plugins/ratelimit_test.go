package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// behindEndpoint is a site with a limit between two mcp_auth_bridge. The first knows what the
// request is, and the second has the server.
func behindEndpoint(first, limit string) front {
	begin := "route {\n\t\tmcp_auth_bridge /mcp " + first + "\n\t\t" + limit + "\n\t\tmcp_auth_bridge /mcp "
	return front{http: begin + "UP\n\t}", program: begin + "{\n\t\t\tPROGRAM\n\t\t}\n\t}"}
}

// zone is a rate_limit with one zone.
func zone(lines ...string) string {
	return "rate_limit {\n\t\t\tzone z {\n\t\t\t\t" + strings.Join(lines, "\n\t\t\t\t") + "\n\t\t\t}\n\t\t}"
}

// What a plugin passes on is not changed by it, wherever it stands.
func TestRateLimitPasses(t *testing.T) {
	wide := zone("key {client_ip}", "events 1000", "window 1m")
	t.Run("in the order of the plugin", func(t *testing.T) {
		drive(t, front{http: wide + "\n\tmcp_auth_bridge UP", program: wide + "\n\tmcp_auth_bridge {\n\t\tPROGRAM\n\t}"})
	})
	t.Run("behind the endpoint", func(t *testing.T) { drive(t, behindEndpoint("", wide)) })
}

// newSimple starts an MCP server that answers each request, and gives out a session to each
// initialize.
func newSimple(t *testing.T) *httptest.Server {
	t.Helper()
	var sessions atomic.Int64
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			ID     json.RawMessage
			Method string
		}
		if json.NewDecoder(r.Body).Decode(&m) == nil && m.Method == "initialize" {
			w.Header().Set("Mcp-Session-Id", fmt.Sprint("session-", sessions.Add(1)))
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{}}`, m.ID)
	}))
	t.Cleanup(up.Close)
	return up
}

// user is a client of the issuer.
type user struct {
	t      *testing.T
	issuer *issuertest.Server
	url    string
	name   string
}

// post posts a message with a new token of the user, and returns the answer.
func (u user) post(body string, header ...string) mcptest.Answer {
	u.t.Helper()
	token := u.issuer.Token(u.url, map[string]any{"sub": u.name})
	return mcptest.Do(u.t, mcptest.NewClient(u.t), mcptest.NewRequest(u.t, "POST", u.url, body, append(header, "Authorization", "Bearer "+token)...))
}

// twoUsers runs a site whose first mcp_auth_bridge asks for a login, and returns two users.
func twoUsers(t *testing.T, site func(authorize string) string) (alice, bob user) {
	t.Helper()
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	f := front{http: site(fmt.Sprintf("authorize {\n\t\t\t\tissuer %s\n\t\t\t}", issuer.URL))}
	url := f.inFrontOf(t, testcaddy.FreePort(t), newSimple(t).URL)
	return user{t, issuer, url, "alice"}, user{t, issuer, url, "bob"}
}

const ping = `{"jsonrpc":"2.0","id":7,"method":"ping"}`

// wantLimited checks that an answer is 429 and says when to try again.
func wantLimited(t *testing.T, got mcptest.Answer) {
	t.Helper()
	if seconds, err := strconv.Atoi(got.Header.Get("Retry-After")); got.Status != 429 || err != nil || seconds < 1 || seconds > 3601 {
		t.Errorf("got %d, Retry-After %q; want 429 with seconds", got.Status, got.Header.Get("Retry-After"))
	}
}

func wantPassed(t *testing.T, got mcptest.Answer) {
	t.Helper()
	if got.Status != 200 {
		t.Errorf("got %d %s; want 200", got.Status, got.Body)
	}
}

// A limit per user holds behind the endpoint: over all sessions and tokens of a user, and for
// nobody else.
func TestRateLimitPerUser(t *testing.T) {
	limit := zone("key {http.auth.user.id}", "events 2", "window 1h")
	alice, bob := twoUsers(t, func(authorize string) string {
		return behindEndpoint("{\n\t\t\t"+authorize+"\n\t\t}", limit).http
	})
	for range 3 { // without a token a request does not count, for anyone
		if got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", alice.url, ping)); got.Status != 401 || got.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("without a token: got %d", got.Status)
		}
	}
	wantPassed(t, alice.post(ping))
	wantPassed(t, alice.post(ping))
	wantLimited(t, alice.post(ping))
	wantLimited(t, alice.post(mcptest.Initialize))
	wantPassed(t, bob.post(ping))
}

// In the order of the plugin the limit comes before the endpoint, which has not yet found out
// who the user is: all share one limit. docs/recipes.md says so.
func TestRateLimitPerUserInFrontIsSharedByAll(t *testing.T) {
	limit := zone("key {http.auth.user.id}", "events 2", "window 1h")
	alice, bob := twoUsers(t, func(authorize string) string {
		return limit + "\n\tmcp_auth_bridge UP {\n\t\t" + authorize + "\n\t}"
	})
	wantPassed(t, alice.post(ping))
	wantPassed(t, alice.post(ping))
	wantLimited(t, bob.post(ping))
}

// A limit per session holds behind the endpoint, and leaves requests that begin a session
// alone. A session id that the client has made up has no limit of its own: it is 404.
func TestRateLimitPerSession(t *testing.T) {
	limit := zone("match {\n\t\t\t\t\theader Mcp-Session-Id *\n\t\t\t\t}", "key {http.mcp_auth_bridge.session}", "events 2", "window 1h")
	alice, _ := twoUsers(t, func(authorize string) string {
		return behindEndpoint("{\n\t\t\t"+authorize+"\n\t\t}", limit).http
	})
	begin := func() string {
		got := alice.post(mcptest.Initialize)
		wantPassed(t, got)
		return got.Header.Get("Mcp-Session-Id")
	}
	first, second := begin(), begin()
	wantPassed(t, alice.post(ping, "Mcp-Session-Id", first))
	wantPassed(t, alice.post(ping, "Mcp-Session-Id", first))
	wantLimited(t, alice.post(ping, "Mcp-Session-Id", first))
	wantPassed(t, alice.post(ping, "Mcp-Session-Id", second))
	begin()
	if got := alice.post(ping, "Mcp-Session-Id", "made-up"); got.Status != 404 {
		t.Errorf("a session id that was made up: got %d", got.Status)
	}
}

// A limit per tool holds behind `authorize`: for clients of every revision, whatever they
// write into header fields. Several messages in one request are refused.
func TestRateLimitRecipe(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	port := testcaddy.FreePort(t)
	runRecipe(t, port, recipes(t, "caddy-ratelimit")[0], "https://login.example.com", issuer.URL, "localhost:3000", newSimple(t).URL)
	alice, bob := user{t, issuer, endpointAt(port), "alice"}, user{t, issuer, endpointAt(port), "bob"}
	calls := func(tool string) string {
		return `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"` + tool + `"}}`
	}
	// The fields claim another tool, another method and nothing at all.
	claims := [][]string{{"Mcp-Method", "tools/call", "Mcp-Name", "cheap"}, {"Mcp-Method", "ping"}, nil}
	for n := range 10 {
		wantPassed(t, alice.post(calls("costly"), claims[n%len(claims)]...))
	}
	for _, claim := range claims {
		wantLimited(t, alice.post(calls("costly"), claim...))
	}
	stateless := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"costly","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	wantLimited(t, alice.post(stateless, "Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "costly"))
	if got := alice.post("[" + ping + "," + calls("costly") + "]"); got.Status != 400 {
		t.Errorf("several messages: got %d", got.Status)
	}
	wantPassed(t, alice.post(calls("other")))
	wantPassed(t, bob.post(calls("costly")))

	session := bob.post(mcptest.Initialize).Header.Get("Mcp-Session-Id")
	for range 60 {
		wantPassed(t, bob.post(ping, "Mcp-Session-Id", session))
	}
	wantLimited(t, bob.post(ping, "Mcp-Session-Id", session))
	for i := 0; ; i++ {
		got := bob.post(ping)
		if got.Status == 429 {
			wantLimited(t, got)
			break
		}
		if wantPassed(t, got); i > 120 {
			t.Fatal("more than 120 requests of a user have passed")
		}
	}
	wantPassed(t, alice.post(ping))
}

// A page that may call the endpoint can read the 429 of a limit behind the endpoint. In front
// of it the answer has no CORS header, and the page sees a failed connection.
func TestRateLimitAnswersPages(t *testing.T) {
	limit := zone("key all", "events 1", "window 1h")
	// Both mcp_auth_bridge judge the origin, so the global option says which may call.
	global := "mcp_auth_bridge {\n\t\t" + mcptest.AllowApp + "\n\t}"
	for name, c := range map[string]struct{ site, origin string }{
		"behind the endpoint":      {behindEndpoint("", limit).http, mcptest.AppOrigin},
		"in front of the endpoint": {limit + "\n\tmcp_auth_bridge UP", ""},
	} {
		t.Run(name, func(t *testing.T) {
			url := front{global: global, http: c.site}.inFrontOf(t, testcaddy.FreePort(t), newSimple(t).URL)
			post := func() mcptest.Answer {
				return mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", url, ping, "Origin", mcptest.AppOrigin))
			}
			wantPassed(t, post())
			got := post()
			wantLimited(t, got)
			if origin := got.Header.Get("Access-Control-Allow-Origin"); origin != c.origin {
				t.Errorf("Access-Control-Allow-Origin is %q, want %q", origin, c.origin)
			}
		})
	}
}

// The SDK's client gets an error for the call that is one too many. Its session goes on.
func TestRateLimitedCallFailsAlone(t *testing.T) {
	limit := zone("match {\n\t\t\t\t\theader Mcp-Session-Id *\n\t\t\t\t\tmethod POST\n\t\t\t\t}", "key {http.mcp_auth_bridge.session}", "events 3", "window 1s")
	url := behindEndpoint("", limit).inFrontOfProgram(t, testcaddy.FreePort(t))
	session := connect(t, url)
	call := func() (string, error) {
		res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "do", Arguments: map[string]any{"do": "pid", "n": 0}})
		if err != nil {
			return "", err
		}
		return res.Content[0].(*mcp.TextContent).Text, nil
	}
	first, err := call()
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err = call(); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "Too Many Requests") {
		t.Fatalf("of 100 calls none was one too many: %v", err)
	}
	mcptest.Poll(t, 20*time.Second, func() string {
		switch again, err := call(); {
		case err != nil:
			return err.Error()
		case again != first:
			return "the process of the session was " + first + " and is " + again
		}
		return ""
	})
}
