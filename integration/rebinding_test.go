package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// asking is a page that sends requests and shows the status of each answer, or why there
// is none.
const asking = `<!doctype html><pre id=got></pre><script>
const got = {}
const ask = (name, url, options) => fetch(url, options).then(r => got[name] = r.type === "opaque" ? "opaque" : String(r.status), e => got[name] = "failed")
const LOCAL = "http://localhost:" + location.port
Promise.all([
	ask("get", "/mcp?from=" + location.hostname),
	ask("agent", "/mcp?from=" + location.hostname, {headers: {"User-Agent": "curl/8"}}),
	ask("post", "/mcp?from=" + location.hostname, {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}}),
	ask("status", "/mcp-status?json"),
	ask("foreign", LOCAL + "/mcp?from=foreign-" + location.hostname, {mode: "no-cors"}),
	ask("foreign status", LOCAL + "/mcp-status?json&from=foreign", {mode: "no-cors"}),
]).then(() => { document.getElementById("got").textContent = JSON.stringify(got); document.title = "done" })
</script>`

// Rule B4, as Chromium has it: a name that was made to point to this machine is sent
// neither Sec-Fetch-Site nor, with a GET, an Origin. A page under such a name gets
// nothing of an endpoint or of the status page; one at localhost gets both. A page of
// another site reaches neither by requests that do not name it.
func TestReboundNameInChromium(t *testing.T) {
	chromium := integration.NeedChromium(t)
	var mu sync.Mutex
	var reached []string
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if from := r.URL.Query().Get("from"); from != "" {
			mu.Lock()
			reached = append(reached, r.Method+" "+from)
			mu.Unlock()
		}
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://:%d {\n\tbind 127.0.0.1\n\tmcp_auth_bridge %s\n\thandle /mcp-status {\n\t\tmcp_auth_bridge status\n\t}\n\thandle /page {\n\t\theader Content-Type text/html\n\t\trespond <<PAGE\n%s\nPAGE 200\n\t}\n}",
		port, up.URL, asking))
	visit := func(host string) map[string]string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
			"--host-resolver-rules=MAP rebound.test 127.0.0.1", "--virtual-time-budget=10000", "--dump-dom", fmt.Sprintf("http://%s:%d/page", host, port))
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		m := regexp.MustCompile(`(?s)<pre id="got">(.*?)</pre>`).FindSubmatch(out)
		var got map[string]string
		if m == nil || json.Unmarshal([]byte(html.UnescapeString(string(m[1]))), &got) != nil {
			t.Fatalf("the page shows no answers: %s", out)
		}
		return got
	}
	for host, want := range map[string]map[string]string{
		"localhost":    {"get": "200", "agent": "200", "post": "200", "status": "200"},
		"127.0.0.1":    {"get": "200", "agent": "200", "post": "200", "status": "200"},
		"rebound.test": {"get": "403", "agent": "403", "post": "403", "status": "403"},
	} {
		got := visit(host)
		for name, status := range want {
			if got[name] != status {
				t.Errorf("page at %s, %s: got %s, want %s", host, name, got[name], status)
			}
		}
		if got["foreign"] == "" {
			t.Errorf("page at %s has not asked localhost: %v", host, got)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if i := slices.IndexFunc(reached, func(s string) bool { return strings.Contains(s, "rebound.test") }); i >= 0 {
		t.Errorf("the server was reached: %q", reached)
	}
	if !slices.Contains(reached, "GET localhost") || !slices.Contains(reached, "POST localhost") {
		t.Errorf("the page at localhost did not reach the server: %q", reached)
	}
}
