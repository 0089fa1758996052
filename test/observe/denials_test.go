package observe_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// deniedNow is what the admin API says of the denials of the only endpoint.
type deniedNow struct {
	State    string
	Problems []struct{ State, Text, Advice string }
	Denials  []struct {
		Kind, Reason, Rule, Method, Name, Needed, Held, User, Client, Cause string
		Status, Count                                                       int
	}
	Issuers []struct {
		Issuer, Use string
		Error       string `json:"last_error"`
	} `json:"issuers_failing"`
	Load struct{ Denials map[string]int } `json:"since_load"`
}

func askDenied(t *testing.T, c *http.Client, admin string) deniedNow {
	t.Helper()
	_, body := askAdmin(t, c, admin)
	var answer struct{ Endpoints []deniedNow }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Endpoints) != 1 {
		t.Fatalf("got %s (%v)", body, err)
	}
	return answer.Endpoints[0]
}

// runAuthorized runs an endpoint with `authorize` in front of an upstream that takes all. The
// events of its denials are received.
func runAuthorized(t *testing.T, issuer *issuertest.Server, more string) (url, admin string) {
	t.Helper()
	return runAuthorizedTo(t, issuer, mcptest.NewChallenging(t, http.StatusOK, "").URL, more)
}

// runAuthorizedTo is runAuthorized with another upstream.
func runAuthorizedTo(t *testing.T, issuer *issuertest.Server, upstream, more string) (url, admin string) {
	t.Helper()
	subscribed(t, 0, "")
	port := testcaddy.FreePort(t)
	admin = testcaddy.Addr(testcaddy.FreePort(t))
	block := fmt.Sprintf("authorize {\n\t\t\tissuer %s {\n\t\t\t\tintrospect %s/introspect {\n\t\t\t\t\tclient_id edge\n\t\t\t\t\tclient_secret edge-secret\n\t\t\t\t}\n\t\t\t}\n\t\t\t%s\n\t\t}\n\t\tlimits {\n\t\t\tmax_message 64KiB\n\t\t}", issuer.URL, issuer.URL, more)
	testcaddy.Run(t, strings.Replace(mcptest.BridgeTo(port, strings.TrimPrefix(upstream, "http://"), block), "auto_https off", "auto_https off\n\tadmin "+admin+"\n\tevents {\n\t\ton mcp_denied test_subscriber\n\t}", 1))
	return "http://" + testcaddy.Addr(port) + "/mcp", admin
}

// Rule E9: the last denials are in the admin API, in `caddy mcp status` and, counted by their
// kind alone, in the metrics. They name user, client, rule and scopes, and have no token, no
// argument and no query. An endpoint that refuses is healthy.
func TestDenialsAreShown(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	url, admin := runAuthorized(t, issuer, "tools add {\n\t\t\t\tscope math:write\n\t\t\t}\n\t\t\tresources note://* {\n\t\t\t\tdeny\n\t\t\t}")
	c := mcptest.NewClient(t)
	send := func(body, token string) int {
		var fields []string
		if token != "" {
			fields = append(fields, "Authorization", "Bearer "+token)
		}
		return mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, url, body, fields...)).Status
	}
	good := issuer.Token(url, map[string]any{"scope": "math:read"})
	call := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"password":"sesame"}}}`
	read := `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"note://user:sesame@host/a?token=sesame"}}`
	for _, tt := range []struct {
		body, token string
		want        int
	}{
		{call, "", 401},
		{call, issuer.Token(url, map[string]any{"exp": 1}), 401},
		{call, "sesame-opaque", 401},
		{call, good, 403},
		{call, good, 403},
		{read, good, 403},
		{`{"jsonrpc":"2.0","id":1,"method":"ping"}`, good, 200},
	} {
		if got := send(tt.body, tt.token); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.body, got, tt.want)
		}
	}
	now := askDenied(t, c, admin)
	if now.State != "ok" || len(now.Problems) != 0 || len(now.Denials) != 5 {
		t.Fatalf("got %+v", now)
	}
	if d := now.Denials[0]; d.Kind != "forbidden" || d.Status != 403 || d.Reason != "denied" || d.Method != "resources/read" || d.Name != "note://host/a" || d.Rule == "" {
		t.Errorf("got %+v", d)
	}
	if d := now.Denials[1]; d.Kind != "insufficient_scope" || d.Count != 2 || d.Reason != "scope" || d.Method != "tools/call" || d.Name != "add" ||
		d.Needed != "math:write" || d.Held != "math:read" || d.User != "alice" || d.Client != "client-1" {
		t.Errorf("got %+v", d)
	}
	for i, want := range []string{"inactive", "expired", "no_credentials"} {
		if d := now.Denials[2+i]; d.Reason != want || d.Status != 401 || d.User != "" {
			t.Errorf("got %+v, want %s", d, want)
		}
	}
	if n := now.Load.Denials; n["missing"] != 1 || n["invalid_token"] != 2 || n["insufficient_scope"] != 2 || n["forbidden"] != 1 {
		t.Errorf("got %v", n)
	}
	out := testcaddy.RunStatus(t, admin)
	if !strings.Contains(out, `authorize 403, 2 times, last now: scope, method "tools/call", name "add", rule "tools add", needed "math:write", held "math:read", user "alice", client "client-1"`) {
		t.Errorf("got %s", out)
	}
	metrics := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, "http://"+admin+"/metrics", "")).Body
	if !strings.Contains(metrics, `caddy_mcp_auth_bridge_denials_total{endpoint="`+url+`",kind="insufficient_scope"} 2`) {
		t.Error("the metric is missing")
	}
	_, body := askAdmin(t, c, admin)
	for name, text := range map[string]string{"admin API": body, "table": out, "metrics": metrics, "log": strings.Join(testcaddy.Logs(), "\n")} {
		if strings.Contains(text, "sesame") && name != "log" || strings.Contains(text, good) {
			t.Errorf("%s has a secret: %s", name, text)
		}
	}
}

// Rule E9: a body that is refused, and a session of another, are denials like others: an entry in
// the log, an event, a count and an entry in the admin API, with the reason and nothing of the
// body.
func TestRefusedMessagesAreShown(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	url, admin := runAuthorized(t, issuer, "")
	c := mcptest.NewClient(t)
	token := issuer.Token(url, nil)
	const ping, stateless = `{"jsonrpc":"2.0","id":1,"method":"ping"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sesame","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	tests := []struct {
		kind, reason, body string
		status             int
		fields             []string
	}{
		{"invalid_message", "not_json", `{"sesame"`, 400, nil},
		{"invalid_message", "not_json_rpc", `{"sesame":1}`, 400, nil},
		{"invalid_message", "too_complex", "[" + strings.Repeat(`"sesame",`, 1000) + "1]", 400, nil},
		{"invalid_message", "duplicate_member", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"sesame":1,"sesame":2}}`, 400, nil},
		{"invalid_message", "similar_member", `{"jsonrpc":"2.0","id":1,"method":"ping","Method":"sesame"}`, 400, nil},
		{"invalid_message", "name", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["sesame"]}}`, 400, nil},
		{"invalid_message", "duplicate_id", `[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":1.0,"method":"ping"}]`, 400, nil},
		{"invalid_message", "batch", "[" + stateless + "]", 400, []string{"Mcp-Protocol-Version", "2026-07-28"}},
		{"invalid_message", "header_mismatch", stateless, 400, []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "sesame2"}},
		{"invalid_message", "content_coding", ping, 400, []string{"Content-Encoding", "sesame"}},
		{"invalid_message", "content_type", ping, 400, []string{"Content-Type", "application/x-sesame"}},
		{"invalid_message", "charset", ping, 400, []string{"Content-Type", "application/json; charset=sesame"}},
		{"invalid_message", "body_too_large", `"` + strings.Repeat("sesame", 12_000) + `"`, 413, nil},
		{"unknown_session", "unknown_session", ping, 404, []string{"Mcp-Session-Id", "sesame"}},
	}
	kinds := make(map[string]int)
	for _, tt := range tests {
		r := mcptest.NewRequest(t, http.MethodPost, url, tt.body, "Authorization", "Bearer "+token)
		for i := 0; i < len(tt.fields); i += 2 {
			r.Header.Set(tt.fields[i], tt.fields[i+1])
		}
		if got := mcptest.Do(t, c, r); got.Status != tt.status || strings.Contains(got.Body, "sesame") {
			t.Errorf("%s: got %d %s, want %d", tt.reason, got.Status, got.Body, tt.status)
			continue
		}
		kinds[tt.kind]++
		e := nextEvent(t, "mcp_denied")
		if e["reason"] != tt.reason || e["status"] != tt.status || e["user"] != "alice" || e["client"] != "client-1" || e["check"] != map[string]string{"invalid_message": "message", "unknown_session": "session"}[tt.kind] {
			t.Errorf("%s: the event has %v", tt.reason, e)
		}
		now := askDenied(t, c, admin)
		if d := now.Denials[0]; d.Kind != tt.kind || d.Reason != tt.reason || d.Status != tt.status || d.User != "alice" || d.Count != 1 {
			t.Errorf("%s: got %+v", tt.reason, d)
		}
		if now.State != "ok" || now.Load.Denials[tt.kind] != kinds[tt.kind] {
			t.Errorf("%s: got %s and the counts %v, want %v", tt.reason, now.State, now.Load.Denials, kinds)
		}
		if !slices.ContainsFunc(testcaddy.Logs(), func(line string) bool {
			return strings.Contains(line, "request is refused") && strings.Contains(line, `"reason":"`+tt.reason+`"`) && strings.Contains(line, `"user":"alice"`) && !strings.Contains(line, "sesame")
		}) {
			t.Errorf("%s: the log has no such entry", tt.reason)
		}
	}
	if _, body := askAdmin(t, c, admin); strings.Contains(body, "sesame") {
		t.Errorf("the admin API has a part of a body: %s", body)
	}
}

// Rules E3, E7, E9: a tunnel, and a task of another principal, are denials like others: an entry in
// the log, an event, a count and an entry in the admin API and in `caddy mcp status`.
func TestRefusedTunnelsAndTasksAreShown(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"task-A","status":"working"}}}`)
	}))
	t.Cleanup(up.Close)
	url, admin := runAuthorizedTo(t, issuer, up.URL, "")
	c := mcptest.NewClient(t)
	ask := func(subject, body string) mcptest.Answer {
		return mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, url, body, "Authorization", "Bearer "+issuer.Token(url, map[string]any{"sub": subject}), "Mcp-Protocol-Version", "2025-11-25"))
	}
	if got := ask("alice", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"begin","task":{}}}`); got.Status != http.StatusOK {
		t.Fatalf("got %d %s", got.Status, got.Body)
	}
	for _, tt := range []struct {
		check, kind, reason, method string
		status                      int
		refuse                      func() int
	}{
		{"message", "invalid_message", "tunnel", "", http.StatusMethodNotAllowed, func() int { return connect(t, url, issuer.Token(url, map[string]any{"sub": "bob"})) }},
		{"task", "unknown_task", "unknown_task", "tasks/get", http.StatusOK, func() int {
			got := ask("bob", `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"task-A"}}`)
			if !strings.Contains(got.Body, "-32602") {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
			return got.Status
		}},
	} {
		if got := tt.refuse(); got != tt.status {
			t.Errorf("%s: got %d, want %d", tt.reason, got, tt.status)
			continue
		}
		e := nextEvent(t, "mcp_denied")
		if e["reason"] != tt.reason || e["status"] != tt.status || e["user"] != "bob" || e["check"] != tt.check || e["method"] != tt.method {
			t.Errorf("%s: the event has %v", tt.reason, e)
		}
		now := askDenied(t, c, admin)
		if d := now.Denials[0]; d.Kind != tt.kind || d.Reason != tt.reason || d.Status != tt.status || d.User != "bob" || d.Method != tt.method || d.Count != 1 {
			t.Errorf("%s: got %+v", tt.reason, d)
		}
		if now.State != "ok" || now.Load.Denials[tt.kind] != 1 {
			t.Errorf("%s: got %s and the counts %v", tt.reason, now.State, now.Load.Denials)
		}
		if !testcaddy.Logged("request is refused", `"reason":"`+tt.reason+`"`, `"check":"`+tt.check+`"`, `"user":"bob"`) {
			t.Errorf("%s: the log has no such entry", tt.reason)
		}
		if out := testcaddy.RunStatus(t, admin); !strings.Contains(out, fmt.Sprintf("authorize %d, once, last now: %s", tt.status, tt.reason)) {
			t.Errorf("%s: got %s", tt.reason, out)
		}
		metrics := mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodGet, "http://"+admin+"/metrics", "")).Body
		if !strings.Contains(metrics, `caddy_mcp_auth_bridge_denials_total{endpoint="`+url+`",kind="`+tt.kind+`"} 1`) {
			t.Errorf("%s: the metric is missing", tt.reason)
		}
	}
}

// connect sends CONNECT for the path of an endpoint, as no client of net/http does, and returns the
// status.
func connect(t *testing.T, url, token string) int {
	t.Helper()
	host, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "CONNECT /%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, host, token)
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode
}

// Rule E9: an endpoint whose issuer cannot be asked is failing if that is why no credentials
// were accepted for an hour. The last errors are shown, of keys and of introspection, until the
// issuer can be asked again.
func TestIssuerThatIsAway(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	url, admin := runAuthorized(t, issuer, "")
	c := mcptest.NewClient(t)
	ping := func(token string) int {
		return mcptest.Do(t, c, mcptest.NewRequest(t, http.MethodPost, url, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Authorization", "Bearer "+token)).Status
	}
	issuer.SetDown(true)
	if got := ping(issuer.Token(url, nil)); got != http.StatusServiceUnavailable {
		t.Fatalf("got %d", got)
	}
	now := askDenied(t, c, admin)
	if now.State != "failing" || !strings.HasPrefix(now.Problems[0].Text, "no credentials were accepted in the last hour, because the issuer cannot be asked (keys of the issuer: asking "+issuer.URL) || now.Problems[0].Advice == "" {
		t.Errorf("got %s, %+v", now.State, now.Problems)
	}
	if len(now.Issuers) != 1 || now.Issuers[0].Issuer != issuer.URL || now.Issuers[0].Use != "keys" || !strings.Contains(now.Issuers[0].Error, "status 503") {
		t.Errorf("got %+v", now.Issuers)
	}
	if d := now.Denials; len(d) != 1 || d[0].Kind != "issuer_unavailable" || d[0].Status != 503 || !strings.Contains(d[0].Cause, "status 503") {
		t.Errorf("got %+v", d)
	}
	opaque := issuer.Opaque(map[string]any{"sub": "alice", "aud": url})
	if got := ping(opaque); got != http.StatusServiceUnavailable {
		t.Errorf("got %d", got)
	}
	if now := askDenied(t, c, admin); len(now.Issuers) != 2 || now.Issuers[1].Use != "introspection" || !strings.Contains(now.Issuers[1].Error, "status 503") {
		t.Errorf("got %+v", now.Issuers)
	}
	if out := testcaddy.RunStatus(t, admin); !strings.Contains(out, "\nfailing ") || !strings.Contains(out, "the keys of issuer "+issuer.URL+" cannot be fetched (asking ") {
		t.Errorf("got %s", out)
	}
	issuer.SetDown(false)
	if got := ping(opaque); got != http.StatusOK {
		t.Errorf("got %d", got)
	}
	// The keys were not asked for again.
	if now := askDenied(t, c, admin); now.State != "attention" || len(now.Issuers) != 1 || now.Issuers[0].Use != "keys" {
		t.Errorf("got %+v", now)
	}
}
