package mcpauthbridge_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

const (
	origin    = "https://app.example.com"
	initReq   = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
	notifyReq = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
)

// answers is an upstream that answers as the query says; it knows only its
// private address.
type answers struct {
	*httptest.Server
	metadata string // its PRM document; empty: 404
}

func newAnswers(t *testing.T) *answers {
	t.Helper()
	a := &answers{}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	a.metadata = fmt.Sprintf(`{"resource":"%s/mcp","authorization_servers":["https://login.example.com"]}`, a.URL)
	return a
}

// challenges are the shapes of a 401 or 403; %s is the upstream's origin.
var challenges = map[string][]string{
	"401":         {`Bearer resource_metadata="%s/.well-known/oauth-protected-resource/mcp"`},
	"401-expired": {`Bearer error="invalid_token", error_description="The token expired", resource_metadata="%s/.well-known/oauth-protected-resource/mcp", scope="a b"`},
	"401-several": {`Basic realm="x", Bearer resource_metadata="%s/.well-known/oauth-protected-resource/mcp" , DPoP algs="ES256"`, `Negotiate dG9rZW4=`},
	"401-odd":     {"bearer\tRESOURCE_METADATA = \"%s/custom/metadata\",error_description=\"The \"aud\" is wrong\""},
	"401-foreign": {`Bearer resource_metadata="https://other.example.org/.well-known/oauth-protected-resource/mcp"`},
	"403":         {`Bearer error="insufficient_scope", scope="files:write", resource_metadata="%s/.well-known/oauth-protected-resource/mcp"`},
	"401-bare":    {},
	"403-bare":    {},
}

func (a *answers) serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/.well-known/oauth-protected-resource") {
		if a.metadata == "" || r.URL.Path != "/.well-known/oauth-protected-resource/mcp" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, a.metadata)
		return
	}
	h := w.Header()
	h.Set("X-Upstream", "yes")
	h.Set("Access-Control-Allow-Origin", "http://wrong.example")
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Add("Vary", "Accept")
	answer := r.URL.Query().Get("answer")
	if lines, ok := challenges[answer]; ok {
		for _, line := range lines {
			h.Add("WWW-Authenticate", strings.ReplaceAll(line, "%s", a.URL))
		}
		h.Set("DPoP-Nonce", "n1")
		answer = answer[:3]
	}
	a.answer(w, r, answer)
}

func (a *answers) answer(w http.ResponseWriter, r *http.Request, answer string) {
	h := w.Header()
	switch answer {
	case "200", "": // the latter is the bridge's own ping
		h.Set("Content-Type", "application/json")
		h.Set("Mcp-Session-Id", "s1")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	case "sse":
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		_, _ = io.WriteString(w, "event: endpoint\ndata: /not-mapped\n\nid: 1\ndata: {}\n\n")
		_ = http.NewResponseController(w).Flush()
	case "202":
		w.WriteHeader(http.StatusAccepted)
	case "307":
		h.Set("Location", "https://elsewhere.example/mcp?x=1")
		w.WriteHeader(http.StatusTemporaryRedirect)
	case "reset":
		h.Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {}\n\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "stall":
		_, _ = io.Copy(io.Discard, r.Body) // so that the server sees the client leave
		<-r.Context().Done()
	default:
		var status int
		_, _ = fmt.Sscan(answer, &status)
		h.Set("Content-Type", "application/problem+json")
		h.Set("Retry-After", "7")
		h.Set("Allow", "POST")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"status":%d}`, status)
	}
}

// bridgeTo is a Caddyfile with one endpoint before an upstream.
func bridgeTo(port int, upstream, options string) string {
	return fmt.Sprintf(`{
	http_port %d
	auto_https off
}
http://127.0.0.1:%[1]d {
	mcp_auth_bridge %s {
		%s
	}
}`, port, upstream, options)
}

const allowApp = "cors {\n\t\t\tallow_origins " + origin + "\n\t\t}"

// client makes requests that do not follow redirects.
func newClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func newRequest(t *testing.T, method, url, body string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

type answer struct {
	status int
	header http.Header
	body   string
}

func do(t *testing.T, c *http.Client, r *http.Request) answer {
	t.Helper()
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("reading the body of a %d: %v", res.StatusCode, err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

// Rules A1, A2, A4, B1: what the upstream answers to any method, in any shape,
// arrives whole: status, body, every header line; only the metadata URL of a
// challenge and the CORS headers are others.
func TestAnswersCross(t *testing.T) {
	up := newAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, bridgeTo(port, up.URL, allowApp))
	answersCross(t, newClient(t), up, newClient(t), "http://"+testcaddy.Addr(port), false)
}

// answersCross compares each answer of an upstream with what arrives from a
// bridge in front of it. trusted says that the bridge takes its peers for trusted
// proxies: what has the public URL in it then depends on what they forward (C6).
func answersCross(t *testing.T, direct *http.Client, up *answers, c *http.Client, base string, trusted bool) {
	t.Helper()
	names := []string{"200", "sse", "202", "307", "400", "404", "405", "429", "500", "503"}
	for name := range challenges {
		names = append(names, name)
	}
	for _, name := range names {
		for _, m := range []struct{ what, method, body string }{
			{"request", "POST", initReq}, {"notification", "POST", notifyReq}, {"get", "GET", ""}, {"delete", "DELETE", ""},
		} {
			t.Run(name+"/"+m.what, func(t *testing.T) {
				path := "/mcp?answer=" + name
				want := do(t, direct, newRequest(t, m.method, up.URL+path, m.body))
				got := do(t, c, newRequest(t, m.method, base+path, m.body, "Origin", origin))
				if got.status != want.status || got.body != want.body {
					t.Errorf("got %d %q, want %d %q", got.status, got.body, want.status, want.body)
				}
				vary := []string{"Origin", "Accept"}
				if lines, ok := challenges[name]; trusted && ok && (len(lines) > 0 || got.status == 401) {
					vary = append(vary, "X-Forwarded-Host, X-Forwarded-Proto")
				}
				compareHeaders(t, got.header, want.header, name, base, vary)
			})
		}
	}
}

func compareHeaders(t *testing.T, got, want http.Header, name, base string, vary []string) {
	t.Helper()
	ours := map[string][]string{
		"Access-Control-Allow-Origin":      {origin},
		"Access-Control-Allow-Credentials": nil,
	}
	wellKnown := base + "/.well-known/oauth-protected-resource/mcp"
	lines := challenges[name]
	if lines != nil {
		var mapped []string
		for _, line := range lines {
			line = strings.ReplaceAll(line, "%s/.well-known/oauth-protected-resource/mcp", wellKnown)
			mapped = append(mapped, strings.ReplaceAll(line, "%s/custom/metadata", wellKnown))
		}
		if name == "401-bare" {
			mapped = []string{`Bearer resource_metadata="` + wellKnown + `"`}
		}
		ours["Www-Authenticate"] = mapped
	}
	for field, values := range want {
		if expected, ok := ours[field]; ok {
			values = expected
		}
		switch field {
		case "Date":
			continue
		case "Vary":
			values = vary
		}
		if !slices.Equal(got[field], values) {
			t.Errorf("%s: got %q, want %q", field, got[field], values)
		}
	}
	for field, values := range ours {
		if !slices.Equal(got[field], values) {
			t.Errorf("%s: got %q, want %q", field, got[field], values)
		}
	}
	for field := range got {
		if _, ok := want[field]; !ok && !slices.Contains([]string{"Via", "Alt-Svc", "Access-Control-Expose-Headers", "Www-Authenticate"}, field) {
			t.Errorf("%s: %q was added", field, got[field])
		}
	}
	expose := strings.ToLower(strings.Join(got["Access-Control-Expose-Headers"], "|"))
	for _, name := range []string{"www-authenticate", "mcp-session-id", "mcp-protocol-version", "dpop-nonce", "retry-after"} {
		if !strings.Contains(expose, name) {
			t.Errorf("Access-Control-Expose-Headers %q lacks %s", expose, name)
		}
	}
}

// Rule B2: a preflight is answered before the upstream, for every endpoint.
func TestPreflight(t *testing.T) {
	asked := make(chan string, 100)
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Method }))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, bridgeTo(port, up.URL, allowApp))
	base := "http://" + testcaddy.Addr(port)
	preflightAnswered(t, newClient(t), base)
	if len(asked) != 0 {
		t.Errorf("upstream was asked: %s", <-asked)
	}
	do(t, newClient(t), newRequest(t, "OPTIONS", base+"/mcp", ""))
	if got := <-asked; got != "OPTIONS" {
		t.Errorf("an OPTIONS that is no preflight reached the upstream as %q", got)
	}
}

func preflightAnswered(t *testing.T, c *http.Client, base string) {
	t.Helper()
	r := newRequest(t, "OPTIONS", base+"/mcp", "", "Origin", origin,
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type,mcp-protocol-version,mcp-param-x")
	got := do(t, c, r)
	if got.status != http.StatusNoContent || got.header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("got %d %v", got.status, got.header)
	}
	allowed := strings.ToLower(strings.Join(got.header["Access-Control-Allow-Headers"], ","))
	for _, name := range []string{"authorization", "content-type", "mcp-session-id", "mcp-method", "mcp-param-x", "dpop", "last-event-id"} {
		if !strings.Contains(allowed, name) {
			t.Errorf("Access-Control-Allow-Headers %q lacks %s", allowed, name)
		}
	}
}

// Rule A7: failures of the upstream become 502, 504 or a broken answer, with
// the CORS headers, without a challenge and without an internal text.
func TestFailures(t *testing.T) {
	up := newAnswers(t)
	port, dead := testcaddy.FreePort(t), testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	mcp_auth_bridge /mcp %s {
		%[4]s
		limits {
			response_header 200ms
			request_body 70KiB
		}
	}
	mcp_auth_bridge /dead http://%[3]s {
		%[4]s
	}
}`, port, up.URL, testcaddy.Addr(dead), allowApp))
	base := "http://" + testcaddy.Addr(port)
	c := newClient(t)
	for _, tc := range []struct {
		name, path, body string
		want             int
	}{
		{"refused", "/dead", initReq, 502},
		{"stalls", "/mcp?answer=stall", initReq, 504},
		{"announced body too large", "/mcp?answer=200", strings.Repeat("x", 71<<10), 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := do(t, c, newRequest(t, "POST", base+tc.path, tc.body, "Origin", origin))
			if got.status != tc.want {
				t.Errorf("got status %d, want %d", got.status, tc.want)
			}
			if got.header.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(got.header.Get("Vary"), "Origin") {
				t.Errorf("got header %v", got.header)
			}
			if got.header.Get("WWW-Authenticate") != "" || strings.Contains(got.body, "127.0.0.1") {
				t.Errorf("got challenge %q, body %q", got.header.Get("WWW-Authenticate"), got.body)
			}
		})
	}
	t.Run("chunked body too large", func(t *testing.T) {
		r := newRequest(t, "POST", base+"/mcp?answer=stall", "x", "Origin", origin)
		r.ContentLength, r.Body = -1, io.NopCloser(io.LimitReader(endless{}, 200<<10))
		if got := do(t, c, r); got.status != http.StatusRequestEntityTooLarge {
			t.Errorf("got status %d, want 413", got.status)
		}
	})
	t.Run("reset in mid-answer", func(t *testing.T) { breaksOff(t, c, base) })
}

// breaksOff asserts that an answer which ends in the middle arrives as far as it came,
// and visibly broken.
func breaksOff(t *testing.T, c *http.Client, base string) {
	t.Helper()
	res, err := c.Do(newRequest(t, "POST", base+"/mcp?answer=reset", initReq, "Origin", origin))
	if _, quic := c.Transport.(*http3.Transport); quic && err != nil {
		return // a reset stream overtakes what was sent on it (RFC 9000 section 3.2)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err == nil || res.StatusCode != http.StatusOK || string(got) != "data: {}\n\n" {
		t.Errorf("got %d, %q, error %v; want what came and an error", res.StatusCode, got, err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// Rule B3: a page of another origin is refused before the upstream is asked,
// and the log names the line that would allow it.
func TestOriginRefused(t *testing.T) {
	up := newAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, bridgeTo(port, up.URL, allowApp))
	originRefused(t, newClient(t), "http://"+testcaddy.Addr(port))
	if !testcaddy.Logged("allow_origins https://evil.example") {
		t.Errorf("no log line names the option:\n%s", strings.Join(testcaddy.Logs(), "\n"))
	}
}

func originRefused(t *testing.T, c *http.Client, base string) {
	t.Helper()
	got := do(t, c, newRequest(t, "POST", base+"/mcp?answer=200", initReq, "Origin", "https://evil.example"))
	if got.status != http.StatusForbidden || got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("got %d, header %v", got.status, got.header)
	}
	if !strings.Contains(got.body, `"jsonrpc":"2.0"`) || strings.Contains(got.body, `"id"`) {
		t.Errorf("got body %q, want a JSON-RPC error without an id", got.body)
	}
}

// Rule A10: both forms of the endpoint answer, and an upstream that redirects
// to its own other form is followed once, with the body.
func TestTrailingSlash(t *testing.T) {
	for _, wants := range []string{"/mcp", "/mcp/"} {
		t.Run("upstream wants "+wants, func(t *testing.T) {
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != wants {
					http.Redirect(w, r, "http://"+r.Host+wants+"?"+r.URL.RawQuery, http.StatusTemporaryRedirect)
					return
				}
				_, _ = io.Copy(w, r.Body)
			}))
			t.Cleanup(up.Close)
			port := testcaddy.FreePort(t)
			testcaddy.Run(t, bridgeTo(port, up.URL, allowApp))
			for _, form := range []string{"/mcp?a=b", "/mcp/?a=b", "/mcp?a=b"} {
				got := do(t, newClient(t), newRequest(t, "POST", "http://"+testcaddy.Addr(port)+form, initReq))
				if got.status != http.StatusOK || got.body != initReq {
					t.Errorf("%s: got %d %q", form, got.status, got.body)
				}
			}
		})
	}
}

// Rules A10, D2: a message path of which the upstream wants the other form works
// as well, and another redirect of it has no private address.
func TestMessagePathRedirects(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/messages/":
			_, _ = io.Copy(w, r.Body)
		case "/messages":
			http.Redirect(w, r, "http://"+r.Host+"/messages/?"+r.URL.RawQuery, http.StatusTemporaryRedirect)
		case "/moved":
			w.Header().Set("Location", r.URL.Query().Get("to"))
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	testcaddy.Run(t, bridgeTo(port, "sse+"+up.URL+"/sse", "message_path /messages"))
	if got := do(t, newClient(t), newRequest(t, "POST", base+"/mcp/message?a=b", initReq)); got.status != http.StatusOK || got.body != initReq {
		t.Errorf("got %d %q, header %v", got.status, got.body, got.header)
	}
	testcaddy.Run(t, bridgeTo(port, "sse+"+up.URL+"/sse", "message_path /moved"))
	for to, want := range map[string]string{
		up.URL + "/elsewhere?c": base + "/elsewhere?c", "https://other.example/x": "https://other.example/x",
	} {
		got := do(t, newClient(t), newRequest(t, "POST", base+"/mcp/message?to="+url.QueryEscape(to), initReq))
		if location := got.header.Get("Location"); got.status != http.StatusTemporaryRedirect || location != want {
			t.Errorf("got %d to %q, want %q", got.status, location, want)
		}
	}
}

// Rule A10: a Location that names the upstream is mapped; a foreign one stays.
func TestLocationIsMapped(t *testing.T) {
	var to string
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, bridgeTo(port, up.URL+"/inner", allowApp))
	base := "http://" + testcaddy.Addr(port)
	for in, want := range map[string]string{
		up.URL + "/inner":           base + "/mcp",
		up.URL + "/inner/?x=1":      base + "/mcp/?x=1",
		"/inner":                    base + "/mcp",
		up.URL + "/other":           base + "/other",
		"https://other.example/mcp": "https://other.example/mcp",
		"http://127.0.0.1:1/inner":  "http://127.0.0.1:1/inner",
	} {
		to = in
		if got := do(t, newClient(t), newRequest(t, "GET", base+"/mcp", "")).header.Get("Location"); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

// Rules C1, C3: the well-known URL answers with the upstream's document, its
// resource mapped, in both slash forms and at the root, for every browser.
func TestMetadata(t *testing.T) {
	up := newAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, bridgeTo(port, up.URL, ""))
	base := "http://" + testcaddy.Addr(port)
	c := newClient(t)
	metadataServed(t, c, base)
	for _, path := range []string{"/.well-known/oauth-protected-resource/other", "/.well-known/oauth-authorization-server", "/MCP", "/mcp/sub", "/mcp//"} {
		if got := do(t, c, newRequest(t, "GET", base+path, "")); got.header.Get("X-Upstream") != "" || got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s is not the endpoint's, yet it was answered: %d %v", path, got.status, got.header)
		}
	}
}

func metadataServed(t *testing.T, c *http.Client, base string) {
	t.Helper()
	for suffix, resource := range map[string]string{"/mcp": "/mcp", "/mcp/": "/mcp/", "": "/mcp", "/": "/mcp"} {
		got := do(t, c, newRequest(t, "GET", base+"/.well-known/oauth-protected-resource"+suffix, "", "Origin", "https://anyone.example"))
		want := fmt.Sprintf(`{"resource":"%s%s","authorization_servers":["https://login.example.com"]}`, base, resource)
		if got.status != http.StatusOK || got.body != want {
			t.Errorf("%s: got %d %s, want %s", suffix, got.status, got.body, want)
		}
		if got.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: got header %v", suffix, got.header)
		}
	}
}

// Rule C1: a definite no of the upstream is a JSON 404, and what could not be
// had is a 503.
func TestMetadataAbsent(t *testing.T) {
	up := newAnswers(t)
	up.metadata = ""
	port, dead := testcaddy.FreePort(t), testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf("{\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tmcp_auth_bridge /mcp %s\n\tmcp_auth_bridge /dead http://%s\n}", port, up.URL, testcaddy.Addr(dead)))
	base := "http://" + testcaddy.Addr(port) + "/.well-known/oauth-protected-resource"
	got := do(t, newClient(t), newRequest(t, "GET", base+"/mcp", ""))
	if got.status != http.StatusNotFound || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %v", got.status, got.header)
	}
	got = do(t, newClient(t), newRequest(t, "GET", base+"/dead", ""))
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v", got.status, got.header)
	}
	if strings.Contains(got.body, "127.0.0.1") {
		t.Errorf("body %q tells an internal address", got.body)
	}
}

// Rule D2: the endpoint event is mapped below the endpoint, messages reach the
// path that the upstream announced, and no other.
func TestLegacySSE(t *testing.T) {
	got := make(chan string, 10)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Method + " " + r.URL.RequestURI() + " " + r.Header.Get("Accept-Encoding")
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "event: endpoint\ndata: /in/messages?sessionId=a%20b\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, bridgeTo(port, "sse+"+up.URL+"/in/sse", allowApp))
	base := "http://" + testcaddy.Addr(port)
	c := newClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	res, err := c.Do(newRequest(t, "GET", base+"/mcp", "").WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	var path string
	for lines.Scan() && path == "" {
		path, _ = strings.CutPrefix(lines.Text(), "data: ")
		if path == lines.Text() {
			path = ""
		}
	}
	if !strings.HasPrefix(path, "/mcp/message/") || !strings.HasSuffix(path, "?sessionId=a%20b") {
		t.Fatalf("endpoint event names %q", path)
	}
	if line := <-got; line != "GET /in/sse identity" {
		t.Errorf("upstream was asked for %q", line)
	}
	if answer := do(t, c, newRequest(t, "POST", base+path, initReq)); answer.status != http.StatusAccepted {
		t.Errorf("message was answered %d", answer.status)
	}
	if line := <-got; line != "POST /in/messages?sessionId=a%20b gzip" && line != "POST /in/messages?sessionId=a%20b " {
		t.Errorf("upstream was asked for %q", line)
	}
	forged := strings.Replace(path, "/mcp/message/", "/mcp/message/A", 1)
	if answer := do(t, c, newRequest(t, "POST", base+forged, initReq)); answer.status != http.StatusNotFound {
		t.Errorf("forged message path was answered %d, want 404", answer.status)
	}
	select {
	case line := <-got:
		t.Errorf("forged message path reached the upstream: %q", line)
	default:
	}
}

// Rule D2: an endpoint event that names a foreign origin ends the stream.
func TestLegacySSEForeignEndpoint(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "event: endpoint\ndata: https://evil.example/messages\n\ndata: secret\n\n")
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, bridgeTo(port, "sse+"+up.URL+"/sse", allowApp))
	res, err := newClient(t).Do(newRequest(t, "GET", "http://"+testcaddy.Addr(port)+"/mcp", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil || strings.Contains(string(body), "evil") || strings.Contains(string(body), "secret") {
		t.Errorf("got %q, error %v", body, err)
	}
}

// listenUnix serves h on a unix socket of the test.
func listenUnix(t *testing.T, h http.Handler) string {
	t.Helper()
	path := t.TempDir() + "/s"
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h} //nolint:gosec // a server of the test
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return path
}

// Rule A5: where the upstream has no host of its own, the operator lists its
// origins.
func TestUnixSocketUpstream(t *testing.T) {
	socket := listenUnix(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="https://tools.example.org/.well-known/oauth-protected-resource/mcp"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	upstream := "unix/" + socket
	testcaddy.Run(t, bridgeTo(port, upstream, "challenge {\n origins https://tools.example.org\n}\n}\n"+
		"mcp_auth_bridge /plain "+upstream+" {"))
	client := newClient(t)
	for path, want := range map[string]string{
		"/mcp":   base + "/.well-known/oauth-protected-resource/mcp",
		"/plain": "https://tools.example.org/.well-known/oauth-protected-resource/mcp",
	} {
		got := do(t, client, newRequest(t, "POST", base+path, initReq)).header.Get("WWW-Authenticate")
		if got != `Bearer resource_metadata="`+want+`"` {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
