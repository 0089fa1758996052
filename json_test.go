package mcpauthbridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Mistakes that only JSON can have are refused by a line that names the value.
func TestRefusedJSON(t *testing.T) {
	for name, tc := range map[string]struct{ handler, want string }{
		"no upstream":                 {`"reverse_proxy":{"upstreams":[null]}`, "upstream 0: names no address (dial)"},
		"upstream without address":    {`"reverse_proxy":{"upstreams":[{"dial":"localhost:1"},{}]}`, "upstream 1: names no address (dial)"},
		"address with scheme":         {`"reverse_proxy":{"upstreams":[{"dial":"http://localhost:1"}]}`, `upstream "http://localhost:1": dial is host:port, without a scheme`},
		"address with path":           {`"reverse_proxy":{"upstreams":[{"dial":"localhost:1/mcp"}]}`, `upstream "localhost:1/mcp": dial is host:port, without a path`},
		"address without port":        {`"reverse_proxy":{"upstreams":[{"dial":"localhost"}]}`, `upstream "localhost": dial needs a port; write localhost:3000`},
		"address with a bad port":     {`"reverse_proxy":{"upstreams":[{"dial":"localhost:http"}]}`, `upstream "localhost:http": the port must be a number from 1 to 65535`},
		"kind of upstream as a text":  {`"upstream":"localhost:3000"`, "upstream: must be an object with `protocol`"},
		"kind of upstream not named":  {`"upstream":{"command":["cat"]}`, "upstream: needs `protocol`"},
		"kind of upstream not known":  {`"upstream":{"protocol":"sdtio"}`, "upstream: unknown protocol \"sdtio\"; did you mean `stdio`?"},
		"command as one text":         {`"upstream":{"protocol":"stdio","command":"cat"}`, "stdio command: must be a list in brackets"},
		"unknown member of the kind":  {`"upstream":{"protocol":"stdio","commmand":["cat"]}`, "stdio: unrecognized option \"commmand\"; did you mean `command`?"},
		"text as a path":              {`"endpoint":["/a"]`, "mcp_auth_bridge endpoint: must be a text in quotes, not a list"},
		"text for a limit":            {`"limits":{"max_request_body":"8MiB"}`, "limits max_request_body: must be a whole number without quotes, not a text"},
		"seconds as nanoseconds":      {`"metadata":{"ttl":60}`, `metadata ttl: 60 is a number of nanoseconds; write "60s" for seconds`},
		"member of the Caddyfile":     {`"authorize":{"issuer":"https://a.example"}`, "authorize: unrecognized option \"issuer\"; did you mean `issuers`?"},
		"port of a host":              {`"hosts":["mcp.example.com:8443"]`, `hosts: "mcp.example.com:8443" has a port`},
		"dots in the upstream's path": {`"upstream":{"protocol":"http","path":"/a/../mcp"},"reverse_proxy":{"upstreams":[{"dial":"localhost:1"}]}`, `upstream path: "/a/../mcp" has an empty or dot segment`},
		"scopes of no challenge":      {`"challenge":{"mode":"replace","scope":["a"]}`, "challenge replace: excludes scope and realm"},
		"old name of a limit":         {`"limits":{"request_body":1}`, "limits: the option \"request_body\" is called `max_request_body` now"},
		"old name in sessions":        {`"sessions":{"idle":1}`, "sessions: the option \"idle\" is called `idle_timeout` now"},
		"unknown member":              {`"publc_url":"https://mcp.example.com"`, "mcp_auth_bridge: unrecognized option \"publc_url\"; did you mean `public_url`?"},
		"unknown member of a part":    {`"cors":{"allowed_origins":[]}`, "cors: unrecognized option \"allowed_origins\"; did you mean `allow_origins`?"},
		"unknown member of the proxy": {`"reverse_proxy":{"upstream":[]}`, "mcp_auth_bridge reverse_proxy: unrecognized option \"upstream\"; did you mean `upstreams`?"},
		"issuer's metadata":           {`"metadata":{"authorization_servers":["https://a.example/.well-known/openid-configuration"]}`, "write https://a.example"},
		"two servers in one":          {`"metadata":{"authorization_servers":["https://a.example,https://b.example"]}`, "as in `authorization_servers https://a.example https://b.example`"},
		"keys of no URL":              {`"authorize":{"issuers":[{"issuer":"https://a.example","jwks":"/keys"}]}`, `authorize issuer jwks: "/keys" must be a URL that starts with https://`},
		"key_header without a key":    {`"authorize":{"issuers":[{"issuer":"https://a.example"}],"key_header":"X-Key"}`, "authorize key_header: there is no key that it could carry"},
		"issuer twice":                {`"authorize":{"issuers":[{"issuer":"https://a.example"},{"issuer":"https://a.example"}]}`, `authorize issuer "https://a.example" is given twice: remove one`},
		"servers beside authorize":    {`"metadata":{"authorization_servers":["https://b.example"]},"authorize":{"issuers":[{"issuer":"https://a.example"}]}`, "metadata authorization_servers: excludes authorize"},
		"member of no principal":      {`"authorize":{"issuers":[{"issuer":"https://a.example"}],"when":"principal.claim.x"}`, `principal has no member "claim"`},
		"placeholder of an audience":  {`"authorize":{"issuers":[{"issuer":"https://a.example","audience":["{env.AUDIENCE}"]}]}`, `authorize issuer audience: "{env.AUDIENCE}": placeholders are not replaced here; write the value itself`},
		"placeholder of an issuer":    {`"authorize":{"issuers":[{"issuer":"https://{env.HOST}"}]}`, `authorize issuer: "https://{env.HOST}": placeholders are not replaced here; write the value itself`},
		"placeholder of the keys":     {`"authorize":{"issuers":[{"issuer":"https://a.example","jwks":"https://{env.HOST}/keys"}]}`, `authorize issuer jwks: "https://{env.HOST}/keys": placeholders`},
		"placeholder of a scope":      {`"authorize":{"issuers":[{"issuer":"https://a.example"}],"scopes":["{file./run/scope}"]}`, `authorize scope: "{file./run/scope}": placeholders`},
		"placeholder of a rule":       {`"authorize":{"issuers":[{"issuer":"https://a.example"}],"rules":[{"tools":["a"],"scopes":["{env.SCOPE}"]}]}`, `authorize scope: "{env.SCOPE}": placeholders`},
		"placeholder of a claim":      {`"authorize":{"issuers":[{"issuer":"https://a.example"}],"claims":[{"name":"groups","values":["{env.GROUP}"]}]}`, `authorize claim groups: "{env.GROUP}": placeholders`},
		"placeholder of an implied":   {`"authorize":{"issuers":[{"issuer":"https://a.example"}],"implies":{"a":["{env.SCOPE}"]}}`, `authorize implies: "{env.SCOPE}": placeholders`},
		"placeholder of a key's":      {`"authorize":{"keys":[{"name":"k","value":"0123456789abcdef","scope":["{env.SCOPE}"]}]}`, `authorize key k scope: "{env.SCOPE}": placeholders`},
		"origin of a challenge":       {`"challenge":{"origins":["localhost:1"]}`, "challenge origins"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := fmt.Sprintf(`{"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[{"handler":"mcp_auth_bridge",%s}]}]}}}}}`, tc.handler)
			if err := testcaddy.ValidateJSON(t, []byte(raw)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want %s", err, tc.want)
			}
		})
	}
}
