package http_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rules C1, C3: the well-known URL answers with the upstream's document, its
// resource mapped, in both slash forms and at the root, for every browser.
func TestMetadata(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, ""))
	base := "http://" + testcaddy.Addr(port)
	c := mcptest.NewClient(t)
	metadataServed(t, c, base)
	for _, path := range []string{"/.well-known/oauth-protected-resource/other", "/.well-known/oauth-authorization-server", "/MCP", "/mcp/sub", "/mcp//"} {
		if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+path, "")); got.Header.Get("X-Upstream") != "" || got.Status != http.StatusNotFound {
			t.Errorf("%s is not the endpoint's, yet it was answered: %d %v", path, got.Status, got.Header)
		}
	}
}

func metadataServed(t *testing.T, c *http.Client, base string) {
	t.Helper()
	for suffix, resource := range map[string]string{"/mcp": "/mcp", "/mcp/": "/mcp/", "": "/mcp", "/": "/mcp"} {
		got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-protected-resource"+suffix, "", "Origin", "https://anyone.example"))
		want := fmt.Sprintf(`{"resource":"%s%s","authorization_servers":["https://login.example.com"]}`, base, resource)
		if got.Status != http.StatusOK || got.Body != want {
			t.Errorf("%s: got %d %s, want %s", suffix, got.Status, got.Body, want)
		}
		if got.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: got header %v", suffix, got.Header)
		}
	}
}

// Rule C1: a definite no of the upstream is a JSON 404, and what could not be
// had is a 503.
func TestMetadataAbsent(t *testing.T) {
	up := mcptest.NewAnswers(t)
	up.Metadata = ""
	port, dead := testcaddy.FreePort(t), testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tmcp_auth_bridge /mcp %s\n\tmcp_auth_bridge /dead http://%s\n}", port, up.URL, testcaddy.Addr(dead)))
	base := "http://" + testcaddy.Addr(port) + "/.well-known/oauth-protected-resource"
	got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", base+"/mcp", ""))
	if got.Status != http.StatusNotFound || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %v", got.Status, got.Header)
	}
	got = mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", base+"/dead", ""))
	if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v", got.Status, got.Header)
	}
	if strings.Contains(got.Body, "127.0.0.1") {
		t.Errorf("body %q tells an internal address", got.Body)
	}
}
