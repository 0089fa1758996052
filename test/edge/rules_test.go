package edge_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// filesServer is the environment variable that makes the test binary a server of files.
const filesServer = "MCP_AUTH_BRIDGE_TEST_FILES"

// newFiles is a server with a tool for each right.
func newFiles() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "files", Version: "1"}, nil)
	for _, name := range []string{"read_file", "write_file", "delete_file", "admin_reset"} {
		mcp.AddTool(s, &mcp.Tool{Name: name}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: name + " is done"}}}, nil, nil
		})
	}
	return s
}

func serveFiles(string) { _ = newFiles().Run(context.Background(), &mcp.StdioTransport{}) }

const fileRules = `scope files:read
			tools write_* {
				scope files:write
			}
			tools delete_* {
				when ` + "`\"admin\" in principal.claims.groups`" + `
			}
			tools admin_* {
				deny
			}
			implies files:all files:read files:write`

// E2, E3, E5: rules decide alike over every transport: what a token may call, what it is
// asked for, and what its lists show.
func TestRulesOverEachTransport(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	events := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return newFiles() }, nil))
	t.Cleanup(events.Close)
	json := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return newFiles() }, &mcp.StreamableHTTPOptions{JSONResponse: true}))
	t.Cleanup(json.Close)
	old := httptest.NewServer(mcp.NewSSEHandler(func(*http.Request) *mcp.Server { return newFiles() }, nil))
	t.Cleanup(old.Close)
	for name, upstream := range map[string]string{
		"program":  fmt.Sprintf("/mcp {\n\t\tstdio %s -test.run=^$ {\n\t\t\tenv %s=1\n\t\t}", self, filesServer),
		"events":   "/mcp " + events.URL + "/mcp {",
		"JSON":     "/mcp " + json.URL + "/mcp {",
		"HTTP+SSE": "/mcp sse+" + old.URL + "/sse {",
	} {
		for _, lists := range []string{"show", "hide"} {
			t.Run(name+", "+lists, func(t *testing.T) {
				port := testcaddy.FreePort(t)
				testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge %s\n\t\t%s\n\t\tlegacy_sse\n\t}\n}\n",
					port, upstream, authorize(issuer, fileRules, "lists "+lists)))
				url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
				checkRules(t, issuer, url, lists)
			})
		}
	}
}

func checkRules(t *testing.T, issuer *issuertest.Server, url, lists string) {
	t.Helper()
	meta := strings.Replace(url, "/mcp", "/.well-known/oauth-protected-resource/mcp", 1)
	for _, tc := range []struct {
		name          string
		claims        map[string]any
		can           []string
		shown, hidden []string // of the lists show and hide
	}{
		{"reader", map[string]any{"scope": "files:read x"}, []string{"read_file"}, []string{"read_file", "write_file"}, []string{"read_file"}},
		{"writer", map[string]any{"scope": "files:all"}, []string{"read_file", "write_file"}, []string{"read_file", "write_file"}, []string{"read_file", "write_file"}},
		{"admin", map[string]any{"scope": "files:read", "groups": []string{"admin"}}, []string{"read_file", "delete_file"}, []string{"delete_file", "read_file", "write_file"}, []string{"delete_file", "read_file"}},
	} {
		token := issuer.Token(url, tc.claims)
		s := connect(t, url, token)
		checkTools(t, tc.name, s, lists, tc.shown, tc.hidden)
		for _, tool := range []string{"read_file", "write_file", "delete_file", "admin_reset"} {
			res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: tool})
			if ok := err == nil && res.Content[0].(*mcp.TextContent).Text == tool+" is done"; ok != slices.Contains(tc.can, tool) {
				t.Errorf("%s calls %s: got %v, %v", tc.name, tool, res, err)
			}
		}
		tr := &http.Transport{}
		t.Cleanup(tr.CloseIdleConnections)
		old, err := mcp.NewClient(&mcp.Implementation{Name: "old", Version: "1"}, nil).
			Connect(t.Context(), &mcp.SSEClientTransport{Endpoint: url + "/sse", HTTPClient: &http.Client{Transport: withToken{tr, token}}}, nil)
		if err != nil {
			t.Errorf("%s over HTTP+SSE: %v", tc.name, err)
			continue
		}
		checkTools(t, tc.name+" over HTTP+SSE", old, lists, tc.shown, tc.hidden)
		_ = old.Close()
	}
	reader := "Bearer " + issuer.Token(url, map[string]any{"scope": "files:read x"})
	for tool, want := range map[string]string{
		"write_file":  `Bearer error="insufficient_scope", error_description="the scope of the token is too small", scope="files:read files:write", resource_metadata="` + meta + `"`,
		"delete_file": "",
		"admin_reset": "",
	} {
		got := post(t, url, `{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"`+tool+`"}}`, "Authorization", reader)
		if got.Status != 403 || got.Header.Get("Www-Authenticate") != want || !strings.Contains(got.Body, `"id":"a"`) {
			t.Errorf("%s: got %d %q %s; want %q", tool, got.Status, got.Header["Www-Authenticate"], got.Body, want)
		}
	}
	if got := post(t, url, initialize, "Authorization", "Bearer "+issuer.Token(url, nil)); got.Status != 403 || !strings.Contains(got.Header.Get("Www-Authenticate"), `scope="files:read"`) {
		t.Errorf("without a scope: got %d %v", got.Status, got.Header)
	}
	hidden := `[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"admin_reset"}}]`
	if got := post(t, url, hidden, "Authorization", reader); got.Status != 403 || got.Header.Get("Www-Authenticate") != "" {
		t.Errorf("a batch that hides a call: got %d %v", got.Status, got.Header)
	}
}

func checkTools(t *testing.T, who string, s *mcp.ClientSession, lists string, shown, hidden []string) {
	t.Helper()
	want := shown
	if lists == "hide" {
		want = hidden
	}
	res, err := s.ListTools(t.Context(), nil)
	if err != nil {
		t.Errorf("%s: %v", who, err)
		return
	}
	var got []string
	for _, tool := range res.Tools {
		got = append(got, tool.Name)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%s sees %q; want %q", who, got, want)
	}
}

// E9: a denial is one line of the log, without the token and the arguments.
func TestDenialsAreLogged(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	server := newRecorder(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, server.URL, authorize(issuer, fileRules)))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	token := issuer.Token(url, map[string]any{"scope": "files:read"})
	testcaddy.ForgetLogs()
	if got := post(t, url, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write_file","arguments":{"a":"sesame"}}}`, "Authorization", "Bearer "+token); got.Status != 403 {
		t.Fatalf("got %d", got.Status)
	}
	testcaddy.AwaitLog(t, func(line string) bool {
		return strings.Contains(line, `"request is denied"`) && strings.Contains(line, `"user":"alice"`) && strings.Contains(line, `"name":"write_file"`) && strings.Contains(line, `"needed":"files:read files:write"`)
	})
	for _, line := range testcaddy.Logs() {
		if strings.Contains(line, token) || strings.Contains(line, "sesame") {
			t.Errorf("the log has a secret: %s", line)
		}
	}
}
