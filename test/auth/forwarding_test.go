package auth_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rule C5: a client that says of a request how it was forwarded opens no path of an
// authorization server which believes that, nor with any other field.
func TestForwardingFieldsOpenNoPaths(t *testing.T) {
	for _, tc := range []struct {
		field, value string
		passes       bool // it is nothing of forwarding
	}{
		{"X-Forwarded-Prefix", "/admin?", false},
		{"X-Forwarded-Prefix", "/admin", false},
		{"X_forwarded_prefix", "/admin?", false},
		{"X-Forwarded-Path", "/admin?", false},
		{"X-Forwarded-Uri", "/admin?", false},
		{"X_forwarded_host", "x/admin?", false},
		{"Forwarded", "for=10.0.0.1;path=/admin?", false},
		{"X-Original-Url", "/admin?", false},
		{"X-Original-Uri", "/admin?", false},
		{"X-Rewrite-Url", "/admin?", false},
		{"X-Script-Name", "/admin?", false},
		{"X-Envoy-Original-Path", "/admin?", false},
		{"X-Return-To", "/admin?", true},
		{"X-Return-To", "%2Fadmin?", true},
		{"X-Portal-Base", "/adm", true},
		{"Authorization", "/admin?", true},
		{"X-Forwarded-User", "/admin?", true},
	} {
		t.Run(tc.field+" "+tc.value, func(t *testing.T) {
			s := newCohosted(t)
			base := startBridged(t, s, bridged)
			arrived := ""
			s.handlers["/authorize"] = func(w http.ResponseWriter, r *http.Request) {
				arrived = strings.Join(r.Header[tc.field], "")
				to := strings.NewReplacer("%2F", "/", "for=10.0.0.1;path=", "", "x/", "/").Replace(arrived)
				if to == "/adm" {
					to = "/admin?"
				}
				w.Header().Set("Location", to+"/login")
				w.WriteHeader(http.StatusFound)
			}
			c := mcptest.NewClient(t)
			r := mcptest.NewRequest(t, "GET", base+"/authorize?response_type=code", "")
			r.Header[tc.field] = []string{tc.value}
			if got := mcptest.Do(t, c, r); got.Status != http.StatusFound {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			if got := arrived != ""; got != tc.passes {
				t.Errorf("the server got %q", arrived)
			}
			for _, path := range []string{"/admin", "/admin/login"} {
				mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+path, ""))
				if _, reached := s.last(path); reached {
					t.Errorf("the private path %s is served", path)
				}
			}
		})
	}
}

// What the operator, or a proxy that is trusted, says of forwarding reaches the server.
func TestForwardingFieldsOfTheOperator(t *testing.T) {
	s := newCohosted(t)
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	testcaddy.Run(t, mcptest.BridgeTo(port, s.URL, bridged+"\nheader_up X-Forwarded-Prefix /auth\ntrusted_proxies 127.0.0.1"))
	mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", base+"/authorize", "",
		"X-Forwarded-Prefix", "/of-the-client", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "mcp.example.com", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Groups", "staff"))
	got, _ := s.last("/authorize")
	for name, want := range map[string]string{
		"X-Forwarded-Prefix": "/auth", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "mcp.example.com", "X-Forwarded-For": "192.0.2.1, 127.0.0.1", "X-Forwarded-Groups": "staff",
	} {
		if has := strings.Join(got.header[name], "|"); has != want {
			t.Errorf("%s: the server got %q, want %q", name, has, want)
		}
	}
}
