package auth_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// fakeServer is an MCP server with an answer for each "METHOD /path"; "*" is that of
// all others, which is 404 where it is not given.
type fakeServer map[string]func(w http.ResponseWriter, r *http.Request)

func (f fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, key := range []string{r.Method + " " + r.URL.Path, r.Method + " *", "*"} {
		if serve := f[key]; serve != nil {
			serve(w, r)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, `{"error":"not found"}`)
}

// reply answers with a status, a media type and a body; UP stands for the server's own origin.
func reply(status int, media, body string, header ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		own := func(s string) string {
			query := ""
			if r.URL.RawQuery != "" {
				query = "?" + r.URL.RawQuery
			}
			return strings.NewReplacer("UP", "http://"+r.Context().Value(http.LocalAddrContextKey).(fmt.Stringer).String(), "QUERY", query).Replace(s)
		}
		if media != "" {
			w.Header().Set("Content-Type", media)
		} else {
			w.Header()["Content-Type"] = nil
		}
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], own(header[i+1]))
		}
		text := []byte(own(body))
		if w.Header().Get("Content-Encoding") == "gzip" {
			text = gzipped(text)
		}
		w.WriteHeader(status)
		_, _ = w.Write(text)
	}
}

func challenge401(lines ...string) func(http.ResponseWriter, *http.Request) {
	var header []string
	for _, line := range lines {
		header = append(header, "WWW-Authenticate", line)
	}
	return reply(401, "text/plain", "", header...)
}

// discoverySite is the site of most of these tests; %s are the options.
func discoverySite(t *testing.T, server http.Handler, directive string) (base string, upstream *httptest.Server) {
	t.Helper()
	upstream = httptest.NewUnstartedServer(server)
	upstream.Start()
	t.Cleanup(upstream.Close)
	base = "http://" + testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\n%s {\n\t%s\n\thandle /mcp-status {\n\t\tmcp_auth_bridge status\n\t}\n}",
		base, strings.ReplaceAll(directive, "UP", strings.TrimPrefix(upstream.URL, "http://"))))
	return base, upstream
}

var namedURL = regexp.MustCompile(`resource_metadata="([^"]*)"`)

// named returns the metadata URL of an answer's first challenge.
func named(t *testing.T, got mcptest.Answer) string {
	t.Helper()
	m := namedURL.FindStringSubmatch(strings.Join(got.Header["Www-Authenticate"], "\n"))
	if m == nil {
		t.Fatalf("got %d, challenges %q; want a metadata URL", got.Status, got.Header["Www-Authenticate"])
	}
	return m[1]
}

// wantDocument asks for metadata and compares resource and authorization server.
func wantDocument(t *testing.T, c *http.Client, url, resource, server string) {
	t.Helper()
	got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", url, ""))
	var doc struct {
		Resource             string
		AuthorizationServers []string `json:"authorization_servers"`
	}
	if err := json.Unmarshal([]byte(got.Body), &doc); err != nil || got.Status != 200 || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Content-Encoding") != "" ||
		doc.Resource != resource || len(doc.AuthorizationServers) != 1 || doc.AuthorizationServers[0] != server {
		t.Errorf("%s: got %d %v %s, %v; want resource %s and server %s", url, got.Status, got.Header, got.Body, err, resource, server)
	}
}

// wantCause says that metadata is 404 with a cause, without asking to come back, and that
// status and log have the cause as well.
func wantCause(t *testing.T, c *http.Client, base, url, cause string) {
	t.Helper()
	got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", url, ""))
	var failure struct {
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal([]byte(got.Body), &failure); err != nil || got.Status != 404 || got.Header.Get("Retry-After") != "" ||
		!strings.Contains(failure.Description, cause) || strings.Contains(got.Body, "127.0.0.1") {
		t.Errorf("%s: got %d %v %s; want 404 that says %q and nothing of the upstream", url, got.Status, got.Header, got.Body, cause)
	}
	if status := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/mcp-status?json", "")); !strings.Contains(status.Body, `"last_error":"`+cause) && !strings.Contains(status.Body, `"last_error": "`+cause) {
		t.Errorf("the status does not say %q: %s", cause, status.Body)
	}
	if !testcaddy.Logged(cause, `"level":"warn"`) && !testcaddy.Logged(cause, "warn") {
		t.Errorf("the log does not say %q", cause)
	}
}
