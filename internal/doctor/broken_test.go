package doctor

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// setup breaks a site in one way, and has what the verdict must be.
type setup struct {
	name  string
	spoil func(*site)
	opts  func(*testing.T, *site, *Options)
	state report.State
	rule  string
	says  string // in the finding
	cure  string // in one of its cures, with its place before it
}

// page walks as a page of another origin.
func page(_ *testing.T, _ *site, o *Options) { o.Origin = pageOrigin }

// login goes through the login.
func login(t *testing.T, s *site, o *Options) { o.Login, o.Browse = true, s.browse(t) }

// at walks to another URL.
func at(raw string) func(*testing.T, *site, *Options) {
	return func(_ *testing.T, _ *site, o *Options) { o.URL = raw }
}

// answers answers with a status, a type and a body.
func answers(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// stalls never answers. With a media type it sends a header, and then nothing.
func stalls(header string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if header != "" {
			w.Header().Set("Content-Type", header)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}
}

func corsWithout(expose bool, status int, origin string, credentials bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if status != 0 && r.Method == http.MethodOptions {
			w.WriteHeader(status)
			return true
		}
		done := false
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Headers", "authorization, content-type, mcp-protocol-version")
		if expose {
			h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Mcp-Session-Id")
		}
		if credentials {
			h.Set("Access-Control-Allow-Credentials", "true")
		}
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			done = true
		}
		return done
	}
}

// replicas answers each connection as a replica that does not know the sessions of others.
func replicas() http.HandlerFunc {
	var mu sync.Mutex
	made := make(map[string]bool) // connections with a session of their own
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Mcp-Session-Id") == "" {
			made[r.RemoteAddr] = true
		} else if !made[r.RemoteAddr] {
			answers(http.StatusNotFound, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}`)(w, r)
			return
		}
		speak(w, r)
	}
}

const extension = "safari-web-extension://6F9619FF-8B86-D011-B42D-00C04FC964FF"

const basicChallenge = `Basic realm="site"`

var setups = []setup{
	{"bare 401", func(s *site) { s.challenge, s.at = nil, none(metadataPath) }, nil, report.Broken, "challenge.present", "no WWW-Authenticate", "server: send WWW-Authenticate: Bearer"},
	{"bare 401, metadata at its well-known URL", func(s *site) { s.challenge = nil }, nil, report.Healthy, "challenge.present", "old clients do not", "Caddyfile: put Caddy with `mcp_auth_bridge <upstream>` in front of the server"},
	{"challenge without metadata", func(s *site) { s.challenge, s.at = []string{"Bearer"}, none(metadataPath) }, nil, report.Broken, "challenge.metadata", "no resource_metadata", "server: add resource_metadata"},
	{"unparsable challenge", func(s *site) {
		s.challenge, s.at = []string{`Bearer resource_metadata="https://mcp`}, none(metadataPath)
	}, nil, report.Broken, "challenge.syntax", "quoted string without an end", "server: send WWW-Authenticate"},
	{"basic alone", func(s *site) { s.challenge, s.at = []string{basicChallenge}, none(metadataPath) }, nil, report.Broken, "challenge.bearer", "no Bearer challenge, only Basic", "Caddyfile: exclude /mcp and /.well-known/oauth-protected-resource* from the site's `basic_auth`"},
	{"basic before bearer", func(s *site) { s.challenge = append([]string{basicChallenge}, s.challenge...) }, nil, report.Healthy, "challenge.first", "Basic, before Bearer", "server: send the Bearer"},
	{"two Bearer challenges", func(s *site) {
		s.challenge = append([]string{`Bearer resource_metadata="` + mcpOrigin + `/proxy"`}, s.challenge...)
	}, nil, report.Broken, "challenge.one", "the first URL in WWW-Authenticate, which clients use, returns 404 Not Found: " + mcpOrigin + "/proxy", "server: send one Bearer"},
	{"two Bearer challenges, the first good", func(s *site) { s.challenge = append(s.challenge, `Bearer resource_metadata="`+mcpOrigin+`/proxy"`) }, nil, report.Healthy, "challenge.one", "2 Bearer challenges with different resource_metadata", "server: send one Bearer"},
	{"a bare Bearer last", func(s *site) { s.challenge = append(s.challenge, "Bearer") }, nil, report.Healthy, "", "", ""},
	{"a bare Bearer first", func(s *site) { s.challenge = append([]string{"Bearer"}, s.challenge...) }, nil, report.Healthy, "challenge.first", "a Bearer challenge without parameters, so clients built with the TypeScript SDK ignore it; they still find the metadata at its well-known URL", "server: send the Bearer"},
	{"a bare Bearer first, metadata elsewhere", func(s *site) {
		s.challenge = []string{"Bearer", `Bearer resource_metadata="` + mcpOrigin + `/elsewhere"`}
		s.at = none(metadataPath)
		s.at["mcp.example.com/elsewhere"] = func(w http.ResponseWriter, r *http.Request) {
			openCORS(w, r)
			writeJSON(w, 200, s.resource)
		}
	}, nil, report.Broken, "challenge.first", "ignore it, and do not find the metadata", "server: send the Bearer"},
	{"wrong scheme behind a proxy", func(s *site) {
		s.challenge = []string{`Bearer resource_metadata="http://mcp.example.com` + metadataPath + `"`}
	}, nil, report.Broken, "challenge.scheme", "points to an http URL", "server: set its public URL to https://mcp.example.com/mcp, or have it trust"},
	{"wrong scheme, redirected", func(s *site) {
		s.challenge = []string{`Bearer resource_metadata="http://mcp.example.com` + metadataPath + `"`}
		s.upgrades = true
	}, nil, report.Healthy, "challenge.scheme", "points to an http URL, but clients use https: http://mcp.example.com" + metadataPath + "; most clients find the metadata by a redirect, some refuse the scheme", "Caddyfile: put Caddy with `mcp_auth_bridge <upstream>` in front of the server; if another proxy ends TLS, with `public_url https://mcp.example.com/mcp`"},
	{"a relative URL", func(s *site) { s.challenge = []string{`Bearer resource_metadata="` + metadataPath + `"`} }, nil, report.Healthy, "challenge.url", "resource_metadata in WWW-Authenticate is not a usable URL: " + metadataPath + "; clients find the metadata at its well-known URL", "server: set its public URL"},
	{"a relative URL, and no metadata", func(s *site) {
		s.challenge, s.at = []string{`Bearer resource_metadata="` + metadataPath + `"`}, none(metadataPath)
	}, nil, report.Broken, "challenge.url", "not a usable URL: " + metadataPath + "; clients do not find the OAuth metadata without it", "server: set its public URL"},
	{"metadata on a private host", func(s *site) {
		s.challenge = []string{`Bearer resource_metadata="http://10.0.0.5:3000` + metadataPath + `"`}
	}, nil, report.Broken, "challenge.url", "private address", "Caddyfile: put Caddy with `mcp_auth_bridge 10.0.0.5:3000` in front of the server"},

	{"header not exposed", func(s *site) { s.cors = corsWithout(false, 0, "*", false) }, page, report.Broken, "browser.exposed", "cannot read WWW-Authenticate", "server: send Access-Control-Expose-Headers: WWW-Authenticate"},
	{"preflight answered 401", func(s *site) { s.cors = corsWithout(true, 401, "*", false) }, page, report.Broken, "preflight.answered", "gets 401", "server: answer OPTIONS with 204 before checking"},
	{"preflight answered 401, no page", func(s *site) { s.cors = corsWithout(true, 401, "*", false) }, nil, report.Healthy, "preflight.answered", "gets 401", "server: answer OPTIONS with 204"},
	{"pages of another origin only", func(s *site) { s.cors = corsWithout(true, 0, "https://other.example.com", false) }, page, report.Broken, "preflight.origin", "names another origin", "Caddyfile: put Caddy with `mcp_auth_bridge <upstream>` in front of the server, with `allow_origins https://app.example.com` in its block `cors`"},
	{"a field of the caller's that pages may not send", nil, func(_ *testing.T, _ *site, o *Options) {
		o.Origin, o.Header = pageOrigin, http.Header{"X-Api-Key": {"k"}, "Traceparent": {"t"}, "Accept-Language": {"en"}, "Cookie": {"c=1"}}
	}, report.Broken, "preflight.headers", "pages at https://app.example.com may not send traceparent, x-api-key", "with `allow_headers Traceparent X-Api-Key` in its block `cors`"},
	{"a field of the caller's, no page", nil, func(_ *testing.T, _ *site, o *Options) { o.Header = http.Header{"X-Api-Key": {"k"}} }, report.Healthy, "preflight.headers", "may not send x-api-key", "with `allow_headers X-Api-Key` in its block `cors`"},
	{"an extension whose origin is not repeated as it is", func(s *site) {
		s.cors = func(w http.ResponseWriter, r *http.Request) bool {
			return corsWithout(true, 0, strings.ToLower(r.Header.Get("Origin")), false)(w, r)
		}
	}, func(_ *testing.T, _ *site, o *Options) { o.Origin = extension }, report.Broken, "preflight.origin", "pages at " + extension + " are not allowed: Access-Control-Allow-Origin names another origin", "with `allow_origins " + extension + "` in its block `cors`"},
	{"CORS * with credentials", func(s *site) { s.cors = corsWithout(true, 0, "*", true) }, page, report.Broken, "cors.credentials", "Access-Control-Allow-Origin *", "server: do not send Access-Control-Allow-Credentials"},
	{"origin refused after its preflight", func(s *site) {
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Origin") != "" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			s.refuse(w, "")
		}
	}, page, report.Broken, "endpoint.origin", "others do not", "server: add https://app.example.com to its allowed origins"},
	{"token endpoint without CORS", func(s *site) { s.at["login.example.com/token"] = answers(400, "application/json", `{}`) }, page, report.Broken, "token.browser", "token endpoint", "authorization server: allow https://app.example.com"},
	{"metadata without CORS", func(s *site) {
		s.at["mcp.example.com"+metadataPath] = func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, s.resource) }
	}, page, report.Broken, "metadata.browser", "cannot read", "server: send Access-Control-Allow-Origin: *"},

	{"metadata 404", func(s *site) { s.at = none(metadataPath) }, nil, report.Broken, "metadata.found", "404 Not Found", "server: serve the metadata at " + mcpOrigin + metadataPath},
	{"metadata behind a login", func(s *site) { s.at["mcp.example.com"+metadataPath] = answers(401, "text/plain", "") }, nil, report.Broken, "metadata.found", "requires login itself", "server: serve the metadata at"},
	{"metadata HTML", func(s *site) {
		s.at["mcp.example.com"+metadataPath] = answers(200, "text/html", "<!doctype html><title>app</title>")
	}, nil, report.Broken, "metadata.json", "text/html", "Caddyfile: write mcp_auth_bridge, or `mcp_auth_bridge metadata`, at the level of the site"},
	{"metadata slow", func(s *site) { s.at["mcp.example.com"+metadataPath] = stalls("") }, short, report.Broken, "metadata.time", "in time", "server: answer the metadata at once"},
	{"metadata that does not end", func(s *site) { s.at["mcp.example.com"+metadataPath] = stalls("application/json") }, short, report.Broken, "metadata.time", "in time", "server: answer the metadata at once"},
	{"metadata huge", func(s *site) {
		s.at["mcp.example.com"+metadataPath] = answers(200, "application/json", `{"resource":"`+strings.Repeat("x", probe.MaxBody)+`"}`)
	}, nil, report.Broken, "metadata.size", "larger than 1 MiB", "server: send only the document"},
	{"metadata redirected to a private host", func(s *site) {
		s.at["mcp.example.com"+metadataPath] = http.RedirectHandler("http://169.254.169.254/latest?token=1", http.StatusFound).ServeHTTP
	}, nil, report.Broken, "metadata.redirect", "redirects to http://169.254.169.254/latest?...", "server: answer https://mcp.example.com/.well-known/oauth-protected-resource/mcp with 200"},

	{"metadata at another origin by a redirect", func(s *site) {
		s.at["mcp.example.com"+metadataPath] = http.RedirectHandler("https://docs.example.com/metadata", http.StatusFound).ServeHTTP
		s.at["docs.example.com/metadata"] = func(w http.ResponseWriter, r *http.Request) {
			openCORS(w, r)
			writeJSON(w, 200, s.resource)
		}
	}, nil, report.Broken, "metadata.redirect", mcpOrigin + metadataPath + " redirects to another host, https://docs.example.com, where clients built with the TypeScript SDK do not follow", "server: answer https://mcp.example.com/.well-known/oauth-protected-resource/mcp with 200"},
	{"authorization server's metadata at another origin by a redirect", func(s *site) {
		s.at["login.example.com"+serverPath] = http.RedirectHandler("https://docs.example.com/metadata", http.StatusMovedPermanently).ServeHTTP
		s.at["docs.example.com/metadata"] = func(w http.ResponseWriter, r *http.Request) {
			openCORS(w, r)
			writeJSON(w, 200, s.server)
		}
	}, nil, report.Broken, "issuer.redirect", "redirects to another host, https://docs.example.com", "authorization server: answer its metadata with 200"},
	{"token with 403 and no more", func(s *site) {
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			s.refuse(w, "")
		}
	}, token(mcpURL, time.Hour), report.Broken, "token.accepted", "the request with the token gets 403", "server: look into its log"},
	{"metadata by a redirect within the origin", func(s *site) {
		s.at["mcp.example.com"+metadataPath] = http.RedirectHandler("/metadata", http.StatusFound).ServeHTTP
		s.at["mcp.example.com/metadata"] = func(w http.ResponseWriter, r *http.Request) {
			openCORS(w, r)
			writeJSON(w, 200, s.resource)
		}
	}, nil, report.Healthy, "", "", ""},
	{"resource mismatch", func(s *site) { s.resource["resource"] = "http://mcp:3000/mcp" }, nil, report.Broken, "resource.identical", "the OAuth metadata says this server is http://mcp:3000/mcp, but clients use " + mcpURL, "server: set its public URL (resource, and the audience of tokens) to " + mcpURL},
	{"resource mismatch by a slash", func(s *site) { s.resource["resource"] = mcpURL + "/" }, nil, report.Broken, "resource.identical", "in the final slash", "Caddyfile: put Caddy with `mcp_auth_bridge <upstream>` in front of the server"},
	{"resource with a slash, URL without", func(s *site) {
		s.challenge, s.resource["resource"] = nil, mcpURL+"/"
	}, nil, report.Broken, "resource.identical", "in the final slash", "server: set its public URL (resource, and the audience of tokens) to " + mcpURL},
	{"resource is the origin", func(s *site) { s.resource["resource"] = mcpOrigin }, nil, report.Healthy, "resource.identical", "not only for this URL", "server: set its public URL (resource, and the audience of tokens) to " + mcpURL},
	{"resource missing", func(s *site) { s.resource["resource"] = nil }, nil, report.Broken, "resource.usable", "resource is missing", "server: set resource to " + mcpURL},
	{"no authorization server named", func(s *site) { s.resource["authorization_servers"] = nil }, nil, report.Broken, "resource.servers", "names no authorization server", "with `authorization_servers <url>` in its block `metadata`"},

	{"authorization server on loopback", func(s *site) { s.resource["authorization_servers"] = []string{"http://localhost:9000"} }, nil, report.Broken, "issuer.url", "private address", "with `authorization_servers <url>` in its block `metadata`"},
	{"authorization server without metadata", func(s *site) { s.at["login.example.com"+serverPath] = http.NotFound }, nil, report.Broken, "issuer.found", "has no metadata", "authorization server: serve /.well-known/oauth-authorization-server"},
	{"issuer mismatch", func(s *site) { s.server["issuer"] = issuerURL + "/" }, nil, report.Broken, "issuer.identical", "calls itself https://login.example.com/, but the MCP server calls it https://login.example.com", "authorization server: set its issuer"},
	{"no PKCE", func(s *site) { s.server["code_challenge_methods_supported"] = nil }, nil, report.Broken, "issuer.pkce", "missing", "authorization server: turn on PKCE with S256"},
	{"PKCE plain", func(s *site) { s.server["code_challenge_methods_supported"] = []string{"plain"} }, nil, report.Broken, "issuer.pkce", "does not list S256", "authorization server: turn on PKCE with S256"},
	{"http: token endpoint", func(s *site) { s.server["token_endpoint"] = "http://login.example.com/token" }, nil, report.Broken, "issuer.https", "token_endpoint is not an https URL", "authorization server: set its public URL to https"},
	{"no token endpoint", func(s *site) { s.server["token_endpoint"] = nil }, nil, report.Broken, "issuer.endpoints", "token_endpoint is missing", "authorization server: turn on the authorization code flow"},
	{"login page at another origin", func(s *site) { s.server["authorization_endpoint"] = "https://pages.example.com/login" }, nil, report.Healthy, "issuer.iss", "authorization_endpoint is at https://pages.example.com, not at the issuer, and the metadata does not announce iss", "authorization server: send iss in the authorization response, and announce it"},
	{"login page at another origin, iss announced", func(s *site) {
		s.server["authorization_endpoint"] = "https://pages.example.com/login"
		s.server["authorization_response_iss_parameter_supported"] = true
	}, nil, report.Healthy, "", "", ""},
	{"login with an iss that is not announced", func(s *site) { s.iss = issuerURL }, login, report.Healthy, "login.issuer", "clients built with the Go SDK stop", "authorization server: send the same iss"},
	{"no registration way", func(s *site) { s.server["registration_endpoint"] = nil }, nil, report.Broken, "issuer.registration", "clients cannot register", "command line: register a client by hand"},

	{"endpoint path wrong, 404", nil, at(mcpOrigin + "/nowhere"), report.Broken, "endpoint.path", "404", "command line: use the URL of the MCP endpoint; often it is " + mcpURL},
	{"endpoint path wrong, 405", func(s *site) { s.answer = answers(405, "text/plain", "") }, nil, report.Broken, "endpoint.path", "405", "use `mcp_auth_bridge /mcp <upstream>` with `upstream_path <path>`"},
	{"plain website", func(s *site) {
		s.answer = answers(200, "text/html; charset=utf-8", "<!doctype html><title>Welcome</title>")
	}, nil, report.Broken, "endpoint.mcp", "200 with text/html", "Caddyfile: write `mcp_auth_bridge /mcp <upstream>` at the level of the site"},
	{"open to everyone", func(s *site) { s.open = true }, nil, report.Healthy, "endpoint.open", "it requires no login", "Caddyfile: put `forward_auth` or `basic_auth` before the proxy"},
	{"open to those with credentials", func(s *site) { s.open = true }, func(_ *testing.T, _ *site, o *Options) { o.Header = http.Header{"Cookie": {"session=a"}} }, report.Healthy, "", "", ""},
	{"plain HTTP to a TLS server", func(s *site) {
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Via", "1.1 Caddy")
			answers(400, "text/plain", "Client sent an HTTP request to an HTTPS server.\n")(w, r)
		}
	}, nil, report.Broken, "endpoint.tls", "Caddy reaches the MCP server, but speaks plain HTTP to a TLS port", "`reverse_proxy https://<upstream>`"},
	{"redirect to another host", func(s *site) {
		s.answer = http.RedirectHandler("https://other.example.com/mcp?session=1", http.StatusTemporaryRedirect).ServeHTTP
	}, nil, report.Broken, "endpoint.redirect", "another host, https://other.example.com/mcp?...", "command line: use the URL that the redirect leads to"},
	{"login by a redirect, with a challenge", func(s *site) {
		s.answer = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Example-Access resource_metadata="`+mcpOrigin+metadataPath+`"`)
			w.Header().Set("Location", "https://team.example.com/gate?state=1")
			w.WriteHeader(http.StatusFound)
		}
	}, nil, report.Broken, "endpoint.login", "the server redirects (302) to a login page, https://team.example.com/gate?..., instead of answering 401; its challenge has the scheme Example-Access, which clients do not know", "network: have the proxy that redirects answer MCP clients with 401"},
	{"login by a redirect", func(s *site) {
		s.answer = http.RedirectHandler("/users/sign_in?return=/mcp", http.StatusSeeOther).ServeHTTP
	}, nil, report.Broken, "endpoint.login", "the server redirects (303) to a login page, /users/sign_in?..., instead of answering 401", "network: have the proxy that redirects"},
	{"authorization server that is not reached", func(s *site) {
		s.resource["authorization_servers"] = []string{"https://login.example.com:1"}
		s.refused = "login.example.com:1"
	}, nil, report.Broken, "issuer.reached", "the authorization server does not respond: https://login.example.com:1", "network: start the authorization server"},
	{"server down behind a proxy that says why", func(s *site) {
		s.answer = answers(504, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no response in time"}}`)
	}, nil, report.Broken, "endpoint.upstream", "the MCP server behind it does not (504): no response in time", "server: look into its log"},
	{"not available", func(s *site) { s.answer = answers(503, "text/plain", "starting") }, nil, report.Broken, "endpoint.upstream", "answers 503 (unavailable): starting", "server: look into its log"},
	{"a page that speaks of a host", func(s *site) { s.answer = answers(403, "text/html", "<p>hosted by example</p>") }, nil, report.Broken, "endpoint.status", "gets 403", "server: answer 401"},
	{"redirect that loses the message", func(s *site) { s.answer = http.RedirectHandler("/mcp/", http.StatusMovedPermanently).ServeHTTP }, nil, report.Broken, "endpoint.redirect", "turns a POST into a GET", "Caddyfile: put Caddy with `mcp_auth_bridge <upstream>` in front of the server; it serves the endpoint with and without the final slash"},
	{"200 with an error inside", func(s *site) {
		s.answer = answers(200, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Unauthorized: missing token"}}`)
	}, nil, report.Broken, "endpoint.status", "in a response with status 200", "server: answer 401 with WWW-Authenticate"},
	{"200 with an error inside, no JSON-RPC", func(s *site) { s.answer = answers(200, "application/json", `{"error":"unauthorized"}`) }, nil, report.Broken, "endpoint.status", "in a response with status 200", "server: answer 401"},
	{"neither era is answered", func(s *site) {
		s.answer = answers(400, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid request"}}`)
	}, nil, report.Broken, "endpoint.answer", "the server answers neither initialize nor server/discover: 400 Bad Request Invalid request", "server: answer each request with one JSON-RPC response"},
	{"redirect that a final slash would spare", func(s *site) {
		s.at["mcp.example.com/mcp"] = http.RedirectHandler("/mcp/", http.StatusPermanentRedirect).ServeHTTP
		s.at["mcp.example.com/mcp/"] = func(w http.ResponseWriter, r *http.Request) {
			if !s.cors(w, r) {
				s.endpoint(w, r)
			}
		}
	}, nil, report.Healthy, "endpoint.redirect", "is redirected (308)", "it serves the endpoint with and without the final slash"},
	{"500 in place of 401", func(s *site) { s.answer = answers(500, "application/json", `{"error":"Missing bearer token"}`) }, nil, report.Broken, "endpoint.status", "with status 500 instead of 401", "server: answer 401"},
	{"403 in place of 401", func(s *site) { s.answer = answers(403, "text/plain", "no") }, nil, report.Broken, "endpoint.status", "gets 403, but clients log in only after a 401: no", "server: answer 401"},
	{"challenge with 400", func(s *site) {
		s.answer = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", s.challenge[0])
			w.WriteHeader(http.StatusBadRequest)
		}
	}, nil, report.Broken, "endpoint.status", "WWW-Authenticate comes with status 400", "server: answer 401"},
	{"server down behind a proxy", func(s *site) { s.answer = answers(502, "text/plain", "") }, nil, report.Broken, "endpoint.upstream", "502", "server: look into its log"},
	{"host refused", func(s *site) { s.answer = answers(403, "text/plain", "Forbidden: invalid Host header") }, nil, report.Broken, "endpoint.host", "refuses the host name", "Caddyfile: add `header_up Host {upstream_hostport}"},
	{"host refused with 421", func(s *site) { s.answer = answers(421, "text/plain", "Invalid Host header") }, nil, report.Broken, "endpoint.host", "refuses the host name (421)", "server: add mcp.example.com to its allowed hosts"},
	{"too many requests", func(s *site) { s.answer = odd(429, http.Header{"Retry-After": {"30"}, "Server": {"nginx"}}, "") }, nil, report.Broken, "connect.passes", "initialize gets 429 Too Many Requests from nginx: there were too many requests, and a rate limit refuses more (Retry-After: 30)", "command line: try again after the time in Retry-After"},
	{"header too long", func(s *site) {
		s.answer = answers(431, "text/plain", "431 Request Header Fields Too Large")
	}, nil, report.Broken, "connect.passes", "initialize gets 431 Request Header Fields Too Large: the header fields of the request are too long", "command line: send less: fewer or shorter fields (`--header`), a shorter token\nCaddyfile: if Caddy answers: raise `max_header_size`"},
	{"SSE buffered", func(s *site) { s.answer = stalls("text/event-stream") }, short, report.Broken, "endpoint.stream", "no event arrives in time", "network: turn off response buffering"},
	{"HTTP+SSE buffered", func(s *site) {
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				stalls("text/event-stream")(w, r)
				return
			}
			w.WriteHeader(http.StatusNotFound)
		}
	}, short, report.Broken, "endpoint.stream", "no event arrives in time", "Caddyfile: add `flush_interval -1"},
	{"session lost", func(s *site) { s.answer = replicas() }, nil, report.Broken, "session.kept", "lost (404) on another connection", "Caddyfile: with several upstreams add `lb_policy client_ip_hash`"},
	{"session id lost", func(s *site) {
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && r.Header.Get("Mcp-Session-Id") == "" && r.ContentLength != int64(len(probe.InitializeMessage)) {
				answers(400, "text/plain", "Mcp-Session-Id header is required")(w, r)
				return
			}
			speak(withoutSession{w}, r)
		}
	}, nil, report.Broken, "session.crosses", "its response to initialize had none", "network: let the header Mcp-Session-Id through"},

	{"DPoP with a private URL", func(s *site) { s.answer = s.dpop("http://10.0.0.5:3000/mcp"); s.resource["resource"] = mcpURL }, func(_ *testing.T, _ *site, o *Options) { o.Upstream = "http://10.0.0.5:3000/mcp" }, report.Broken, "dpop.url", "expects DPoP proofs for http://10.0.0.5:3000/mcp, but clients sign " + mcpURL, "server: have it expect proofs for " + mcpURL},
	{"DPoP with the wrong scheme", func(s *site) { s.answer = s.dpop("http://mcp.example.com/mcp") }, nil, report.Broken, "dpop.url", "expects DPoP proofs for http://mcp.example.com/mcp", "server: have it take its URL from X-Forwarded-Proto"},

	{"audience mismatch after login", func(s *site) { s.audience = "http://10.0.0.5:3000/mcp" }, login, report.Broken, "token.audience", "right after the login", "server: set the expected audience to " + mcpURL},
	{"token for another audience", nil, tokenFor("https://other.example.com/mcp"), report.Broken, "token.audience", "issued for https://other.example.com/mcp, not for " + mcpURL, "authorization server: issue tokens for the resource"},
	{"token expired", func(s *site) { s.audience = "" }, token(mcpURL, -time.Hour), report.Broken, "token.time", "it expired at", "command line: use a token that is valid now"},
	{"too little scope", func(s *site) { s.scopes = true }, tokenFor(mcpURL), report.Broken, "token.scope", "required: mcp:all", "command line: log in with the scopes"},
	{"registration refused", func(s *site) {
		s.at["login.example.com/register"] = answers(400, "application/json", `{"error":"invalid_redirect_uri","error_description":"loopback is not allowed"}`)
	}, login, report.Broken, "login.registers", "invalid_redirect_uri loopback is not allowed", "authorization server: allow native clients"},
	{"registered with nulls", func(s *site) {
		s.at["login.example.com/register"] = answersOpenly(201, `{"client_id":"c1","redirect_uris":["http://127.0.0.1/callback"],"grant_types":null,"client_uri":""}`)
	}, login, report.Broken, "registration.members", "grant_types is null (TypeScript, Python); client_uri is an empty string (TypeScript, Python)", "authorization server: answer a registration with 201 and JSON; send members with the right type"},
	{"a token as a form", func(s *site) {
		s.at["login.example.com/token"] = odd(200, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "access_token=t&scope=&token_type=bearer")
	}, login, report.Broken, "token.members", "is a form (application/x-www-form-urlencoded), not JSON", "authorization server: answer with 200 and JSON, as application/json"},
	{"login with the wrong iss", func(s *site) { s.iss = "https://other.example.com" }, login, report.Broken, "login.issuer", "iss https://other.example.com instead of", "authorization server: send the same iss"},
	{"code not taken", func(s *site) {
		s.at["login.example.com/token"] = answers(400, "application/json", `{"error":"invalid_grant","error_description":"PKCE failed"}`)
	}, login, report.Broken, "login.token", "invalid_grant PKCE failed", "authorization server: look into its log"},
}

// none answers paths of the MCP server with 404.
func none(paths ...string) map[string]http.HandlerFunc {
	at := make(map[string]http.HandlerFunc)
	for _, path := range paths {
		at["mcp.example.com"+path] = http.NotFound
	}
	return at
}

// short sets a short timeout.
func short(_ *testing.T, _ *site, o *Options) { o.Timeout = time.Second }

func token(audience string, lifetime time.Duration) func(*testing.T, *site, *Options) {
	return func(_ *testing.T, _ *site, o *Options) { o.Token = jwtFor(audience, lifetime) }
}

// tokenFor uses a token that does not expire.
func tokenFor(audience string) func(*testing.T, *site, *Options) {
	return func(_ *testing.T, _ *site, o *Options) { o.Token = jwtWith(`{"aud":"` + audience + `"}`) }
}

// withoutSession removes the session id from answers.
type withoutSession struct{ http.ResponseWriter }

func (w withoutSession) WriteHeader(status int) {
	w.Header().Del("Mcp-Session-Id")
	w.ResponseWriter.WriteHeader(status)
}

// dpop answers as a server that accepts only proofs for a URL (rule A11).
func (s *site) dpop(want string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		proof := r.Header.Get("DPoP")
		switch {
		case proof == "":
			w.Header().Add("WWW-Authenticate", `DPoP algs="ES256", resource_metadata="`+mcpOrigin+metadataPath+`"`)
		case r.Header.Get("Authorization") == "" || proofURL(proof) != want:
			w.Header().Add("WWW-Authenticate", `DPoP error="invalid_dpop_proof", algs="ES256"`)
		default:
			w.Header().Add("WWW-Authenticate", `DPoP error="invalid_token", algs="ES256"`)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// Rule F3: for each broken site the verdict names the cause and a cure.
func TestBroken(t *testing.T) {
	for _, tc := range setups {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite()
			if tc.spoil != nil {
				tc.spoil(s)
			}
			s.start(t)
			opts := Options{URL: mcpURL, Transport: s.transport(), Timeout: 5 * time.Second}
			if tc.opts != nil {
				tc.opts(t, s, &opts)
			}
			r, err := Run(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, r, tc.state, tc.rule, tc.says, tc.cure)
		})
	}
}

// expect checks the verdict of a report.
func expect(t *testing.T, r *report.Report, state report.State, rule, says, cure string) {
	t.Helper()
	var text strings.Builder
	if err := r.WriteText(&text, report.TextOptions{Verbose: true}); err != nil {
		t.Fatal(err)
	}
	v := r.Verdict
	if v.Finding == nil {
		v.Finding = &report.Finding{}
	}
	if v.State != state || v.Finding.Rule != rule || !strings.Contains(v.Finding.Text, says) {
		t.Errorf("got %s, %s: %s\nwant %s, %s: ...%s...\n%s", v.State, v.Finding.Rule, v.Finding.Text, state, rule, says, text.String())
	}
	var cures []string
	for _, c := range v.Finding.Cures {
		cures = append(cures, c.Where+": "+c.Text)
	}
	if all := strings.Join(cures, "\n"); !strings.Contains(all, cure) {
		t.Errorf("got cures\n%s\nwant one with %s", all, cure)
	}
	first, _, _ := strings.Cut(text.String(), "\n\n")
	if rule != "" && !strings.Contains(first, "\n  Fix (") {
		t.Errorf("the first paragraph has no cure:\n%s", first)
	}
}

// Rule F3: servers that cannot be reached.
func TestUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unused := closed.Addr().String()
	_ = closed.Close()
	plainServer := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plainServer.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, time.Now().Add(-time.Hour))}}
	secure.Config.ErrorLog = newSiteLog()
	secure.StartTLS()
	t.Cleanup(secure.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })

	for name, tc := range map[string]struct{ url, rule, says, cure string }{
		"nothing listens":           {"http://" + unused + "/mcp", "connect.listens", "nothing listens there", "network: start the server or Caddy at"},
		"certificate not trusted":   {secure.URL + "/mcp", "connect.tls", "the certificate is not valid now", "server: renew the certificate"},
		"no TLS at an https URL":    {strings.Replace(plainServer.URL, "http:", "https:", 1) + "/mcp", "connect.tls", "the server does not speak TLS", "command line: use http://"},
		"name that does not exist":  {"http://nobody.invalid/mcp", "connect.name", "the host name is not found", "network: add a DNS record for nobody.invalid"},
		"connection without a word": {"http://" + silent.Addr().String() + "/mcp", "connect.answers", "", "network: find what holds the request back"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{URL: tc.url, Timeout: 5 * time.Second}
			state := report.Unreachable
			switch name {
			case "connection without a word":
				opts.Timeout, state = 200*time.Millisecond, report.Broken
			case "name that does not exist":
				opts.Transport = &http.Transport{DialContext: noSuchName}
			}
			r, err := Run(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, r, state, tc.rule, tc.says, tc.cure)
		})
	}
	if n := len(setups) + 5; n < 25 {
		t.Errorf("%d set-ups, want 25", n)
	}
	fmt.Fprintln(t.Output(), len(setups)+5, "set-ups")
}
