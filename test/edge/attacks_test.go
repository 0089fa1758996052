package edge_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// attackRules are rules that attacks try to get round.
const attackRules = `tools delete_* {
				deny
			}
			tools admin/reset {
				deny
			}
			tools guarded {
				when ` + "`principal.claims.department == \"it\" && arguments.path.startsWith(\"/public/\")`" + `
			}
			resources file:///srv/secret/* {
				deny
			}`

// attacked is the address of one endpoint, and a session at it.
type attacked struct {
	url, session string
	token        string
}

// attackSite has an endpoint of each transport, with these rules, and a session at each.
func attackSite(t *testing.T, issuer *issuertest.Server, servers *plain, rules string) map[string]attacked {
	t.Helper()
	port := testcaddy.FreePort(t)
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
	}
	mcp_auth_bridge /program/mcp {
		%[4]s
		%[3]s
	}
}`, port, servers.URL, authorize(issuer, rules), servers.program(t)))
	all := map[string]attacked{}
	for _, transport := range []string{"http", "sse", "program"} {
		a := attacked{url: fmt.Sprintf("http://127.0.0.1:%d/%s/mcp", port, transport)}
		a.token = issuer.Token(a.url, map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
		got := post(t, a.url, initialize, "Authorization", "Bearer "+a.token)
		if a.session = got.Header.Get("Mcp-Session-Id"); a.session == "" {
			t.Fatalf("initialize: %d %s", got.Status, got.Body)
		}
		all[transport] = a
	}
	return all
}

// attack is a body that must not reach a server.
type attack struct {
	name, body string
	status     int
	fields     []string // of the header
}

// rpc is a request as JSON.
func rpc(method, params string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + `}`
}

// batch is a batch of these messages, each of which gets an id of its own in place of 1.
func batch(messages ...string) string {
	for i, m := range messages {
		messages[i] = strings.Replace(m, `"id":1`, fmt.Sprintf(`"id":%d`, i+1), 1)
	}
	return "[" + strings.Join(messages, ",") + "]"
}

func quoted(text string) string {
	raw, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// bodyAttacks are bodies that try to get round the rules.
func bodyAttacks() []attack {
	call := func(name string) string { return rpc("tools/call", `{"name":`+quoted(name)+`}`) }
	var all []attack
	add := func(status int, name, body string, fields ...string) {
		all = append(all, attack{name, body, status, fields})
	}
	for _, name := range []string{
		"delete_all", "Delete_all", "DELETE_ALL", "delete%5Fall", "%64elete_all", "delete%255Fall", "d\u0435lete_all", "delete_\u0430ll", "ｄｅｌｅｔｅ＿ａｌｌ",
		"dele\u200bte_all", "\ufeffdelete_all", "delete\u00ad_all", " delete_all", "delete_all\x00", "delete_all\n", "dele\u0301te_all", "delete\u2017all",
		"admin/reset", "admin%2Freset", "admin%2freset", "admin%252Freset", "Admin/Reset", "admin\u2215reset", "admin／reset", "\u0430dmin/reset",
	} {
		add(403, fmt.Sprintf("name %q", name), call(name))
	}
	for _, uri := range []string{
		"file:///srv/secret/a", "FILE:///srv/secret/a", "file://localhost/srv/secret/a", "file://LOCALHOST/srv/secret/a", "file:/srv/secret/a",
		"file:///srv/public/../secret/a", "file:///srv/public/%2e%2e/secret/a", "file:///srv/public/%2E./secret/a", "file:///srv/public/..%2fsecret/a",
		"file:///srv/public/%252e%252e/secret/a", "file:///srv/./secret/a", "file:///srv/%73ecret/a", "file:///srv/secret%2Fa", `file:///srv/public/..\secret/a`,
		"file:///srv/public/..%5Csecret%5Ca", "file:///srv/secret/a?x=y", "file:///srv/secret/a#x", "file:///srv//secret/a", "file:////srv/secret/a", "file:///srv/secret//a",
		"file:///srv/public/x/..//../secret/a", "file:///srv/secret/a\x00.txt", "file:///../srv/secret/a",
	} {
		for _, method := range []string{"resources/read", "resources/subscribe"} {
			add(403, fmt.Sprintf("%s %q", method, uri), rpc(method, `{"uri":`+quoted(uri)+`}`))
		}
		add(403, fmt.Sprintf("complete %q", uri), rpc("completion/complete", `{"ref":{"type":"ref/resource","uri":`+quoted(uri)+`},"argument":{"name":"a","value":"b"}}`))
	}
	for name, params := range map[string]string{
		"a name twice": `{"name":"open","name":"delete_all"}`, "an escaped name": `{"name":"open","n\u0061me":"delete_all"}`, "Name": `{"name":"open","Name":"delete_all"}`,
		"NAME first": `{"NAME":"delete_all","name":"open"}`, "a member twice, deep": `{"name":"open","arguments":{"a":[{"b":1,"b":2}]}}`,
		"no name": `{"arguments":{}}`, "a list for a name": `{"name":["delete_all"]}`, "null for a name": `{"name":null}`, "a long name": `{"name":"` + strings.Repeat("a", 9<<10) + `"}`,
		"an escaped letter": `{"name":"open","arguments":{},"task":{},"na\u006de":"delete_all"}`,
	} {
		add(400, name, rpc("tools/call", params))
	}
	add(400, "Params", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"open"},"Params":{"name":"delete_all"}}`)
	add(400, "Method", `{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/call","params":{"name":"delete_all"}}`)
	add(400, "params twice", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"open"},"params":{"name":"delete_all"}}`)
	add(400, "params is a list", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["delete_all"]}`)
	add(400, "Uri", rpc("resources/read", `{"uri":"x:open","URI":"file:///srv/secret/a"}`))
	add(400, "Ref", rpc("completion/complete", `{"ref":{"type":"ref/resource","uri":"x:a","Uri":"file:///srv/secret/a"},"argument":{"name":"a","value":"b"}}`))
	add(403, "a batch that hides a call", batch(rpc("ping", `{}`), call("open"), call("delete_all")))
	add(400, "a batch with a member twice", batch(rpc("ping", `{}`), rpc("tools/call", `{"name":"open","name":"delete_all"}`)))
	add(400, "a batch in a batch", `[[`+call("delete_all")+`]]`)
	add(403, "a call as a notification", `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete_all"}}`)
	add(403, "a rule that errs: no claim", rpc("tools/call", `{"name":"guarded","arguments":{"path":"/public/a"}}`))
	list := rpc("tools/list", "{}")
	for name, id := range map[string]string{"number": "1", "point": "1.0", "exponent": "10e-1"} {
		add(400, "an id twice in a batch, "+name, "["+list+","+strings.Replace(call("open"), `"id":1`, `"id":`+id, 1)+"]")
	}
	add(400, "an id twice in a batch, escaped", strings.NewReplacer(`"id":1`, `"id":"a"`, `"id":2`, `"id":"\u0061"`).Replace("["+list+`,{"jsonrpc":"2.0","id":2,"method":"ping"}]`))
	add(400, "two values", call("open")+call("delete_all"))
	add(400, "two lines", call("open")+"\n"+call("delete_all"))
	add(400, "behind a zero", call("open")+"\x00"+call("delete_all"))
	add(400, "deep", rpc("ping", strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000)))

	utf16LE := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(call("open"))) {
		utf16LE = append(utf16LE, byte(unit), byte(unit>>8))
	}
	add(400, "UTF-16", string(utf16LE), "Content-Type", "application/json; charset=utf-16")
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(call("delete_all")))
	_ = w.Close()
	add(400, "gzip", packed.String(), "Content-Encoding", "gzip")
	add(400, "a form", "access_token=x&name=delete_all", "Content-Type", "application/x-www-form-urlencoded")

	// In UTF-7 +ACI- is a quotation mark: here begins a second `name`.
	seven := rpc("tools/call", `{"name":"open","_meta":{"a":"+ACI-},+ACI-name+ACI-:+ACI-delete_all+ACI-,+ACI-b+ACI-:{+ACI-c+ACI-:+ACI-"}}`)
	for _, kind := range []string{
		"application/json; charset=utf-7", `application/json;CHARSET="UTF-7"`, "application/json; charset=utf-8; charset=utf-7", "application/json; charset=utf-16le",
		"application/json; charset", "application/json; charset*=us-ascii''utf-7", "application/json; charset=unicode-1-1-utf-7", "application/json, text/plain; charset=utf-7",
		// Parsers of Go drop some of these parameters, and those of Python take them for the charset (RFC 2231).
		"application/json; charset*1*=utf-7", "application/json; charset*1=utf-7", "application/json; charset*=utf-16''utf-7", "application/json; charset*0=utf-; charset*1=7",
		"application/json; charset*0*=%75tf-7", `application/json; charset*0="utf-8"; charset*1=utf-7`, "application/json; charset=utf-8; charset*1*=utf-7",
		// Parsers that cut at every semicolon or comma.
		`application/json; a="; charset=utf-7"`, `application/json; a=", text/plain; charset=utf-7"`, `application/json; a="\"; charset=utf-7; b="`, `application/json; charset="utf-8, utf-7"`,
	} {
		add(400, "as "+kind, seven, "Content-Type", kind)
	}
	add(400, "two types", seven, "Content-Type", "application/json", "Content-Type", "application/json; charset=utf-7")
	// As JSON it is a ping, and as a form, or in parts, a call.
	form := rpc("ping", `{"a":"&method=tools/call&params[name]=delete_all&b="}`)
	for _, kind := range []string{"application/x-www-form-urlencoded", "APPLICATION/X-WWW-FORM-URLENCODED; charset=utf-8", `multipart/form-data; boundary="a"`, "text/xml", "application/json+xml", "application/graphql", "*/*"} {
		add(400, "as "+kind, form, "Content-Type", kind)
	}
	for _, coding := range []string{"br", "deflate", "x-gzip", "identity, br"} {
		add(400, "in "+coding, call("open"), "Content-Encoding", coding)
	}
	return all
}

// E3, E4: no body gets round the rules: names and URIs that look like others, members that
// are there twice, batches, other character sets and codings.
func TestBodiesThatTryToGetRoundTheRules(t *testing.T) {
	issuer, servers := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one")), newPlain(t)
	for transport, at := range attackSite(t, issuer, servers, attackRules) {
		t.Run(transport, func(t *testing.T) {
			before := servers.reached(t)
			for _, a := range bodyAttacks() {
				r := mcptest.NewRequest(t, http.MethodPost, at.url, a.body, "Authorization", "Bearer "+at.token, "Mcp-Session-Id", at.session)
				for i := 0; i < len(a.fields); i += 2 {
					if i == 0 {
						r.Header.Del(a.fields[0])
					}
					r.Header.Add(a.fields[i], a.fields[i+1])
				}
				got := mcptest.Do(t, http.DefaultClient, r)
				if got.Status != a.status || got.Header.Get("Www-Authenticate") != "" {
					t.Errorf("%s: got %d %s; want %d", a.name, got.Status, got.Body, a.status)
				}
			}
			ordinary := []string{"application/json; charset=UTF-8", `application/json;charset="utf-8"`, "application/json ; charset=utf8;", `application/json; profile="https://example.com/a?b=c"`, "application/json"}
			for _, kind := range ordinary {
				r := mcptest.NewRequest(t, http.MethodPost, at.url, rpc("ping", `{}`), "Authorization", "Bearer "+at.token, "Mcp-Session-Id", at.session, "Content-Encoding", "identity")
				r.Header.Set("Content-Type", kind)
				if got := mcptest.Do(t, http.DefaultClient, r); got.Status != 200 {
					t.Errorf("an ordinary request, %s: %d %s", kind, got.Status, got.Body)
				}
			}
			if after := servers.reached(t); strings.Count(after, `"method"`) != strings.Count(before, `"method"`)+len(ordinary) {
				t.Errorf("the server got\n%s", strings.TrimPrefix(after, before))
			}
		})
	}
}

// E6: a client can neither forge a field that tells the server who asks, nor have it removed.
func TestIdentityCannotBeRemoved(t *testing.T) {
	issuer, server := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one")), newRecorder(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, server.URL, authorize(issuer, "identity X-User id", "identity X-Groups groups")))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	token := issuer.Token(url, map[string]any{"groups": []string{"guests"}})
	for _, fields := range [][]string{
		{"Connection", "X-User"},
		{"Connection", "close, x-user, X-Groups"},
		{"Connection", "keep-alive", "Connection", "X_User,X-GROUPS"},
		{"X-User", "root", "X_User", "root", "x-groups", "admins", "Connection", "x-user, x-groups"},
		{"Trailer", "X-User"},
	} {
		before := len(server.headers())
		got := post(t, url, rpc("ping", `{}`), append(fields, "Authorization", "Bearer "+token)...)
		all := server.headers()
		if got.Status != 200 || len(all) != before+1 {
			t.Fatalf("%q: got %d %s", fields, got.Status, got.Body)
		}
		if h := all[before]; fmt.Sprint(h["X-User"], h["X-Groups"]) != "[alice] [guests]" || h.Get("X_user") != "" {
			t.Errorf("%q: the server got %v", fields, h)
		}
	}
}

// E1: a DPoP proof is worth nothing a second time, or for another request.
func TestProofsOfAnotherRequest(t *testing.T) {
	issuer, server := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one")), newRecorder(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, server.URL, authorize(issuer, "dpop required")))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	mine, another := issuertest.NewKey(t, jose.ES256, ""), issuertest.NewKey(t, jose.ES256, "")
	bound := map[string]any{"cnf": map[string]any{"jkt": mine.Thumbprint(t)}}
	token, second := issuer.Token(url, bound), issuer.Token(url, bound)
	once := mine.Proof(t, "POST", url, token, nil)
	if got := post(t, url, rpc("ping", `{}`), "Authorization", "DPoP "+token, "Dpop", once); got.Status != 200 {
		t.Fatalf("got %d %v", got.Status, got.Header)
	}
	reached := len(server.headers())
	for what, tc := range map[string]struct{ token, proof, reason string }{
		"a second time":         {token, once, "was used before"},
		"another token":         {second, mine.Proof(t, "POST", url, token, nil), "for another token"},
		"no token":              {token, mine.Proof(t, "POST", url, token, map[string]any{"ath": nil}), "DPoP proof"},
		"another URL":           {token, mine.Proof(t, "POST", url+"/x", token, nil), "for another URL"},
		"another host":          {token, mine.Proof(t, "POST", "https://evil.example/mcp", token, nil), "for another URL"},
		"another method":        {token, mine.Proof(t, "GET", url, token, nil), "for another method"},
		"the method, lower":     {token, mine.Proof(t, "post", url, token, nil), "for another method"},
		"another key":           {token, another.Proof(t, "POST", url, token, nil), "not bound"},
		"old":                   {token, mine.Proof(t, "POST", url, token, map[string]any{"iat": time.Now().Unix() - 120}), "too old"},
		"of the future":         {token, mine.Proof(t, "POST", url, token, map[string]any{"iat": time.Now().Unix() + 120}), "too old"},
		"no proof":              {token, "", "no proof"},
		"a token of no key":     {issuer.Token(url, nil), mine.Proof(t, "POST", url, token, nil), ""},
		"the proof of itself":   {once, once, ""},
		"a proof without a jti": {token, mine.Proof(t, "POST", url, token, map[string]any{"jti": nil}), "malformed"},
	} {
		fields := []string{"Authorization", "DPoP " + tc.token}
		if tc.proof != "" {
			fields = append(fields, "Dpop", tc.proof)
		}
		got := post(t, url, rpc("ping", `{}`), fields...)
		if lines := strings.Join(got.Header["Www-Authenticate"], "\n"); got.Status != 401 || !strings.Contains(lines, tc.reason) {
			t.Errorf("%s: got %d %s; want %q", what, got.Status, lines, tc.reason)
		}
	}
	if got := post(t, url, rpc("ping", `{}`), "Authorization", "Bearer "+token, "Dpop", mine.Proof(t, "POST", url, token, nil)); got.Status != 401 {
		t.Errorf("as Bearer: got %d", got.Status)
	}
	if got := post(t, url, rpc("ping", `{}`), "Authorization", "DPoP "+token, "Dpop", mine.Proof(t, "POST", url, token, nil), "Dpop", mine.Proof(t, "POST", url, token, nil)); got.Status != 400 {
		t.Errorf("two proofs: got %d", got.Status)
	}
	if n := len(server.headers()); n != reached {
		t.Errorf("%d requests have reached the server", n-reached)
	}
}

// E1, G: ten thousand distinct bad tokens, half of them with a key id of their own and a place
// to fetch the key from, leave nothing behind. The issuer is asked once in 10 seconds at most,
// and no other host is.
func TestFloodOfBadTokensThroughCaddy(t *testing.T) {
	key := issuertest.NewKey(t, jose.ES256, "one")
	issuer, server := issuertest.Start(t, key), newRecorder(t)
	elsewhere := issuertest.Start(t, key)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, server.URL, authorize(issuer)))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	good := issuer.Token(url, map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
	part := strings.Split(good, ".")
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	client := mcptest.HTTPClient(t)
	send := func(token string) int {
		return mcptest.Do(t, client, mcptest.NewRequest(t, http.MethodPost, url, rpc("ping", `{}`), "Authorization", "Bearer "+token)).Status
	}
	heap := func() uint64 {
		testcaddy.ForgetLogs()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	flood := func(from, to int) {
		for n := from; n < to; n++ {
			header := part[0]
			if n%2 == 1 {
				header = encode(fmt.Sprintf(`{"alg":"ES256","kid":"../kid-%d","jku":"%s/jwks","x5u":"%[2]s/jwks"}`, n, elsewhere.URL))
			}
			if got := send(header + "." + encode(fmt.Sprintf(`{"iss":%q,"aud":%q,"exp":9999999999,"sub":"a","jti":"%d"}`, issuer.URL, url, n)) + "." + part[2]); got != 401 {
				t.Fatalf("token %d: got %d", n, got)
			}
			if n%1000 == 0 {
				testcaddy.ForgetLogs()
			}
		}
	}
	if got := send(good); got != 200 {
		t.Fatalf("got %d", got)
	}
	begin := time.Now()
	flood(0, 1000) // what is allocated once
	before := heap()
	flood(1000, 10_000)
	if after := heap(); after > before+4<<20 {
		t.Errorf("%d bytes more are held", after-before)
	}
	if n, most := issuer.Asked("/jwks"), int(time.Since(begin)/(10*time.Second))+2; n > most {
		t.Errorf("the keys were fetched %d times; want %d at most", n, most)
	}
	if n := elsewhere.Asked("/jwks"); n != 0 {
		t.Errorf("the host of jku was asked %d times", n)
	}
	if got := send(good); got != 200 || len(server.headers()) != 2 {
		t.Errorf("afterwards: got %d, and %d requests have reached the server", got, len(server.headers()))
	}
}

// G: a body that is longer than a message may be is refused.
func TestLongBodies(t *testing.T) {
	issuer, servers := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one")), newPlain(t)
	long := rpc("ping", `{"x":"`+strings.Repeat("x", 16<<20)+`"}`)
	for transport, at := range attackSite(t, issuer, servers, attackRules) {
		if got := post(t, at.url, long, "Authorization", "Bearer "+at.token, "Mcp-Session-Id", at.session); got.Status != 413 {
			t.Errorf("%s: got %d %.100s", transport, got.Status, got.Body)
		}
	}
	if strings.Contains(servers.reached(t), "xxx") {
		t.Error("a long body has reached a server")
	}
}

// E3, E5: a rule is about the name in the call. What a list has said before, and what it says
// of a tool, changes nothing.
func TestToolRenamedBetweenListAndCall(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	var mu sync.Mutex
	tool, called := "open", ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(string(body), "tools/call") {
			called += string(body)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":%q,"title":"open","inputSchema":{"type":"object"}}],"content":[]}}`, tool)
	}))
	t.Cleanup(server.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, server.URL, authorize(issuer, attackRules)))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	bearer := []string{"Authorization", "Bearer " + issuer.Token(url, nil)}
	list := func() string { return post(t, url, rpc("tools/list", `{}`), bearer...).Body }
	if got := list(); !strings.Contains(got, `"open"`) {
		t.Fatalf("the list: %s", got)
	}
	for _, name := range []string{"delete_all", "Delete_all", "d\u0435lete_all"} {
		mu.Lock()
		tool = name
		mu.Unlock()
		if got := list(); strings.Contains(got, "lete_all") {
			t.Errorf("the list has %q: %s", name, got)
		}
		if got := post(t, url, rpc("tools/call", `{"name":`+quoted(name)+`,"title":"open"}`), bearer...); got.Status != 403 {
			t.Errorf("%q: got %d %s", name, got.Status, got.Body)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if called != "" {
		t.Errorf("the server was called: %s", called)
	}
}

// E5: a list is filtered whatever the status of a success, and also if the server answers a message
// without an id, which it should not.
func TestListOfAnOddAnswer(t *testing.T) {
	issuer := issuertest.Start(t, issuertest.NewKey(t, jose.ES256, "one"))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, status := "1", http.StatusOK
		if _, err := fmt.Sscan(r.Header.Get("X-Status"), &status); err != nil {
			id = "null"
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"open"},{"name":"delete_all"}]}}`, id)
	}))
	t.Cleanup(server.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, site(port, server.URL, authorize(issuer, attackRules)))
	url := fmt.Sprintf("http://127.0.0.1:%d/mcp", port)
	bearer := []string{"Authorization", "Bearer " + issuer.Token(url, nil)}
	for status, want := range map[string]int{"200": 200, "201": 201, "202": 202, "203": 203, "206": 206} {
		got := post(t, url, rpc("tools/list", `{}`), append([]string{"X-Status", status}, bearer...)...)
		if got.Status != want || !strings.Contains(got.Body, `"open"`) || strings.Contains(got.Body, "delete_all") {
			t.Errorf("%s: got %d %s", status, got.Status, got.Body)
		}
	}
	got := post(t, url, `{"jsonrpc":"2.0","method":"tools/list"}`, bearer...)
	if got.Status != 200 || !strings.Contains(got.Body, `"open"`) || strings.Contains(got.Body, "delete_all") {
		t.Errorf("without an id: got %d %s", got.Status, got.Body)
	}
}
