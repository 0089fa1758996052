package edge_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// matrixRules are the rules of the matrix. A target is `open`, which needs what every request
// needs, `write`, which needs one more scope, or `forbidden`, which no scope opens.
const matrixRules = `scope base
			tools write {
				scope w
			}
			tools forbidden {
				deny
			}
			prompts write {
				scope w
			}
			prompts forbidden {
				deny
			}
			resources x:write {
				scope w
			}
			resources x:forbidden {
				deny
			}`

// operation is one request of the matrix.
type operation struct {
	name      string
	verb      string // of HTTP
	stateless bool   // of 2026-07-28
	batch     bool
	target    string // empty: it names nothing that a rule is about
	hasID     bool   // an answer to it has its id
	body      string // MARKER stands for the marker, ID for the id
	mcpName   string // the field Mcp-Name
}

// operations are the requests of clients of a revision.
func operations(stateless bool) []operation {
	var all []operation
	if !stateless {
		// First, so that what follows shows that the session is still there.
		all = append(all, operation{name: "DELETE", verb: http.MethodDelete}, operation{name: "GET", verb: http.MethodGet})
	}
	add := func(name, target, params, mcpName string) {
		meta := `"_meta":{"marker":"MARKER"}`
		if stateless {
			meta = `"_meta":{"marker":"MARKER","io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
		}
		if params != "" {
			params += ","
		}
		all = append(all, operation{
			name: strings.TrimSpace(name + " " + target), verb: http.MethodPost, stateless: stateless, target: target, hasID: true, mcpName: mcpName,
			body: `{"jsonrpc":"2.0","id":ID,"method":"` + name + `","params":{` + params + meta + `}}`,
		})
	}
	if stateless {
		add("server/discover", "", "", "")
	} else {
		add("initialize", "", `"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"MARKER","version":"1"}`, "")
	}
	add("tools/list", "", "", "")
	for _, target := range []string{"open", "write", "forbidden"} {
		add("tools/call", target, `"name":"`+target+`","arguments":{}`, target)
		add("resources/read", target, `"uri":"x:`+target+`"`, "x:"+target)
		add("completion/complete", target, `"ref":{"type":"ref/prompt","name":"`+target+`"},"argument":{"name":"a","value":"b"}`, "")
		add("completion/complete", target, `"ref":{"type":"ref/resource","uri":"x:`+target+`"},"argument":{"name":"a","value":"b"}`, "")
		if stateless {
			add("subscriptions/listen", target, `"notifications":{"resourceSubscriptions":["x:open","x:`+target+`"]}`, "")
			continue
		}
		add("resources/subscribe", target, `"uri":"x:`+target+`"`, "")
		call := all[len(all)-5] // tools/call
		all = append(all, operation{
			name: "batch " + target, verb: http.MethodPost, batch: true, target: target,
			body: `[{"jsonrpc":"2.0","id":"ping ID","method":"ping"},` + call.body + `]`,
		})
	}
	if !stateless {
		all = append(all, operation{name: "notification", verb: http.MethodPost, body: `{"jsonrpc":"2.0","method":"notifications/roots/list_changed","params":{"_meta":{"marker":"MARKER"}}}`})
	}
	return all
}

// who is the credentials of a request, and what is wrong with them.
type who struct {
	name   string
	fields []string // names and values
	query  string
	// reason is empty for a token that is accepted.
	reason principal.Reason
	code   principal.Code
	scopes []string
}

// everybody are credentials of every kind.
func everybody(t *testing.T, issuer *issuertest.Server, key issuertest.Key, audience string) []who {
	t.Helper()
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	all := []who{
		{name: "nobody", code: principal.Missing, reason: principal.NoCredentials},
		{name: "Basic", fields: []string{"Authorization", "Basic YTpi"}, code: principal.Missing, reason: principal.NoCredentials},
	}
	bad := func(name string, reason principal.Reason, token string) {
		all = append(all, who{name: name, fields: bearer(token), code: principal.InvalidToken, reason: reason})
	}
	malformed := func(name string, reason principal.Reason, query string, fields ...string) {
		all = append(all, who{name: name, fields: fields, query: query, code: principal.InvalidRequest, reason: reason})
	}
	now := time.Now().Unix()
	scoped := func(others map[string]any) map[string]any {
		claims := issuer.Claims(audience, others)
		if others["scope"] == nil {
			claims["scope"] = "base w" // nothing but the fault may be the reason
		}
		return claims
	}
	claims := func(others map[string]any) string { return key.Sign(t, scoped(others), nil) }
	header := func(fields map[jose.HeaderKey]any) string { return key.Sign(t, scoped(nil), fields) }
	good := claims(nil)
	part := strings.Split(good, ".")
	unsigned := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + part[1] + "."
	}
	hmac := issuertest.Key{JSONWebKey: jose.JSONWebKey{Key: issuertest.Set(t, key), KeyID: key.KeyID, Algorithm: "HS256"}}
	other := issuertest.NewKey(t, jose.ES256, key.KeyID)
	another := issuertest.Start(t, other)
	twice := `{"iss":"` + issuer.URL + `","aud":"` + audience + `","sub":"a","exp":9999999999,"scope":"base w","sub":"b"}`

	bad("not signed", principal.WrongAlgorithm, unsigned(`{"alg":"none"}`))
	bad("signed with the public key", principal.WrongAlgorithm, hmac.Sign(t, scoped(nil), nil))
	bad("signed by another", principal.WrongSignature, other.Sign(t, scoped(nil), nil))
	bad("key in the header", principal.WrongSignature, other.Sign(t, scoped(nil), map[jose.HeaderKey]any{"jwk": other.Public(), "jku": another.URL + "/jwks", "x5u": another.URL}))
	bad("another issuer, same key id", principal.UnknownIssuer, another.Token(audience, map[string]any{"scope": "base w"}))
	bad("issuer with a slash", principal.UnknownIssuer, claims(map[string]any{"iss": issuer.URL + "/"}))
	bad("unknown key id", principal.UnknownKey, issuertest.NewKey(t, jose.ES256, "../one").Sign(t, scoped(nil), nil))
	bad("another audience", principal.WrongAudience, claims(map[string]any{"aud": strings.Replace(audience, "/mcp", "/", 1)}))
	bad("other audiences", principal.WrongAudience, claims(map[string]any{"aud": []string{audience + "x", "*"}}))
	bad("no audience", principal.WrongAudience, claims(map[string]any{"aud": nil}))
	bad("expired", principal.Expired, claims(map[string]any{"exp": now - 60}))
	bad("no expiry", principal.NoExpiry, claims(map[string]any{"exp": nil}))
	bad("not yet valid", principal.NotYetValid, claims(map[string]any{"nbf": now + 120}))
	bad("issued in the future", principal.IssuedInFuture, claims(map[string]any{"iat": now + 120}))
	bad("ID token", principal.IDToken, claims(map[string]any{"nonce": "n"}))
	bad("type of an ID token", principal.WrongType, header(map[jose.HeaderKey]any{jose.HeaderType: "id+jwt"}))
	bad("crit", principal.CriticalHeader, header(map[jose.HeaderKey]any{"crit": []string{"x"}, "x": 1}))
	bad("a claim twice", principal.MalformedToken, key.SignBytes(t, []byte(twice), nil))
	bad("bound to a key", principal.Unbound, claims(map[string]any{"cnf": map[string]any{"jkt": "x"}}))
	bad("bound to a certificate", principal.Unbound, claims(map[string]any{"cnf": map[string]any{"x5t#S256": "x"}}))
	bad("opaque", principal.MalformedToken, "opaque-token")
	bad("long", principal.TokenTooLong, good+strings.Repeat("A", 17<<10))
	malformed("two fields", principal.TwoCredentials, "", "Authorization", "Bearer "+good, "Authorization", "Bearer "+good)
	malformed("two in one field", principal.MalformedHeader, "", "Authorization", "Bearer "+good+", Bearer "+good)
	malformed("in the query", principal.TokenInQuery, "access_token="+good)
	malformed("in the query, too", principal.TokenInQuery, "access_token="+good, bearer(good)...)
	for name, scopes := range map[string][]string{"no scope": nil, "other scopes": {"w", "BASE"}, "reader": {"base"}, "writer": {"base", "w"}} {
		all = append(all, who{name: name, scopes: scopes, fields: bearer(issuer.Token(audience, map[string]any{"scope": strings.Join(scopes, " ")}))})
	}
	return all
}

// verdict is what a request has to be answered with.
type verdict struct {
	allowed   bool
	status    int
	challenge []string
	body      string
}

// expected follows from rules E1 to E3 alone.
func expected(w who, o operation, id, metadata string) verdict {
	refuse := func(status, code int, id, text, challenge string) verdict {
		if id != "" {
			id = `"id":` + id + `,`
		}
		v := verdict{status: status, body: fmt.Sprintf(`{"jsonrpc":"2.0",%s"error":{"code":%d,"message":"%s"}}`, id, code, text)}
		if challenge != "" {
			v.challenge = []string{"Bearer " + challenge + `, resource_metadata="` + metadata + `"`}
		}
		return v
	}
	described := fmt.Sprintf(`error="%s", error_description="%s", scope="base"`, w.code, w.reason.Text())
	switch w.code {
	case principal.Missing: // E2: a challenge without an error
		return refuse(401, -32000, "", w.reason.Text(), `scope="base"`)
	case principal.InvalidToken:
		return refuse(401, -32000, "", w.reason.Text(), described)
	case principal.InvalidRequest:
		return refuse(400, -32600, "", w.reason.Text(), described)
	}
	if !o.hasID {
		id = ""
	}
	// E2: what no scope opens wins over too little scope.
	if o.target == "forbidden" {
		return refuse(403, -32000, id, "Forbidden: this is not allowed", "")
	}
	needed := []string{"base"}
	if o.target == "write" {
		needed = append(needed, "w")
	}
	for _, scope := range needed {
		if !slices.Contains(w.scopes, scope) {
			const text = "the scope of the token is too small"
			return refuse(403, -32000, id, "Forbidden: "+text, `error="insufficient_scope", error_description="`+text+`", scope="`+strings.Join(needed, " ")+`"`)
		}
	}
	return verdict{allowed: true}
}

// matrix is one endpoint of the matrix.
type matrix struct {
	t        *testing.T
	http     bool // requests cross to the server as they are
	client   *http.Client
	url      string // of the endpoint
	metadata string
	session  string
	message  string // the message URL of an open stream of HTTP+SSE
	n        int
	refused  []string // markers of the requests that were refused
	crossed  []string // markers of the requests that were not
}

func (m *matrix) request(at string, w who, o operation, id, marker string) *http.Request {
	m.t.Helper()
	if w.query != "" {
		separator := "?"
		if strings.Contains(at, "?") {
			separator = "&"
		}
		at += separator + w.query
	}
	r := mcptest.NewRequest(m.t, o.verb, at, strings.NewReplacer("MARKER", marker, "ID", id).Replace(o.body))
	if o.body == "" && m.http {
		r.Header.Set(markerField, marker)
	}
	for i := 0; i < len(w.fields); i += 2 {
		r.Header.Add(w.fields[i], w.fields[i+1])
	}
	switch {
	case o.stateless:
		r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
		r.Header.Set("Mcp-Method", strings.Split(o.name, " ")[0])
		if o.mcpName != "" {
			r.Header.Set("Mcp-Name", o.mcpName)
		}
	case m.session != "" && o.name != "initialize":
		r.Header.Set("Mcp-Session-Id", m.session)
		r.Header.Set("Mcp-Protocol-Version", revisionOf(o))
	}
	return r
}

// bridged reports whether the bridge answers a request itself where it carries messages over,
// or asks the server something else.
func (o operation) bridged() bool {
	return o.name == "initialize" || o.name == "server/discover" || strings.HasPrefix(o.name, "subscriptions/listen")
}

// revisionOf is the revision of a session that may be asked this. Only one has batches.
func revisionOf(o operation) string {
	if o.batch {
		return "2025-03-26"
	}
	return "2025-11-25"
}

// begin begins a session for an operation.
func (m *matrix) begin(w who, o operation) {
	m.t.Helper()
	m.session = ""
	body := strings.Replace(mcptest.Initialize, "2025-11-25", revisionOf(o), 1)
	got := mcptest.Do(m.t, m.client, m.request(m.url, w, operation{verb: http.MethodPost, body: body}, "", ""))
	if m.session = got.Header.Get("Mcp-Session-Id"); got.Status != 200 || m.session == "" {
		m.t.Fatalf("initialize: %d %s", got.Status, got.Body)
	}
}

// listen opens a stream of HTTP+SSE, begins there, and reads it until the test ends.
func (m *matrix) listen(base string, w who) {
	m.t.Helper()
	res, err := m.client.Do(m.request(m.url+"/sse", w, operation{verb: http.MethodGet, stateless: true}, "", ""))
	if err != nil || res.StatusCode != 200 {
		m.t.Fatalf("the stream of HTTP+SSE: %v, %v", res, err)
	}
	lines := bufio.NewScanner(res.Body)
	next := func() string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		m.t.Fatalf("the stream has ended: %v", lines.Err())
		return ""
	}
	m.message = base + next()
	post := func(body string) {
		if got := mcptest.Do(m.t, m.client, m.request(m.message, w, operation{verb: http.MethodPost, body: body}, "", "")); got.Status != 202 {
			m.t.Fatalf("%s: %d %s", body, got.Status, got.Body)
		}
	}
	post(mcptest.Initialize)
	_ = next()
	post(mcptest.Initialized)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, res.Body)
	}()
	m.t.Cleanup(func() {
		_ = res.Body.Close()
		<-done
	})
}

// ask sends one request, and compares its answer.
func (m *matrix) ask(what, at string, w who, o operation) {
	m.t.Helper()
	m.n++
	id := strconv.Itoa(m.n)
	marker := fmt.Sprintf("[%s %s]", strings.TrimPrefix(m.url, "http://"), id)
	want := expected(w, o, id, m.metadata)
	if own := o.verb != http.MethodPost || o.batch; own && want.allowed && m.session != "" {
		m.begin(w, o)
		defer m.begin(w, operation{})
	}
	res, err := m.client.Do(m.request(at, w, o, id, marker))
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if want.allowed {
		if o.verb != http.MethodGet && !strings.HasPrefix(o.name, "subscriptions/listen") { // these are streams
			_, _ = io.ReadAll(res.Body)
		}
		if m.http || o.verb == http.MethodPost && !o.bridged() {
			m.crossed = append(m.crossed, marker)
		}
		if res.StatusCode/100 != 2 {
			m.t.Errorf("%s, %s, %s: got %d; want it to be allowed", what, w.name, o.name, res.StatusCode)
		}
		return
	}
	m.refused = append(m.refused, marker)
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != want.status || string(body) != want.body || !slices.Equal(res.Header["Www-Authenticate"], want.challenge) {
		m.t.Errorf("%s, %s, %s: got %d %q %s; want %d %q %s", what, w.name, o.name, res.StatusCode, res.Header["Www-Authenticate"], body, want.status, want.challenge, want.body)
	}
}

// E1, E2, E3: each request with each kind of credentials, over each transport, is answered as
// the rules say, and what is refused does not reach the MCP server.
func TestMatrix(t *testing.T) {
	key := issuertest.NewKey(t, jose.ES256, "one")
	issuer, servers := issuertest.Start(t, key), newPlain(t)
	port := testcaddy.FreePort(t)
	rules := authorize(issuer, matrixRules)
	testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	mcp_auth_bridge /http/mcp %s/mcp {
		%[3]s
	}
	mcp_auth_bridge /sse/mcp sse+%[2]s/sse {
		%[3]s
		legacy_sse
	}
	mcp_auth_bridge /program/mcp {
		%[4]s
		%[3]s
		legacy_sse
	}
}`, port, servers.URL, rules, servers.program(t)))
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	for _, transport := range []string{"http", "sse", "program"} {
		t.Run(transport, func(t *testing.T) {
			m := &matrix{t: t, http: transport == "http", client: mcptest.HTTPClient(t), url: base + "/" + transport + "/mcp", metadata: base + "/.well-known/oauth-protected-resource/" + transport + "/mcp"}
			all := everybody(t, issuer, key, m.url)
			reader := all[slices.IndexFunc(all, func(w who) bool { return w.name == "reader" })]
			for _, stateless := range []bool{false, true} {
				m.begin(reader, operation{})
				for _, o := range operations(stateless) {
					for _, w := range all {
						m.ask("endpoint", m.url, w, o)
					}
				}
			}
			if transport != "http" {
				m.session = ""
				m.listen(base, reader)
				for _, o := range operations(false) {
					for _, w := range all {
						if o.verb == http.MethodPost {
							m.ask("message path", m.message, w, o)
						}
					}
				}
			}
			mcptest.Poll(t, time.Minute, func() string { // a program reads what was accepted for it
				reached := servers.reached(t)
				for _, marker := range m.crossed {
					if !strings.Contains(reached, marker) {
						return marker + " was allowed, and has not reached the server"
					}
				}
				return ""
			})
			reached := servers.reached(t)
			for _, marker := range m.refused {
				if strings.Contains(reached, marker) {
					t.Errorf("%s was refused, and reached the server", marker)
				}
			}
			t.Logf("%d refused, %d allowed", len(m.refused), len(m.crossed))
		})
	}
}
