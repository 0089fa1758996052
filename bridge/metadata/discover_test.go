package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
)

const (
	atPath = "GET /.well-known/oauth-protected-resource/mcp"
	atRoot = "GET /.well-known/oauth-protected-resource"
	atMCP  = "POST /mcp"

	upstreamDoc = `{"resource":"http://10.0.0.5:3000/mcp","authorization_servers":["https://as.example.com"]}`
	publicDoc   = `{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com"]}`
)

// C2, C4: the places are tried in the order in which a client tries them, and no request goes
// to a host that only a response names.
func TestTheDocumentIsFoundAsAClientWouldFindIt(t *testing.T) {
	const other = "https://other.example"
	loop := redirect(302, "/.well-known/oauth-protected-resource/mcp")
	encoded := doc(upstreamDoc)
	encoded.Header.Set("Content-Encoding", "br")
	identity := doc(upstreamDoc)
	identity.Header.Set("Content-Encoding", "Identity")
	tooLarge := doc("")
	tooLarge.TooLarge = true
	remapped := FetchResponse{Status: 401, Header: http.Header{"X-Amzn-Remapped-Www-Authenticate": {"URL /meta"}}}
	all := []string{atMCP, atPath, atRoot}

	for _, tc := range []struct {
		name    string
		cfg     Config // default: tcpUpstream
		answers answers
		fail    map[string]error
		status  status
		source  Source
		reason  string
		asked   []string
		events  []Event
	}{
		{name: "path-inserted", answers: answers{atPath: doc(upstreamDoc), atRoot: doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "root", answers: answers{atRoot: doc(upstreamDoc)}, status: found, source: SourceRoot, asked: []string{atMCP, atPath, atRoot}},
		{name: "own 401", answers: answers{atMCP: challenged("Basic x", "URL http://10.0.0.5:3000/meta?a=b"), "GET /meta?a=b": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta?a=b"}},
		{name: "nothing", status: absent, asked: all},
		{
			name: "server at the root", cfg: Config{Dials: tcpUpstream.Dials},
			answers: answers{"POST /": challenged()}, status: absent, asked: []string{"POST /", atRoot},
		},
		{
			name: "path with a slash", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/mcp/"},
			answers: answers{atPath + "/": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP + "/", atPath + "/"},
		},

		// Each status.
		{name: "refused", answers: answers{atPath: only(401), atRoot: only(403), atMCP: only(200)}, status: absent, asked: all},
		{name: "gone", answers: answers{atPath: only(410), atRoot: only(405), atMCP: only(405)}, status: absent, asked: all},
		{name: "200 in name only", answers: answers{atPath: only(204), atRoot: only(206), atMCP: only(202)}, status: absent, asked: all},
		{name: "500", answers: answers{atPath: only(500)}, reason: "server error", asked: all, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "server error"}}},
		{name: "503 at the root", answers: answers{atRoot: only(503)}, reason: "server error", asked: []string{atMCP, atPath, atRoot}, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource", Reason: "server error"}}},
		{name: "502 of the server", answers: answers{atMCP: only(502)}, reason: "server error", asked: all, events: []Event{{Kind: Unavailable, Source: "/mcp", Reason: "server error"}}},
		{name: "no status", answers: answers{atPath: only(0)}, reason: "server error", asked: all, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "server error"}}},
		{name: "informational", answers: answers{atPath: only(103)}, reason: "server error", asked: all, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "server error"}}},
		{name: "408", answers: answers{atPath: only(408)}, reason: "asked to come back later", asked: all, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "asked to come back later"}}},
		{name: "425", answers: answers{atPath: only(425)}, reason: "asked to come back later", asked: all, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "asked to come back later"}}},
		{name: "429", answers: answers{atRoot: only(429)}, reason: "asked to come back later", asked: []string{atMCP, atPath, atRoot}, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource", Reason: "asked to come back later"}}},
		{name: "no connection", fail: map[string]error{atPath: errors.New("dialing 10.0.0.5: refused")}, reason: "no response", asked: all, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "no response"}}},

		// Redirects.
		{name: "redirect by path", answers: answers{atPath: redirect(301, "/doc?v=1#x"), "GET /doc?v=1": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath, "GET /doc?v=1"}},
		{name: "redirect by relative path", answers: answers{atPath: redirect(302, "../x/./doc"), "GET /.well-known/x/doc": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath, "GET /.well-known/x/doc"}},
		{name: "redirect by query", answers: answers{atPath: redirect(303, "?a"), atPath + "?a": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath, atPath + "?a"}},
		{name: "redirect to the dialled address", answers: answers{atPath: redirect(307, "http://10.0.0.5:3000/doc"), "GET /doc": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath, "GET /doc"}},
		{name: "redirect to the dialled address alone", answers: answers{atPath: redirect(308, "http://10.0.0.5:3000"), "GET /": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath, "GET /"}},
		{name: "redirect to the public URL", answers: answers{atPath: redirect(308, "https://mcp.example.com/.well-known/oauth-protected-resource/mcp/"), atPath + "/": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath, atPath + "/"}},
		{name: "redirect to the Host that was sent", answers: answers{atPath: redirect(302, "http://sent.example:8080/doc"), "GET /doc": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath, "GET /doc"}},
		{name: "redirect of the server's 401", answers: answers{atMCP: redirect(307, "/mcp/"), "POST /mcp/": challenged("URL /meta"), "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "POST /mcp/", "GET /meta"}},
		{
			name: "redirect of the server that changes the method", answers: answers{atMCP: redirect(302, "/login")},
			status: unusable, reason: "redirect to elsewhere", asked: all,
			events: []Event{{Kind: RedirectRefused, Source: "/mcp", Value: "/login", Reason: "redirect to elsewhere"}},
		},
		{
			name: "redirect elsewhere, and the document at the root", answers: answers{atPath: redirect(302, "https://evil.test/doc?secret"), atRoot: doc(upstreamDoc)},
			status: found, source: SourceRoot, asked: []string{atMCP, atPath, atRoot},
			events: []Event{{Kind: PassedOver, Source: "/.well-known/oauth-protected-resource/mcp", Value: "https://evil.test/doc", Reason: "redirect to elsewhere"}},
		},
		{
			name: "too many redirects", answers: answers{atPath: loop}, status: unusable, reason: "too many redirects",
			asked:  []string{atMCP, atPath, atPath, atPath, atPath, atRoot},
			events: []Event{{Kind: RedirectRefused, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "too many redirects"}},
		},

		// Documents.
		{name: "media type with parameters", answers: answers{atPath: media("Application/JSON; charset=utf-8")}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "media type with a broken parameter", answers: answers{atPath: media("application/json; charset")}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "another JSON media type", answers: answers{atPath: media("application/vnd.x+json")}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "text as its media type", answers: answers{atPath: media("text/plain; charset=utf-8")}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "a file's media type", answers: answers{atPath: media("application/octet-stream")}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "a page's media type", answers: answers{atPath: media("text/html")}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "no media type", answers: answers{atPath: media("")}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "a media type that does not parse", answers: answers{atPath: media(";;")}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "byte order mark", answers: answers{atPath: doc("\ufeff" + upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "gzip", answers: answers{atPath: packed(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "gzip and a byte order mark", answers: answers{atPath: packed("\ufeff" + upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "a hundred MiB of blanks in gzip", answers: answers{atPath: packed(strings.Repeat(" ", 100<<20))}, status: unusable, reason: errTooLarge.Error(), asked: all, events: []Event{{Kind: DocumentInvalid, Source: "/.well-known/oauth-protected-resource/mcp", Reason: errTooLarge.Error()}}},
		{name: "page of a site", answers: answers{atPath: page}, status: unusable, reason: "is not JSON", asked: all, events: []Event{{Kind: NotJSON, Source: "/.well-known/oauth-protected-resource/mcp", Value: "text/html", Reason: "is not JSON"}}},
		{name: "page of an open site", answers: answers{atMCP: only(200), atPath: page, atRoot: page}, status: absent, asked: all, events: []Event{{Kind: NotJSON, Source: "/.well-known/oauth-protected-resource/mcp", Value: "text/html", Reason: "is not JSON"}}},
		{name: "identity encoding", answers: answers{atPath: identity}, status: found, source: SourcePath, asked: []string{atMCP, atPath}},
		{name: "encoded", answers: answers{atPath: encoded}, status: unusable, reason: errCoding.Error(), asked: all, events: []Event{{Kind: DocumentInvalid, Source: "/.well-known/oauth-protected-resource/mcp", Value: `"br"`, Reason: errCoding.Error()}}},
		{name: "too large", answers: answers{atPath: tooLarge}, status: unusable, reason: errTooLarge.Error(), asked: all, events: []Event{{Kind: DocumentInvalid, Source: "/.well-known/oauth-protected-resource/mcp", Reason: errTooLarge.Error()}}},
		{
			name: "too large, unsaid", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/mcp", MaxSize: int64(len(upstreamDoc)) - 1}, answers: answers{atPath: doc(upstreamDoc)},
			status: unusable, reason: errTooLarge.Error(), asked: all,
			events: []Event{{Kind: DocumentInvalid, Source: "/.well-known/oauth-protected-resource/mcp", Reason: errTooLarge.Error()}},
		},
		{
			name: "as large as may be", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/mcp", MaxSize: int64(len(upstreamDoc))}, answers: answers{atPath: doc(upstreamDoc)},
			status: found, source: SourcePath, asked: []string{atMCP, atPath},
		},
		{name: "invalid", answers: answers{atPath: doc("{")}, status: unusable, reason: jsontext.ErrNotJSON.Error(), asked: all, events: []Event{{Kind: DocumentInvalid, Source: "/.well-known/oauth-protected-resource/mcp", Reason: jsontext.ErrNotJSON.Error()}}},

		// Metadata URLs of the upstream's own 401.
		{name: "401 without a URL", answers: answers{atMCP: challenged("Bearer")}, status: absent, asked: all},
		{name: "URL of a 403", answers: answers{atMCP: {Status: 403, Header: challenged("URL /meta").Header}, "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta"}},
		{name: "URL of a 200", answers: answers{atMCP: {Status: 200, Header: challenged("URL /meta").Header}, "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta"}},
		{name: "URL of a 503", answers: answers{atMCP: {Status: 503, Header: challenged("URL /meta").Header}, "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta"}},
		{name: "URL of a redirect elsewhere", answers: answers{atMCP: {Status: 302, Header: http.Header{"Www-Authenticate": {"URL /meta"}, "Location": {"https://login.example"}}}, "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta"}},
		{name: "URL of a redirect in place", answers: answers{atMCP: {Status: 307, Header: http.Header{"Www-Authenticate": {"URL /meta"}, "Location": {"/mcp/"}}}, "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta"}},
		{name: "URL before the path form", answers: answers{atMCP: challenged("URL /meta"), "GET /meta": doc(upstreamDoc), atPath: doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta"}},
		{name: "slash by 301", answers: answers{atMCP: redirect(301, "http://localhost:8000/mcp/"), "POST /mcp/": challenged("URL /meta"), "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "POST /mcp/", "GET /meta"}},
		{name: "slash by 302 and then no more", answers: answers{atMCP: redirect(302, "/mcp/"), "POST /mcp/": redirect(302, "/mcp/login"), atPath: doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, "POST /mcp/", atPath}, events: []Event{{Kind: PassedOver, Source: "/mcp", Value: "/mcp/login", Reason: "redirect to elsewhere"}}},
		{name: "slash by 303", answers: answers{atMCP: redirect(303, "/mcp/"), atPath: doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath}, events: []Event{{Kind: PassedOver, Source: "/mcp", Value: "/mcp/", Reason: "redirect to elsewhere"}}},
		{
			name: "URL of the event stream", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/sse", EventStream: true},
			answers: answers{"POST /sse": only(405), "GET /sse": challenged("URL /meta"), "GET /meta": doc(`{"resource":"http://10.0.0.5:3000/sse"}`)},
			status:  found, source: SourceChallenge, asked: []string{"POST /sse", "GET /sse", "GET /meta"},
		},
		{
			name: "event stream of an open server", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/sse", EventStream: true},
			answers: answers{"POST /sse": only(405), "GET /sse": only(200), "GET " + WellKnownPath: only(500)},
			status:  absent, asked: []string{"POST /sse", "GET /sse", "GET " + WellKnownPath + "/sse", "GET " + WellKnownPath},
		},
		{
			name: "event stream of a server that challenges a POST", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/sse", EventStream: true},
			answers: answers{"POST /sse": challenged("Bearer"), "GET /sse": challenged("URL /meta")},
			status:  absent, asked: []string{"POST /sse", "GET " + WellKnownPath + "/sse", "GET " + WellKnownPath},
		},
		{name: "redirect elsewhere without a URL, and a document", answers: answers{atMCP: redirect(302, "https://login.example"), atPath: doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath}, events: []Event{{Kind: PassedOver, Source: "/mcp", Value: "https://login.example", Reason: "redirect to elsewhere"}}},

		// What is unusable is passed over.
		{name: "502 at the path", answers: answers{atPath: only(502), atRoot: doc(upstreamDoc)}, status: found, source: SourceRoot, asked: all, events: []Event{{Kind: PassedOver, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "server error"}}},
		{name: "empty object at the path", answers: answers{atPath: doc("{}"), atRoot: doc(upstreamDoc)}, status: found, source: SourceRoot, asked: all, events: []Event{{Kind: PassedOver, Source: "/.well-known/oauth-protected-resource/mcp", Reason: errNoResource.Error()}}},
		{name: "list of resources at the path", answers: answers{atPath: doc(`{"resource":["http://10.0.0.5:3000/mcp"]}`), atRoot: doc(upstreamDoc)}, status: found, source: SourceRoot, asked: all, events: []Event{{Kind: PassedOver, Source: "/.well-known/oauth-protected-resource/mcp", Reason: errResources.Error()}}},
		{name: "no connection at the path", answers: answers{atRoot: doc(upstreamDoc)}, fail: map[string]error{atPath: errors.New("refused")}, status: found, source: SourceRoot, asked: all, events: []Event{{Kind: PassedOver, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "no response"}}},
		{name: "another resource at the path", answers: answers{atPath: doc(`{"resource":"http://10.0.0.5:3000/other"}`), atRoot: doc(upstreamDoc)}, status: found, source: SourceRoot, asked: all, events: []Event{{Kind: PassedOver, Source: "/.well-known/oauth-protected-resource/mcp", Value: "http://10.0.0.5:3000/other", Reason: "names another resource"}}},
		{name: "another resource at the URL", answers: answers{atMCP: challenged("URL /meta"), "GET /meta": doc(`{"resource":"https://evil.test/mcp"}`), atPath: doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, "GET /meta", atPath}, events: []Event{{Kind: PassedOver, Source: "/meta", Value: "https://evil.test/mcp", Reason: "names another resource"}}},
		{name: "500 of the server and a document", answers: answers{atMCP: only(500), atPath: doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atMCP, atPath}, events: []Event{{Kind: PassedOver, Source: "/mcp", Reason: "server error"}}},
		{name: "404 at the URL", answers: answers{atMCP: challenged("URL /meta"), atRoot: doc(upstreamDoc)}, status: found, source: SourceRoot, asked: []string{atMCP, "GET /meta", atPath, atRoot}},
		{name: "unusable and unavailable", answers: answers{atPath: doc("{}"), atRoot: only(503)}, reason: "server error", asked: all, events: []Event{{Kind: DocumentInvalid, Source: "/.well-known/oauth-protected-resource/mcp", Reason: errNoResource.Error()}, {Kind: Unavailable, Source: "/.well-known/oauth-protected-resource", Reason: "server error"}}},
		{name: "open, and 500 elsewhere", answers: answers{atMCP: only(200), atPath: only(500), atRoot: only(500)}, status: absent, asked: all},
		{name: "open, and no resource elsewhere", answers: answers{atMCP: only(400), atPath: doc("{}")}, status: unusable, reason: errNoResource.Error(), asked: all, events: []Event{{Kind: DocumentInvalid, Source: "/.well-known/oauth-protected-resource/mcp", Reason: errNoResource.Error()}}},
		{name: "URL of a place that was asked", answers: answers{atMCP: challenged("URL http://10.0.0.5:3000/.well-known/oauth-protected-resource")}, status: absent, asked: []string{atMCP, atRoot, atPath}},
		{name: "remapped field", answers: answers{atMCP: remapped, "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta"}},
		{name: "path-absolute", answers: answers{atMCP: challenged("URL /meta?a#b"), "GET /meta?a": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta?a"}},
		{name: "URL without a path", answers: answers{atMCP: challenged("URL http://10.0.0.5:3000?a"), "GET /?a": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /?a"}},
		{name: "loopback is asked for at the upstream", answers: answers{atMCP: challenged("URL http://127.0.0.1:9/meta"), "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta"}},
		{name: "the cloud's metadata service is not asked", answers: answers{atMCP: challenged("URL http://169.254.169.254/latest")}, status: absent, asked: []string{atMCP, "GET /latest", atPath, atRoot}},
		{name: "another server of the network is not asked", answers: answers{atMCP: challenged("URL http://10.0.0.6:4000/meta")}, status: absent, asked: []string{atMCP, "GET /meta", atPath, atRoot}},
		{name: "public URL", answers: answers{atMCP: challenged("URL http://mcp.example.com/meta"), "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta"}},
		{name: "Host that was sent", answers: answers{atMCP: {Status: 401, Header: challenged("URL https://sent.example/meta").Header, SentHost: "sent.example:8080"}, "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta"}},
		{name: "dialled name, another port", answers: answers{atMCP: challenged("URL https://mcp.vendor.example/meta"), "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atMCP, "GET /meta"}},
		{name: "5xx at the URL", answers: answers{atMCP: challenged("URL /meta"), "GET /meta": only(500)}, reason: "server error", asked: []string{atMCP, "GET /meta", atPath, atRoot}, events: []Event{{Kind: Unavailable, Source: "/meta", Reason: "server error"}}},
		{name: "query of the URL is not reported", answers: answers{atMCP: challenged("URL /meta?token=x"), "GET /meta?token=x": only(500)}, reason: "server error", asked: []string{atMCP, "GET /meta?token=x", atPath, atRoot}, events: []Event{{Kind: Unavailable, Source: "/meta", Reason: "server error"}}},
		{name: "foreign URL", answers: answers{atMCP: challenged("URL https://evil.test/meta?token=x")}, status: absent, asked: all, events: []Event{{Kind: ForeignMetadataURL, Value: "https://evil.test/meta", Option: "challenge origins"}}},
		{name: "URL with userinfo", answers: answers{atMCP: challenged("URL https://user:pass@10.0.0.5:3000/meta")}, status: absent, asked: all, events: []Event{{Kind: ForeignMetadataURL, Value: "https://10.0.0.5:3000/meta", Option: "challenge origins"}}},
		{name: "scheme-relative URL with userinfo", answers: answers{atMCP: challenged("URL //user:pass@evil.test/meta")}, status: absent, asked: all, events: []Event{{Kind: ForeignMetadataURL, Value: "//evil.test/meta", Option: "challenge origins"}}},
		{name: "relative URL", answers: answers{atMCP: challenged("URL meta")}, status: absent, asked: all, events: []Event{{Kind: ForeignMetadataURL, Value: "meta", Option: "challenge origins"}}},
		{name: "URL with a broken escape", answers: answers{atMCP: challenged("URL http://10.0.0.5:3000/%zz")}, status: absent, asked: all, events: []Event{{Kind: ForeignMetadataURL, Value: "http://10.0.0.5:3000/%zz", Option: "challenge origins"}}},
		{name: "path that looks like a host", answers: answers{atMCP: challenged("URL http://10.0.0.5:3000//evil.test/meta")}, status: absent, asked: []string{atMCP, "GET //evil.test/meta", atPath, atRoot}},
		{
			name: "listed origin", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/mcp", Origins: []string{other}},
			answers: answers{atMCP: challenged("URL https://OTHER.example:443/meta?a"), "GET https://other.example/meta?a": doc(upstreamDoc)},
			status:  found, source: SourceChallenge, asked: []string{atMCP, "GET https://other.example/meta?a"},
		},
		{
			name: "listed origin of an upstream without a host", cfg: Config{UpstreamPath: "/mcp", Origins: []string{other}},
			answers: answers{atMCP: challenged("URL https://other.example/meta"), "GET https://other.example/meta": doc(`{"resource":"https://other.example/mcp"}`)},
			status:  found, source: SourceChallenge, asked: []string{atMCP, "GET /meta", "GET https://other.example/meta"},
		},
		{
			name: "another port of a listed origin", cfg: Config{UpstreamPath: "/mcp", Origins: []string{other}},
			answers: answers{atMCP: challenged("URL https://other.example:8443/meta")},
			status:  absent, asked: all, events: []Event{{Kind: ForeignMetadataURL, Value: "https://other.example:8443/meta", Option: "challenge origins"}},
		},
		{
			name: "redirect inside a listed origin", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/mcp", Origins: []string{other}},
			answers: answers{atMCP: challenged("URL https://other.example/meta"), "GET https://other.example/meta": redirect(302, "https://other.example/doc"), "GET https://other.example/doc": redirect(302, "/doc2"), "GET https://other.example/doc2": doc(upstreamDoc)},
			status:  found, source: SourceChallenge, asked: []string{atMCP, "GET https://other.example/meta", "GET https://other.example/doc", "GET https://other.example/doc2"},
		},
		{
			name: "redirect out of a listed origin to the upstream", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/mcp", Origins: []string{other}},
			answers: answers{atMCP: challenged("URL https://other.example/meta"), "GET https://other.example/meta": redirect(302, "http://10.0.0.5:3000/doc")},
			status:  unusable, reason: "redirect to elsewhere", asked: []string{atMCP, "GET https://other.example/meta", atPath, atRoot},
			events: []Event{{Kind: RedirectRefused, Source: "/meta", Value: "http://10.0.0.5:3000/doc", Reason: "redirect to elsewhere"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u, l := &fakeUpstream{answers: tc.answers, fail: tc.fail}, &log{}
			cfg := tc.cfg
			if cfg.Dials == nil && cfg.Origins == nil {
				cfg = tcpUpstream
			}
			cfg.Fetch, cfg.Log, cfg.ChallengeMetadata = u.fetch, l.add, challengeMetadata
			s := mustNew(t, cfg)
			out := s.finder.find(t.Context(), public)
			if out.status != tc.status || out.source != tc.source || out.reason != tc.reason {
				t.Errorf("got status %d from %q, reason %q; want %d from %q, reason %q", out.status, out.source, out.reason, tc.status, tc.source, tc.reason)
			}
			if (out.doc != nil) != (tc.status == found) {
				t.Errorf("got document %v with status %d", out.doc, out.status)
			}
			if out.doc != nil {
				var got struct{ Resource string }
				if err := json.Unmarshal(out.doc.render(public.URL()), &got); err != nil || got.Resource != public.URL() {
					t.Errorf("got resource %q, %v; want %q", got.Resource, err, public.URL())
				}
			}
			if got := u.requests(); !slices.Equal(got, tc.asked) {
				t.Errorf("asked\n%q\nwant\n%q", got, tc.asked)
			}
			for i := range tc.events {
				tc.events[i].Endpoint = public.URL()
			}
			if got := l.all(); !slices.Equal(got, tc.events) {
				t.Errorf("reported\n%+v\nwant\n%+v", got, tc.events)
			}
			for _, req := range u.received() {
				if req.Origin != "" && req.Origin != other {
					t.Errorf("asked %q, a host that is not listed", req.Origin)
				}
			}
		})
	}
}

// C4: a redirect is followed within the origin and path that were asked, and nowhere else.
func TestRedirectsToAnotherOriginAreNotFollowed(t *testing.T) {
	for _, location := range []string{
		"",
		"#a",
		"https://evil.test/doc",
		"http://10.0.0.5:3001/doc",
		"http://10.0.0.6:3000/doc",
		"http://127.0.0.1:3000/doc",
		"http://localhost/doc",
		"http://169.254.169.254/latest",
		"http://sent.example/doc",
		"http://mcp.example.com:9999/doc",
		"http://a@10.0.0.5:3000/doc",
		"http://10.0.0.5:3000@evil.test/doc",
		"http://10.0.0.5:3000//evil.test/doc",
		"//evil.test/doc",
		"//10.0.0.5:3000/doc",
		`/\evil.test/doc`,
		`\\evil.test\doc`,
		"/\t/evil.test/doc",
		"http:/doc",
		"http:doc",
		"https:evil.test",
		"javascript:1",
		"file:///etc/passwd",
		"unix//run/mcp.sock",
		" /doc",
		"/%zz",
		"1:2",
	} {
		t.Run(location, func(t *testing.T) {
			u := &fakeUpstream{answers: answers{atPath: redirect(302, location), atRoot: redirect(307, location)}}
			cfg := tcpUpstream
			cfg.Fetch, cfg.ChallengeMetadata = u.fetch, challengeMetadata
			s := mustNew(t, cfg)
			want := outcome{status: unusable, reason: "redirect to elsewhere"}
			if location == "unix//run/mcp.sock" { // a relative path
				want = outcome{status: absent}
			}
			if got := s.finder.find(t.Context(), public); got != want {
				t.Errorf("got %+v; want %+v", got, want)
			}
			for _, name := range u.requests() {
				if !strings.HasPrefix(name, "GET /.well-known/") && name != atMCP {
					t.Errorf("asked %s", name)
				}
			}
		})
	}
	for _, status := range []int{300, 304, 305, 306, 309, 399} {
		u := &fakeUpstream{answers: answers{atPath: redirect(status, "/doc")}}
		cfg := tcpUpstream
		cfg.Fetch = u.fetch
		s := mustNew(t, cfg)
		if got := s.finder.find(t.Context(), public); got != (outcome{status: unusable, reason: "redirect to elsewhere"}) {
			t.Errorf("status %d: got %+v; want a refused redirect", status, got)
		}
	}
}

// C2, C4: the requests have no credentials, and the public URL. One of them is a ping whose
// answer is not read. Each has a header of its own.
func TestRequestsForMetadataHaveNoCredentials(t *testing.T) {
	u := &fakeUpstream{answers: answers{atPath: redirect(302, "/.well-known/x"), atMCP: challenged("URL /meta")}}
	u.before = func(_ context.Context, req FetchRequest) { req.Header.Set("Authorization", "Bearer x") }
	cfg := tcpUpstream
	cfg.Fetch, cfg.ChallengeMetadata, cfg.MaxSize = u.fetch, challengeMetadata, 1000
	s := mustNew(t, cfg)
	s.finder.find(t.Context(), public)
	get := FetchRequest{
		Method: "GET", MaxBody: 1000, Public: public,
		Header: http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}, "Authorization": {"Bearer x"}},
	}
	post := FetchRequest{
		Method: "POST", Path: "/mcp", Public: public, Body: []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`),
		Header: http.Header{"Accept": {"application/json, text/event-stream"}, "Accept-Encoding": {"identity"}, "Content-Type": {"application/json"}, "Authorization": {"Bearer x"}},
	}
	get.Path = "/meta"
	want := []FetchRequest{post, get}
	for _, path := range []string{WellKnownPath + "/mcp", "/.well-known/x", WellKnownPath} {
		get.Path = path
		want = append(want, get)
	}
	if got := u.received(); !reflect.DeepEqual(got, want) {
		t.Errorf("sent\n%+v\nwant\n%+v", got, want)
	}
	if !json.Valid(post.Body) {
		t.Error("the ping is not JSON")
	}
}

// C2: of a long challenge only a part is passed on.
func TestChallengeLinesAreBounded(t *testing.T) {
	lines := slices.Repeat([]string{"Bearer"}, maxChallengeLines)
	u := &fakeUpstream{answers: answers{atMCP: challenged(append(lines, "URL /meta")...), "GET /meta": doc(upstreamDoc)}}
	cfg := tcpUpstream
	cfg.Fetch, cfg.ChallengeMetadata = u.fetch, challengeMetadata
	s := mustNew(t, cfg)
	if got := s.finder.find(t.Context(), public); got.status != absent {
		t.Errorf("got status %d; want %d", got.status, absent)
	}
}

// C2: if challenges cannot be read, none is asked for.
func TestNoChallengeIsAskedForIfNoneCanBeRead(t *testing.T) {
	u := &fakeUpstream{}
	cfg := tcpUpstream
	cfg.Fetch = u.fetch
	s := mustNew(t, cfg)
	if got := s.finder.find(t.Context(), public); got.status != absent {
		t.Errorf("got status %d; want %d", got.status, absent)
	}
	if got, want := u.requests(), []string{atPath, atRoot}; !slices.Equal(got, want) {
		t.Errorf("asked %q; want %q", got, want)
	}
}

// C4: if the transport panics, as the standard one may on an abort, the upstream counts as
// unavailable.
func TestAFetchThatPanicsIsAFailedFetch(t *testing.T) {
	u, l := &fakeUpstream{before: func(context.Context, FetchRequest) { panic(http.ErrAbortHandler) }}, &log{}
	cfg := tcpUpstream
	cfg.Fetch, cfg.Log, cfg.ChallengeMetadata = u.fetch, l.add, challengeMetadata
	s := mustNew(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if s.Known(ctx, public) || s.State(public).LastError != "panic" {
		t.Errorf("got %+v; want a panic", s.State(public))
	}
	if got, want := l.all(), []Event{{Kind: Unavailable, Endpoint: public.URL(), Source: "/mcp", Reason: "panic"}}; !slices.Equal(got, want) {
		t.Errorf("reported %+v; want %+v", got, want)
	}
}
