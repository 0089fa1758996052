package http_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rules B2, F2: what a preflight asks for in vain is told to the operator, once in the log
// and in the status, with the line that allows it; what is allowed is not.
func TestDeniedPreflightsAreLogged(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(up.Close)
	admin, port := testcaddy.FreePort(t), testcaddy.FreePort(t)
	endpoint := func(path, cors string) string {
		return fmt.Sprintf("\tmcp_auth_bridge %s %s {\n\t\tcors {\n\t\t\tallow_origins %s\n\t\t\t%s\n\t\t}\n\t}\n", path, up.URL, mcptest.AppOrigin, cors)
	}
	c := mcptest.NewClient(t)
	ask := func(path, method, names string, more ...string) http.Header {
		t.Helper()
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "OPTIONS", "http://"+testcaddy.Addr(port)+path, "", append([]string{
			"Origin", mcptest.AppOrigin, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", names,
		}, more...)...))
		if got.Status != http.StatusNoContent {
			t.Fatalf("preflight: got %d, want 204", got.Status)
		}
		return got.Header
	}
	type notice struct {
		Message, Subject, Advice, Add string
		Count                         int
	}
	notices := func(path string) []notice {
		t.Helper()
		var status struct {
			Endpoints []struct {
				Endpoint string
				Notices  []notice
			}
		}
		got := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/mcp_auth_bridge/", admin), ""))
		if err := json.Unmarshal([]byte(got.Body), &status); err != nil {
			t.Fatalf("status: %v\n%s", err, got.Body)
		}
		for _, e := range status.Endpoints {
			if strings.HasSuffix(e.Endpoint, path) {
				return e.Notices
			}
		}
		t.Fatalf("status has no endpoint %s:\n%s", path, got.Body)
		return nil
	}

	testcaddy.Run(t, fmt.Sprintf("{\n\tadmin 127.0.0.1:%d\n}\nhttp://127.0.0.1:%d {\n", admin, port)+
		endpoint("/mcp", "")+endpoint("/open", "allow_headers X-Api-Key Traceparent\n\t\t\tprivate_network")+"}\n")
	for range 3 {
		allowed := strings.ToLower(ask("/mcp", "POST", "authorization,content-type,traceparent,x-api-key", "Access-Control-Request-Private-Network", "true").Get("Access-Control-Allow-Headers"))
		if strings.Contains(allowed, "x-api-key") || strings.Contains(allowed, "traceparent") {
			t.Fatalf("allowed: %s", allowed)
		}
	}
	for range 3 {
		ask("/mcp", "PATCH", "authorization")
	}
	want := map[string]string{
		"PATCH":     "",
		"X-Api-Key": "allow_headers X-Api-Key", "Traceparent": "allow_headers Traceparent",
		"Access-Control-Request-Private-Network": "private_network",
	}
	all := notices("/mcp")
	if len(all) != len(want) {
		t.Errorf("%d notices; want %d: %+v", len(all), len(want), all)
	}
	for _, n := range all {
		if n.Add != want[n.Subject] || n.Count != 3 || n.Advice == "" {
			t.Errorf("notice %+v; want 3 times, add %q", n, want[n.Subject])
		}
	}
	for subject, add := range want {
		lines := slices.DeleteFunc(testcaddy.Logs(), func(line string) bool {
			return !strings.Contains(line, `"subject":"`+subject+`"`) || strings.Contains(line, `"add":`) != (add != "") || !strings.Contains(line, add)
		})
		if len(lines) != 1 || !strings.Contains(lines[0], `"level":"warn"`) {
			t.Errorf("%s: the log has %d lines, want one warning\n%s", subject, len(lines), strings.Join(lines, "\n"))
		}
	}

	allowed := strings.ToLower(ask("/open", "POST", "traceparent,x-api-key", "Access-Control-Request-Private-Network", "true").Get("Access-Control-Allow-Headers"))
	if !strings.Contains(allowed, "x-api-key") || !strings.Contains(allowed, "traceparent") {
		t.Errorf("allowed: %s; want what is listed", allowed)
	}
	if all := notices("/open"); len(all) != 0 {
		t.Errorf("notices of what is allowed: %+v", all)
	}
}

// Rules B1, B3: the origin of a browser's extension arrives as the browser sent it, on the
// preflight, on the answer and on what the handler itself refuses.
func TestOriginsOfExtensions(t *testing.T) {
	const safari = "safari-web-extension://6F9619FF-8B86-D011-B42D-00C04FC964FF"
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	policies := []string{safari, "safari-web-extension://*", "*"}
	site := fmt.Sprintf("http://127.0.0.1:%d {\n", port)
	for i, allowed := range policies {
		site += fmt.Sprintf("\tmcp_auth_bridge /%d %s {\n\t\tcors {\n\t\t\tallow_origins %s\n\t\t}\n\t}\n", i, up.URL, allowed)
	}
	testcaddy.Run(t, site+"}\n")
	c := mcptest.NewClient(t)
	for i, allowed := range policies {
		want := safari
		if allowed == "*" {
			want = "*"
		}
		at := fmt.Sprintf("http://%s/%d", testcaddy.Addr(port), i)
		for name, r := range map[string]*http.Request{
			"preflight": mcptest.NewRequest(t, "OPTIONS", at, "", "Origin", safari, "Access-Control-Request-Method", "POST"),
			"POST":      mcptest.NewRequest(t, "POST", at, mcptest.Initialize, "Origin", safari),
			"GET":       mcptest.NewRequest(t, "GET", at, "", "Origin", safari),
		} {
			if got := mcptest.Do(t, c, r); !slices.Equal(got.Header["Access-Control-Allow-Origin"], []string{want}) {
				t.Errorf("allow_origins %s, %s: %d with Access-Control-Allow-Origin %q, want %q", allowed, name, got.Status, got.Header["Access-Control-Allow-Origin"], want)
			}
		}
		if allowed == "*" {
			continue
		}
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", at, mcptest.Initialize, "Origin", "safari-web-extension-x://6F9619FF-8B86-D011-B42D-00C04FC964FF"))
		if got.Status != http.StatusForbidden {
			t.Errorf("allow_origins %s: another scheme got %d, want 403", allowed, got.Status)
		}
	}
}
