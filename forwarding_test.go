package mcpauthbridge_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// An option of reverse_proxy that needs to see each answer leaves the answers to it: the log says
// so, and `direct` is refused. Other options do not.
func TestForwarding(t *testing.T) {
	testcaddy.AsWritten(t)
	for options, because := range map[string]string{
		"":                         "",
		"forwarding auto":          "",
		"forwarding direct":        "",
		"forwarding reverse_proxy": "forwarding reverse_proxy",
		"header_up X-A 1":          "",
		"flush_interval -1":        "",
		"max_fails 2\nunhealthy_status 5xx\nfail_duration 1s":       "",
		"lb_retries 2\nlb_retry_match {\nmethod GET POST\n}":        "",
		"dynamic a localhost 3000":                                  "",
		"request_buffers 4KiB":                                      "",
		"stream_close_delay 1s":                                     "",
		"rewrite /x":                                                "",
		"header_down -X-A":                                          "header_down",
		"handle_response {\nrespond 204\n}":                         "handle_response",
		"replace_status 404":                                        "handle_response",
		"response_buffers 4KiB":                                     "response_buffers",
		"unhealthy_latency 1s":                                      "unhealthy_latency",
		"verbose_logs":                                              "verbose_logs",
		"lb_retry_match {\nexpression `{rp.status_code} == 503`\n}": "an expression in lb_retry_match",
	} {
		t.Run(options, func(t *testing.T) {
			site := func(options string) string {
				return fmt.Sprintf("{\nauto_https off\n}\nhttp://:%d {\nmcp_auth_bridge localhost:3000 {\n%s\n}\n}\n", testcaddy.FreePort(t), options)
			}
			testcaddy.Run(t, site(options))
			by, why := "direct", because
			if because != "" {
				by = "reverse_proxy"
			}
			ready := 0
			for _, line := range testcaddy.Logs() {
				var entry struct {
					Msg, Forwarding string
					Because         string `json:"because_of"`
				}
				if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Msg != "MCP endpoint ready" {
					continue
				}
				if ready++; entry.Forwarding != by || entry.Because != why {
					t.Errorf("got %q because of %q, want %q because of %q", entry.Forwarding, entry.Because, by, why)
				}
			}
			if ready != 1 {
				t.Errorf("%d endpoints are ready", ready)
			}
			if strings.HasPrefix(options, "forwarding") {
				return
			}
			err := testcaddy.Validate(t, site(options+"\nforwarding direct"))
			if (err != nil) != (because != "") || err != nil && !strings.Contains(err.Error(), "forwarding: direct excludes "+because+" of reverse_proxy") {
				t.Errorf("direct: got %v", err)
			}
		})
	}
}
