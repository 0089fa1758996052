package observe_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// mark begins and ends every secret of the test: no encoding of a URL hides it, and no
// random id has it.
const mark = "zq7zq7zq7"

// secret returns a marked secret.
func secret(name string) string { return mark + name + mark }

// leakyProgram has the test binary be a program that has secrets in all that it says.
const leakyProgram = "MCP_AUTH_BRIDGE_TEST_LEAKY"

// onStderr is what it says on stderr, which goes to the log.
const onStderr = "this is for the log"

// unstartable is a program that a configuration may name and that cannot be started: nothing
// is there that could interpret it.
func unstartable(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/nonexistent/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func serveLeaky() {
	_, _ = fmt.Fprintln(os.Stderr, onStderr, os.Getenv("TOKEN"))
	_, _ = fmt.Printf("no message, but %s\n", secret("stdout"))
	_, _ = fmt.Printf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"%s"}}`+"\n", secret("notification"))
	lines := json.NewDecoder(os.Stdin)
	for {
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
			Params json.RawMessage `json:"params"`
		}
		switch err := lines.Decode(&m); {
		case err != nil:
			return
		case strings.Contains(string(m.Params), "crash"):
			os.Exit(3)
		case m.ID == nil:
		case m.Method == "initialize":
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"l","version":"1"},"x":"%s"}}`+"\n", m.ID, os.Getenv("TOKEN"))
		default:
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"%s"}}`+"\n", m.ID, secret("error"))
		}
	}
}

// confidential is what a client sends in confidence.
func confidential(more ...string) map[string]string {
	fields := map[string]string{
		"Authorization": "Bearer " + secret("authorization"), "Cookie": "sid=" + secret("cookie"), "Dpop": secret("proof"),
		"X-Api-Key": secret("apikey"), "Mcp-Session-Id": secret("session"), "Referer": "https://app.example/?code=" + secret("code"),
		"Mcp-Param-Password": secret("argument"), "Last-Event-Id": "1-" + secret("event"), "Traceparent": callersParent,
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
	}
	for i := 0; i < len(more); i += 2 {
		if more[i+1] == "" {
			delete(fields, more[i])
			continue
		}
		fields[more[i]] = more[i+1]
	}
	return fields
}

// redactionSite is one site of the test.
func redactionSite(port int, directive string) string {
	var log strings.Builder
	for _, name := range placeholderNames {
		fmt.Fprintf(&log, "\tlog_append %s {http.mcp_auth_bridge.%s}\n", name, name)
	}
	return fmt.Sprintf("http://127.0.0.1:%d {\n\tbind 127.0.0.1\n\tlog\n\ttracing\n%s\t%s\n}\n", port, log.String(), directive)
}

// sinks are all that an operator can look at.
type sinks struct {
	t     *testing.T
	spans *spans
	admin string
	own   []string // answers of the bridge's own
	// tokens are secrets without a mark.
	tokens []string
}

// send makes a request with everything in confidence. The answer is the bridge's own
// where that is said.
func (s *sinks) send(method, url, body string, fields map[string]string, own bool) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for name, value := range fields {
		req.Header.Set(name, value)
	}
	c := mcptest.HTTPClient(s.t)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := c.Do(req)
	if err != nil {
		return &http.Response{StatusCode: 0, Header: http.Header{}}
	}
	raw, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if own {
		var header strings.Builder
		_ = res.Header.Write(&header)
		s.own = append(s.own, fmt.Sprintf("%s %s: %d\n%s\n%s", method, req.URL.Path, res.StatusCode, header.String(), raw))
	}
	return res
}

// refused makes a request whose answer is the bridge's own if it is no success.
func (s *sinks) refused(method, url, body string, fields map[string]string) {
	s.t.Helper()
	if s.send(method, url, body, fields, true).StatusCode < 400 {
		s.own = s.own[:len(s.own)-1]
	}
}

// F1: tokens, ids of sessions, query strings and the like are in no log, metric, event,
// trace, admin answer or answer of the bridge's own, whatever happens. What a program
// says on stderr goes to the log, without the secrets of its environment.
func TestRedaction(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	up := newTattler(t)
	s := &sinks{t: t, spans: collectSpans(t)}
	subscribed(t, 0, "")
	ports := make(map[string]int)
	var sites strings.Builder
	for name, directive := range map[string]string{
		"cross":      "mcp_auth_bridge " + up.URL + " {\n\tauthorization_server bridge\n\tlimits {\n\t\tmax_form 1KiB\n\t\tmax_request_body 4KiB\n\t}\n}",
		"replace":    "mcp_auth_bridge " + up.URL + " {\n\tchallenge replace\n}",
		"middleware": "route {\n\tmcp_auth_bridge /mcp\n\treverse_proxy " + up.Listener.Addr().String() + "\n}",
		"sse":        "mcp_auth_bridge sse+" + up.URL + "/sse",
		"down":       "mcp_auth_bridge 127.0.0.1:1",
		"legacy":     "mcp_auth_bridge " + up.URL + " {\n\tlegacy_sse\n}",
		"program": fmt.Sprintf("mcp_auth_bridge {\n\tlegacy_sse\n\tstdio %q -test.run=^$ %s {\n\t\tenv %s=1\n\t\tenv TOKEN=%s\n\t}\n}",
			self, secret("programargument"), leakyProgram, secret("environment")),
		"nothing": fmt.Sprintf("mcp_auth_bridge {\n\tstdio %q {\n\t\tenv TOKEN=%s\n\t}\n}", unstartable(t), secret("environment")),
	} {
		ports[name] = testcaddy.FreePort(t)
		sites.WriteString(redactionSite(ports[name], directive))
	}
	at := func(name, path string) string {
		return "http://" + testcaddy.Addr(ports[name]) + path + "?q=" + secret("query") + "&access_token=" + secret("querytoken")
	}
	t.Setenv("MCP_AUTH_BRIDGE_TEST_SECRET", secret("clientsecret"))
	issuer, guarded := newIndiscreet(t), make(map[string]int)
	for answer := range indiscretions {
		guarded[answer] = testcaddy.FreePort(t)
		sites.WriteString(redactionSite(guarded[answer], fmt.Sprintf("mcp_auth_bridge %s/mcp {\n\tauthorize {\n\t\tissuer %s {\n\t\t\tintrospect {\n\t\t\t\taudience optional\n\t\t\t}\n\t\t}\n\t\ttoken exchange {\n\t\t\taudience %s\n"+
			"\t\t\tclient_id edge\n\t\t\tclient_secret {env.MCP_AUTH_BRIDGE_TEST_SECRET}\n\t\t}\n\t}\n}", up.URL, issuer.URL, answer)))
	}
	s.admin = testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, "{\n\tauto_https off\n\tadmin "+s.admin+"\n\tevents {\n\t\ton mcp_challenge test_subscriber\n\t\ton mcp_session_end test_subscriber\n"+
		"\t\ton mcp_denied test_subscriber\n\t\ton mcp_upstream_down test_subscriber\n\t\ton mcp_upstream_up test_subscriber\n\t}\n"+logFilter(t)+"}\n"+sites.String())

	call := `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"add","arguments":{"password":"` + secret("argument") + `"}}}`
	stateless := strings.Replace(call, `"name":"add"`, `"name":"add","requestState":"`+secret("requeststate")+
		`","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`, 1)
	modern := confidential("Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "add")
	for _, site := range slices.Sorted(maps.Keys(ports)) {
		endpoint := at(site, "/mcp")
		for _, do := range append(slices.Sorted(maps.Keys(leaks)), "", "redirect", "500", "abort", "broken") {
			if do == "broken" && site == "sse" {
				continue // an initialize without an answer takes a minute
			}
			s.send("POST", endpoint, mcptest.Initialize, confidential("X-Do", do), false)
			s.send("POST", endpoint, mcptest.Initialize, confidential("X-Do", do, "Mcp-Session-Id", ""), false)
			s.send("POST", endpoint, stateless, withFields(modern, "X-Do", do), false)
		}
		begun := s.send("POST", endpoint, mcptest.Initialize, confidential("Mcp-Session-Id", ""), false)
		session := confidential("Mcp-Session-Id", begun.Header.Get("Mcp-Session-Id"))
		s.send("POST", endpoint, call, session, false)
		s.send("POST", endpoint, strings.ReplaceAll(call, secret("argument"), "crash"), session, false)
		s.send("DELETE", endpoint, "", session, false)
		s.send("POST", endpoint, call, session, site == "program")
		s.send("POST", endpoint, call, confidential("Origin", "https://user:"+secret("originuser")+"@evil.example"), true)
		s.send("POST", endpoint, call, confidential("Origin", "https://evil.example/?t="+secret("origin")), true)
		s.send("OPTIONS", endpoint, "", confidential("Origin", "https://evil.example", "Access-Control-Request-Method", "POST"), true)
		s.send("POST", endpoint, `{"`+secret("badjson"), confidential(), site == "program")
		s.send("POST", endpoint, `{"jsonrpc":"2.0","id":{"`+secret("badid")+`":1},"method":"x"}`, confidential(), site == "program")
		s.send("PUT", endpoint, call, confidential(), site == "program")
		s.send("GET", at(site, "/.well-known/oauth-protected-resource/mcp"), "", confidential(), false)
		s.send("GET", at(site, "/mcp/message/unknown"), "", confidential(), false)
		s.send("POST", at(site, "/mcp/message/unknown"), call, confidential(), false)
		s.send("POST", at(site, "/mcp/sse/message")+"&sessionId="+secret("session"), call, confidential(), site == "program")
	}
	s.send("POST", at("down", "/mcp"), call, confidential(), true)
	s.send("POST", at("nothing", "/mcp"), mcptest.Initialize, confidential("Mcp-Session-Id", ""), true)
	s.send("POST", at("cross", "/mcp"), strings.Repeat(secret("large"), 1000), confidential(), true)
	s.send("GET", at("sse", "/mcp"), "", confidential("Mcp-Session-Id", "", "X-Foreign", "1"), false)
	s.send("GET", at("sse", "/mcp"), "", confidential("Mcp-Session-Id", "", "X-Short", "1"), false)

	form := url.Values{
		"client_secret": {secret("clientsecret")}, "refresh_token": {secret("refresh")}, "code": {secret("code")}, "code_verifier": {secret("verifier")},
		"resource": {"http://" + testcaddy.Addr(ports["cross"]) + "/mcp"},
	}
	posts := confidential("Content-Type", "application/x-www-form-urlencoded")
	s.send("GET", at("cross", "/.well-known/oauth-authorization-server"), "", confidential(), false)
	s.send("GET", at("cross", "/authorize")+"&state="+secret("state")+"&redirect_uri="+url.QueryEscape("http://localhost:1/cb"), "", confidential(), false)
	s.send("GET", at("cross", "/authorize")+"&state="+secret("state"), "", confidential(), false)
	s.send("POST", at("cross", "/token"), form.Encode(), posts, false)
	form.Set("grant_type", "refuse")
	s.send("POST", at("cross", "/token"), form.Encode(), posts, false)
	s.send("POST", at("cross", "/token"), form.Encode()+strings.Repeat("&x="+secret("large"), 1000), posts, true)
	s.send("POST", at("cross", "/register"), `{"software_statement":"`+secret("statement")+`"}`, confidential(), false)

	for answer, port := range guarded {
		for _, do := range append(slices.Sorted(maps.Keys(leaks)), "", "500", "abort") {
			endpoint := "http://" + testcaddy.Addr(port) + "/mcp?q=" + secret("query")
			s.send("POST", endpoint, call, confidential("X-Do", do, "Mcp-Session-Id", ""), answer != "good")
		}
	}
	if !testcaddy.Logged("token of the client is not exchanged") || !testcaddy.Logged("was quoted") {
		t.Error("the log has no refused exchange, or not what the issuer says of it")
	}

	s.check()
}

// indiscretions are answers to token exchanges that quote secrets, by the audience.
var indiscretions = map[string]struct {
	status int
	body   string
}{
	"good":    {200, `{"access_token":"` + secret("exchanged") + `","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer"}`},
	"revoked": {400, `{"error":"invalid_grant","error_description":"` + secret("authorization") + ` was quoted"}`},
	"denied":  {403, `{"error":"access_denied","error_description":"` + secret("authorization") + `"}`},
	"client":  {401, `{"error":"` + secret("clientsecret") + `","error_description":"edge:` + secret("clientsecret") + `"}`},
	"odd":     {200, `{"access_token":"` + secret("exchanged") + `","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"N_A"}`},
	"away":    {503, secret("clientsecret")},
}

// newIndiscreet starts an authorization server that answers so.
func newIndiscreet(t *testing.T) *httptest.Server {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/.well-known/oauth-authorization-server":
			_, _ = fmt.Fprintf(w, `{"issuer":"%[1]s","token_endpoint":"%[1]s/token?t=%[2]s","introspection_endpoint":"%[1]s/introspect?t=%[2]s"}`, s.URL, secret("endpointquery"))
		case "/introspect":
			_, _ = io.WriteString(w, `{"active":true,"sub":"alice"}`)
		case "/token":
			answer := indiscretions[r.PostFormValue("audience")]
			w.WriteHeader(answer.status)
			_, _ = io.WriteString(w, answer.body)
		default:
			http.NotFound(w, r)
		}
	}))
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func withFields(fields map[string]string, more ...string) map[string]string {
	all := maps.Clone(fields)
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// check looks for secrets, and that each part of the test has said something.
func (s *sinks) check() {
	s.t.Helper()
	s.spans.await(s.t, "the program", func(e exportedSpan) bool { return e.attributes["network.transport"] == "pipe" })
	if !testcaddy.Logged(onStderr) {
		s.t.Error("what the program says on stderr is not in the log")
	}
	s.look(200, 50)
}

// look looks for secrets where requests and events are reported, at least that many.
func (s *sinks) look(atLeast, leastEvents int) {
	s.t.Helper()
	logs := testcaddy.Logs()
	n := 0
	for _, line := range logs {
		if strings.Contains(line, "request is over") {
			n++
		}
		s.clean("the log", line)
	}
	if n < atLeast {
		s.t.Errorf("the log has the story of %d requests only", n)
	}
	s.clean("a trace", s.spans.received())
	for _, answer := range s.own {
		s.clean("an answer of the bridge's own", answer)
	}
	c := mcptest.NewClient(s.t)
	_, status := askAdmin(s.t, c, s.admin)
	s.clean("an answer of the admin API", status)
	s.clean("mcp status", testcaddy.RunStatus(s.t, s.admin, "--challenges", "100"))
	s.clean("mcp status --json", testcaddy.RunStatus(s.t, s.admin, "--json"))
	for _, path := range []string{"/mcp_auth_bridge/sessions", "/metrics"} {
		got := mcptest.Do(s.t, c, mcptest.NewRequest(s.t, http.MethodGet, "http://"+s.admin+path, ""))
		if got.Status != http.StatusOK || len(got.Body) < 100 {
			s.t.Errorf("%s answers %d %s", path, got.Status, got.Body)
		}
		s.clean("the answer of "+path, got.Body)
	}
	if !strings.Contains(status, "invalid_token") {
		s.t.Error("the admin API remembers no challenge")
	}
	events := 0
	for len(received) > 0 {
		e := <-received
		raw, err := json.Marshal(e.Data)
		if err != nil {
			s.t.Fatal(err)
		}
		events++
		s.clean("event "+e.Name(), string(raw))
	}
	if events < leastEvents {
		s.t.Errorf("there were %d events only", events)
	}
}

// clean reports the secrets in a text.
func (s *sinks) clean(where, text string) {
	s.t.Helper()
	report := func(at int) {
		s.t.Errorf("%s has a secret: ...%s...\n%.600s", where, text[max(0, at-80):min(len(text), at+60)], text)
	}
	if at := strings.Index(text, mark); at >= 0 {
		report(at)
	}
	for _, token := range s.tokens {
		for part := range strings.SplitSeq(token, ".") { // the header of a JWT is not secret, but no business of a log
			if at := strings.Index(text, part); len(part) > 16 && at >= 0 {
				report(at)
			}
		}
	}
}

// logFilter is the filter that the documentation has for the log.
func logFilter(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/observe.md")
	if err != nil {
		t.Fatal(err)
	}
	_, filter, ok := strings.Cut(string(raw), "(private) {\n")
	filter, _, end := strings.Cut(filter, "\n}\n")
	if !ok || !end {
		t.Fatal("the documentation has no filter for the log")
	}
	return "\tlog {\n" + filter + "\n\t}\n"
}
