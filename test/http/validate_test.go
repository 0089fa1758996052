package http_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// pluginLogin is the login of a plugin, whose directive has another name than its module.
type pluginLogin struct{}

func (pluginLogin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.authentication.providers.test_provider", New: func() caddy.Module { return pluginLogin{} }}
}

func (pluginLogin) Authenticate(http.ResponseWriter, *http.Request) (caddyauth.User, bool, error) {
	return caddyauth.User{}, false, nil
}

func init() {
	caddy.RegisterModule(pluginLogin{})
	httpcaddyfile.RegisterHandlerDirective("test_login", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return caddyauth.Authentication{ProvidersRaw: caddy.ModuleMap{"test_provider": []byte("{}")}}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("test_login", httpcaddyfile.Before, "basic_auth")
}

// What a start refuses for places and guards, `caddy validate` refuses too, with the same
// words, and it logs the same warnings, each once.
func TestValidateRefusesWhatStartRefuses(t *testing.T) {
	const login = "basic_auth %s {\n\t\tuser " + mcptest.Bcrypted + "\n\t}\n\t"
	const takesUser = "mcp_auth_bridge localhost:1 {\n\t\tauthorize {\n\t\t\tcaddy_user\n\t\t}\n\t}"
	t.Setenv("MCP_TEST_KEY", "0123456789abcdef")
	for _, tt := range []struct{ name, site, refused, warned string }{
		{"guard for one form", fmt.Sprintf(login, "/mcp") + "mcp_auth_bridge localhost:1", "basic_auth guards /mcp, but not /mcp/", ""},
		{"guard in a named route", "invoke guard\n\tmcp_auth_bridge localhost:1", "basic_auth guards /mcp, but not /mcp/", ""},
		{"endpoint in a named route", fmt.Sprintf(login, "/mcp") + "invoke mcp", "basic_auth guards /mcp, but not /mcp/", ""},
		{"guard behind", "@a not remote_ip 192.0.2.0/24\n\tabort @a\n\tmcp_auth_bridge localhost:1", "abort looks as if it guarded /mcp", ""},
		{"program for everyone", "mcp_auth_bridge {\n\t\tstdio cat\n\t}", "can be reached from other machines", ""},
		{"one path twice", "mcp_auth_bridge localhost:1\n\tmcp_auth_bridge localhost:2", "can never be reached", ""},
		{"the same twice", "mcp_auth_bridge localhost:1\n\tmcp_auth_bridge localhost:1", "are one to clients", ""},
		{"nothing follows", "mcp_auth_bridge", "no handler follows", ""},
		{"nothing wrong", "mcp_auth_bridge localhost:1", "", ""},
		{"metadata out of reach", "handle_path /x/* {\n\t\tmcp_auth_bridge localhost:1\n\t}", "", "metadata of the endpoint cannot be reached"},
		{"prefix stripped for the whole site", "uri strip_prefix /x\n\tmcp_auth_bridge localhost:1", "", ""},
		{"prefix stripped below the prefix", "handle /x/* {\n\t\turi strip_prefix /x\n\t\tmcp_auth_bridge localhost:1\n\t}", "", "metadata of the endpoint cannot be reached"},
		{"prefix stripped of the well-known path", "uri strip_prefix /.well-known\n\tmcp_auth_bridge localhost:1", "", "metadata of the endpoint cannot be reached"},
		{"status page for everyone", "handle /status {\n\t\tmcp_auth_bridge status\n\t}", "", "everyone can see the status page"},
		{"matcher of another path", "@mcp path /api/mcp\n\tmcp_auth_bridge @mcp localhost:1", "", "no request for the endpoint passes its matcher"},
		{"matcher of another header and path", "@mcp {\n\t\tpath /api/*\n\t\theader X-A b\n\t}\n\tmcp_auth_bridge @mcp localhost:1", "", "no request for the endpoint passes its matcher"},
		{"matcher of the same path", "@mcp path /mcp*\n\tmcp_auth_bridge @mcp localhost:1", "", ""},
		{"matcher of a header", "@mcp header X-A b\n\tmcp_auth_bridge @mcp localhost:1", "", ""},
		{"try_files", "root * /srv\n\ttry_files {path} /index.html\n\tfile_server\n\tmcp_auth_bridge localhost:1", "", "requests for the endpoint are rewritten before it"},
		{"try_files that answers 404", "try_files {path} =404\n\tmcp_auth_bridge localhost:1", "", "requests for the endpoint are rewritten before it"},
		{"try_files of files that are there", "root * /srv\n\ttry_files {path} {path}.html\n\tfile_server\n\tmcp_auth_bridge localhost:1", "", ""},
		{"try_files in a block", "mcp_auth_bridge localhost:1\n\thandle {\n\t\ttry_files {path} /index.html\n\t\tfile_server\n\t}", "", ""},
		{"rewrite of everything", "rewrite * /index.html\n\tmcp_auth_bridge localhost:1", "", "requests for the endpoint are rewritten before it"},
		{"rewrite to the endpoint", "rewrite /old /mcp\n\tmcp_auth_bridge localhost:1", "", ""},
		{"login for everything", fmt.Sprintf(login, "") + "mcp_auth_bridge localhost:1", "", "metadata is behind a login, so that no login begins"},
		{"login for the endpoint", fmt.Sprintf(login, "/mcp*") + "mcp_auth_bridge localhost:1", "", ""},
		{"login but for metadata", "@private not path /.well-known/oauth-protected-resource*\n\t" + fmt.Sprintf(login, "@private") + "mcp_auth_bridge localhost:1", "", ""},
		{"login but for preflights", "@private not method OPTIONS\n\t" + fmt.Sprintf(login, "@private") + "mcp_auth_bridge localhost:1", "", ""},
		{"login of a plugin for everything", "test_login\n\tmcp_auth_bridge localhost:1", "", "and write `@private` after the directive of the login of `test_provider`"},
		{"login of a plugin for one form", "test_login /mcp\n\tmcp_auth_bridge localhost:1", "the login of `test_provider` guards /mcp, but not /mcp/, which is answered too; write `/mcp*` after its directive", ""},
		{"rewrite behind the login of a plugin", "route {\n\ttest_login /mcp*\n\turi path_regexp ^/v[0-9]+/mcp$ /mcp\n\tmcp_auth_bridge localhost:1\n\t}", "", "write the rewrite before the login of `test_provider`"},
		{"user of nobody", takesUser, "", "no handler in front authenticates a user"},
		{"user or key of nobody", strings.Replace(takesUser, "caddy_user", "caddy_user\n\t\t\tkey k {env.MCP_TEST_KEY}", 1), "", "no handler in front authenticates a user"},
		{"user of a login", fmt.Sprintf(login, "/mcp*") + takesUser, "", ""},
		{"user of the login of a plugin", "test_login /mcp*\n\t" + takesUser, "", ""},
		{"user of a login behind", "route {\n\t" + takesUser + "\n\t" + fmt.Sprintf(login, "") + "\n\t}", "", "guard is behind the endpoint"},
		{"login for everything, behind a middleware", "route {\n\tmcp_auth_bridge\n\t" + fmt.Sprintf(login, "") + "reverse_proxy localhost:1\n\t}", "", ""},
		{"handle_path of the endpoint", "handle_path /mcp* {\n\t\tmcp_auth_bridge localhost:1\n\t}", "", "clients have to use the endpoint's path twice"},
		{"rewrite behind a guard", "route {\n\t" + fmt.Sprintf(login, "/mcp*") + "uri path_regexp ^/v[0-9]+/mcp$ /mcp\n\tmcp_auth_bridge localhost:1\n\t}", "", "a rewrite behind a guard may lead past it"},
		{"rewrite before a guard", "route {\n\turi path_regexp ^/v[0-9]+/mcp$ /mcp\n\t" + fmt.Sprintf(login, "/mcp*") + "mcp_auth_bridge localhost:1\n\t}", "", ""},
		{"a query behind a guard", "route {\n\t" + fmt.Sprintf(login, "/mcp*") + "rewrite * {path}?a=b\n\tmcp_auth_bridge localhost:1\n\t}", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, others := range []string{"", "http://other.example.com:8090 {\n\trespond other\n}\nhttp://third.example.com:8091 {\n\tmcp_auth_bridge localhost:9\n}\n"} {
				testcaddy.ForgetLogs()
				text := "{\n\tauto_https off\n}\n&(mcp) {\n\tmcp_auth_bridge localhost:1\n}\n&(guard) {\n\t" + fmt.Sprintf(login, "/mcp") + "\n}\n" + others + ":8080 {\n\t" + tt.site + "\n}\n"
				err := testcaddy.Validate(t, text)
				if (err != nil) != (tt.refused != "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("got %v, want %q", err, tt.refused)
				}
				warned := 0
				for _, line := range testcaddy.Logs() {
					if strings.Contains(line, `"level":"warn","`) && strings.Contains(line, `"logger":"mcp_auth_bridge"`) {
						if warned++; tt.warned == "" || !strings.Contains(line, tt.warned) {
							t.Errorf("warned of %s", line)
						}
					}
				}
				if want := min(1, len(tt.warned)); warned != want {
					t.Errorf("%d warnings, want %d", warned, want)
				}
			}
		})
	}
}

// A configuration that is told to start keeps the connection policies that it has: none
// where there is no TLS.
func TestObservingLeavesNoPolicy(t *testing.T) {
	up := mcptest.NewAnswers(t)
	addr := testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, "http://"+addr+" {\n\tmcp_auth_bridge "+up.URL+"\n}\n")
	r := mcptest.NewRequest(t, http.MethodPost, "http://"+addr+"/mcp?answer=200", mcptest.Initialize)
	if got := mcptest.Do(t, mcptest.NewClient(t), r); got.Status != http.StatusOK {
		t.Errorf("got %d", got.Status)
	}
	err := testcaddy.ValidateJSON(t, []byte(`{"apps":{"http":{"servers":{"s":{"listen":[":8443"],"tls_connection_policies":[{"match":{"mcp_auth_bridge":{"app":"http"}}}]}}}}}`))
	if err != nil && !strings.Contains(err.Error(), "is not for configurations") {
		t.Errorf("got %v", err)
	}
}

// Rule C2: a middleware's metadata is asked of the handlers that follow it before any request
// has come to the endpoint.
func TestMiddlewareKnowsWhatFollows(t *testing.T) {
	up := mcptest.NewAnswers(t)
	for name, site := range map[string]string{
		"route":             "mcp_auth_bridge metadata\n\thandle_path /x/* {\n\t\troute {\n\t\t\tmcp_auth_bridge\n\t\t\treverse_proxy " + up.URL + "\n\t\t}\n\t}",
		"outside its block": "mcp_auth_bridge metadata\n\troute /x/* {\n\t\turi strip_prefix /x\n\t\troute {\n\t\t\tmcp_auth_bridge\n\t\t}\n\t\treverse_proxy " + up.URL + "\n\t}",
	} {
		t.Run(name, func(t *testing.T) {
			addr := testcaddy.Addr(testcaddy.FreePort(t))
			testcaddy.Run(t, "http://"+addr+" {\n\t"+site+"\n}\n")
			got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, http.MethodGet, "http://"+addr+"/.well-known/oauth-protected-resource/x/mcp", ""))
			if got.Status != http.StatusOK || !strings.Contains(got.Body, "https://login.example.com") {
				t.Errorf("got %d %s", got.Status, got.Body)
			}
		})
	}
}
