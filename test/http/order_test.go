package http_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// A bare endpoint is reached beside every directive that answers for a website: itself, its
// metadata (C1) and its preflight (B2). The website keeps all other paths.
func TestEndpointBesideAWebsite(t *testing.T) {
	up := mcptest.NewAnswers(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("website")) }))
	t.Cleanup(app.Close)
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(auth.Close)
	root := t.TempDir()
	for _, name := range []string{"index.html", "index.php"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte("website"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const guard = "@guarded {\n\t\tnot method OPTIONS\n\t\tnot path /.well-known/oauth-protected-resource*\n\t}\n\t"
	basic := guard + "basic_auth @guarded {\n\t\tuser " + mcptest.Bcrypted + "\n\t}\n\t"
	forward := guard + "forward_auth @guarded " + auth.URL + " {\n\t\turi /verify\n\t}\n\t"
	client := mcptest.NewClient(t)
	for _, tt := range []struct {
		name, site string
		guarded    bool // a request without credentials is refused
	}{
		{"handle", "handle {\n\t\treverse_proxy APP\n\t}", false},
		{"handle of files", "handle {\n\t\troot * ROOT\n\t\ttry_files {path} /index.html\n\t\tfile_server\n\t}", false},
		{"handle of a path, and of the rest", "handle /api/* {\n\t\treverse_proxy APP\n\t}\n\thandle {\n\t\trespond website\n\t}", false},
		{"handle_path", "handle_path /* {\n\t\trespond website\n\t}", false},
		{"handle_path of a part", "handle_path /api/* {\n\t\trespond api\n\t}\n\trespond website", false},
		{"route", "route {\n\t\treverse_proxy APP\n\t}", false},
		{"route with a rewrite", "route {\n\t\trewrite * /index.html\n\t\troot * ROOT\n\t\tfile_server\n\t}", false},
		{"respond", "respond website", false},
		{"reverse_proxy", "reverse_proxy APP", false},
		{"php_fastcgi", "root * ROOT\n\tphp_fastcgi 127.0.0.1:1\n\tfile_server", false},
		{"file_server", "root * ROOT\n\tfile_server", false},
		{"encode and templates", "encode\n\ttemplates\n\thandle {\n\t\trespond website\n\t}", false},
		{"request_header and request_body", "request_header X-A b\n\trequest_body {\n\t\tmax_size 10MB\n\t}\n\trespond website", false},
		{"uri", "uri replace /old/ /new/\n\trespond website", false},
		{"rewrite of something else", "rewrite /old /index.html\n\thandle {\n\t\trespond website\n\t}", false},
		{"redir of something else", "redir /old /new\n\thandle {\n\t\trespond website\n\t}", false},
		{"handle_errors", "handle_errors {\n\t\trespond website\n\t}\n\thandle {\n\t\trespond website\n\t}", false},
		{"basic_auth", basic + "handle {\n\t\trespond website\n\t}", true},
		{"forward_auth", forward + "handle {\n\t\trespond website\n\t}", true},
		{"forward_auth and respond", forward + "respond website", true},
		{"forward_auth of the endpoint", "forward_auth /mcp* " + auth.URL + " {\n\t\turi /verify\n\t}\n\thandle {\n\t\trespond website\n\t}", true},
		{"login of the website alone", "handle {\n\t\tbasic_auth {\n\t\t\tuser " + mcptest.Bcrypted + "\n\t\t}\n\t\trespond website\n\t}", false},
		{"metadata in a handle block, as it was needed once", "handle /.well-known/oauth-protected-resource* {\n\t\tmcp_auth_bridge metadata\n\t}\n\thandle {\n\t\trespond website\n\t}", false},
		{"endpoint in a handle block, as it was needed once", "handle /.well-known/oauth-protected-resource* {\n\t\tmcp_auth_bridge metadata\n\t}\n\thandle /mcp* {\n\t\tENDPOINT\n\t}\n\thandle {\n\t\trespond website\n\t}", false},
		{"endpoint in handle_path, its metadata at the site", "mcp_auth_bridge metadata\n\thandle_path /x/* {\n\t\tENDPOINT\n\t}\n\thandle {\n\t\trespond website\n\t}", false},
		{"route in the old order", "route {\n\t\tENDPOINT\n\t\treverse_proxy APP\n\t}", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := testcaddy.Addr(testcaddy.FreePort(t))
			origin, endpoint := "http://"+addr, "mcp_auth_bridge "+up.URL+" {\n\t\tcors {\n\t\t\tallow_origins https://app.example.com\n\t\t}\n\t}"
			text, path := tt.site, "/mcp"
			if strings.Contains(text, "/x/") {
				path = "/x/mcp"
			}
			if !strings.Contains(text, "ENDPOINT") {
				text += "\n\tENDPOINT"
			}
			text = strings.NewReplacer("ENDPOINT", endpoint, "APP", app.URL, "ROOT", root).Replace(text)
			testcaddy.Run(t, fmt.Sprintf("%s {\n\t%s\n}\n", origin, text))
			for _, slash := range []string{"", "/"} {
				for _, credentials := range []bool{false, true} {
					r := mcptest.NewRequest(t, http.MethodPost, origin+path+slash+"?answer=200", mcptest.Initialize)
					want := http.StatusOK
					if credentials {
						r.SetBasicAuth("user", "page-password")
					} else if tt.guarded {
						want = http.StatusUnauthorized
					}
					got := mcptest.Do(t, client, r)
					if got.Status != want || (got.Header.Get("X-Upstream") != "") != (want == http.StatusOK) {
						t.Errorf("POST %s%s, credentials %v: got %d %v %.80s, want %d", path, slash, credentials, got.Status, got.Header, got.Body, want)
					}
				}
			}
			got := mcptest.Do(t, client, mcptest.NewRequest(t, http.MethodGet, origin+"/.well-known/oauth-protected-resource"+path, ""))
			if got.Status != http.StatusOK || !strings.Contains(got.Body, `"resource":"`+origin+path+`"`) {
				t.Errorf("metadata: got %d %.80s", got.Status, got.Body)
			}
			if !strings.HasPrefix(tt.name, "forward_auth of the endpoint") { // which has no exception for them
				got = mcptest.Do(t, client, mcptest.NewRequest(t, http.MethodOptions, origin+path, "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "POST"))
				if got.Status != http.StatusNoContent || got.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
					t.Errorf("preflight: got %d %v", got.Status, got.Header)
				}
			}
			r := mcptest.NewRequest(t, http.MethodGet, origin+"/index.html", "")
			r.SetBasicAuth("user", "page-password")
			if got := mcptest.Do(t, client, r); got.Status != http.StatusOK || got.Body != "website" {
				t.Errorf("the website: got %d %.80s", got.Status, got.Body)
			}
			if testcaddy.Logged("cannot be reached") || testcaddy.Logged("stands behind") {
				t.Error("the log warns of the place")
			}
		})
	}
}
