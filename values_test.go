package mcpauthbridge_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// A value that may be meant gets no warning.
func TestValuesThatAreMeant(t *testing.T) {
	for name, caddyfile := range map[string]string{
		"issuer on loopback, for clients there": "http://localhost:8080 {\n\tmcp_auth_bridge localhost:3000 {\n\t\tmetadata {\n\t\t\tauthorization_servers http://localhost:9000\n\t\t}\n\t}\n}",
		"issuer on loopback, no host is known":  ":8080 {\n\tmcp_auth_bridge localhost:3000 {\n\t\tmetadata {\n\t\t\tauthorization_servers http://127.0.0.1:9000\n\t\t}\n\t}\n}",
		"issuer on loopback, public URL too":    "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tpublic_url http://localhost:8080\n\t\tmetadata {\n\t\t\tauthorization_servers http://localhost:9000\n\t\t}\n\t}\n}",
		"issuer of a private network":           "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tmetadata {\n\t\t\tauthorization_servers http://10.0.0.5:9000\n\t\t}\n\t}\n}",
		"issuer is the bridged server":          "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tauthorization_server bridge\n\t\tmetadata {\n\t\t\tauthorization_servers http://localhost:3000\n\t\t}\n\t}\n}",
		"port of HTTPS with TLS":                "mcp.example.com {\n\tmcp_auth_bridge mcp.internal:443 {\n\t\ttransport http {\n\t\t\ttls\n\t\t}\n\t}\n}",
		"port of HTTPS in the scheme":           "mcp.example.com {\n\tmcp_auth_bridge https://mcp.internal\n}",
		"public URL without a path":             "mcp.example.com {\n\tmcp_auth_bridge /tools localhost:3000 {\n\t\tpublic_url https://mcp.example.com\n\t}\n}",
		"public URL below a prefix":             "mcp.example.com {\n\thandle_path /tools* {\n\t\tmcp_auth_bridge localhost:3000 {\n\t\t\tpublic_url https://mcp.example.com/tools/mcp\n\t\t}\n\t}\n\tmcp_auth_bridge metadata\n}",
		"public URL of a rewrite":               "mcp.example.com {\n\trewrite /tools /mcp\n\tmcp_auth_bridge localhost:3000 {\n\t\tpublic_url https://mcp.example.com/tools\n\t}\n}",
		"public URL of a proxy in front":        ":8080 {\n\tmcp_auth_bridge localhost:3000 {\n\t\tpublic_url https://mcp.example.com/tools\n\t}\n}",
		"public URL of a proxy that ends TLS":   "http://mcp.example.com:8080 {\n\tmcp_auth_bridge localhost:3000 {\n\t\tpublic_url https://mcp.example.com/tools\n\t}\n}",
		"status page in a block":                "localhost {\n\tbind 127.0.0.1\n\tmcp_auth_bridge localhost:3000\n\thandle /mcp-status {\n\t\tmcp_auth_bridge status\n\t}\n\thandle {\n\t\trespond x\n\t}\n}",
		"status page behind the rest":           "localhost {\n\tbind 127.0.0.1\n\thandle /x* {\n\t\trespond x\n\t}\n\thandle {\n\t\tmcp_auth_bridge status\n\t}\n}",
		"site of the status page":               "http://status.localhost:8080 {\n\tbind 127.0.0.1\n\tmcp_auth_bridge status\n}\nhttp://www.localhost:8080 {\n\tbind 127.0.0.1\n\trespond x\n}",
		"endpoint in its block":                 "mcp.example.com {\n\thandle /API/* {\n\t\tmcp_auth_bridge /api/mcp localhost:3000\n\t}\n\tmcp_auth_bridge metadata\n}",
		"endpoint below a prefix":               "mcp.example.com {\n\thandle_path /api* {\n\t\thandle /v1* {\n\t\t\tmcp_auth_bridge /v1/mcp localhost:3000\n\t\t}\n\t}\n\tmcp_auth_bridge metadata\n}",
		"prefix stripped by uri":                "mcp.example.com {\n\thandle /api* {\n\t\turi strip_prefix /api\n\t\tmcp_auth_bridge localhost:3000\n\t}\n\tmcp_auth_bridge metadata\n}",
		"rewrite in the block":                  "mcp.example.com {\n\thandle /tools* {\n\t\trewrite * /mcp\n\t\tmcp_auth_bridge localhost:3000\n\t}\n\tmcp_auth_bridge metadata\n}",
		"block of hosts and methods":            "a.example.com, b.example.com {\n\t@b host b.example.com\n\thandle @b {\n\t\t@post method POST GET DELETE OPTIONS\n\t\thandle @post {\n\t\t\tmcp_auth_bridge localhost:3000\n\t\t}\n\t}\n\tmcp_auth_bridge metadata\n}",
		"block by a regexp":                     "mcp.example.com {\n\t@m path_regexp ^/[m-n]cp\n\troute @m {\n\t\tmcp_auth_bridge localhost:3000\n\t}\n\tmcp_auth_bridge metadata\n}",
		"path of a placeholder":                 "mcp.example.com {\n\t@m path {http.vars.x}\n\troute @m {\n\t\tmcp_auth_bridge localhost:3000\n\t}\n\tmcp_auth_bridge metadata\n}",
		"event stream in the block":             "mcp.example.com {\n\thandle /sse* {\n\t\tmcp_auth_bridge localhost:3000 {\n\t\t\tlegacy_sse /sse /sse/message\n\t\t}\n\t}\n\tmcp_auth_bridge metadata\n}",
		"named route in two blocks":             "&(mcp) {\n\tmcp_auth_bridge localhost:3000\n}\nmcp.example.com {\n\thandle /api* {\n\t\tinvoke mcp\n\t}\n\thandle /mcp* {\n\t\tinvoke mcp\n\t}\n\tmcp_auth_bridge metadata\n}",
		"authorize with hosts":                  ":8080 {\n\tmcp_auth_bridge localhost:3000 {\n\t\thosts mcp.example.com\n\t\tauthorize {\n\t\t\tissuer https://login.example.com\n\t\t}\n\t}\n}",
		"authorize with an audience":            ":8080 {\n\tmcp_auth_bridge localhost:3000 {\n\t\tauthorize {\n\t\t\tissuer https://login.example.com {\n\t\t\t\taudience api://files\n\t\t\t}\n\t\t}\n\t}\n}",
		"authorize of users of Caddy":           ":8080 {\n\tbasic_auth /mcp* {\n\t\talice $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n\t}\n\tmcp_auth_bridge localhost:3000 {\n\t\tauthorize {\n\t\t\tcaddy_user\n\t\t}\n\t}\n}",
		"rule beside a wider one":               "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tauthorize {\n\t\t\tissuer https://login.example.com\n\t\t\ttools read_*\n\t\t\ttools * {\n\t\t\t\tscope files:write\n\t\t\t}\n\t\t}\n\t}\n}",
		"resource with a comma":                 "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tauthorize {\n\t\t\tissuer https://login.example.com\n\t\t\tresources file:///a,b {\n\t\t\t\tscope a\n\t\t\t}\n\t\t}\n\t}\n}",
		"keys of a private network":             "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tauthorize {\n\t\t\tissuer https://login.example.com {\n\t\t\t\tjwks http://keycloak:8080/certs\n\t\t\t}\n\t\t}\n\t}\n}",
		"bridged server by its public URL":      "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tauthorization_server bridge\n\t\tmetadata {\n\t\t\tauthorization_servers https://mcp.example.com/realm\n\t\t}\n\t}\n}",
		"bridged server beside another one":     "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tauthorization_server bridge\n\t\tmetadata {\n\t\t\tauthorization_servers https://login.example.com http://localhost:3000\n\t\t}\n\t}\n}",
		"bridged server of a listed origin":     "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tchallenge {\n\t\t\torigins https://mcp.internal.example.com\n\t\t}\n\t\tauthorization_server bridge\n\t\tmetadata {\n\t\t\tauthorization_servers https://mcp.internal.example.com\n\t\t}\n\t}\n}",
		"bridged server of any host":            ":8080 {\n\tmcp_auth_bridge localhost:3000 {\n\t\tauthorization_server bridge\n\t\tmetadata {\n\t\t\tauthorization_servers https://mcp.example.com\n\t\t}\n\t}\n}",
		"limit of messages of HTTP+SSE":         "mcp.example.com {\n\tmcp_auth_bridge sse+http://localhost:3000/sse {\n\t\tlimits {\n\t\t\tmax_message 4MiB\n\t\t\tmax_endpoint_event 8KiB\n\t\t}\n\t}\n}",
		"limit of messages for old clients":     "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tlegacy_sse\n\t\tlimits {\n\t\t\tmax_message 4MiB\n\t\t}\n\t}\n}",
		"limit of messages that are judged":     "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tauthorize {\n\t\t\tissuer https://login.example.com\n\t\t}\n\t\tlimits {\n\t\t\tmax_message 4MiB\n\t\t}\n\t}\n}",
		"limit of forms":                        "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tauthorization_server bridge\n\t\tlimits {\n\t\t\tmax_form 64KiB\n\t\t}\n\t}\n}",
		"limits of all endpoints":               "{\n\tmcp_auth_bridge {\n\t\tlimits {\n\t\t\tmax_message 4MiB\n\t\t\tmax_form 64KiB\n\t\t}\n\t}\n}\nmcp.example.com {\n\tmcp_auth_bridge localhost:3000\n}",
		"scopes with spaces":                    "mcp.example.com {\n\tmcp_auth_bridge localhost:3000 {\n\t\tmetadata {\n\t\t\tscopes_supported mcp:read mcp:write\n\t\t}\n\t}\n}",
	} {
		t.Run(name, func(t *testing.T) {
			for _, message := range messagesOf(t, caddyfile) {
				t.Error(message)
			}
		})
	}
}

// What the Caddyfile warns of has a warning in JSON, and each is told once: also if an
// endpoint stands on several servers, and if the routes are looked at twice.
func TestOddValuesOfJSON(t *testing.T) {
	for name, tc := range map[string]struct {
		handler string
		want    []string
	}{
		"proxy": {
			`"metadata":{"authorization_servers":["http://localhost:9000"],"scopes_supported":["a,b","c"]},
			"challenge":{"scope":["d,e"]},"public_url":"https://mcp.example.com/tools",
			"reverse_proxy":{"upstreams":[{"dial":"mcp.internal:443"}]}`,
			[]string{"metadata authorization_servers", "metadata scopes_supported", "challenge scope", "public_url", "upstream"},
		},
		"authorize": {
			`"authorize":{"issuers":[{"issuer":"http://127.0.0.1:9000","audience":["g,h"],"introspect":{}}],"scopes":["a,b"],"rules":[{"tools":["x,y"],"scopes":["c,d"]}],
			"keys":[{"name":"k","value":"0123456789abcdef","scope":["e,f"]}]},
			"reverse_proxy":{"upstreams":[{"dial":"localhost:3000"}]}`,
			[]string{"authorize issuer", "authorize scope", "authorize rule scope", "authorize key scope", "authorize key", "authorize issuer audience", "authorize issuer introspect", "authorize tools"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := `{"listen":[":PORT"],"routes":[{"match":[{"host":["mcp.example.com"]}],"handle":[{"handler":"mcp_auth_bridge",` + tc.handler + `}]}]}`
			raw := `{"apps":{"http":{"servers":{"a":` + strings.Replace(server, "PORT", "443", 1) + `,"b":` + strings.Replace(server, "PORT", "8443", 1) + `}}}}`
			testcaddy.ForgetLogs()
			if err := testcaddy.ValidateJSON(t, []byte(raw)); err != nil {
				t.Fatal(err)
			}
			counts := make(map[string]int)
			for _, line := range testcaddy.Logs() {
				var entry struct{ Level, Msg, Option, Advice string }
				if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "warn" && entry.Option != "" {
					if counts[entry.Option]++; entry.Advice == "" {
						t.Errorf("%s has no advice", entry.Option)
					}
				}
			}
			for _, option := range tc.want {
				if counts[option] != 1 {
					t.Errorf("%s: told %d times, want once", option, counts[option])
				}
				delete(counts, option)
			}
			if len(counts) > 0 {
				t.Errorf("more is told: %v", counts)
			}
		})
	}
}

// ofMachine are golden Caddyfiles with values from files and variables that no machine has.
var ofMachine = map[string]bool{"authorize_every_option": true, "placeholders_in_options": true, "stdio_env_words": true}

// The golden Caddyfiles load without a message.
func TestGoldenCaddyfilesLoad(t *testing.T) {
	dir := t.TempDir()
	for _, program := range []string{"npx", "uvx"} {
		if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	t.Setenv("BACKUP_KEY", "0123456789abcdef-backup")
	t.Setenv("CLIENT_SECRET", "0123456789abcdef-secret")
	files, err := filepath.Glob("testdata/caddyfile_adapt/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if strings.HasPrefix(name, "error_") || ofMachine[name] {
			continue
		}
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			caddyfile, _, _ := strings.Cut(string(raw), separator+"\n")
			for _, message := range messagesOf(t, caddyfile) {
				t.Error(message)
			}
		})
	}
}
