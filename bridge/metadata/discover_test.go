package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// upstream is a Fetch with an answer for each "METHOD origin+target"; 404 for
// any other. Its methods may be called from several goroutines at once.
type upstream struct {
	answers map[string]FetchResponse
	fail    map[string]error
	before  func(context.Context, FetchRequest) // called first

	mu    sync.Mutex
	asked []FetchRequest
}

func (u *upstream) fetch(ctx context.Context, req FetchRequest) (FetchResponse, error) {
	u.mu.Lock()
	u.asked = append(u.asked, req)
	u.mu.Unlock()
	if u.before != nil {
		u.before(ctx, req)
	}
	if ctx.Err() != nil {
		return FetchResponse{}, ctx.Err()
	}
	name := requestName(req)
	if err := u.fail[name]; err != nil {
		return FetchResponse{}, err
	}
	if res, ok := u.answers[name]; ok {
		return res, nil
	}
	return FetchResponse{Status: http.StatusNotFound}, nil
}

func requestName(req FetchRequest) string { return req.Method + " " + req.Origin + req.Path }

func (u *upstream) requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var names []string
	for _, req := range u.asked {
		names = append(names, requestName(req))
	}
	return names
}

func (u *upstream) count() int { return len(u.requests()) }

// log collects events. Its methods may be called from several goroutines.
type log struct {
	mu     sync.Mutex
	events []Event
}

func (l *log) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *log) all() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

func (l *log) kinds() []EventKind {
	var kinds []EventKind
	for _, e := range l.all() {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// challengeMetadata takes a line for the URL that it names.
func challengeMetadata(lines []string) (string, bool) {
	for _, line := range lines {
		if raw, ok := strings.CutPrefix(line, "URL "); ok {
			return raw, true
		}
	}
	return "", false
}

const (
	atPath = "GET /.well-known/oauth-protected-resource/mcp"
	atRoot = "GET /.well-known/oauth-protected-resource"
	atMCP  = "POST /mcp"

	upstreamDoc = `{"resource":"http://10.0.0.5:3000/mcp","authorization_servers":["https://as.example.com"]}`
	publicDoc   = `{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com"]}`
)

func doc(body string) FetchResponse {
	return FetchResponse{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}
}

func media(contentType string) FetchResponse {
	res := doc(upstreamDoc)
	res.Header.Set("Content-Type", contentType)
	return res
}

func only(status int) FetchResponse { return FetchResponse{Status: status} }

func challenged(lines ...string) FetchResponse {
	return FetchResponse{Status: 401, Header: http.Header{"Www-Authenticate": lines}}
}

func redirect(status int, location string) FetchResponse {
	return FetchResponse{Status: status, Header: http.Header{"Location": {location}}, SentHost: "sent.example:8080"}
}

type answers = map[string]FetchResponse

// C2, C4: the document is found as a client would find it, in this order, and
// no host is asked that a response names.
func TestDiscover(t *testing.T) {
	const other = "https://other.example"
	loop := redirect(302, "/.well-known/oauth-protected-resource/mcp")
	encoded := doc(upstreamDoc)
	encoded.Header.Set("Content-Encoding", "gzip")
	identity := doc(upstreamDoc)
	identity.Header.Set("Content-Encoding", "Identity")
	tooLarge := doc("")
	tooLarge.TooLarge = true
	remapped := FetchResponse{Status: 401, Header: http.Header{"X-Amzn-Remapped-Www-Authenticate": {"URL /meta"}}}
	all := []string{atPath, atRoot, atMCP}

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
		{name: "path-inserted", answers: answers{atPath: doc(upstreamDoc), atRoot: doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atPath}},
		{name: "root", answers: answers{atRoot: doc(upstreamDoc)}, status: found, source: SourceRoot, asked: []string{atPath, atRoot}},
		{name: "own 401", answers: answers{atMCP: challenged("Basic x", "URL http://10.0.0.5:3000/meta?a=b"), "GET /meta?a=b": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atPath, atRoot, atMCP, "GET /meta?a=b"}},
		{name: "nothing", status: absent, asked: all},
		{
			name: "server at the root", cfg: Config{Dials: tcpUpstream.Dials},
			answers: answers{"POST /": challenged()}, status: absent, asked: []string{atRoot, "POST /"},
		},
		{
			name: "path with a slash", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/mcp/"},
			answers: answers{atPath + "/": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atPath + "/"},
		},

		// Each status.
		{name: "refused", answers: answers{atPath: only(401), atRoot: only(403), atMCP: only(200)}, status: absent, asked: all},
		{name: "gone", answers: answers{atPath: only(410), atRoot: only(405), atMCP: only(405)}, status: absent, asked: all},
		{name: "200 in name only", answers: answers{atPath: only(204), atRoot: only(206), atMCP: only(202)}, status: absent, asked: all},
		{name: "500", answers: answers{atPath: only(500)}, reason: "server error", asked: []string{atPath}, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "server error"}}},
		{name: "503 at the root", answers: answers{atRoot: only(503)}, reason: "server error", asked: []string{atPath, atRoot}, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource", Reason: "server error"}}},
		{name: "502 of the server", answers: answers{atMCP: only(502)}, reason: "server error", asked: all, events: []Event{{Kind: Unavailable, Source: "/mcp", Reason: "server error"}}},
		{name: "no status", answers: answers{atPath: only(0)}, reason: "server error", asked: []string{atPath}, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "server error"}}},
		{name: "informational", answers: answers{atPath: only(103)}, reason: "server error", asked: []string{atPath}, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "server error"}}},
		{name: "408", answers: answers{atPath: only(408)}, reason: "asked to come back later", asked: []string{atPath}, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "asked to come back later"}}},
		{name: "425", answers: answers{atPath: only(425)}, reason: "asked to come back later", asked: []string{atPath}, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "asked to come back later"}}},
		{name: "429", answers: answers{atRoot: only(429)}, reason: "asked to come back later", asked: []string{atPath, atRoot}, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource", Reason: "asked to come back later"}}},
		{name: "no connection", fail: map[string]error{atPath: errors.New("dialing 10.0.0.5: refused")}, reason: "no response", asked: []string{atPath}, events: []Event{{Kind: Unavailable, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "no response"}}},

		// Redirects.
		{name: "redirect by path", answers: answers{atPath: redirect(301, "/doc?v=1#x"), "GET /doc?v=1": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atPath, "GET /doc?v=1"}},
		{name: "redirect by relative path", answers: answers{atPath: redirect(302, "../x/./doc"), "GET /.well-known/x/doc": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atPath, "GET /.well-known/x/doc"}},
		{name: "redirect by query", answers: answers{atPath: redirect(303, "?a"), atPath + "?a": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atPath, atPath + "?a"}},
		{name: "redirect to the dialled address", answers: answers{atPath: redirect(307, "http://10.0.0.5:3000/doc"), "GET /doc": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atPath, "GET /doc"}},
		{name: "redirect to the dialled address alone", answers: answers{atPath: redirect(308, "http://10.0.0.5:3000"), "GET /": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atPath, "GET /"}},
		{name: "redirect to the public URL", answers: answers{atPath: redirect(308, "https://mcp.example.com/.well-known/oauth-protected-resource/mcp/"), atPath + "/": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atPath, atPath + "/"}},
		{name: "redirect to the Host that was sent", answers: answers{atPath: redirect(302, "http://sent.example:8080/doc"), "GET /doc": doc(upstreamDoc)}, status: found, source: SourcePath, asked: []string{atPath, "GET /doc"}},
		{name: "redirect of the server's 401", answers: answers{atMCP: redirect(307, "/mcp/"), "POST /mcp/": challenged("URL /meta"), "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: []string{atPath, atRoot, atMCP, "POST /mcp/", "GET /meta"}},
		{
			name: "redirect of the server that changes the method", answers: answers{atMCP: redirect(302, "/mcp/")},
			reason: "redirect refused", asked: all,
			events: []Event{{Kind: RedirectRefused, Source: "/mcp", Value: "/mcp/", Reason: "redirect to elsewhere"}},
		},
		{
			name: "redirect elsewhere, and the document at the root", answers: answers{atPath: redirect(302, "https://evil.test/doc?secret"), atRoot: doc(upstreamDoc)},
			status: found, source: SourceRoot, asked: []string{atPath, atRoot},
			events: []Event{{Kind: RedirectRefused, Source: "/.well-known/oauth-protected-resource/mcp", Value: "https://evil.test/doc", Reason: "redirect to elsewhere"}},
		},
		{
			name: "too many redirects", answers: answers{atPath: loop}, reason: "redirect refused",
			asked:  []string{atPath, atPath, atPath, atPath, atRoot, atMCP},
			events: []Event{{Kind: RedirectRefused, Source: "/.well-known/oauth-protected-resource/mcp", Reason: "too many redirects"}},
		},

		// Documents.
		{name: "media type with parameters", answers: answers{atPath: media("Application/JSON; charset=utf-8")}, status: found, source: SourcePath, asked: []string{atPath}},
		{name: "media type with a broken parameter", answers: answers{atPath: media("application/json; charset")}, status: found, source: SourcePath, asked: []string{atPath}},
		{name: "another JSON media type", answers: answers{atPath: media("application/vnd.x+json")}, status: found, source: SourcePath, asked: []string{atPath}},
		{name: "page of a site", answers: answers{atPath: media("text/html; charset=utf-8")}, status: absent, asked: all, events: []Event{{Kind: NotJSON, Source: "/.well-known/oauth-protected-resource/mcp", Value: "text/html; charset=utf-8"}}},
		{name: "no media type", answers: answers{atPath: media("")}, status: absent, asked: all, events: []Event{{Kind: NotJSON, Source: "/.well-known/oauth-protected-resource/mcp"}}},
		{name: "text that looks like JSON", answers: answers{atPath: media("text/x+json")}, status: absent, asked: all, events: []Event{{Kind: NotJSON, Source: "/.well-known/oauth-protected-resource/mcp", Value: "text/x+json"}}},
		{name: "identity encoding", answers: answers{atPath: identity}, status: found, source: SourcePath, asked: []string{atPath}},
		{name: "encoded", answers: answers{atPath: encoded}, reason: errEncodedBody.Error(), asked: []string{atPath}, events: []Event{{Kind: DocumentInvalid, Source: "/.well-known/oauth-protected-resource/mcp", Reason: errEncodedBody.Error()}}},
		{name: "too large", answers: answers{atPath: tooLarge}, reason: errTooLarge.Error(), asked: []string{atPath}, events: []Event{{Kind: DocumentInvalid, Source: "/.well-known/oauth-protected-resource/mcp", Reason: errTooLarge.Error()}}},
		{
			name: "too large, unsaid", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/mcp", MaxSize: int64(len(upstreamDoc)) - 1}, answers: answers{atPath: doc(upstreamDoc)},
			reason: errTooLarge.Error(), asked: []string{atPath},
			events: []Event{{Kind: DocumentInvalid, Source: "/.well-known/oauth-protected-resource/mcp", Reason: errTooLarge.Error()}},
		},
		{
			name: "as large as may be", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/mcp", MaxSize: int64(len(upstreamDoc))}, answers: answers{atPath: doc(upstreamDoc)},
			status: found, source: SourcePath, asked: []string{atPath},
		},
		{name: "invalid", answers: answers{atPath: doc("{")}, reason: errNotJSON.Error(), asked: []string{atPath}, events: []Event{{Kind: DocumentInvalid, Source: "/.well-known/oauth-protected-resource/mcp", Reason: errNotJSON.Error()}}},

		// Metadata URLs of the upstream's own 401.
		{name: "401 without a URL", answers: answers{atMCP: challenged("Bearer")}, status: absent, asked: all},
		{name: "URL of another status", answers: answers{atMCP: {Status: 403, Header: challenged("URL /meta").Header}}, status: absent, asked: all},
		{name: "URL of a place that was asked", answers: answers{atMCP: challenged("URL http://10.0.0.5:3000/.well-known/oauth-protected-resource")}, status: absent, asked: all},
		{name: "remapped field", answers: answers{atMCP: remapped, "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: append(slices.Clone(all), "GET /meta")},
		{name: "path-absolute", answers: answers{atMCP: challenged("URL /meta?a#b"), "GET /meta?a": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: append(slices.Clone(all), "GET /meta?a")},
		{name: "URL without a path", answers: answers{atMCP: challenged("URL http://10.0.0.5:3000?a"), "GET /?a": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: append(slices.Clone(all), "GET /?a")},
		{name: "loopback is asked for at the upstream", answers: answers{atMCP: challenged("URL http://127.0.0.1:9/meta"), "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: append(slices.Clone(all), "GET /meta")},
		{name: "the cloud's metadata service is not asked", answers: answers{atMCP: challenged("URL http://169.254.169.254/latest")}, status: absent, asked: append(slices.Clone(all), "GET /latest")},
		{name: "another server of the network is not asked", answers: answers{atMCP: challenged("URL http://10.0.0.6:4000/meta")}, status: absent, asked: append(slices.Clone(all), "GET /meta")},
		{name: "public URL", answers: answers{atMCP: challenged("URL http://mcp.example.com/meta"), "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: append(slices.Clone(all), "GET /meta")},
		{name: "Host that was sent", answers: answers{atMCP: {Status: 401, Header: challenged("URL https://sent.example/meta").Header, SentHost: "sent.example:8080"}, "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: append(slices.Clone(all), "GET /meta")},
		{name: "dialled name, another port", answers: answers{atMCP: challenged("URL https://mcp.vendor.example/meta"), "GET /meta": doc(upstreamDoc)}, status: found, source: SourceChallenge, asked: append(slices.Clone(all), "GET /meta")},
		{name: "5xx at the URL", answers: answers{atMCP: challenged("URL /meta"), "GET /meta": only(500)}, reason: "server error", asked: append(slices.Clone(all), "GET /meta"), events: []Event{{Kind: Unavailable, Source: "/meta", Reason: "server error"}}},
		{name: "query of the URL is not reported", answers: answers{atMCP: challenged("URL /meta?token=x"), "GET /meta?token=x": only(500)}, reason: "server error", asked: append(slices.Clone(all), "GET /meta?token=x"), events: []Event{{Kind: Unavailable, Source: "/meta", Reason: "server error"}}},
		{name: "foreign URL", answers: answers{atMCP: challenged("URL https://evil.test/meta?token=x")}, status: absent, asked: all, events: []Event{{Kind: ForeignMetadataURL, Value: "https://evil.test/meta", Option: "challenge origins"}}},
		{name: "URL with userinfo", answers: answers{atMCP: challenged("URL https://user:pass@10.0.0.5:3000/meta")}, status: absent, asked: all, events: []Event{{Kind: ForeignMetadataURL, Value: "https://10.0.0.5:3000/meta", Option: "challenge origins"}}},
		{name: "scheme-relative URL with userinfo", answers: answers{atMCP: challenged("URL //user:pass@evil.test/meta")}, status: absent, asked: all, events: []Event{{Kind: ForeignMetadataURL, Value: "//evil.test/meta", Option: "challenge origins"}}},
		{name: "relative URL", answers: answers{atMCP: challenged("URL meta")}, status: absent, asked: all, events: []Event{{Kind: ForeignMetadataURL, Value: "meta", Option: "challenge origins"}}},
		{name: "URL with a broken escape", answers: answers{atMCP: challenged("URL http://10.0.0.5:3000/%zz")}, status: absent, asked: all, events: []Event{{Kind: ForeignMetadataURL, Value: "http://10.0.0.5:3000/%zz", Option: "challenge origins"}}},
		{name: "path that looks like a host", answers: answers{atMCP: challenged("URL http://10.0.0.5:3000//evil.test/meta")}, status: absent, asked: append(slices.Clone(all), "GET //evil.test/meta")},
		{
			name: "listed origin", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/mcp", Origins: []string{other}},
			answers: answers{atMCP: challenged("URL https://OTHER.example:443/meta?a"), "GET https://other.example/meta?a": doc(upstreamDoc)},
			status:  found, source: SourceChallenge, asked: append(slices.Clone(all), "GET https://other.example/meta?a"),
		},
		{
			name: "listed origin of an upstream without a host", cfg: Config{UpstreamPath: "/mcp", Origins: []string{other}},
			answers: answers{atMCP: challenged("URL https://other.example/meta"), "GET https://other.example/meta": doc(`{"resource":"https://other.example/mcp"}`)},
			status:  found, source: SourceChallenge, asked: append(slices.Clone(all), "GET /meta", "GET https://other.example/meta"),
		},
		{
			name: "another port of a listed origin", cfg: Config{UpstreamPath: "/mcp", Origins: []string{other}},
			answers: answers{atMCP: challenged("URL https://other.example:8443/meta")},
			status:  absent, asked: all, events: []Event{{Kind: ForeignMetadataURL, Value: "https://other.example:8443/meta", Option: "challenge origins"}},
		},
		{
			name: "redirect inside a listed origin", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/mcp", Origins: []string{other}},
			answers: answers{atMCP: challenged("URL https://other.example/meta"), "GET https://other.example/meta": redirect(302, "https://other.example/doc"), "GET https://other.example/doc": redirect(302, "/doc2"), "GET https://other.example/doc2": doc(upstreamDoc)},
			status:  found, source: SourceChallenge, asked: append(slices.Clone(all), "GET https://other.example/meta", "GET https://other.example/doc", "GET https://other.example/doc2"),
		},
		{
			name: "redirect out of a listed origin to the upstream", cfg: Config{Dials: tcpUpstream.Dials, UpstreamPath: "/mcp", Origins: []string{other}},
			answers: answers{atMCP: challenged("URL https://other.example/meta"), "GET https://other.example/meta": redirect(302, "http://10.0.0.5:3000/doc")},
			reason:  "redirect refused", asked: append(slices.Clone(all), "GET https://other.example/meta"),
			events: []Event{{Kind: RedirectRefused, Source: "/meta", Value: "http://10.0.0.5:3000/doc", Reason: "redirect to elsewhere"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u, l := &upstream{answers: tc.answers, fail: tc.fail}, &log{}
			cfg := tc.cfg
			if cfg.Dials == nil && cfg.Origins == nil {
				cfg = tcpUpstream
			}
			cfg.Fetch, cfg.Log, cfg.ChallengeMetadata = u.fetch, l.add, challengeMetadata
			s := mustNew(t, cfg)
			out := s.discover(t.Context(), public)
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
			for _, req := range u.asked {
				if req.Origin != "" && req.Origin != other {
					t.Errorf("asked %q, a host that is not listed", req.Origin)
				}
			}
		})
	}
}

// C4: a redirect is followed inside the place that was asked, and nowhere else.
func TestRedirectElsewhere(t *testing.T) {
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
			u := &upstream{answers: answers{atPath: redirect(302, location), atRoot: redirect(307, location)}}
			cfg := tcpUpstream
			cfg.Fetch, cfg.ChallengeMetadata = u.fetch, challengeMetadata
			s := mustNew(t, cfg)
			want := outcome{reason: "redirect refused"}
			if location == "unix//run/mcp.sock" { // a relative path
				want = outcome{status: absent}
			}
			if got := s.discover(t.Context(), public); got != want {
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
		u := &upstream{answers: answers{atPath: redirect(status, "/doc")}}
		cfg := tcpUpstream
		cfg.Fetch = u.fetch
		s := mustNew(t, cfg)
		if got := s.discover(t.Context(), public); got != (outcome{reason: "redirect refused"}) {
			t.Errorf("status %d: got %+v; want a refused redirect", status, got)
		}
	}
}

// C2, C4: what is sent: no credentials, the public URL, one ping whose answer
// is not read; each request has a header of its own.
func TestRequests(t *testing.T) {
	u := &upstream{answers: answers{atPath: redirect(302, "/.well-known/x"), atMCP: challenged("URL /meta")}}
	u.before = func(_ context.Context, req FetchRequest) { req.Header.Set("Authorization", "Bearer x") }
	cfg := tcpUpstream
	cfg.Fetch, cfg.ChallengeMetadata, cfg.MaxSize = u.fetch, challengeMetadata, 1000
	s := mustNew(t, cfg)
	s.discover(t.Context(), public)
	get := FetchRequest{
		Method: "GET", MaxBody: 1000, Public: public,
		Header: http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}, "Authorization": {"Bearer x"}},
	}
	post := FetchRequest{
		Method: "POST", Path: "/mcp", Public: public, Body: []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`),
		Header: http.Header{"Accept": {"application/json, text/event-stream"}, "Accept-Encoding": {"identity"}, "Content-Type": {"application/json"}, "Authorization": {"Bearer x"}},
	}
	var want []FetchRequest
	for _, path := range []string{WellKnownPath + "/mcp", "/.well-known/x", WellKnownPath} {
		get.Path = path
		want = append(want, get)
	}
	get.Path = "/meta"
	want = append(want, post, get)
	if !reflect.DeepEqual(u.asked, want) {
		t.Errorf("sent\n%+v\nwant\n%+v", u.asked, want)
	}
	if !json.Valid(post.Body) {
		t.Error("the ping is not JSON")
	}
}

// C2: a challenge of any length is handed on in part.
func TestChallengeLinesAreBounded(t *testing.T) {
	lines := slices.Repeat([]string{"Bearer"}, maxChallengeLines)
	u := &upstream{answers: answers{atMCP: challenged(append(lines, "URL /meta")...), "GET /meta": doc(upstreamDoc)}}
	cfg := tcpUpstream
	cfg.Fetch, cfg.ChallengeMetadata = u.fetch, challengeMetadata
	s := mustNew(t, cfg)
	if got := s.discover(t.Context(), public); got.status != absent {
		t.Errorf("got status %d; want %d", got.status, absent)
	}
}

// C2: without a way to read a challenge the server is not asked for one.
func TestNoChallengeMetadata(t *testing.T) {
	u := &upstream{}
	cfg := tcpUpstream
	cfg.Fetch = u.fetch
	s := mustNew(t, cfg)
	if got := s.discover(t.Context(), public); got.status != absent {
		t.Errorf("got status %d; want %d", got.status, absent)
	}
	if got, want := u.requests(), []string{atPath, atRoot}; !slices.Equal(got, want) {
		t.Errorf("asked %q; want %q", got, want)
	}
}

// C4: a transport that panics, as the standard one may on an abort, is an
// upstream that cannot be asked.
func TestFetchPanics(t *testing.T) {
	u, l := &upstream{before: func(context.Context, FetchRequest) { panic(http.ErrAbortHandler) }}, &log{}
	cfg := tcpUpstream
	cfg.Fetch, cfg.Log = u.fetch, l.add
	s := mustNew(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if s.Known(ctx, public) || s.State(public).LastError != "panic" {
		t.Errorf("got %+v; want a panic", s.State(public))
	}
	if got, want := l.all(), []Event{{Kind: Unavailable, Endpoint: public.URL(), Reason: "panic"}}; !slices.Equal(got, want) {
		t.Errorf("reported %+v; want %+v", got, want)
	}
}
