package doctor

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// found returns the texts of the findings of a rule, with their levels.
func found(r *report.Report, rule string) string {
	var all []string
	for _, s := range r.Steps {
		for _, f := range s.Findings {
			if f.Rule == rule && f.Level != report.Pass {
				all = append(all, string(f.Level)+": "+f.Text)
			}
		}
	}
	return strings.Join(all, "\n")
}

// walkTo walks to a site after spoil has changed it.
func walkTo(t *testing.T, spoil func(*site), opts func(*testing.T, *site, *Options)) *report.Report {
	t.Helper()
	s := newSite()
	if spoil != nil {
		spoil(s)
	}
	s.start(t)
	o := Options{URL: mcpURL, Transport: s.transport()}
	if opts != nil {
		opts(t, s, &o)
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// odd answers with a document that pages can read. It adds no Content-Type.
func odd(status int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if openCORS(w, r) {
			return
		}
		w.Header()["Content-Type"] = nil
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func jsonType() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// edited returns a JSON object with some members replaced. An empty member is removed.
func edited(document map[string]any, members map[string]string) string {
	all := make(map[string]json.RawMessage)
	for name, value := range document {
		all[name], _ = json.Marshal(value)
	}
	for name, value := range members {
		if all[name] = json.RawMessage(value); value == "" {
			delete(all, name)
		}
	}
	raw, _ := json.Marshal(all)
	return string(raw)
}

type members = map[string]string

// Rule F3: the presence and type of each member are checked. Findings say "missing" only if
// the member is missing, and name the SDKs that refuse the document.
func TestMembers(t *testing.T) {
	const refuse = "clients built with the SDKs in parentheses refuse "
	const odd = " does not follow the specification, but most clients accept it: "
	s := newSite()
	registered := map[string]any{"client_id": "c1", "redirect_uris": []string{"http://127.0.0.1/callback"}}
	issued := map[string]any{"access_token": jwtFor(mcpURL, 1e12), "token_type": "Bearer", "expires_in": 3600}
	for _, tc := range []struct {
		name    string
		at      string // of the document
		doc     map[string]any
		members members
		rule    string
		want    string
	}{
		// RFC 9728.
		{"resource a list", "resource", s.resource, members{"resource": `["` + mcpURL + `"]`}, "resource.usable", "fail: " + refuse + "the document: resource is a list, not a URL (TypeScript, Go, Python)"},
		{"resource missing", "resource", s.resource, members{"resource": ""}, "resource.usable", "fail: " + refuse + "the document: resource is missing (TypeScript, Go, Python)"},
		{"resource null", "resource", s.resource, members{"resource": "null"}, "resource.usable", "fail: " + refuse + "the document: resource is null (TypeScript, Go, Python)"},
		{"resource empty", "resource", s.resource, members{"resource": `""`}, "resource.usable", "fail: " + refuse + "the document: resource is an empty string (TypeScript, Go, Python)"},
		{"resource a number", "resource", s.resource, members{"resource": "1"}, "resource.usable", "fail: " + refuse + "the document: resource is a number, not a URL (TypeScript, Go, Python)"},
		{"resource relative", "resource", s.resource, members{"resource": `"/mcp"`}, "resource.usable", "fail: " + refuse + "the document: resource is not an absolute URL (TypeScript, Go, Python)"},
		{"servers missing", "resource", s.resource, members{"authorization_servers": ""}, "resource.servers", "fail: the OAuth metadata names no authorization server: authorization_servers is missing"},
		{"servers null", "resource", s.resource, members{"authorization_servers": "null"}, "resource.servers", "fail: the OAuth metadata names no authorization server: authorization_servers is null"},
		{"servers empty", "resource", s.resource, members{"authorization_servers": "[]"}, "resource.servers", "fail: the OAuth metadata names no authorization server: authorization_servers is an empty list"},
		{"servers a string", "resource", s.resource, members{"authorization_servers": `"` + issuerURL + `"`}, "resource.servers", "fail: the OAuth metadata names no authorization server: authorization_servers is a string, not a list of URLs"},
		{"servers with null in them", "resource", s.resource, members{"authorization_servers": "[null]"}, "resource.servers", "fail: the OAuth metadata names no authorization server: authorization_servers is a list with null in it, not a list of URLs"},
		{"scopes null", "resource", s.resource, members{"scopes_supported": "null"}, "resource.members", "fail: " + refuse + "the document: scopes_supported is null (TypeScript)"},
		{"scopes a string", "resource", s.resource, members{"scopes_supported": `"a b"`}, "resource.members", "fail: " + refuse + "the document: scopes_supported is a string, not a list of strings (TypeScript, Go, Python)"},
		{"scopes empty", "resource", s.resource, members{"scopes_supported": "[]"}, "resource.members", "warn: the document" + odd + "scopes_supported is an empty list"},
		{"documentation empty", "resource", s.resource, members{"resource_documentation": `""`}, "resource.members", "warn: " + refuse + "the document: resource_documentation is an empty string (Python)"},
		{"a boolean as text", "resource", s.resource, members{"dpop_bound_access_tokens_required": `"false"`}, "resource.members", "fail: " + refuse + "the document: dpop_bound_access_tokens_required is a string, not true or false (TypeScript, Go, Python)"},
		{"unknown members", "resource", s.resource, members{"x": "null", "y": "[]"}, "resource.members", ""},

		// RFC 8414 and OpenID Connect Discovery.
		{"issuer null", "server", s.server, members{"issuer": "null"}, "issuer.members", "fail: issuer is null; expected " + issuerURL + ": clients stop"},
		{"token endpoint null", "server", s.server, members{"token_endpoint": "null"}, "issuer.endpoints", "fail: token_endpoint is null"},
		{"authorization endpoint a list", "server", s.server, members{"authorization_endpoint": "[]"}, "issuer.endpoints", "fail: authorization_endpoint is a list, not a URL"},
		{"response types missing", "server", s.server, members{"response_types_supported": ""}, "issuer.members", "fail: " + refuse + "the document: response_types_supported is missing (TypeScript)"},
		{"response types without code", "server", s.server, members{"response_types_supported": `["token"]`}, "issuer.endpoints", "fail: response_types_supported does not list code: clients stop"},
		{"PKCE null", "server", s.server, members{"code_challenge_methods_supported": "null"}, "issuer.pkce", "fail: code_challenge_methods_supported is null, so clients assume that there is no PKCE, and stop"},
		{"PKCE a string", "server", s.server, members{"code_challenge_methods_supported": `"S256"`}, "issuer.pkce", "fail: code_challenge_methods_supported is a string, not a list of strings, so clients assume that there is no PKCE, and stop"},
		{"registration endpoint null", "server", s.server, members{"registration_endpoint": "null"}, "issuer.members", "fail: " + refuse + "the document: registration_endpoint is null (TypeScript)"},
		{"iss as text", "server", s.server, members{"authorization_response_iss_parameter_supported": `"true"`}, "issuer.members", "warn: " + refuse + "the document: authorization_response_iss_parameter_supported is a string, not true or false (Go, Python)"},
		{"op_policy_uri empty", "server", s.server, members{"op_policy_uri": `""`}, "issuer.members", "warn: " + refuse + "the document: op_policy_uri is an empty string (Python)"},
		{"OpenID without keys", "openid", s.server, members{}, "issuer.members", "fail: " + refuse + "the document: jwks_uri is missing (TypeScript); subject_types_supported is missing (TypeScript); id_token_signing_alg_values_supported is missing (TypeScript)"},

		// RFC 7591 section 3.2.1.
		{"registration with nulls", "register", registered, members{"contacts": "null", "grant_types": "null", "response_types": "null", "client_uri": `""`, "token_endpoint_auth_method": `""`, "registration_client_uri": `"/register/c1"`, "logo_uri": `""`}, "registration.members", "fail: " + refuse + "the response to the registration: token_endpoint_auth_method is an empty string (Python); grant_types is null (TypeScript, Python); response_types is null (TypeScript, Python); contacts is null (TypeScript); client_uri is an empty string (TypeScript, Python); logo_uri is an empty string (Python)\nwarn: the response to the registration" + odd + "registration_client_uri is not an absolute URL"},
		{"no client_id", "register", registered, members{"client_id": ""}, "registration.members", "fail: " + refuse + "the response to the registration: client_id is missing (TypeScript, Go, Python)"},
		{"client_id empty", "register", registered, members{"client_id": `""`}, "registration.members", "fail: " + refuse + "the response to the registration: client_id is an empty string (Go)"},
		{"a time as text", "register", registered, members{"client_id_issued_at": `"1"`}, "registration.members", "fail: " + refuse + "the response to the registration: client_id_issued_at is a string, not a whole number (TypeScript, Go, Python)"},
		{"a secret for ever", "register", registered, members{"client_secret": `"s3cr3t-1"`}, "registration.members", "warn: the response to the registration" + odd + "client_secret_expires_at is missing, although there is a client_secret"},
		{"registration as it should be", "register", registered, nil, "registration.members", ""},

		// RFC 6749 section 5.1.
		{"token with nulls", "token", issued, members{"expires_in": `"3600"`, "refresh_token": "null", "scope": "null"}, "token.members", "fail: " + refuse + "the token endpoint's response: refresh_token is null (TypeScript); scope is null (TypeScript)\nwarn: the token endpoint's response" + odd + "expires_in is a string, not a whole number"},
		{"no type", "token", issued, members{"token_type": ""}, "token.members", "fail: " + refuse + "the token endpoint's response: token_type is missing (TypeScript)"},
		{"a life that is no number", "token", issued, members{"expires_in": `"soon"`}, "token.members", "fail: " + refuse + "the token endpoint's response: expires_in is a string, not a whole number (TypeScript, Go, Python)"},
		{"half a second", "token", issued, members{"expires_in": "3599.5"}, "token.members", "warn: " + refuse + "the token endpoint's response: expires_in is not a whole number (Go, Python)"},
		{"a null life", "token", issued, members{"expires_in": "null"}, "token.members", "warn: the token endpoint's response" + odd + "expires_in is null"},
		{"an empty token", "token", issued, members{"access_token": `""`}, "token.members", "fail: " + refuse + "the token endpoint's response: access_token is an empty string (Go)"},
		{"no token", "token", issued, members{"access_token": ""}, "token.members", "fail: " + refuse + "the token endpoint's response: access_token is missing (TypeScript, Go, Python)"},
		{"token as it should be", "token", issued, nil, "token.members", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			body := edited(tc.doc, tc.members)
			r := walkTo(t, func(s *site) {
				switch tc.at {
				case "resource":
					s.at["mcp.example.com"+metadataPath] = answersOpenly(200, body)
				case "server":
					s.at["login.example.com"+serverPath] = answersOpenly(200, body)
				case "openid":
					s.at["login.example.com"+serverPath] = http.NotFound
					s.at["login.example.com/.well-known/openid-configuration"] = answersOpenly(200, body)
				case "register":
					s.at["login.example.com/register"] = answersOpenly(201, body)
				case "token":
					s.at["login.example.com/token"] = answersOpenly(200, body)
				}
			}, login)
			if got := found(r, tc.rule); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if wantsFail := strings.HasPrefix(tc.want, "fail"); wantsFail != (r.Verdict.State == report.Broken) {
				t.Errorf("the verdict is %+v", r.Verdict)
			}
		})
	}
}

// answersOpenly answers with JSON that pages can read.
func answersOpenly(status int, body string) http.HandlerFunc { return odd(status, jsonType(), body) }

// packed returns a text in a content coding.
func packed(coding, text string) string {
	var b bytes.Buffer
	switch coding {
	case "gzip":
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
	case "deflate":
		w := zlib.NewWriter(&b)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
	}
	return b.String()
}

// Rule C2: documents are parsed as clients parse them, and the limit counts decoded bytes. A
// wrong form is a warning if some client accepts it.
func TestForms(t *testing.T) {
	s := newSite()
	document := edited(s.resource, nil)
	server := edited(s.server, nil)
	kind := func(kind string) http.Header { return http.Header{"Content-Type": {kind}} }
	coded := func(coding string) http.Header {
		return http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {coding}}
	}
	const here, there = mcpOrigin + metadataPath, issuerURL + serverPath
	for _, tc := range []struct {
		name   string
		at     string
		answer http.HandlerFunc
		state  report.State
		rule   string
		want   string
	}{
		{"text/plain", here, odd(200, kind("text/plain; charset=utf-8"), document), report.Healthy, "metadata.type", "warn: clients built with the SDKs in parentheses refuse " + here + ": it is sent as text/plain instead of application/json (Go)"},
		{"octets", here, odd(200, kind("application/octet-stream"), document), report.Healthy, "metadata.type", "warn: clients built with the SDKs in parentheses refuse " + here + ": it is sent as application/octet-stream instead of application/json (Go)"},
		{"another JSON", here, odd(200, kind("application/x+json"), document), report.Healthy, "metadata.type", "warn: clients built with the SDKs in parentheses refuse " + here + ": it is sent as application/x+json instead of application/json (Go)"},
		{"no type", here, odd(200, nil, document), report.Healthy, "metadata.type", "warn: clients built with the SDKs in parentheses refuse " + here + ": there is no Content-Type (Go)"},
		{"203", here, odd(203, jsonType(), document), report.Healthy, "metadata.type", "warn: clients built with the SDKs in parentheses refuse " + here + ": the status is 203 instead of 200 (Go, Python)"},
		{"a byte order mark", here, odd(200, jsonType(), "\xef\xbb\xbf"+document), report.Healthy, "metadata.type", "warn: clients built with the SDKs in parentheses refuse " + here + ": it begins with a byte order mark (Go, Python)"},
		{"Latin-1", here, odd(200, jsonType(), strings.TrimSuffix(document, "}")+`,"resource_name":"caf`+"\xe9"+`"}`), report.Healthy, "metadata.type", "warn: clients built with the SDKs in parentheses refuse " + here + ": it is not in UTF-8 (Python)"},
		{"HTML", here, odd(200, kind("text/html"), "<!doctype html>"), report.Broken, "metadata.json", "fail: the URL in WWW-Authenticate is not a JSON object but text/html: " + here},
		{"nothing", here, odd(200, kind("text/html"), ""), report.Broken, "metadata.json", "fail: the URL in WWW-Authenticate is empty: " + here},
		{"a list", here, odd(200, jsonType(), "["+document+"]"), report.Broken, "metadata.json", "fail: the URL in WWW-Authenticate is JSON, but not an object: " + here},
		{"half a document", here, odd(200, jsonType(), document[:len(document)-1]), report.Broken, "metadata.json", "fail: the URL in WWW-Authenticate is sent as JSON, but is not valid JSON: " + here},
		{"gzip", here, odd(200, coded("gzip"), packed("gzip", document)), report.Healthy, "metadata.coding", ""},
		{"gzip in capitals", here, odd(200, coded("GZIP"), packed("gzip", document)), report.Healthy, "metadata.coding", ""},
		{"deflate", here, odd(200, coded("deflate"), packed("deflate", document)), report.Healthy, "metadata.coding", ""},
		{"twice", here, odd(200, coded("gzip, gzip"), packed("gzip", packed("gzip", document))), report.Healthy, "metadata.coding", ""},
		{"three times", here, odd(200, coded("gzip, gzip, gzip"), packed("gzip", packed("gzip", packed("gzip", document)))), report.Broken, "metadata.coding", "fail: the URL in WWW-Authenticate comes in the content coding \"gzip, gzip, gzip\", which was not asked for: " + here},
		{"br", here, odd(200, coded("br"), document), report.Broken, "metadata.coding", "fail: the URL in WWW-Authenticate comes in the content coding \"br\", which was not asked for: " + here},
		{"no gzip", here, odd(200, coded("gzip"), document), report.Broken, "metadata.coding", "fail: the URL in WWW-Authenticate is not in the content coding that it names: " + here},
		{"a small gzip of 16 MiB", here, odd(200, coded("gzip"), packed("gzip", document+strings.Repeat(" ", 16<<20))), report.Broken, "metadata.size", "fail: the URL in WWW-Authenticate is larger than 1 MiB: " + here},
		{"gzip cut short", here, odd(200, coded("gzip"), packed("gzip", document)[:40]), report.Broken, "metadata.found", "fail: the URL in WWW-Authenticate ends too early: " + here},
		{"authorization server, text/plain", there, odd(200, kind("text/plain"), server), report.Healthy, "issuer.type", "warn: clients built with the SDKs in parentheses refuse " + there + ": it is sent as text/plain instead of application/json (Go)"},
		{"authorization server, gzip", there, odd(200, coded("gzip"), packed("gzip", server)), report.Healthy, "issuer.type", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := walkTo(t, func(s *site) { s.at[strings.TrimPrefix(tc.at, "https://")] = tc.answer }, nil)
			if got := found(r, tc.rule); got != tc.want || r.Verdict.State != tc.state {
				t.Errorf("got %s\n%s\nwant %s\n%s", r.Verdict.State, got, tc.state, tc.want)
			}
		})
	}
}

// Rule F3: status, media type and form of the answers of the login endpoints are checked.
func TestEndpointForms(t *testing.T) {
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	plain := http.Header{"Content-Type": {"text/plain"}}
	refused := `{"error":"invalid_grant","error_description":"The code is wrong or has expired."}`
	issued := `{"access_token":"` + jwtFor(mcpURL, 1e12) + `","token_type":"bearer"}`
	registered := `{"client_id":"c1","redirect_uris":["http://127.0.0.1/callback"]}`
	for _, tc := range []struct {
		name   string
		path   string
		answer http.HandlerFunc
		state  report.State
		want   members // texts by rule
	}{
		{"an error with 200", "/token", answersOpenly(200, refused), report.Broken, members{
			"login.token":   "fail: the token endpoint refuses the code (200 OK): invalid_grant The code is wrong or has expired.",
			"error.members": "warn: the error does not follow the specification, but most clients accept it: it comes with 200 OK instead of 400\nwarn: the error does not follow the specification, but most clients accept it: it comes with 200 OK instead of 400",
		}},
		{"an error that is no JSON", "/token", odd(400, plain, "no"), report.Broken, members{
			"login.token":   "fail: the token endpoint refuses the code (400 Bad Request)",
			"error.members": "warn: the error is not a JSON object but text/plain, so clients cannot show the reason",
		}},
		{"an error without error", "/token", answersOpenly(400, `{"message":"no"}`), report.Broken, members{
			"login.token":   "fail: the token endpoint refuses the code (400 Bad Request)",
			"error.members": "warn: the error does not follow the specification, but most clients accept it: error is missing",
		}},
		{"a token as a form", "/token", odd(200, form, "access_token=t0ken-in-a-form&scope=&token_type=bearer"), report.Broken, members{
			"token.members": "fail: the token endpoint's response is a form (application/x-www-form-urlencoded), not JSON: clients built with the TypeScript and the Python SDK cannot read it",
			"login.token":   "",
		}},
		{"a token as HTML", "/token", odd(200, http.Header{"Content-Type": {"text/html"}}, "<p>"), report.Broken, members{
			"token.members": "fail: the token endpoint's response is not a JSON object but text/html: clients cannot read it",
		}},
		{"JSON that is sent as text", "/token", odd(200, plain, issued), report.Healthy, members{
			"token.members": "warn: clients built with the SDKs in parentheses refuse the token endpoint's response: it is sent as text/plain instead of application/json (Go)",
		}},
		{"a token with 201", "/token", answersOpenly(201, issued), report.Healthy, members{
			"token.members": "warn: clients built with the SDKs in parentheses refuse the token endpoint's response: the status is 201 instead of 200 (Python)",
		}},
		{"registered with 200", "/register", answersOpenly(200, registered), report.Healthy, members{
			"registration.members": "warn: the response to the registration does not follow the specification, but most clients accept it: the status is 200 instead of 201",
		}},
		{"registered with 202", "/register", answersOpenly(202, registered), report.Healthy, members{
			"registration.members": "warn: clients built with the SDKs in parentheses refuse the response to the registration: the status is 202 instead of 201 (Go, Python)",
		}},
		{"registered with nothing", "/register", answersOpenly(201, ""), report.Broken, members{
			"registration.members": "fail: the response to the registration is empty: clients cannot read it",
		}},
		{"not registered", "/register", odd(403, http.Header{"Content-Type": {"text/html"}}, "<p>"), report.Broken, members{
			"login.registers": "fail: the registration is refused (403 Forbidden)",
			"error.members":   "warn: the error is not a JSON object but text/html, so clients cannot show the reason",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := walkTo(t, func(s *site) { s.at["login.example.com"+tc.path] = tc.answer }, login)
			for rule, want := range tc.want {
				if got := found(r, rule); got != want {
					t.Errorf("%s: got\n%s\nwant\n%s", rule, got, want)
				}
			}
			if shown := everything(t, r); strings.Contains(shown, "t0ken-in-a-form") {
				t.Errorf("the token is shown:\n%s", shown)
			}
			if tc.state == report.Healthy && r.Verdict.State != report.Healthy && !strings.HasPrefix(r.Verdict.Finding.Rule, "token.") {
				t.Errorf("the verdict is %+v", r.Verdict)
			}
			if tc.state == report.Broken && r.Verdict.State != report.Broken {
				t.Errorf("the verdict is %+v", r.Verdict)
			}
		})
	}
}

// Rule F3: the answer with device codes is checked if the metadata announces the device flow
// and the caller wants a login. The codes are not shown.
func TestDevice(t *testing.T) {
	const codes = `"device_code":"d3vice-code","user_code":"US3R-CODE"`
	const deviceURL = issuerURL + "/device_authorization"
	const odd = "warn: the response of the device authorization endpoint does not follow the specification, but most clients accept it: "
	for _, tc := range []struct {
		name, answer string
		status       int
		want         string
	}{
		{"as it should be", `{` + codes + `,"verification_uri":"https://login.example.com/device","verification_uri_complete":"https://login.example.com/device?user_code=US3R-CODE","expires_in":600,"interval":5}`, 200, ""},
		{"no uri, times as texts", `{` + codes + `,"verification_url":"https://login.example.com/device","expires_in":"600","interval":null}`, 200, odd + "verification_uri is missing; expires_in is a string, not a whole number; interval is null"},
		{"no codes", `{"device_code":"","user_code":1,"verification_uri":"/device","expires_in":600}`, 200, odd + "device_code is an empty string; user_code is a number, not a string; verification_uri is not an absolute URL"},
		{"a private URL", `{` + codes + `,"verification_uri":"http://10.0.0.5:3000/device","expires_in":600}`, 200, "warn: verification_uri is a URL that clients cannot reach (private address): http://10.0.0.5:3000/device"},
		{"not open", `{"error":"unauthorized_client"}`, 400, ""},
		{"no JSON", `<p>`, 200, "warn: the response of the device authorization endpoint is sent as JSON, but is not valid JSON: clients cannot read it"},
		{"a failure", `<p>`, 500, "warn: the device authorization endpoint returns 500 Internal Server Error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var asked, registered string
			r := walkTo(t, func(s *site) {
				s.server["device_authorization_endpoint"], s.server["grant_types_supported"] = deviceURL, []string{"authorization_code", deviceGrant}
				s.at["login.example.com/register"] = func(w http.ResponseWriter, r *http.Request) {
					raw, _ := io.ReadAll(r.Body)
					registered = string(raw)
					r.Body = io.NopCloser(bytes.NewReader(raw))
					s.register(w, r)
				}
				s.at["login.example.com/device_authorization"] = func(w http.ResponseWriter, r *http.Request) {
					asked = r.FormValue("client_id") + " " + r.FormValue("scope")
					answersOpenly(tc.status, tc.answer)(w, r)
				}
			}, login)
			var got []string
			for _, rule := range []string{"device.answer", "device.members", "device.url"} {
				if text := found(r, rule); text != "" {
					got = append(got, text)
				}
			}
			if strings.Join(got, "\n") != tc.want || r.Verdict.State != report.Healthy {
				t.Errorf("got %s\n%s\nwant\n%s", r.Verdict.State, strings.Join(got, "\n"), tc.want)
			}
			if asked != "registered mcp:read" || !strings.Contains(registered, deviceGrant) {
				t.Errorf("asked for %q, registered %s", asked, registered)
			}
			if shown := everything(t, r); strings.Contains(shown, "d3vice-code") || strings.Contains(shown, "US3R-CODE") {
				t.Errorf("a code is shown:\n%s", shown)
			}
		})
	}
}
