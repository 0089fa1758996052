package demo_test

import (
	"encoding/json"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo/democlient"
)

func start(t *testing.T, opts demo.Options) *demo.Demo {
	t.Helper()
	d, err := demo.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func call(t *testing.T, s *mcp.ClientSession, tool string) string {
	t.Helper()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: map[string]any{}})
	if err != nil {
		t.Fatalf("calling %s: %v", tool, err)
	}
	if len(res.Content) != 1 || res.IsError {
		t.Fatalf("%s: got %+v", tool, res)
	}
	return res.Content[0].(*mcp.TextContent).Text
}

// The SDK's client logs in, is stepped up by a 403, and gets a new token when
// the old one expires, with the authorization server in both places.
func TestLogin(t *testing.T) {
	for name, opts := range map[string]demo.Options{
		"elsewhere":    {},
		"same origin":  {SameOrigin: true},
		"auto consent": {AutoConsent: true},
		"redirect":     {Redirect: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, opts)
			s, err := democlient.Connect(t.Context(), d.MCPURL(), client(t))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			if got := call(t, s, "whoami"); got != "alice" {
				t.Errorf("got %q", got)
			}
			if got := call(t, s, "admin_secret"); !strings.Contains(got, "secret") {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestLoginOverSSE(t *testing.T) {
	d := start(t, demo.Options{})
	s, err := democlient.ConnectSSE(t.Context(), d.SSEURL(), client(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if got := call(t, s, "whoami"); got != "alice" {
		t.Errorf("got %q", got)
	}
	if got := call(t, s, "admin_secret"); !strings.Contains(got, "secret") {
		t.Errorf("got %q", got)
	}
}

func TestChallenges(t *testing.T) {
	for name, tc := range map[string]struct {
		opts demo.Options
		want string
	}{
		"whole":   {demo.Options{}, `Bearer resource_metadata="ORIGIN/.well-known/oauth-protected-resource/mcp", scope="mcp:read"`},
		"bare":    {demo.Options{Challenge: demo.ShapeBare}, `Bearer scope="mcp:read"`},
		"none":    {demo.Options{Challenge: demo.ShapeNone}, ``},
		"several": {demo.Options{Challenge: demo.ShapeSeveral}, "Negotiate\nBasic realm=\"old clients\", charset=\"UTF-8\" , Bearer resource_metadata=\"ORIGIN/.well-known/oauth-protected-resource/mcp\", scope=\"mcp:read\", DPoP algs=\"ES256\""},
		"odd":     {demo.Options{MetadataPath: "/meta"}, `Bearer resource_metadata="ORIGIN/meta/mcp", scope="mcp:read"`},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, tc.opts)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.MCPURL(), strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			res, err := client(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			want := strings.ReplaceAll(tc.want, "ORIGIN", d.Origin())
			if got := strings.Join(res.Header["Www-Authenticate"], "\n"); got != want || res.StatusCode != http.StatusUnauthorized {
				t.Errorf("got %d\n%s\nwant\n%s", res.StatusCode, got, want)
			}
			if res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("the server sends CORS headers; it is to have none")
			}
		})
	}
}

// A registration may leave out what RFC 7591 section 2 gives a default.
func TestRegistrationDefaults(t *testing.T) {
	d := start(t, demo.Options{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.Issuer()+"/register", strings.NewReader(`{"redirect_uris":["http://127.0.0.1:1/callback"]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var got struct {
		ID     string   `json:"client_id"`
		Secret string   `json:"client_secret"`
		Method string   `json:"token_endpoint_auth_method"`
		Grants []string `json:"grant_types"`
		Types  []string `json:"response_types"`
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || json.Unmarshal(body, &got) != nil || res.StatusCode != http.StatusCreated || got.ID == "" || got.Secret == "" ||
		got.Method != "client_secret_basic" || !slices.Equal(got.Grants, []string{"authorization_code"}) || !slices.Equal(got.Types, []string{"code"}) {
		t.Errorf("got %v, %d %s", err, res.StatusCode, body)
	}
}

// A token for another audience is refused.
func TestAudience(t *testing.T) {
	d := start(t, demo.Options{Public: []string{"https://mcp.example.com/mcp"}})
	s, err := democlient.Connect(t.Context(), d.MCPURL(), client(t))
	if err == nil {
		_ = s.Close()
		t.Fatal("a token for the private address was accepted by a server that wants the public one")
	}
}

// Nothing is left behind.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	d, err := demo.Start(t.Context(), demo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	s, err := democlient.Connect(t.Context(), d.MCPURL(), &http.Client{Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	tr.CloseIdleConnections()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}
