package mcpauthbridge_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

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
	known := func() (found bool) {
		// A load begins another admin server, while the one before may still take a
		// connection that it closes.
		mcptest.Poll(t, time.Minute, func() string {
			res, err := mcptest.HTTPClient(t).Get("http://" + testcaddy.Addr(admin) + "/reverse_proxy/upstreams")
			if err != nil {
				return err.Error()
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				return err.Error()
			}
			found = strings.Contains(string(body), "127.0.0.1:9")
			return ""
		})
		return found
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
