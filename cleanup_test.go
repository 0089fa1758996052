package mcpauthbridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// A configuration that is refused half way gives back only what it has taken: the hosts of
// upstreams are shared with the configuration that runs on.
func TestCleanupAfterHalfAProvision(t *testing.T) {
	admin, port := testcaddy.FreePort(t), testcaddy.FreePort(t)
	site := func(option string) string {
		return fmt.Sprintf("{\n\tadmin %s\n\tauto_https off\n}\nhttp://%s {\n\tbind 127.0.0.1\n\tmcp_auth_bridge 127.0.0.1:9 {\n\t\t%s\n\t}\n}", testcaddy.Addr(admin), testcaddy.Addr(port), option)
	}
	in := testcaddy.Run(t, site(""))
	known := func() bool {
		got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, http.MethodGet, "http://"+testcaddy.Addr(admin)+"/reverse_proxy/upstreams", ""))
		return strings.Contains(got.Body, "127.0.0.1:9")
	}
	if !known() {
		t.Fatal("the host is not known")
	}
	for name, option := range map[string]string{
		"before the hosts are taken": "header_up X-A \"(\" b",
		"after the hosts are taken":  "handle_response {\n\t\t\trespond 200 {\n\t\t\t\tclose\n\t\t\t}\n\t\t\t@bad path_regexp (\n\t\t\trespond @bad 200\n\t\t}",
		"when it is validated":       "sessions {\n\t\t\tmax 1\n\t\t}",
	} {
		t.Run(name, func(t *testing.T) {
			if err := in.TryLoad(site(option)); err == nil {
				t.Fatal("the configuration is not refused")
			} else {
				t.Log(err)
			}
			if !known() {
				t.Error("the host of the configuration that runs was given back")
			}
		})
	}
}
