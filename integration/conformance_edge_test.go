package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// conformanceKey is the key of the suite, which can send no credentials by itself.
const conformanceKey = "0123456789abcdef-conformance"

// withKey serves what is at an address, and adds the key to each request.
func withKey(t *testing.T, addr string) string {
	t.Helper()
	to := &url.URL{Scheme: "http", Host: addr}
	s := httptest.NewServer(mcptest.Front(func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // which the suite chooses
		r.Out.Header.Set("Authorization", "Bearer "+conformanceKey)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// Rules E2, E3, E5, E7: the official conformance suite says the same of a server behind
// `authorize`, whose rules allow everything by scopes that the key has, as of the server alone,
// but for the differences that testdata/conformance-differences.txt has reasons for. It has no
// scenarios for the login that a server asks for.
func TestConformanceOfServersBehindAuthorize(t *testing.T) {
	integration.NeedNode(t)
	program := buildConformance(t, "everything-server")
	for _, tc := range []struct {
		revision string
		flags    []string
		checks   int
	}{
		{sessions, []string{"-stateless=false"}, 60},
		{stateless, nil, 130},
	} {
		t.Run(tc.revision, func(t *testing.T) {
			server := startConformanceServer(t, program, tc.flags...)
			direct := runSuite(t, "server", "--spec-version", tc.revision, "--url", "http://"+server+"/mcp")
			direct.flawless(t, tc.checks)
			port := testcaddy.FreePort(t)
			const authorize = `authorize {
			key suite ` + conformanceKey + ` mcp:read mcp:use
			scope mcp:read
			default deny
			lists hide
			tools * {
				scope mcp:use
			}
			prompts * {
				scope mcp:use
			}
			resources * {
				when ` + "`principal.kind == \"key\"`" + `
			}
			methods *
		}`
			testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
}
http://:%d {
	bind 127.0.0.1
	mcp_auth_bridge /authorize http://%s/mcp {
		%[4]s
	}
	mcp_auth_bridge /authorize-stdio {
		stdio %[3]q
		%[4]s
	}
}`, port, server, program, authorize))
			at := withKey(t, testcaddy.Addr(port))
			for _, front := range []string{"authorize", "authorize-stdio"} {
				t.Run(front, func(t *testing.T) {
					compare(t, front, tc.revision, direct, runSuite(t, "server", "--spec-version", tc.revision, "--url", at+"/"+front))
				})
			}
		})
	}
}

// authorizeOfSuite is the value of conformanceOptions for an endpoint with `authorize` whose
// issuer is the suite's authorization server.
const authorizeOfSuite = "authorize"

// edgeOfSuite returns the option `authorize` for a server of the suite. What answers for its
// authorization server, which has no introspection endpoint, ends with the process: the first
// token has the scope that every request needs, and a later one those of tools, too.
func edgeOfSuite(server, public string) (string, error) {
	issuer, err := issuerOfSuite(server)
	if err != nil {
		return "", err
	}
	var mu sync.Mutex
	tokens := make(map[string]string)
	asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		token := r.FormValue("token")
		if tokens[token] == "" {
			tokens[token] = map[bool]string{true: "mcp:basic", false: "mcp:basic mcp:write"}[len(tokens) == 0]
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"active": true, "iss": issuer, "sub": "suite", "aud": public, "scope": tokens[token]})
	}))
	return fmt.Sprintf(`authorize {
			issuer %s {
				introspect %s {
					client_id suite
					client_secret suite
				}
			}
			scope mcp:basic
			tools * {
				scope mcp:write
			}
			token pass
		}`, issuer, asked.URL), nil
}

// issuerOfSuite returns the authorization server that a server of the suite names.
func issuerOfSuite(server string) (string, error) {
	at, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	res, err := http.Get("http://" + at.Host + "/.well-known/oauth-protected-resource" + at.Path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var document struct {
		Servers []string `json:"authorization_servers"`
	}
	if err := json.NewDecoder(res.Body).Decode(&document); err != nil || len(document.Servers) == 0 {
		return "", fmt.Errorf("the server of the suite names no authorization server: %w", err)
	}
	return document.Servers[0], nil
}

// Rules E2, E6, E8: the suite's scenario of step-up is content with a client that is sent to log
// in, and stepped up, by `authorize`. The suite's authorization server sees what the client asks
// for. Its other scenarios of logins judge clients by what a server of the suite answers, which
// `authorize` replaces; those of DPoP judge proofs for the URL of its own server (rule A11).
func TestConformanceOfStepUpBehindAuthorize(t *testing.T) {
	integration.NeedNode(t)
	program := buildConformance(t, "everything-client")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(conformanceClient, program)
	t.Setenv(conformanceOptions, authorizeOfSuite)
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for revision, want := range map[string][]string{
		sessions:  {"scope-step-up-initial", "scope-step-up-escalation"},
		stateless: {"scope-step-up-initial", "scope-step-up-escalation", "sep-2350-scope-union-on-reauth"},
	} {
		t.Run(revision, func(t *testing.T) {
			got := runScenarios(t, "client", "--scenario", "auth/scope-step-up", "--spec-version", revision, "--command", "'"+self+"'")
			for _, id := range want {
				if status := got[check{"auth/scope-step-up", id}]; status != "SUCCESS" {
					t.Errorf("%s: got %q, want SUCCESS", id, status)
				}
			}
			for at, status := range got {
				if strings.Contains(status, "FAILURE") {
					t.Errorf("%s: %s", at.id, status)
				}
			}
		})
	}
}
