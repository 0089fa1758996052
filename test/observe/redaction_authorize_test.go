package observe_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// askedAboutTokens is an introspection endpoint that has secrets in all that it says.
func askedAboutTokens(t *testing.T, clientSecret string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != clientSecret {
			t.Errorf("asked with %q", r.Header)
		}
		w.Header().Set("Content-Type", "application/json")
		switch token := r.FormValue("token"); {
		case strings.HasPrefix(token, "active"):
			_, _ = fmt.Fprintf(w, `{"active":true,"sub":"alice","client_id":"c","scope":"mcp","email":"%s"}`, secret("claim"))
		case strings.HasPrefix(token, "type"):
			_, _ = fmt.Fprintf(w, `{"active":true,"sub":"alice","exp":"%s"}`, secret("claim"))
		case strings.HasPrefix(token, "twice"):
			_, _ = fmt.Fprintf(w, `{"active":true,"%[1]s":1,"%[1]s":2}`, secret("claim"))
		case strings.HasPrefix(token, "issuer"):
			_, _ = fmt.Fprintf(w, `{"active":true,"sub":"alice","iss":"https://u:%[1]s@a.example/?t=%[1]s"}`, secret("issuer"))
		case strings.HasPrefix(token, "redirect"):
			w.Header().Set("Location", "https://u:"+secret("location")+"@a.example/?t="+secret("location"))
			w.WriteHeader(http.StatusFound)
		case strings.HasPrefix(token, "500"):
			http.Error(w, secret("body"), http.StatusInternalServerError)
		case strings.HasPrefix(token, "html"):
			w.Header().Set("Content-Type", "text/html;x="+secret("mediatype"))
			_, _ = io.WriteString(w, secret("body"))
		case strings.HasPrefix(token, "abort"):
			panic(http.ErrAbortHandler)
		default:
			_, _ = io.WriteString(w, `{"active":false}`)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// F1, E9: with `authorize` nothing of a credential, of a claim that the operator has not named,
// of an argument or of the query of a URI is in a log, metric, event, trace, admin answer or
// answer of the bridge's own, at any level, whatever is refused.
func TestRedactionOfAuthorize(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	up := newTattler(t)
	s := &sinks{t: t, spans: collectSpans(t)}
	subscribed(t, 0, "")
	key, other := issuertest.NewKey(t, jose.ES256, "one"), issuertest.NewKey(t, jose.ES256, "one")
	mine := issuertest.NewKey(t, jose.ES256, "")
	issuer := issuertest.Start(t, key)
	t.Setenv("REDACTION_SECRET", secret("clientsecret"))
	t.Setenv("REDACTION_KEY", secret("statickey"))
	about := askedAboutTokens(t, secret("clientsecret"))
	authorize := func(more string) string {
		return fmt.Sprintf(`authorize {
		issuer %s {
			introspect %s/introspect?q=%s {
				audience optional
				client_id edge
				client_secret {env.REDACTION_SECRET}
			}
		}
		issuer http://127.0.0.1:1/away {
			jwks http://127.0.0.1:1/keys?key=%[3]s
		}
		key script {env.REDACTION_KEY} mcp
		key_header X-Api-Key
		scope mcp
		tools write_* {
			scope write
		}
		tools deny_* {
			deny
		}
		tools claim_* {
			claim email %[3]s
		}
		tools convert_* {
			when `+"`int(arguments.password) > 0`"+`
		}
		tools index_* {
			when `+"`arguments[arguments.password] == principal.claims[arguments.password]`"+`
		}
		tools time_* {
			when `+"`timestamp(arguments.password) > timestamp(principal.claims.email)`"+`
		}
		resources db://* {
			deny
		}
		resources * {
			scope write
		}
		user_claims email
		identity X-Email email
		%[4]s
	}`, issuer.URL, about.URL, secret("operatorquery"), more)
	}
	ports := make(map[string]int)
	var sites strings.Builder
	for name, directive := range map[string]string{
		"http":    "mcp_auth_bridge " + up.URL + " {\n\t" + authorize("dpop optional\n\t\tdpop_nonce") + "\n}",
		"pass":    "mcp_auth_bridge " + up.URL + " {\n\t" + authorize("token pass\n\t\tdpop optional") + "\n}",
		"sse":     "mcp_auth_bridge sse+" + up.URL + "/sse {\n\t" + authorize("") + "\n}",
		"down":    "mcp_auth_bridge 127.0.0.1:1 {\n\t" + authorize("") + "\n}",
		"program": fmt.Sprintf("mcp_auth_bridge {\n\tlegacy_sse\n\tstdio %q -test.run=^$ {\n\t\tenv %s=1\n\t\tenv TOKEN=%s\n\t}\n\t%s\n}", self, leakyProgram, secret("environment"), authorize("")),
	} {
		ports[name] = testcaddy.FreePort(t)
		sites.WriteString(redactionSite(ports[name], directive))
	}
	s.admin = testcaddy.Addr(testcaddy.FreePort(t))
	testcaddy.Run(t, "{\n\tauto_https off\n\tadmin "+s.admin+"\n\tevents {\n\t\ton mcp_denied test_subscriber\n\t\ton mcp_challenge test_subscriber\n\t\ton mcp_session_end test_subscriber\n"+
		"\t\ton mcp_upstream_down test_subscriber\n\t}\n"+logFilter(t)+"}\n"+sites.String())

	call := func(tool string) string {
		return `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"` + tool + `","arguments":{"password":"` + secret("argument") + `"}}}`
	}
	read := func(uri string) string {
		return `{"jsonrpc":"2.0","id":2,"method":"resources/read","params":{"uri":"` + uri + `"}}`
	}
	bodies := []string{
		mcptest.Initialize, call("open"), call("write_a"), call("deny_a"), call("claim_a"), call("convert_a"), call("index_a"), call("time_a"),
		call("https://u:" + secret("toolpassword") + "@a.example/write?token=" + secret("toolquery")),
		read("db://u:" + secret("uripassword") + "@host/a?token=" + secret("uriquery") + "#" + secret("urifragment")),
		read("file:///a?token=" + secret("uriquery")), read("DB:/%2f" + "host/?t=" + secret("uriquery")), read("x?" + secret("uriquery")),
		"[" + call("open") + "," + strings.Replace(call("write_a"), `"id":2`, `"id":3`, 1) + "]", "[" + call("deny_a") + "]",
		`{"jsonrpc":"2.0","id":2,"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"db://h/?t=` + secret("uriquery") + `"},"argument":{"name":"a","value":"` + secret("argument") + `"}}}`,
		`{"jsonrpc":"2.0","id":2,"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["db://h/?t=` + secret("uriquery") + `"]}}}`,
		// Bodies that are refused before the rules decide.
		`{"` + secret("badjson"), `{"` + secret("badjson") + `":1}`, strings.Replace(call("open"), `"id":2`, `"id":2,"`+secret("member")+`":1,"`+secret("member")+`":2`, 1),
		strings.Replace(call("open"), `"name"`, `"Name"`, 1), `{"jsonrpc":"2.0","id":{"` + secret("badid") + `":1},"method":"x"}`,
		`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":["` + secret("badname") + `"]}}`,
		"[" + strings.Repeat(`"`+secret("batch")+`",`, 1000) + "1]",
	}
	stateless := confidential("Mcp-Session-Id", "", "Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", secret("headername"), "Dpop", "", "X-Api-Key", "")
	for site, port := range ports {
		url := "http://" + testcaddy.Addr(port) + "/mcp"
		claims := func(more map[string]any) map[string]any {
			all := map[string]any{"scope": "mcp", "email": secret("claim"), "groups": []string{secret("claim")}}
			for name, value := range more {
				all[name] = value
			}
			return all
		}
		good := issuer.Token(url, claims(nil))
		header := func(h map[jose.HeaderKey]any) string { return key.Sign(t, issuer.Claims(url, claims(nil)), h) }
		raw := func(header, payload string) string {
			return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + "." + secret("signature")
		}
		tokens := []string{
			good, issuer.Token(url, claims(map[string]any{"exp": time.Now().Unix() - 60})), issuer.Token(url, claims(map[string]any{"exp": secret("claim")})),
			issuer.Token(url, claims(map[string]any{"iss": "https://u:" + secret("issuer") + "@a.example/?t=" + secret("issuer")})),
			issuer.Token("https://u:"+secret("audience")+"@a.example", claims(nil)), issuer.Token(url, claims(map[string]any{"sub": nil, "client_id": nil})),
			issuer.Token(url, claims(map[string]any{"nonce": secret("claim")})), issuer.Token(url, claims(map[string]any{"cnf": map[string]any{secret("claim"): secret("claim")}})),
			issuer.Token(url, claims(map[string]any{"iss": "http://127.0.0.1:1/away"})), // 503
			issuer.Token(url, claims(map[string]any{"iat": time.Now().Unix() + 600})), other.Sign(t, issuer.Claims(url, claims(nil)), nil),
			header(map[jose.HeaderKey]any{"typ": secret("typ")}), header(map[jose.HeaderKey]any{"kid": secret("kid")}),
			header(map[jose.HeaderKey]any{"jku": "https://a.example/?t=" + secret("jku")}),
			raw(`{"alg":"none"}`, `{}`), raw(`{"alg":"ES256","b64":false,"crit":["`+secret("crit")+`"]}`, `{}`), raw(`{"alg":"`+secret("alg")+`"}`, `{}`), raw(`{"alg":"ES256","kid":"`+secret("kid")+`"}`, `{"iss":"`+issuer.URL+`"}`),
			raw(`{"`+secret("header"), `{}`), raw(`{"alg":"ES256"}`, `{"`+secret("payload")), strings.Repeat(secret("long"), 2000),
			good[:len(good)-4] + mark, secret("opaque"), secret("statickey") + "x",
			"active" + secret("opaque"), "type" + secret("opaque"), "twice" + secret("opaque"), "issuer" + secret("opaque"), "redirect" + secret("opaque"),
			"500" + secret("opaque"), "html" + secret("opaque"), "abort" + secret("opaque"),
		}
		s.tokens = append(s.tokens, tokens...)
		ping := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
		with := func(more ...string) map[string]string {
			return confidential(append([]string{"Mcp-Session-Id", "", "X-Api-Key", "", "Dpop", ""}, more...)...)
		}
		for _, token := range tokens {
			s.refused("POST", url, ping, with("Authorization", "Bearer "+token))
		}
		for _, fields := range []map[string]string{
			confidential(), with(), with("X-Api-Key", secret("wrongkey")), with("Authorization", "", "X-Api-Key", secret("wrongkey")), with("Authorization", "", "X-Api-Key", secret("statickey")),
			with("Authorization", "Bearer "+secret("statickey")), with("Authorization", "Basic "+secret("basic")), with("Authorization", "Bearer "+secret("a b")), with("Authorization", "DPoP "+good, "Dpop", secret("proof")),
		} {
			s.refused("POST", url, ping, fields)
			if site != "sse" { // whose stream has no end
				s.refused("GET", url, "", withFields(fields, "Accept", "application/json"))
			}
		}
		s.refused("POST", url+"?access_token="+secret("querytoken"), ping, with("Authorization", "Bearer "+good))
		s.refused("POST", url, ping, with("Authorization", "Bearer "+good, "Mcp-Session-Id", secret("session")))
		s.refused("DELETE", url, "", with("Authorization", "Bearer "+good, "Mcp-Session-Id", secret("session")))
		s.refused("POST", url+"/message/unknown?q="+secret("query"), ping, with("Authorization", "Bearer "+good))
		s.refused("POST", url, ping, with("Authorization", "Bearer "+good, "Content-Encoding", secret("coding")))
		s.refused("POST", url, ping, with("Authorization", "Bearer "+good, "Content-Type", "application/json; charset="+secret("charset")))
		s.refused("POST", url, call("open"), withFields(stateless, "Authorization", "Bearer "+good))

		// DPoP: good, replayed, for another URL, with a changed signature.
		bound := issuer.Token(url, claims(map[string]any{"cnf": map[string]any{"jkt": mine.Thumbprint(t)}}))
		proof := mine.Proof(t, "POST", url, bound, map[string]any{"jti": secret("jti")})
		wrong := mine.Proof(t, "POST", "https://u:"+secret("htu")+"@a.example/?q="+secret("htu"), bound, map[string]any{"nonce": secret("nonce")})
		s.tokens = append(s.tokens, bound, proof, wrong)
		for _, p := range []string{proof, proof, wrong, proof[:len(proof)-4] + mark, secret("proof"), ""} {
			s.refused("POST", url, ping, with("Authorization", "DPoP "+bound, "Dpop", p))
		}

		begun := s.send("POST", url, mcptest.Initialize, with("Authorization", "Bearer "+good), false)
		session := begun.Header.Get("Mcp-Session-Id")
		// The server's answer is not a list. The 502 in its place has the header of the server.
		s.send("POST", url, `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`, with("Authorization", "Bearer "+good, "Mcp-Session-Id", session), false)
		for _, body := range bodies {
			s.refused("POST", url, body, with("Authorization", "Bearer "+good, "Mcp-Session-Id", session))
			s.refused("POST", url, body, with("Authorization", "Bearer "+secret("statickey")))
		}
	}
	s.look(300, 300)
}
