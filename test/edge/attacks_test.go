package edge_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
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
	add(403, "a batch that hides a call", `[`+rpc("ping", `{}`)+`,`+call("open")+`,`+call("delete_all")+`]`)
	add(400, "a batch with a member twice", `[`+rpc("ping", `{}`)+`,`+rpc("tools/call", `{"name":"open","name":"delete_all"}`)+`]`)
	add(400, "a batch in a batch", `[[`+call("delete_all")+`]]`)
	add(403, "a call as a notification", `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete_all"}}`)
	add(403, "a rule that errs: no claim", rpc("tools/call", `{"name":"guarded","arguments":{"path":"/public/a"}}`))
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
	} {
		add(400, "as "+kind, seven, "Content-Type", kind)
	}
	add(400, "two types", seven, "Content-Type", "application/json", "Content-Type", "application/json; charset=utf-7")
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
			r := mcptest.NewRequest(t, http.MethodPost, at.url, rpc("ping", `{}`), "Authorization", "Bearer "+at.token, "Mcp-Session-Id", at.session, "Content-Encoding", "identity")
			r.Header.Set("Content-Type", "application/json; charset=UTF-8")
			if got := mcptest.Do(t, http.DefaultClient, r); got.Status != 200 {
				t.Errorf("an ordinary request: %d %s", got.Status, got.Body)
			}
			if after := servers.reached(t); strings.Count(after, `"method"`) != strings.Count(before, `"method"`)+1 {
				t.Errorf("the server got\n%s", strings.TrimPrefix(after, before))
			}
		})
	}
}
