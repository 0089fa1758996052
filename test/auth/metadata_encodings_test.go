package auth_test

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
)

// C2: metadata is read whatever its media type, and goes on as what it is.
func TestMetadataMediaTypes(t *testing.T) {
	for name, media := range map[string]string{"plain": "text/plain; charset=utf-8", "octet": "application/octet-stream", "none": "", "html": "text/html"} {
		t.Run(name, func(t *testing.T) {
			body := goodDocument
			if name == "html" {
				body = "<!doctype html><html></html>"
			}
			base, _ := discoverySite(t, fakeServer{
				"POST /mcp":             challenge401(`Bearer resource_metadata="UP` + wellKnownOfMCP + `"`),
				"GET " + wellKnownOfMCP: reply(200, media, body),
			}, "mcp_auth_bridge UP")
			c := mcptest.NewClient(t)
			url := named(t, mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize)))
			if url != base+wellKnownOfMCP {
				t.Errorf("the challenge names %s", url)
			}
			if name == "html" {
				wantCause(t, c, base, url, "is not JSON")
				return
			}
			wantDocument(t, c, url, base+"/mcp", "https://login.example.com")
		})
	}
}

// C2: text that is not in UTF-8 is read as clients read it, who take no charset from a media
// type; UTF-16 no client reads.
func TestMetadataCharsets(t *testing.T) {
	const doc = `{"resource":"UP/mcp","authorization_servers":["https://login.example.com"],"resource_name":"caf` + "\xe9" + `"}`
	for name, body := range map[string]string{"Latin-1": doc, "UTF-16": "\xff\xfe{\x00}\x00"} {
		t.Run(name, func(t *testing.T) {
			base, _ := discoverySite(t, fakeServer{
				"POST /mcp":             challenge401(`Bearer resource_metadata="UP` + wellKnownOfMCP + `"`),
				"GET " + wellKnownOfMCP: reply(200, "application/json; charset=iso-8859-1", body),
			}, "mcp_auth_bridge UP")
			c := mcptest.NewClient(t)
			url := named(t, mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize)))
			if name == "UTF-16" {
				wantCause(t, c, base, url, "is not UTF-8")
				return
			}
			wantDocument(t, c, url, base+"/mcp", "https://login.example.com")
			if got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", url, "")); !strings.Contains(got.Body, `"resource_name":"caf`+"\uFFFD"+`"`) {
				t.Errorf("got %q", got.Body)
			}
		})
	}
}

func gzipped(text []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(text)
	_ = z.Close()
	return b.Bytes()
}

// C2: metadata in a content coding that was not asked for, and with a byte order mark, is
// read as clients read it, bounded once it is decoded; that of a bridged authorization
// server too.
func TestMetadataGzip(t *testing.T) {
	as := `{"issuer":"UP","authorization_endpoint":"UP/authorize","token_endpoint":"UP/token"}`
	for name, mark := range map[string]string{"gzip": "", "gzip and a byte order mark": "\ufeff"} {
		t.Run(name, func(t *testing.T) {
			server := fakeServer{
				"POST /mcp":             challenge401(`Bearer resource_metadata="UP` + wellKnownOfMCP + `"`),
				"GET " + wellKnownOfMCP: reply(200, "application/json", mark+`{"resource":"UP/mcp","authorization_servers":["UP"]}`, "Content-Encoding", "gzip"),
				"GET /.well-known/oauth-authorization-server": reply(200, "application/json", mark+as, "Content-Encoding", "gzip"),
			}
			base, up := discoverySite(t, server, "mcp_auth_bridge UP")
			c := mcptest.NewClient(t)
			wantDocument(t, c, named(t, mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+"/mcp", mcptest.Initialize))), base+"/mcp", up.URL)
			base, _ = discoverySite(t, server, "mcp_auth_bridge UP {\n\t\tauthorization_server bridge\n\t}")
			wantDocument(t, c, base+wellKnownOfMCP, base+"/mcp", base)
			got := mcptest.Do(t, c, mcptest.NewRequest(t, "GET", base+"/.well-known/oauth-authorization-server", ""))
			if want := strings.ReplaceAll(as, "UP", base); got.Status != 200 || got.Body != want || got.Header.Get("Content-Encoding") != "" {
				t.Errorf("got %d %v %s; want %s", got.Status, got.Header, got.Body, want)
			}
		})
	}
	t.Run("the answer to a registration", func(t *testing.T) {
		base, _ := discoverySite(t, fakeServer{
			"POST /mcp": challenge401("Bearer"),
			"GET /.well-known/oauth-authorization-server": reply(200, "application/json", `{"issuer":"UP","registration_endpoint":"UP/register"}`),
			"POST /register": reply(201, "application/json", `{"client_id":"x","registration_client_uri":"UP/register/x"}`, "Content-Encoding", "gzip"),
		}, "mcp_auth_bridge UP {\n\t\tauthorization_server bridge\n\t}")
		got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", base+"/register", "{}"))
		if want := `{"client_id":"x","registration_client_uri":"` + base + `/register/x"}`; got.Status != 201 || got.Body != want {
			t.Errorf("got %d %v %q; want %s", got.Status, got.Header, got.Body, want)
		}
	})
	t.Run("a bomb", func(t *testing.T) {
		bomb := gzipped(bytes.Repeat([]byte(" "), 100<<20)) // before it is asked for: that takes its time
		base, _ := discoverySite(t, fakeServer{
			"POST /mcp": challenge401("Bearer"),
			"GET " + wellKnownOfMCP: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(bomb)
			},
		}, "mcp_auth_bridge UP")
		wantCause(t, mcptest.NewClient(t), base, base+wellKnownOfMCP, "is larger than max_metadata_size")
	})
	t.Run("a coding that nobody asked for and nobody can read", func(t *testing.T) {
		base, _ := discoverySite(t, fakeServer{
			"POST /mcp":             challenge401("Bearer"),
			"GET " + wellKnownOfMCP: reply(200, "application/json", goodDocument, "Content-Encoding", "br"),
		}, "mcp_auth_bridge UP")
		wantCause(t, mcptest.NewClient(t), base, base+wellKnownOfMCP, "has a content coding that the bridge cannot read")
	})
}
