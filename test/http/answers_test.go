package http_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// namedDocument is what the URL of a document has that a challenge names elsewhere than at
// a well-known URL.
var namedDocument = regexp.MustCompile(`\?document=[A-Za-z0-9_-]+`)

// Rules A1, A2, A4, B1: what the upstream answers to any method, in any shape,
// arrives whole: status, body, every header line; only the metadata URL of a
// challenge and the CORS headers are others.
func TestAnswersCross(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL, mcptest.AllowApp))
	answersCross(t, mcptest.NewClient(t), up, mcptest.NewClient(t), "http://"+testcaddy.Addr(port), false)
}

// answersCross compares each answer of an upstream with what arrives from a
// bridge in front of it. trusted says that the bridge takes its peers for trusted
// proxies: what has the public URL in it then depends on what they forward (C6).
func answersCross(t *testing.T, direct *http.Client, up *mcptest.Answers, c *http.Client, base string, trusted bool) {
	t.Helper()
	names := []string{"200", "sse", "202", "307", "400", "404", "405", "429", "500", "503"}
	for name := range mcptest.Challenges {
		names = append(names, name)
	}
	for _, name := range names {
		for _, m := range []struct{ what, method, body string }{
			{"request", "POST", mcptest.Initialize}, {"notification", "POST", mcptest.Initialized}, {"get", "GET", ""}, {"delete", "DELETE", ""},
		} {
			t.Run(name+"/"+m.what, func(t *testing.T) {
				path := "/mcp?answer=" + name
				want := mcptest.Do(t, direct, mcptest.NewRequest(t, m.method, up.URL+path, m.body))
				got := mcptest.Do(t, c, mcptest.NewRequest(t, m.method, base+path, m.body, "Origin", mcptest.AppOrigin))
				if got.Status != want.Status || got.Body != want.Body {
					t.Errorf("got %d %q, want %d %q", got.Status, got.Body, want.Status, want.Body)
				}
				vary := []string{"Origin", "Accept"}
				if lines, ok := mcptest.Challenges[name]; trusted && ok && (len(lines) > 0 || got.Status == 401) {
					vary = append(vary, "X-Forwarded-Host, X-Forwarded-Proto")
				}
				compareHeaders(t, got.Header, want.Header, name, base, vary)
			})
		}
	}
}

func compareHeaders(t *testing.T, got, want http.Header, name, base string, vary []string) {
	t.Helper()
	ours := map[string][]string{
		"Access-Control-Allow-Origin":      {mcptest.AppOrigin},
		"Access-Control-Allow-Credentials": nil,
	}
	wellKnown := base + "/.well-known/oauth-protected-resource/mcp"
	lines := mcptest.Challenges[name]
	if lines != nil {
		var mapped []string
		for _, line := range lines {
			line = strings.ReplaceAll(line, "%s/.well-known/oauth-protected-resource/mcp", wellKnown)
			mapped = append(mapped, strings.ReplaceAll(line, "%s/custom/metadata", wellKnown))
		}
		if name == "401-bare" {
			mapped = []string{`Bearer resource_metadata="` + wellKnown + `?answer=401-bare"`}
		}
		got = got.Clone()
		for i, line := range got["Www-Authenticate"] {
			// Only a document elsewhere than at a well-known URL has one of its own, here
			// since the URL of the request has a query; TestDocumentOfItsOwn follows it.
			if i < len(lines) && strings.Contains(lines[i], "%s/custom/metadata") {
				if len(namedDocument.FindAllString(line, -1)) != 1 {
					t.Errorf("%s: want one URL of a document in %q", name, line)
				}
				got["Www-Authenticate"][i] = namedDocument.ReplaceAllString(line, "")
			}
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

// Rule A7: failures of the upstream become 502, 504 or a broken answer, with
// the CORS headers, without a challenge and without an internal text.
func TestFailures(t *testing.T) {
	up := mcptest.NewAnswers(t)
	odd := mcptest.ListenRaw(t, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		begin := map[string]string{
			"099":       "099 Odd\r\nContent-Length: 0",
			"unasked":   "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: odd",
			"h2c":       "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c",
			"no option": "101 Switching Protocols\r\nUpgrade: odd",
			"nameless":  "101 Switching Protocols",
		}[r.URL.Query().Get("answer")]
		_, _ = io.WriteString(conn, "HTTP/1.1 "+begin+"\r\nWWW-Authenticate: Bearer\r\n\r\n")
	})
	port, dead := testcaddy.FreePort(t), testcaddy.FreePort(t)
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	mcp_auth_bridge /mcp %s {
		%[4]s
		limits {
			response_header_timeout 200ms
			max_request_body 70KiB
		}
	}
	mcp_auth_bridge /dead http://%[3]s {
		%[4]s
	}
	mcp_auth_bridge /odd %[5]s {
		%[4]s
	}
}`, port, up.URL, testcaddy.Addr(dead), mcptest.AllowApp, odd))
	base := "http://" + testcaddy.Addr(port)
	c := mcptest.NewClient(t)
	for _, tc := range []struct {
		name, path, body string
		want             int
	}{
		{"refused", "/dead", mcptest.Initialize, 502},
		{"a status that HTTP does not have", "/odd?answer=099", mcptest.Initialize, 502},
		{"a protocol that was not asked for", "/odd?answer=unasked", mcptest.Initialize, 502},
		{"HTTP/2 that was not asked for", "/odd?answer=h2c", mcptest.Initialize, 502},
		{"a protocol without Connection", "/odd?answer=no+option", mcptest.Initialize, 502},
		{"a protocol without a name", "/odd?answer=nameless", mcptest.Initialize, 502},
		{"stalls", "/mcp?answer=stall", mcptest.Initialize, 504},
		{"announced body too large", "/mcp?answer=200", strings.Repeat("x", 71<<10), 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+tc.path, tc.body, "Origin", mcptest.AppOrigin))
			if got.Status != tc.want {
				t.Errorf("got status %d, want %d", got.Status, tc.want)
			}
			if got.Header.Get("Access-Control-Allow-Origin") != mcptest.AppOrigin || !strings.Contains(got.Header.Get("Vary"), "Origin") {
				t.Errorf("got header %v", got.Header)
			}
			if got.Header.Get("WWW-Authenticate") != "" || strings.Contains(got.Body, "127.0.0.1") {
				t.Errorf("got challenge %q, body %q", got.Header.Get("WWW-Authenticate"), got.Body)
			}
		})
	}
	t.Run("chunked body too large", func(t *testing.T) {
		r := mcptest.NewRequest(t, "POST", base+"/mcp?answer=stall", "x", "Origin", mcptest.AppOrigin)
		r.ContentLength, r.Body = -1, io.NopCloser(io.LimitReader(mcptest.Endless{}, 200<<10))
		if got := mcptest.Do(t, c, r); got.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("got status %d, want 413", got.Status)
		}
	})
	t.Run("reset in mid-answer", func(t *testing.T) { breaksOff(t, c, base) })
}

// breaksOff asserts that an answer which ends in the middle arrives as far as it came,
// and visibly broken.
func breaksOff(t *testing.T, c *http.Client, base string) {
	t.Helper()
	res, err := c.Do(mcptest.NewRequest(t, "POST", base+"/mcp?answer=reset", mcptest.Initialize, "Origin", mcptest.AppOrigin))
	_, quic := c.Transport.(*http3.Transport)
	if quic && err != nil {
		return // a reset stream overtakes what was sent on it (RFC 9000 section 3.2)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	const sent = "data: {}\n\n"
	whole := string(got) == sent || quic && strings.HasPrefix(sent, string(got)) // the reset may overtake the body, too
	if err == nil || res.StatusCode != http.StatusOK || !whole {
		t.Errorf("got %d, %q, error %v; want what came and an error", res.StatusCode, got, err)
	}
}

// Rules A5, A10: a Location that names the upstream, by any of its names, is mapped; a
// foreign one stays.
func TestLocationIsMapped(t *testing.T) {
	var to string
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, up.URL+"/inner", mcptest.AllowApp))
	base := "http://" + testcaddy.Addr(port)
	for in, want := range map[string]string{
		up.URL + "/inner":           "", // it would lead back here
		up.URL + "/inner/?x=1":      base + "/mcp/?x=1",
		"/inner":                    "",
		"/inner?x=1":                base + "/mcp?x=1",
		up.URL + "/other":           base + "/other",
		"https://other.example/mcp": "https://other.example/mcp",
		"http://127.0.0.1:1/other":  base + "/other", // a name that servers have for themselves
	} {
		to = in
		if got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "GET", base+"/mcp", "")).Header.Get("Location"); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

// Rule A5: where the upstream has no host of its own, the operator lists its
// origins.
func TestUnixSocketUpstream(t *testing.T) {
	socket := mcptest.ListenUnix(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="https://tools.example.org/.well-known/oauth-protected-resource/mcp"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	upstream := "unix/" + socket
	testcaddy.Run(t, mcptest.BridgeTo(port, upstream, "challenge {\n origins https://tools.example.org\n}\n}\n"+
		"mcp_auth_bridge /plain "+upstream+" {"))
	client := mcptest.NewClient(t)
	for path, want := range map[string]string{
		"/mcp":   base + "/.well-known/oauth-protected-resource/mcp",
		"/plain": "https://tools.example.org/.well-known/oauth-protected-resource/mcp",
	} {
		got := mcptest.Do(t, client, mcptest.NewRequest(t, "POST", base+path, mcptest.Initialize)).Header.Get("WWW-Authenticate")
		if got != `Bearer resource_metadata="`+want+`"` {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
