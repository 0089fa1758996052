package docs_test

import (
	"context"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// updateVerdicts writes the golden file of TestVerdicts.
var updateVerdicts = flag.Bool("update-verdicts", false, "write testdata/verdicts.golden")

const goldenVerdicts = "testdata/verdicts.golden"

// maxVerdict is how many lines a verdict has at most.
const maxVerdict = 14

// setting is a server with Caddy in front of it, and what the doctor is asked about it.
type setting struct {
	name string
	// server is the MCP server. Default: the demo, which requires login.
	server func(t *testing.T) string
	// demo are the options of the demo.
	demo demo.Options
	// site has SITE for the address of the site, UPSTREAM for that of the server, FOLDER
	// for a folder with a website, and CERT for a certificate and its key. Empty: there is
	// no Caddy.
	site string
	// global are global options.
	global string
	// url has the same words. Default: http://SITE/mcp.
	url  string
	opts doctor.Options
	// named has the client use https://mcp.example.com, with TLS that ends before Caddy.
	named bool
	// login logs in.
	login bool
}

const keysSite = "http://SITE {\n\tmcp_auth_bridge UPSTREAM {\n\t\tauthorize {\n\t\t\tkey backup 0123456789abcdef\n\t\t}\n\t}\n}"

const bridgeSite = "http://SITE {\n\tmcp_auth_bridge UPSTREAM\n}"

// plainly serves an MCP server without login over Streamable HTTP.
func plainly(t *testing.T) string {
	return served(t, mcp.NewStreamableHTTPHandler(notes, &mcp.StreamableHTTPOptions{DisableLocalhostProtection: true}))
}

// guardedHost is plainly, but the server refuses host names that it does not know.
func guardedHost(t *testing.T) string {
	return served(t, mcp.NewStreamableHTTPHandler(notes, nil))
}

// overSSE serves an MCP server without login over HTTP+SSE.
func overSSE(t *testing.T) string { return served(t, mcp.NewSSEHandler(notes, nil)) }

// withMessages is overSSE, but clients send their messages to /messages, as those of the
// Python and the TypeScript SDK do.
func withMessages(t *testing.T) string {
	sse := mcp.NewSSEHandler(notes, nil)
	return served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/sse" && r.Method == http.MethodGet:
			r.URL.Path = "/messages" // the stream names the path of its request
			sse.ServeHTTP(w, r)
		case r.URL.Path == "/messages" && r.Method == http.MethodPost:
			sse.ServeHTTP(w, r)
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}))
}

// notes is an MCP server with two tools.
func notes(*http.Request) *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "notes", Version: "1.0"}, nil)
	for _, name := range []string{"read", "write"} {
		mcp.AddTool(s, &mcp.Tool{Name: name}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return new(mcp.CallToolResult), nil, nil
		})
	}
	return s
}

func served(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// securely serves with TLS.
func securely(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(mcp.NewStreamableHTTPHandler(notes, nil))
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// gone is the address of a server that does not listen.
func gone(t *testing.T) string { return "http://" + testcaddy.Addr(testcaddy.FreePort(t)) }

// documented requires login. change changes its metadata and that of its authorization
// server, which is elsewhere.
func documented(change func(resource, issuer map[string]any)) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		resource, issuer := map[string]any{}, map[string]any{}
		login := served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Header().Set("Access-Control-Allow-Headers", "*")
			switch {
			case r.Method == http.MethodOptions:
				w.WriteHeader(http.StatusNoContent)
			case r.URL.Path == "/.well-known/oauth-authorization-server":
				answerJSON(w, http.StatusOK, issuer)
			case strings.HasPrefix(r.URL.Path, "/.well-known/"):
				http.NotFound(w, r)
			default:
				answerJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_request"})
			}
		}))
		own := ""
		own = served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answers401(map[string]any{wellKnownResource + "/mcp": resource}, `Bearer resource_metadata="`+own+wellKnownResource+`/mcp"`)(w, r)
		}))
		resource["resource"], resource["authorization_servers"] = own+"/mcp", []string{login}
		for name, path := range map[string]string{"issuer": "", "authorization_endpoint": "/authorize", "token_endpoint": "/token", "registration_endpoint": "/register"} {
			issuer[name] = login + path
		}
		issuer["response_types_supported"], issuer["code_challenge_methods_supported"] = []string{"code"}, []string{"S256"}
		change(resource, issuer)
		return own
	}
}

// without leaves a member of the authorization server's metadata out.
func without(name string) func(*testing.T) string {
	return documented(func(_, issuer map[string]any) { delete(issuer, name) })
}

var settings = []setting{
	{name: "mcp_auth_bridge, with --login", demo: demo.Options{AutoConsent: true}, site: bridgeSite, login: true},
	{name: "a tool that needs more scopes", demo: demo.Options{AutoConsent: true}, site: bridgeSite, login: true, opts: doctor.Options{Call: "admin_secret"}},
	{name: "a tool that needs more scopes, with --step-up", demo: demo.Options{AutoConsent: true}, site: bridgeSite, login: true, opts: doctor.Options{Call: "admin_secret", StepUp: true}},
	{name: "authorize with keys only", server: plainly, site: keysSite},
	{name: "authorize with keys only, with a key", server: plainly, site: keysSite, opts: doctor.Options{Token: "0123456789abcdef"}},
	{name: "mcp_auth_bridge", site: bridgeSite},
	{name: "mcp_auth_bridge, only the host given", site: bridgeSite, url: "SITE"},
	{name: "plain reverse_proxy", site: "http://SITE {\n\treverse_proxy UPSTREAM\n}"},
	{name: "plain reverse_proxy, with --upstream", site: "http://SITE {\n\treverse_proxy UPSTREAM\n}", opts: doctor.Options{Upstream: "UPSTREAM"}},
	{name: "basic_auth for the whole site", site: "http://SITE {\n\tbasic_auth {\n\t\talice $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n\t}\n\tmcp_auth_bridge UPSTREAM\n}"},
	{name: "no server behind mcp_auth_bridge", server: gone, site: bridgeSite},
	{name: "no server behind reverse_proxy", server: gone, site: "http://SITE {\n\treverse_proxy UPSTREAM\n}"},
	{name: "nothing listens", server: gone, url: "UPSTREAM/mcp"},
	{name: "a certificate of a private CA", site: "https://SITE {\n\ttls CERT\n\tmcp_auth_bridge UPSTREAM\n}", url: "SITE"},
	{name: "a certificate of a private CA, with --insecure", site: "https://SITE {\n\ttls CERT\n\tmcp_auth_bridge UPSTREAM\n}", url: "https://SITE/mcp", opts: doctor.Options{Insecure: true}},
	{name: "https:// to a plain port", site: bridgeSite, url: "https://SITE/mcp"},
	{name: "http:// to a TLS port", site: "https://SITE {\n\ttls CERT\n\tmcp_auth_bridge UPSTREAM\n}"},
	{name: "a TLS server behind mcp_auth_bridge without https://", server: securely, site: bridgeSite},
	{name: "a TLS server behind reverse_proxy without https://", server: securely, site: "http://SITE {\n\treverse_proxy UPSTREAM\n}"},
	{name: "a page of another origin", site: bridgeSite, opts: doctor.Options{Origin: "https://app.example.com"}},
	{name: "an HTTP+SSE server given as http", server: withMessages, site: "http://SITE {\n\tmcp_auth_bridge /sse UPSTREAM\n}", url: "http://SITE/sse"},
	{name: "an HTTP+SSE server given as http, one path", server: overSSE, site: "http://SITE {\n\tmcp_auth_bridge /sse UPSTREAM\n}", url: "http://SITE/sse"},
	{name: "an HTTP+SSE server, bridged", server: withMessages, site: "http://SITE {\n\tmcp_auth_bridge /mcp sse+http://UPSTREAM/sse\n}"},
	{name: "legacy_sse for old clients", server: plainly, site: "http://SITE {\n\tmcp_auth_bridge UPSTREAM {\n\t\tlegacy_sse /sse\n\t}\n}", url: "http://SITE/sse"},
	{name: "a 502 of the server", server: func(t *testing.T) string {
		return served(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	}, site: bridgeSite},
	{name: "a stdio server that ends", site: "http://SITE {\n\tmcp_auth_bridge {\n\t\tstdio sh -c \"read line; exit 3\" {\n\t\t\tallow_unauthenticated\n\t\t}\n\t}\n}"},
	{name: "a website at the URL", site: "http://SITE {\n\troot * FOLDER\n\ttry_files {path} /index.html\n\theader Content-Type text/html\n\trespond \"<!doctype html><title>Welcome</title>\"\n}"},
	{name: "a website, only the host given", site: "http://SITE {\n\troot * FOLDER\n\tfile_server\n}", url: "SITE"},
	{name: "another path", site: bridgeSite, url: "http://SITE/api"},
	{name: "a public server without login", server: plainly, site: "http://SITE {\n\tmcp_auth_bridge UPSTREAM\n}", named: true},
	{name: "a server without login on this machine", server: plainly, site: bridgeSite},
	{name: "a server that refuses the host name", server: guardedHost, site: bridgeSite, named: true},
	{name: "another proxy ends TLS", site: bridgeSite, named: true},
	{name: "an endpoint in handle_path", site: "http://SITE {\n\thandle_path /tools/* {\n\t\tmcp_auth_bridge UPSTREAM\n\t}\n\thandle {\n\t\trespond 404\n\t}\n}", url: "http://SITE/tools/mcp"},
	{name: "metadata answered by a catch-all", site: "http://SITE {\n\thandle /mcp* {\n\t\tmcp_auth_bridge UPSTREAM\n\t}\n\thandle {\n\t\troot * FOLDER\n\t\ttry_files {path} /index.html\n\t\tfile_server\n\t}\n}"},
	{name: "resource for another URL", server: documented(func(resource, _ map[string]any) { resource["resource"] = "http://files.example.com/mcp" }), site: bridgeSite},
	{name: "the authorization server on the same host, without bridge", demo: demo.Options{SameOrigin: true}, site: bridgeSite, named: true, global: "servers {\n\t\ttrusted_proxies static private_ranges\n\t}"},
	{name: "an issuer with a slash", server: documented(func(_, issuer map[string]any) { issuer["issuer"] = issuer["issuer"].(string) + "/" }), site: bridgeSite},
	{name: "no PKCE", server: without("code_challenge_methods_supported"), site: bridgeSite},
	{name: "no registration", server: without("registration_endpoint"), site: bridgeSite},
	{name: "a token that is not good", site: bridgeSite, opts: doctor.Options{Token: "wrong"}},
	{name: "a gate that redirects to its login page", site: "http://SITE {\n\tredir https://team.example.com/login 302\n}"},
	{name: "401 and nothing else", server: func(t *testing.T) string { return served(t, answers401(nil)) }, site: bridgeSite},
}

// houseWords are words that no user should have to guess.
var houseWords = regexp.MustCompile(`(?i)\b(walk|mend|wanted by|made out|stands|crosses|under way|hands on|belongs into)`)

// Rule F3: for each of these set-ups the doctor says in fewer than 15 lines what clients
// meet and how to fix it. The golden file has all of them.
func TestVerdicts(t *testing.T) {
	raw, err := os.ReadFile(goldenVerdicts)
	if err != nil && !*updateVerdicts {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, s := range settings {
		var got string
		t.Run(s.name, func(t *testing.T) {
			got = s.verdict(t)
			if !*updateVerdicts && !strings.Contains(string(raw), "# "+s.name+"\n"+got+"\n") {
				t.Errorf("the golden file has another verdict than\n%s", got)
			}
			if lines := strings.Count(got, "\n") - 1; lines > maxVerdict { // the first line is the command
				t.Errorf("%d lines, want at most %d\n%s", lines, maxVerdict, got)
			}
			if word := houseWords.FindString(got); word != "" {
				t.Errorf("it says %q\n%s", word, got)
			}
		})
		all.WriteString("# " + s.name + "\n" + got + "\n")
	}
	if *updateVerdicts {
		if err := os.WriteFile(goldenVerdicts, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if all.String() != string(raw) {
		t.Error("the golden file has other set-ups, or another order; -update-verdicts writes it")
	}
}

// verdict runs the doctor. It returns the command and the output, with fixed addresses.
func (s setting) verdict(t *testing.T) string {
	t.Helper()
	site := testcaddy.Addr(testcaddy.FreePort(t))
	upstream, issuer := "", ""
	if s.server != nil {
		upstream = s.server(t)
	} else {
		s.demo.Public = []string{"http://" + site + "/mcp"}
		d, err := demo.Start(t.Context(), s.demo)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		upstream, issuer = d.Origin(), d.Issuer()
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "index.html"), []byte("<!doctype html><title>Welcome</title>"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := testcaddy.Certificate(t)
	address := strings.TrimPrefix(strings.TrimPrefix(upstream, "https://"), "http://")
	fill := strings.NewReplacer("SITE", site, "UPSTREAM", address, "FOLDER", folder, "CERT", cert+" "+key)
	if s.site != "" {
		caddyfile := s.site
		if s.named {
			caddyfile = strings.Replace(caddyfile, "http://SITE {", "http://mcp.example.com:"+site[strings.LastIndexByte(site, ':')+1:]+" {\n\tbind 127.0.0.1", 1)
		}
		testcaddy.Run(t, "{\n\tauto_https off\n\t"+s.global+"\n}\n"+fill.Replace(caddyfile))
	}
	opts := s.opts
	switch {
	case s.named:
		opts.URL, opts.Transport = "https://mcp.example.com/mcp", endsTLS(t, "http://"+site, issuer)
	case s.url == "":
		opts.URL = "http://" + site + "/mcp"
	default:
		opts.URL = fill.Replace(strings.Replace(s.url, "UPSTREAM", upstream, 1))
	}
	opts.Upstream = fill.Replace(opts.Upstream)
	if s.login {
		opts.Login, opts.Browse = true, agree(t)
	}
	r, err := doctor.Run(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := r.WriteText(&text, doctor.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	// Every port has five digits, so the lines break at the same places.
	said := strings.NewReplacer(site, "SITE", address, "SERVER").Replace("$ caddy mcp doctor " + opts.URL + flagsOf(opts) + "\n" + text.String())
	said = strings.ReplaceAll(regexp.MustCompile(`127\.0\.0\.1:[0-9]{5}`).ReplaceAllString(said, "ISSUER"), folder, "/srv/www")
	return strings.NewReplacer("SITE", "127.0.0.1:18080", "SERVER", "127.0.0.1:13000", "ISSUER", "127.0.0.1:19000").Replace(said)
}

// flagsOf returns the flags of the command for options.
func flagsOf(opts doctor.Options) string {
	flags := ""
	for _, f := range []struct{ name, value string }{{"--origin", opts.Origin}, {"--upstream", opts.Upstream}, {"--token", opts.Token}, {"--call", opts.Call}} {
		if f.value != "" {
			flags += " " + f.name + " " + f.value
		}
	}
	if opts.Login {
		flags += " --login"
	}
	if opts.StepUp {
		flags += " --step-up"
	}
	if opts.Insecure {
		flags += " --insecure"
	}
	return flags
}

// agree is a user who opens the login and agrees.
func agree(t *testing.T) func(string) error {
	t.Helper()
	client := &http.Client{Transport: new(http.Transport)} // it follows redirects
	t.Cleanup(client.CloseIdleConnections)
	return func(at string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
}
