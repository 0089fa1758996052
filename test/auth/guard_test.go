package auth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// guarding is a service that says yes to everyone, and remembers whom it was asked
// about.
type guarding struct {
	*httptest.Server
	mu    sync.Mutex
	asked map[string]bool // by X-Trial
}

func newGuarding(t *testing.T) *guarding {
	t.Helper()
	g := &guarding{asked: make(map[string]bool)}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.asked[r.Header.Get("X-Trial")] = true
		g.mu.Unlock()
	}))
	g.Start()
	t.Cleanup(g.Close)
	return g
}

func (g *guarding) met(trial string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked[trial]
}

// guardCase is a guard in front of an endpoint. GUARD in text is the guard, ENDPOINT
// the endpoint, with UP for its server; %[1]s the guard's matcher, %[2]s its definition.
type guardCase struct {
	name, text, endpoint, matcher, defined string
	prefix                                 string
	paths                                  []string
}

// guardMatchers are matchers of a guard in front of /mcp; the second text defines a
// named one.
var guardMatchers = [][2]string{
	{"", ""},
	{"*", ""},
	{"/mcp", ""},
	{"/mcp/", ""},
	{"/mcp/*", ""},
	{"/mcp*", ""},
	{"/MCP*", ""},
	{"/%6dcp*", ""},
	{"/mc*", ""},
	{"/tools/mcp", ""},
	{"/tools/mcp*", ""},
	{"/tools/*", ""},
	{"/other*", ""},
	{"@g", "path */mcp*"},
	{"@g", "path /mcp /mcp/"},
	{"@g", "path /mcp /mcp/*"},
	{"@g", "path /mcp* /events*"},
	{"@g", "path /mcp* /events /events/post"},
	{"@g", "path_regexp ^/mcp$"},
	{"@g", "path_regexp ^/mcp"},
	{"@g", "path_regexp ^/tools/mcp"},
	{"@g", "path_regexp (?i)^/tools/mcp"},
	{"@g", "not path /mcp/"},
	{"@g", "not path /.well-known/*"},
	{"@g", "not path /mcp*"},
	{"@g", "not method OPTIONS"},
	{"@g", "method POST"},
	{"@g", "method POST GET DELETE"},
	{"@g", "{\n\t\tpath /mcp*\n\t\tnot method GET\n\t}"},
	{"@g", "{\n\t\tpath /mcp*\n\t\tnot {\n\t\t\tpath /mcp/\n\t\t\tmethod POST\n\t\t}\n\t}"},
	{"@g", "expression path('/mcp')"},
	{"@g", "expression path('/mcp*') || path('/tools*')"},
	{"@g", "expression `{http.request.uri.path}.startsWith('/mcp')`"},
}

// guardCases are all combinations of place and matcher for one endpoint, and of
// endpoint and matcher at one place.
func guardCases() (cases []guardCase) {
	places := []struct{ name, prefix, text string }{
		{"route", "", "route {\n\t\tGUARD\n\t\tENDPOINT\n\t\trespond 418\n\t}"},
		{"handle", "", "handle /mcp* {\n\t\troute {\n\t\t\tGUARD\n\t\t\tENDPOINT\n\t\t}\n\t}\n\thandle {\n\t\trespond 418\n\t}"},
		{"outer route", "", "route {\n\t\tGUARD\n\t\thandle /mcp* {\n\t\t\tENDPOINT\n\t\t}\n\t\trespond 418\n\t}"},
		{"guard in a block of its own", "", "route {\n\t\troute {\n\t\t\tGUARD\n\t\t}\n\t\tENDPOINT\n\t\trespond 418\n\t}"},
		{"guard in another handle", "", "route {\n\t\thandle /other* {\n\t\t\tGUARD\n\t\t}\n\t\thandle {\n\t\t\troute {\n\t\t\t\tENDPOINT\n\t\t\t\trespond 418\n\t\t\t}\n\t\t}\n\t}"},
		{"guard behind", "", "route {\n\t\tENDPOINT\n\t\tGUARD\n\t\trespond 418\n\t}"},
		{"handle_path", "/tools", "handle_path /tools/* {\n\t\troute {\n\t\t\tGUARD\n\t\t\tENDPOINT\n\t\t\trespond 418\n\t\t}\n\t}\n\thandle {\n\t\trespond 418\n\t}"},
		{"outside of handle_path", "/tools", "route {\n\t\tGUARD\n\t\thandle_path /tools/* {\n\t\t\tENDPOINT\n\t\t\trespond 418\n\t\t}\n\t\trespond 418\n\t}"},
		{"before a rewrite", "", "route {\n\t\tGUARD\n\t\trewrite /tools/mcp /mcp\n\t\tENDPOINT\n\t\trespond 418\n\t}"},
		{"behind a rewrite", "", "route {\n\t\trewrite /tools/mcp /mcp\n\t\tGUARD\n\t\tENDPOINT\n\t\trespond 418\n\t}"},
		{"guard in a named route", "", "route {\n\t\tinvoke GUARD_ROUTE\n\t\tENDPOINT\n\t\trespond 418\n\t}"},
		{"guard in one of two handles", "", "route {\n\t\thandle /other* {\n\t\t\tvars a b\n\t\t}\n\t\thandle {\n\t\t\tGUARD\n\t\t}\n\t\thandle /mcp* {\n\t\t\tvars a b\n\t\t}\n\t\tENDPOINT\n\t\trespond 418\n\t}"},
		{"within intercept", "", "route {\n\t\tintercept {\n\t\t\t@never status 599\n\t\t\thandle_response @never {\n\t\t\t\trespond 418\n\t\t\t}\n\t\t}\n\t\tGUARD\n\t\tENDPOINT\n\t\trespond 418\n\t}"},
		{"strip_suffix", "", "route {\n\t\tGUARD\n\t\turi strip_suffix /x\n\t\tENDPOINT\n\t\trespond 418\n\t}"},
	}
	for _, place := range places {
		for _, m := range guardMatchers {
			paths := []string{"/mcp"}
			switch {
			case strings.Contains(place.text, "rewrite"):
				paths = append(paths, "/tools/mcp")
			case strings.Contains(place.text, "strip_suffix"):
				paths = append(paths, "/mcp/x")
			}
			cases = append(cases, guardCase{place.name, place.text, "mcp_auth_bridge UP", m[0], m[1], place.prefix, paths})
		}
	}
	sse := []string{"/mcp", "/mcp/message", "/mcp/message/x", "/message/x"}
	for _, endpoint := range []struct {
		name, text string
		paths      []string
	}{
		{"legacy_sse", "mcp_auth_bridge UP {\n\t\tlegacy_sse\n\t}", []string{"/mcp", "/mcp/sse", "/mcp/sse/message"}},
		{"legacy_sse elsewhere", "mcp_auth_bridge UP {\n\t\tlegacy_sse /events /events/post\n\t}", []string{"/mcp", "/events", "/events/post"}},
		{"HTTP+SSE", "mcp_auth_bridge sse+UP/sse", sse},
		{"HTTP+SSE with a message path", "mcp_auth_bridge sse+UP/sse {\n\t\tmessage_path /messages\n\t}", sse},
		{"program", "mcp_auth_bridge {\n\t\tlegacy_sse\n\t\tSTDIO\n\t}", []string{"/mcp", "/mcp/sse", "/mcp/sse/message"}},
		{"root", "mcp_auth_bridge / UP/mcp", []string{"/", "/mcp"}},
	} {
		for _, m := range guardMatchers {
			if strings.Contains(m[0]+m[1], "tools") {
				continue
			}
			cases = append(cases, guardCase{endpoint.name, places[0].text, endpoint.text, m[0], m[1], "", endpoint.paths})
		}
	}
	for _, text := range []string{"route {\n\t\tmcp_auth_bridge\n\t\tGUARD\n\t\treverse_proxy UP\n\t}", "route {\n\t\tGUARD\n\t\tmcp_auth_bridge\n\t\treverse_proxy UP\n\t}"} {
		for _, m := range guardMatchers[:12] {
			cases = append(cases, guardCase{"middleware", text, "", m[0], m[1], "", []string{"/mcp"}})
		}
	}
	return cases
}

// site is the case's site. guard is a format for the guard with a matcher.
func (c guardCase) site(host, guard, upstream, stdio string) string {
	guard = fmt.Sprintf(guard, c.matcher)
	define := ""
	if c.defined != "" {
		define = "@g " + c.defined + "\n\t"
	}
	named := ""
	if strings.Contains(c.text, "GUARD_ROUTE") {
		named = fmt.Sprintf("&(%s) {\n\t%s%s\n}\n", host, define, guard)
	}
	text := strings.NewReplacer("GUARD_ROUTE", host, "GUARD", guard, "ENDPOINT", c.endpoint).Replace(c.text)
	text = define + strings.NewReplacer("UP", upstream, "STDIO", stdio).Replace(text)
	return named + fmt.Sprintf("http://%s {\n\tbind 127.0.0.1\n\t%s\n}\n", host, text)
}

// Rule A10: a configuration is refused exactly where a real Caddy lets some requests
// to the endpoint past the guard, and not others. First the guard is one that
// the bridge does not take for a guard, and each way to write each path is sent;
// then it is forward_auth in the same place.
func TestGuardCoversEveryPath(t *testing.T) {
	up := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(up.Close)
	guard := newGuarding(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stdio := fmt.Sprintf("stdio %q -test.run=^$ {\n\t\t\tenv %s=1\n\t\t}", self, mcptest.ChildServer)
	cases := guardCases()
	port := testcaddy.FreePort(t)
	const head = "{\n\tauto_https off\n}\n"
	text := head
	hostOf := func(i int) string { return fmt.Sprintf("c%d.test:%d", i, port) }
	for i, c := range cases {
		open := "reverse_proxy %s " + guard.URL + " {\n\t\tmethod GET\n\t\trewrite /verify\n\t\thandle_response {\n\t\t\tvars passed yes\n\t\t}\n\t}"
		text += c.site(hostOf(i), open, up.URL, stdio)
	}
	begin := time.Now()
	in := testcaddy.Run(t, text)
	t.Logf("%d sites are loaded in %v", len(cases), time.Since(begin))
	holes := make([]string, len(cases))
	n, trials := 0, 0
	client := &mcptest.LiteralClient{T: t, Addr: testcaddy.Addr(port)}
	defer client.Close()
	for i, c := range cases {
		var with, without string
		for _, path := range c.paths {
			for _, target := range mcptest.SpellingsOf(c.prefix, path) {
				methods := []string{http.MethodPost, http.MethodGet, http.MethodDelete, http.MethodHead, http.MethodPut}
				if target != c.prefix+path && target != c.prefix+path+"/" {
					methods = methods[:1]
				}
				for _, method := range methods {
					trials++
					res := client.Send(hostOf(i), method, target, strconv.Itoa(trials))
					if res.StatusCode == http.StatusBadGateway && strings.Contains(c.endpoint, " UP") {
						t.Fatalf("%s, %q: %s %s: 502", c.name, c.matcher, method, target)
					}
					if !slices.Contains(res.Header.Values("Vary"), "Origin") {
						continue // not the endpoint's
					}
					if guard.met(strconv.Itoa(trials)) {
						with = method + " " + target
					} else {
						without = fmt.Sprintf("%s %s (%d)", method, target, res.StatusCode)
					}
				}
			}
		}
		if with != "" && without != "" {
			holes[i] = fmt.Sprintf("%s is guarded, %s is not", with, without)
			n++
		}
	}
	t.Logf("%d requests after %v", trials, time.Since(begin))
	if n < 20 || n > len(cases)-20 {
		t.Fatalf("%d of %d cases have a hole: the test does not tell", n, len(cases))
	}
	for i, c := range cases {
		asking := "forward_auth %s " + guard.URL + " {\n\t\turi /verify\n\t}"
		err := in.TryLoad(head + c.site(hostOf(i), asking, up.URL, stdio))
		switch {
		case holes[i] != "" && err == nil:
			t.Errorf("%s, %q %q, %s: loaded, though %s", c.name, c.matcher, c.defined, c.endpoint, holes[i])
		case holes[i] == "" && err != nil:
			t.Errorf("%s, %q %q, %s: refused, though no request gets past the guard: %v", c.name, c.matcher, c.defined, c.endpoint, err)
		case err != nil && (!strings.Contains(err.Error(), "forward_auth") || !strings.Contains(err.Error(), "write `") || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: the error does not name what to write: %v", c.name, err)
		}
	}
}

// Rule A10: what can be decided of a guard is, what cannot is no reason to refuse,
// and the error says what to write.
func TestGuardsInFrontOfEndpoints(t *testing.T) {
	guard := newGuarding(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := fmt.Sprintf("mcp_auth_bridge {\n\t\tstdio %q -test.run=^$ {\n\t\t\tenv %s=1\n\t\t\tallow_unauthenticated\n\t\t}\n\t}", self, mcptest.ChildServer)
	basic := func(matcher string) string {
		return "basic_auth " + matcher + " {\n\t\tuser " + mcptest.Bcrypted + "\n\t}\n\t"
	}
	forward := func(matcher, more string) string {
		return "forward_auth " + matcher + " " + guard.URL + " {\n\t\turi /verify\n\t\t" + more + "\n\t}\n\t"
	}
	const (
		proxied = "mcp_auth_bridge localhost:1"
		remote  = "copy_headers Remote-User"
		unclear = "whether a login is required depends on the request"
		behind  = "guard is behind the endpoint"
	)
	sortedBehind := func(directive string) string { return directive + " looks as if it guarded /mcp, but stands behind it" }
	for _, tt := range []struct {
		name, site      string
		refused, warned string // what the error or the warning has
	}{
		{"no guard", proxied, "", ""},
		{"program behind something outside of Caddy", program, "", ""},
		{"guard of something else", basic("/admin*") + proxied, "", ""},
		{"guard of a part of the name", basic("/mc") + proxied, "", ""},
		{"all", basic("") + proxied, "", ""},
		{"README", "@guarded {\n\t\tnot method OPTIONS\n\t\tnot path /.well-known/oauth-protected-resource*\n\t}\n\t" + forward("@guarded", "") + proxied, "", ""},
		{"all but the endpoint", "@guarded not path /mcp /mcp/* /.well-known/oauth-protected-resource*\n\t" + basic("@guarded") + proxied, "", ""},
		{"all but the endpoint's one form", "@guarded not path /mcp /.well-known/oauth-protected-resource*\n\t" + basic("@guarded") + proxied, "basic_auth guards /mcp/, but not /mcp, which is answered too; write `basic_auth /mcp*`", ""},
		{"exact", basic("/mcp") + program, "endpoint \"/mcp\": basic_auth guards /mcp, but not /mcp/, which is answered too; write `basic_auth /mcp*`", ""},
		{"exact, legacy_sse elsewhere", forward("/mcp*", "") + "mcp_auth_bridge localhost:1 {\n\t\tlegacy_sse /events\n\t}", "forward_auth guards /mcp, but not /events, which is answered too; write `@mcp path /mcp* /events /events/message` and `forward_auth @mcp`", ""},
		{"POST alone", "@post method POST\n\t" + basic("@post") + proxied, "basic_auth guards POST /mcp, but not GET /mcp, which is answered too; write `basic_auth /mcp*` without a matcher of methods", ""},
		{"other endpoint of the site", basic("/a/*") + "mcp_auth_bridge /a/mcp localhost:1\n\tmcp_auth_bridge /b/mcp localhost:2", "", ""},
		{"two guards for two forms", basic("/mcp") + forward("/mcp/*", "") + proxied, "", ""},
		{"two forward_auth for two forms", forward("/mcp", remote) + forward("/mcp/*", remote) + proxied, "", ""},
		{"Remote-User of one form", forward("/mcp", remote) + basic("") + proxied, "Remote-User is taken from the answer of forward_auth at /mcp, but from the client at /mcp/, which is answered too; write `forward_auth /mcp*`", ""},
		{"Remote-User deleted for all", "request_header -Remote-User\n\t" + forward("/mcp", remote) + basic("") + proxied, "", ""},
		{"Remote-* deleted for all", "request_header -Remote-*\n\t" + forward("/mcp", remote) + basic("") + proxied, "", ""},
		{"from outside", "@outside not remote_ip 10.0.0.0/8\n\t" + basic("@outside") + program, "", ""},
		{"from outside, and a header for something else", "@bot header User-Agent *bot*\n\trewrite @bot /robots\n\t@outside not remote_ip 10.0.0.0/8\n\t" + basic("@outside") + program, "", ""},
		{"a header leads round the login", "@key header X-Api-Key secret\n\thandle @key {\n\tinvoke mcp\n\t}\n\thandle {\n\t" + basic("") + "invoke mcp\n\t}", "", unclear},
		{"from outside, one form", "@outside {\n\t\tpath /mcp\n\t\tnot remote_ip 10.0.0.0/8\n\t}\n\t" + basic("@outside") + program, "basic_auth guards /mcp, but not /mcp/", ""},
		{"without a key", "@nokey not header X-Api-Key secret\n\t" + basic("@nokey") + program, "", unclear},
		{"without a key, one form", "@nokey {\n\t\tpath /mcp\n\t\tnot header X-Api-Key secret\n\t}\n\t" + basic("@nokey") + proxied, "basic_auth guards /mcp, but not /mcp/", ""},
		{"expression of a header", "@nokey expression `{http.request.header.X-Api-Key} != 'secret'`\n\t" + basic("@nokey") + proxied, "", unclear},
		{"the endpoint depends on a header", basic("") + "@mcp header Accept *json*\n\tmcp_auth_bridge @mcp localhost:1", "", ""},
		{"a key by hand", "route {\n\t@nokey not header X-Api-Key secret\n\trespond @nokey 401\n\t" + program + "\n\t}", "", ""},
		{"a key by hand, one form", "route {\n\t@nokey {\n\t\tpath /mcp\n\t\tnot header X-Api-Key secret\n\t}\n\trespond @nokey 401\n\t" + program + "\n\t}", "respond guards /mcp, but not /mcp/", ""},
		{"addresses by hand, one form", "route {\n\t@outside {\n\t\tpath /mcp\n\t\tnot remote_ip 10.0.0.0/8\n\t}\n\tabort @outside\n\t" + program + "\n\t}", "abort guards /mcp, but not /mcp/", ""},
		{"robots by hand, one form, behind a login", "route {\n\t@robots {\n\t\tpath /mcp\n\t\theader User-Agent *bot*\n\t}\n\trespond @robots 403\n\t" + basic("") + program + "\n\t}", "", ""},
		{"one form is not there", "respond /mcp/ 404\n\t" + basic("/mcp") + proxied, sortedBehind("respond"), ""},
		{"one form is refused before", "route {\n\trespond /mcp/ 404\n\t" + basic("/mcp") + proxied + "\n\t}", "", ""},
		{"handle", "handle /mcp* {\n\t" + basic("") + proxied + "\n\t}", "", ""},
		{"handle of one form", "handle /mcp {\n\t" + basic("") + proxied + "\n\t}", "", ""},
		{"handle of one form, and another of the rest", "handle /mcp {\n\t" + basic("") + "invoke mcp\n\t}\n\thandle {\n\tinvoke mcp\n\t}", "basic_auth guards /mcp, but not /mcp/", ""},
		{"named route", basic("/mcp") + "invoke mcp", "basic_auth guards /mcp, but not /mcp/", ""},
		{"guard in a named route", "route {\n\tinvoke guard\n\t" + proxied + "\n\t}", "basic_auth guards /mcp, but not /mcp/", ""},
		{"after the answer of a proxy that says yes", "reverse_proxy localhost:1 {\n\t\t@ok status 2xx\n\t\thandle_response @ok {\n\t\t\t" + proxied + "\n\t\t}\n\t}", "", ""},
		{"a proxy that lets everyone through", "route {\n\treverse_proxy /mcp localhost:1 {\n\t\t@ok status 2xx\n\t\thandle_response @ok {\n\t\t\tvars a b\n\t\t}\n\t\thandle_response {\n\t\t\tvars a b\n\t\t}\n\t}\n\t" + proxied + "\n\t}", "", ""},
		{"an answer that is shown", "route {\n\t" + forward("/mcp", "@bad status 4xx\n\t\thandle_response @bad {\n\t\t\tcopy_response\n\t\t}") + proxied + "\n\t}", "forward_auth guards /mcp, but not /mcp/", ""},
		{"an answer that leads to a login", "route {\n\t" + forward("/mcp", "@bad status 4xx\n\t\thandle_response @bad {\n\t\t\tredir * /login\n\t\t}") + proxied + "\n\t}", "forward_auth guards /mcp, but not /mcp/", ""},
		{"middleware before a proxy that shows its answers", "route {\n\tmcp_auth_bridge\n\treverse_proxy localhost:1 {\n\t\t@ok status 2xx\n\t\thandle_response @ok {\n\t\t\tcopy_response\n\t\t}\n\t}\n\t}", "", ""},
		{"behind the endpoint", "route {\n\t" + proxied + "\n\t" + basic("") + "respond ok\n\t}", "", behind},
		{"behind a program, in a block", "route {\n\t" + program + "\n\troute {\n\t" + forward("/mcp*", "") + "\n\t}\n\trespond ok\n\t}", sortedBehind("forward_auth"), ""},
		{"behind the endpoint, of something else", "route {\n\t" + proxied + "\n\t" + basic("/files*") + "respond ok\n\t}", "", ""},
		{"in front and behind", "route {\n\t" + basic("") + proxied + "\n\t" + forward("", "") + "respond ok\n\t}", "", ""},
		{"behind a middleware", "route {\n\tmcp_auth_bridge\n\t" + basic("") + "reverse_proxy localhost:1\n\t}", "", ""},
		{"refusal that is sorted behind", "@nokey not header X-Api-Key secret\n\trespond @nokey 401\n\t" + program, sortedBehind("respond"), ""},
		{"refusal of addresses that is sorted behind", "@outside not remote_ip 10.0.0.0/8\n\tabort @outside\n\t" + proxied, sortedBehind("abort"), ""},
		{"error that is sorted behind, and a login in front", "@outside not remote_ip 10.0.0.0/8\n\terror @outside 403\n\t" + basic("") + proxied, sortedBehind("error"), ""},
		{"refusal in a handle block", "@outside not remote_ip 10.0.0.0/8\n\thandle @outside {\n\tabort\n\t}\n\thandle {\n\tfile_server\n\t}\n\t" + proxied, sortedBehind("abort"), ""},
		{"refusal of a method", "@delete method DELETE\n\trespond @delete 403\n\t" + proxied, sortedBehind("respond"), ""},
		{"refusal of something else", "@outside {\n\tpath /admin*\n\tnot remote_ip 10.0.0.0/8\n\t}\n\trespond @outside 403\n\t" + proxied, "", ""},
		{"refusal that leaves the endpoint out", "@outside {\n\tnot path /mcp*\n\tnot remote_ip 10.0.0.0/8\n\t}\n\trespond @outside 403\n\t" + proxied, "", ""},
		{"refusal of all the rest", "respond 404\n\t" + proxied, "", ""},
		{"login in a route block", "route {\n\t" + basic("/mcp*") + "}\n\t" + proxied, sortedBehind("basic_auth"), ""},
		{"login in a route block for the endpoint", "route /mcp* {\n\t" + forward("", "") + "}\n\t" + program, sortedBehind("forward_auth"), ""},
		{"login in a handle block that passes on", "handle /mcp* {\n\t" + forward("", remote) + "}\n\t" + proxied, sortedBehind("forward_auth"), ""},
		{"login in blocks inside each other", "handle {\n\troute {\n\t" + basic("") + "}\n\t}\n\t" + proxied, sortedBehind("basic_auth"), ""},
		{"login of a website", "handle {\n\t" + basic("") + "file_server\n\t}\n\t" + proxied, "", ""},
		{"login of an app", "handle {\n\t" + forward("", "") + "reverse_proxy localhost:2\n\t}\n\t" + proxied, "", ""},
		{"login of something else in a route block", "route /admin* {\n\t" + basic("") + "}\n\t" + proxied, "", ""},
		{"in a block, the refusal behind it", "@outside not remote_ip 10.0.0.0/8\n\trespond @outside 403\n\thandle /mcp* {\n\t" + proxied + "\n\t}", "", ""},
		{"in one block", "handle /mcp* {\n\t@outside not remote_ip 10.0.0.0/8\n\tabort @outside\n\t" + proxied + "\n\t}", sortedBehind("abort"), ""},
		{"of two endpoints, the other's", "@a header X-A a\n\t@outside not remote_ip 10.0.0.0/8\n\troute {\n\tmcp_auth_bridge @a localhost:2\n\trespond @outside 403\n\t" + proxied + "\n\t}", sortedBehind("respond"), ""},
		{"by host", "@a host a.test\n\t" + basic("@a") + proxied, "", ""},
		{"by host, program", "@a host a.test\n\t" + basic("@a") + program, "basic_auth guards /mcp of a.test, but not /mcp of no-such-host.invalid, which is answered too; write `basic_auth /mcp*` without a matcher of hosts", ""},
		{"one form of one host", "@a {\n\t\thost a.test\n\t\tpath /mcp\n\t}\n\t" + basic("@a") + proxied, "basic_auth guards /mcp, but not /mcp/", ""},
		{"after the guard has refused", basic("") + proxied + "\n\thandle_errors {\n\troute {\n\tmcp_auth_bridge /other localhost:1\n\t}\n\t}", "", ""},
		{"the endpoint again, after the guard has refused", basic("") + "invoke mcp\n\thandle_errors {\n\troute {\n\tinvoke mcp\n\t}\n\t}", "basic_auth guards /mcp, but not /mcp after an error, which is answered too; put the guard there", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testcaddy.ForgetLogs()
			in := testcaddy.Run(t, "{\n\tauto_https off\n}\n")
			err := in.TryLoad(fmt.Sprintf("{\n\tauto_https off\n}\n&(mcp) {\n\t%s\n}\n&(guard) {\n\t%s}\n:%d {\n\t%s\n}\n", proxied, basic("/mcp"), testcaddy.FreePort(t), tt.site))
			switch {
			case tt.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused)):
				t.Errorf("got %v, want %s", err, tt.refused)
			}
			for _, text := range []string{unclear, behind} {
				if warned := testcaddy.Logged(text); warned != (text == tt.warned) {
					t.Errorf("%q: warned: %v, want %q", text, warned, tt.warned)
				}
			}
		})
	}
}

// Rule A10: with the order of directives before, what refuses is asked, and is no reason to
// refuse the configuration.
func TestRefusalsWithAnOrderOfTheirOwn(t *testing.T) {
	up := mcptest.NewAnswers(t)
	addr := testcaddy.Addr(testcaddy.FreePort(t))
	site := "http://" + addr + " {\n\t@nokey not header X-Api-Key secret\n\trespond @nokey 401\n\tmcp_auth_bridge " + up.URL + "\n}\n"
	in := testcaddy.Run(t, "{\n\torder mcp_auth_bridge before reverse_proxy\n}\n"+site)
	for key, want := range map[string]int{"": http.StatusUnauthorized, "secret": http.StatusOK} {
		r := mcptest.NewRequest(t, http.MethodPost, "http://"+addr+"/mcp?answer=200", mcptest.Initialize, "X-Api-Key", key)
		if got := mcptest.Do(t, mcptest.NewClient(t), r); got.Status != want {
			t.Errorf("key %q: got %d, want %d", key, got.Status, want)
		}
	}
	if err := in.TryLoad(site); err == nil || !strings.Contains(err.Error(), "respond looks as if it guarded /mcp") {
		t.Errorf("with the order of the plugin: got %v", err)
	}
}
