package metadata

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
)

// places writes UP for the origin that most upstreams of the tables take for
// their own, and PUB for the public one.
var places = strings.NewReplacer("UP", "http://10.0.0.5:3000", "PUB", "https://mcp.example.com")

// newServer is what a discovery for pub begins with.
func newServer(pub Public) *Server {
	return &Server{
		public: pub.Origin, documents: make(map[string]serverDocument),
		routes: make(map[string]RouteKind), closed: make(map[string]bool),
	}
}

// mapServer maps raw, the metadata of an authorization server, as it came from
// an upstream of cfg for pub, and returns what is served.
func mapServer(t testing.TB, cfg Config, pub Public, sent, raw string) (serverDocument, *Server, []Event) {
	t.Helper()
	if cfg.Dials == nil && cfg.Origins == nil {
		cfg.Dials, cfg.UpstreamPath = tcpUpstream.Dials, tcpUpstream.UpstreamPath
	}
	l := &log{}
	cfg.Log = l.add
	srv := newServer(pub)
	d := &search{finder: mustNew(t, cfg).finder, pub: pub}
	got := d.readDocument(srv, &asked{path: serverSuffix{serverPath, serverPath}, raw: []byte(raw), header: doc("").Header, sentHost: sent})
	d.forgetResource(srv)
	return got, srv, l.all()
}

// serverCases seed the fuzzing as well. What is not said to be otherwise is
// from tcpUpstream, for public; want "" is no change.
var serverCases = []struct {
	name, in, want string
	cfg            Config
	pub            Public
	sent           string
	dropped        string // members that are reported
	foreign        bool   // the issuer is
}{
	// The issuer.
	{name: "issuer alone", in: `{"issuer":"UP"}`, want: `{"issuer":"PUB"}`},
	{name: "final slash", in: `{"issuer":"UP/"}`, want: `{"issuer":"PUB/"}`},
	{name: "path", in: `{"issuer":"UP/realms/a"}`, want: `{"issuer":"PUB/realms/a"}`},
	{name: "path and final slash", in: `{"issuer":"UP/realms/a/"}`, want: `{"issuer":"PUB/realms/a/"}`},
	{name: "path with escapes and two slashes", in: `{"issuer":"UP//a%2Fb%zz"}`, want: `{"issuer":"PUB//a%2Fb%zz"}`},
	{name: "upper-case scheme and host", in: `{"issuer":"HTTPS://MCP.Vendor.Example:8443/A"}`, want: `{"issuer":"PUB/A"}`},
	{name: "trailing dot", in: `{"issuer":"https://mcp.vendor.example.:8443"}`, want: `{"issuer":"PUB"}`},
	{name: "leading zeros of the port", in: `{"issuer":"http://10.0.0.5:03000"}`, want: `{"issuer":"PUB"}`},
	{name: "another scheme at the dialled address", in: `{"issuer":"https://10.0.0.5:3000"}`, want: `{"issuer":"PUB"}`},
	{name: "mapped IPv6", in: `{"issuer":"http://[::ffff:10.0.0.5]:3000"}`, want: `{"issuer":"PUB"}`},
	{name: "default port, written", cfg: tlsUpstream, in: `{"issuer":"https://mcp.vendor.example:443"}`, want: `{"issuer":"PUB"}`},
	{name: "default port, not written", cfg: tlsUpstream, in: `{"issuer":"https://mcp.vendor.example"}`, want: `{"issuer":"PUB"}`},
	{name: "default port of the other scheme", cfg: tlsUpstream, in: `{"issuer":"http://mcp.vendor.example:80"}`, foreign: true},
	{name: "loopback with the dialled port", in: `{"issuer":"http://localhost:3000","token_endpoint":"http://LOCALHOST:3000/t"}`, want: `{"issuer":"PUB","token_endpoint":"PUB/t"}`},
	{name: "loopback address with a dialled port", in: `{"issuer":"http://127.0.0.1:8443"}`, want: `{"issuer":"PUB"}`},
	{name: "unspecified address", cfg: portUpstream, in: `{"issuer":"http://0.0.0.0:3000"}`, want: `{"issuer":"PUB"}`},
	{name: "IPv6 loopback", cfg: portUpstream, in: `{"issuer":"http://[::1]:3000"}`, want: `{"issuer":"PUB"}`},
	{name: "loopback with another port", in: `{"issuer":"http://localhost:3001"}`, foreign: true},
	{name: "loopback of a unix socket", cfg: unixUpstream, in: `{"issuer":"http://localhost"}`, foreign: true},
	{name: "listed origin", cfg: unixUpstream, in: `{"issuer":"https://other.example:8443/x"}`, want: `{"issuer":"PUB/x"}`},
	{name: "listed host with another port", cfg: unixUpstream, in: `{"issuer":"https://other.example/x"}`, foreign: true},
	{name: "listed host with another scheme", cfg: unixUpstream, in: `{"issuer":"https://mcp.vendor.example"}`, foreign: true},
	{name: "public host with the wrong scheme", in: `{"issuer":"http://mcp.example.com","jwks_uri":"http://mcp.example.com/k"}`, want: `{"issuer":"PUB","jwks_uri":"PUB/k"}`},
	{name: "public host with the dialled port", in: `{"issuer":"http://mcp.example.com:3000"}`, want: `{"issuer":"PUB"}`},
	{name: "public host with another port", in: `{"issuer":"https://mcp.example.com:9000"}`, foreign: true},
	{name: "Host that was sent", sent: "virtual.example:8080", in: `{"issuer":"http://virtual.example:8080"}`, want: `{"issuer":"PUB"}`},
	{name: "Host that was sent, without a port", sent: "virtual.example", in: `{"issuer":"https://virtual.example"}`, want: `{"issuer":"PUB"}`},
	{name: "Host that was sent, another port", sent: "virtual.example:8080", in: `{"issuer":"http://virtual.example:81"}`, foreign: true},
	{name: "public origin with a port", pub: Public{Origin: "http://[2001:db8::1]:8080", Path: "/"}, in: `{"issuer":"UP/","token_endpoint":"UP?a"}`, want: `{"issuer":"http://[2001:db8::1]:8080/","token_endpoint":"http://[2001:db8::1]:8080?a"}`},

	// A foreign issuer, and one that cannot be judged: nothing is changed.
	{name: "foreign", in: `{ "issuer":"https://as.example.com","token_endpoint":"UP/token","signed_metadata":"x" }`, foreign: true},
	{name: "query", in: `{"issuer":"UP?a","token_endpoint":"UP/token"}`, foreign: true},
	{name: "empty query", in: `{"issuer":"UP?"}`, foreign: true},
	{name: "fragment", in: `{"issuer":"UP#"}`, foreign: true},
	{name: "userinfo", in: `{"issuer":"http://a@10.0.0.5:3000"}`, foreign: true},
	{name: "upstream as userinfo", in: `{"issuer":"http://10.0.0.5:3000@evil.test"}`, foreign: true},
	{name: "begins like the upstream", in: `{"issuer":"UP.evil.test"}`, foreign: true},
	{name: "no URL", in: `{"issuer":""}`, foreign: true},
	{name: "relative", in: `{"issuer":"/"}`, foreign: true},
	{name: "escaped line end", in: `{"issuer":"UP/\n"}`, foreign: true},
	{name: "no public host", pub: Public{Origin: "mcp.example.com", Path: "/mcp"}, in: `{"issuer":"UP"}`, foreign: true},

	// A server that knows its public origin: the document is the same.
	{name: "public already", in: "\n{ \"issuer\" : \"PUB/\", \"signed_metadata\":\"x\", \"token_endpoint\":\"PUB/token\", \"request_parameter_supported\":true,\"token_endpoint_auth_methods_supported\":[\"private_key_jwt\"] }"},
	{name: "public already, written otherwise", in: `{"issuer":"HTTPS://MCP.example.com:443/a","token_endpoint":"https://mcp.example.com./token"}`},
	{name: "public already, with private endpoints", in: `{"issuer":"PUB","token_endpoint":"UP/token"}`},

	// URLs of the server.
	{
		name: "each member that is a URL of the server",
		in: `{"issuer":"UP","authorization_endpoint":"UP/a","token_endpoint":"UP/b","jwks_uri":"UP/c","registration_endpoint":"UP/d","revocation_endpoint":"UP/e",` +
			`"introspection_endpoint":"UP/f","userinfo_endpoint":"UP/g","end_session_endpoint":"UP/h","device_authorization_endpoint":"UP/i","pushed_authorization_request_endpoint":"UP/j",` +
			`"backchannel_authentication_endpoint":"UP/k","op_policy_uri":"UP/l","op_tos_uri":"UP/m","service_documentation":"UP/n","check_session_iframe":"UP/o","x_endpoint":"UP/p","_uri":"UP/q","registration_client_uri":"UP/r"}`,
		want: `{"issuer":"PUB","authorization_endpoint":"PUB/a","token_endpoint":"PUB/b","jwks_uri":"PUB/c","registration_endpoint":"PUB/d","revocation_endpoint":"PUB/e",` +
			`"introspection_endpoint":"PUB/f","userinfo_endpoint":"PUB/g","end_session_endpoint":"PUB/h","device_authorization_endpoint":"PUB/i","pushed_authorization_request_endpoint":"PUB/j",` +
			`"backchannel_authentication_endpoint":"PUB/k","op_policy_uri":"PUB/l","op_tos_uri":"PUB/m","service_documentation":"PUB/n","check_session_iframe":"PUB/o","x_endpoint":"PUB/p","_uri":"PUB/q","registration_client_uri":"PUB/r"}`,
	},
	{
		name: "members that are no URL of the server",
		in:   `{"issuer":"UP","token_Endpoint":"UP/a","token_endpointx":"UP/b","endpoint":"UP/c","uri":"UP/d","":"UP/e","protected_resources":["UP/mcp"],"a":{"token_endpoint":"UP/f"}}`,
		want: `{"issuer":"PUB","token_Endpoint":"UP/a","token_endpointx":"UP/b","endpoint":"UP/c","uri":"UP/d","":"UP/e","protected_resources":["UP/mcp"],"a":{"token_endpoint":"UP/f"}}`,
	},
	{
		name: "escapes in names and values",
		in:   `{"\u0069ssuer":"http:\/\/10.0.0.5\u003a3000","token\u005fendpoint":"UP\/t\u003fa=\u0026<\">","x":"\u0041\/"}`,
		want: `{"\u0069ssuer":"PUB","token\u005fendpoint":"PUB/t?a=&<\">","x":"\u0041\/"}`,
	},
	{
		name: "query, fragment and path, byte for byte",
		in:   `{"issuer":"UP","a_endpoint":"UP/%7E/../é?x=http://10.0.0.5:3000/#UP/?","b_endpoint":"UP?q","c_endpoint":"UP#f","d_endpoint":"UP//evil.test/@x:y","e_endpoint":"UP/"}`,
		want: `{"issuer":"PUB","a_endpoint":"PUB/%7E/../é?x=http://10.0.0.5:3000/#UP/?","b_endpoint":"PUB?q","c_endpoint":"PUB#f","d_endpoint":"PUB//evil.test/@x:y","e_endpoint":"PUB/"}`,
	},
	{
		name: "foreign endpoints",
		in: `{"issuer":"UP","a_endpoint":"https://as.example.com/token","b_endpoint":"http://10.0.0.5:3001/t","c_endpoint":"https://10.0.0.5:3000/t","d_endpoint":"http://10.0.0.5/t",` +
			`"e_endpoint":"http://localhost:3000/t","f_endpoint":"http://u@10.0.0.5:3000/t","g_endpoint":"http://10.0.0.5:3000@evil.test/","h_endpoint":"UP.evil.test/","i_endpoint":"UP\\@evil.test/",` +
			`"j_endpoint":"//10.0.0.5:3000/t","k_endpoint":"/t","l_endpoint":"UP/a b","m_endpoint":"\tUP/t","n_endpoint":"http:10.0.0.5:3000/t","o_endpoint":"http:///10.0.0.5:3000/t","p_endpoint":"http://10.0.0.5:3000\\t"}`,
		want: `{"issuer":"PUB","a_endpoint":"https://as.example.com/token","b_endpoint":"http://10.0.0.5:3001/t","c_endpoint":"https://10.0.0.5:3000/t","d_endpoint":"http://10.0.0.5/t",` +
			`"e_endpoint":"http://localhost:3000/t","f_endpoint":"http://u@10.0.0.5:3000/t","g_endpoint":"http://10.0.0.5:3000@evil.test/","h_endpoint":"UP.evil.test/","i_endpoint":"UP\\@evil.test/",` +
			`"j_endpoint":"//10.0.0.5:3000/t","k_endpoint":"/t","l_endpoint":"UP/a b","m_endpoint":"\tUP/t","n_endpoint":"http:10.0.0.5:3000/t","o_endpoint":"http:///10.0.0.5:3000/t","p_endpoint":"http://10.0.0.5:3000\\t"}`,
	},
	{name: "endpoints that are public already", in: `{"issuer":"UP","a_endpoint":"PUB/a","b_endpoint":"HTTPS://MCP.EXAMPLE.COM/b"}`, want: `{"issuer":"PUB","a_endpoint":"PUB/a","b_endpoint":"HTTPS://MCP.EXAMPLE.COM/b"}`},
	{
		name: "endpoints of another type",
		in:   `{"issuer":"UP","a_endpoint":1e400,"b_endpoint":null,"c_endpoint":["UP/c"],"d_endpoint":{"e_endpoint":"UP/e"},"jwks_uri":true,"mtls_endpoint_aliases":"UP/f"}`,
		want: `{"issuer":"PUB","a_endpoint":1e400,"b_endpoint":null,"c_endpoint":["UP/c"],"d_endpoint":{"e_endpoint":"UP/e"},"jwks_uri":true,"mtls_endpoint_aliases":"UP/f"}`,
	},
	{
		name: "aliases for clients with certificates",
		in:   `{"mtls_endpoint_aliases" : { "token_endpoint" : "UP/t" ,"x":"UP/x", "a_endpoint":"https://mtls.example.com/a","b_endpoint":["UP"] },"issuer":"UP"}`,
		want: `{"mtls_endpoint_aliases" : { "token_endpoint" : "PUB/t" ,"x":"UP/x", "a_endpoint":"https://mtls.example.com/a","b_endpoint":["UP"] },"issuer":"PUB"}`,
	},
	{name: "aliases twice", in: `{"issuer":"UP","mtls_endpoint_aliases":{"a_endpoint":"UP/a","a_endpoint":"UP/b"}}`, want: `{"issuer":"PUB","mtls_endpoint_aliases":{"a_endpoint":"UP/a","a_endpoint":"UP/b"}}`},
	{name: "no aliases", in: `{"issuer":"UP","mtls_endpoint_aliases":{}}`, want: `{"issuer":"PUB","mtls_endpoint_aliases":{}}`},

	// What cannot cross.
	{name: "dropped first", dropped: "signed_metadata", in: "{\n  \"signed_metadata\": \"x\",\n  \"issuer\": \"UP\"\n}\n", want: "{\n  \"issuer\": \"PUB\"\n}\n"},
	{name: "dropped in the middle", dropped: "signed_metadata", in: "{\n  \"issuer\": \"UP\",\n  \"signed_metadata\": \"x\",\n  \"a\": 1\n}\n", want: "{\n  \"issuer\": \"PUB\",\n  \"a\": 1\n}\n"},
	{name: "dropped last", dropped: "signed_metadata", in: "{\n  \"issuer\": \"UP\",\n  \"signed_metadata\": \"x\"\n}\n", want: "{\n  \"issuer\": \"PUB\"\n}\n"},
	{
		name:    "all but the issuer, behind it",
		dropped: "signed_metadata dpop_signing_alg_values_supported request_object_signing_alg_values_supported",
		in:      `{ "issuer" : "UP" , "signed_metadata":1,"dpop_signing_alg_values_supported":["ES256"], "request_object_signing_alg_values_supported":{} }`,
		want:    `{ "issuer" : "PUB" }`,
	},
	{
		name:    "all but the issuer, before it",
		dropped: "request_object_encryption_enc_values_supported token_endpoint_auth_signing_alg_values_supported",
		in:      `{ "request_object_encryption_enc_values_supported":[] , "token_endpoint_auth_signing_alg_values_supported" : [ "ES256" ] , "issuer" : "UP" }`,
		want:    `{ "issuer" : "PUB" }`,
	},
	{
		name:    "all but the issuer, round it",
		dropped: "signed_metadata response_modes_supported request_object_x dpop_signing_alg_values_supported",
		in:      `{"signed_metadata":1,"response_modes_supported":["jwt"],"issuer":"UP","request_object_x":2,"dpop_signing_alg_values_supported":3}`,
		want:    `{"issuer":"PUB"}`,
	},
	{
		name:    "several groups between endpoints",
		dropped: "signed_metadata request_object_a dpop_signing_alg_values_supported revocation_endpoint_auth_signing_alg_values_supported",
		in:      `{"signed_metadata":1,"issuer":"UP","request_object_a":2,"dpop_signing_alg_values_supported":3,"token_endpoint":"UP/t","revocation_endpoint_auth_signing_alg_values_supported":4}`,
		want:    `{"issuer":"PUB","token_endpoint":"PUB/t"}`,
	},
	{
		name: "authentication of clients", dropped: "token_endpoint_auth_methods_supported revocation_endpoint_auth_methods_supported",
		in:   `{"issuer":"UP","token_endpoint_auth_methods_supported":[ "none", "private_key_jwt","client_secret_post" ,"client_secret_jwt"],"revocation_endpoint_auth_methods_supported":["client_secret_jwt"]}`,
		want: `{"issuer":"PUB","token_endpoint_auth_methods_supported":["none","client_secret_post"]}`,
	},
	{
		name: "authentication of clients that may stay",
		in:   `{"issuer":"UP","token_endpoint_auth_methods_supported":[ "none" , "client_secret_basic","tls_client_auth" ],"introspection_endpoint_auth_methods_supported":[ ]}`,
		want: `{"issuer":"PUB","token_endpoint_auth_methods_supported":[ "none" , "client_secret_basic","tls_client_auth" ],"introspection_endpoint_auth_methods_supported":[ ]}`,
	},
	{
		name: "response modes", dropped: "response_modes_supported",
		in: `{"issuer":"UP","response_modes_supported":["query","fragment","form_post","query.jwt"]}`, want: `{"issuer":"PUB","response_modes_supported":["query"]}`,
	},
	{name: "response modes without query", dropped: "response_modes_supported", in: `{"response_modes_supported":["form_post"] ,"issuer":"UP"}`, want: `{"issuer":"PUB"}`},
	{name: "response mode query", in: `{"issuer":"UP","response_modes_supported":[ "\u0071uery" ]}`, want: `{"issuer":"PUB","response_modes_supported":[ "\u0071uery" ]}`},
	{
		name: "request objects", dropped: "request_parameter_supported request_uri_parameter_supported",
		in:   `{"issuer":"UP","request_parameter_supported": true ,"request_uri_parameter_supported":null,"require_request_uri_registration":true}`,
		want: `{"issuer":"PUB","request_parameter_supported": false ,"request_uri_parameter_supported":false,"require_request_uri_registration":true}`,
	},
	{name: "no request objects", in: `{"issuer":"UP","request_parameter_supported": false }`, want: `{"issuer":"PUB","request_parameter_supported": false }`},
	{
		name: "lists of another type",
		in:   `{"issuer":"UP","token_endpoint_auth_methods_supported":"private_key_jwt","a_endpoint_auth_methods_supported":null,"response_modes_supported":{"fragment":1},"_endpoint_auth_methods_supported":3}`,
		want: `{"issuer":"PUB","token_endpoint_auth_methods_supported":"private_key_jwt","a_endpoint_auth_methods_supported":null,"response_modes_supported":{"fragment":1},"_endpoint_auth_methods_supported":3}`,
	},
	{
		name: "lists with elements of another type", dropped: "token_endpoint_auth_methods_supported",
		in:   `{"issuer":"UP","token_endpoint_auth_methods_supported":[null,"private_key_jwt",1e400,["client_secret_jwt"],"\ud800"],"response_modes_supported":[null,"query"]}`,
		want: `{"issuer":"PUB","token_endpoint_auth_methods_supported":[null,1e400,["client_secret_jwt"],"\ud800"],"response_modes_supported":[null,"query"]}`,
	},
	{
		name: "other algorithms",
		in:   `{"issuer":"UP","id_token_signing_alg_values_supported":["RS256"],"dpop_signing_alg":1,"xsigned_metadata":1,"token_endpoint_auth_methods":["private_key_jwt"],"code_challenge_methods_supported":["S256"]}`,
		want: `{"issuer":"PUB","id_token_signing_alg_values_supported":["RS256"],"dpop_signing_alg":1,"xsigned_metadata":1,"token_endpoint_auth_methods":["private_key_jwt"],"code_challenge_methods_supported":["S256"]}`,
	},
	{
		name: "order, white space, numbers and unknown members", dropped: "signed_metadata",
		in:   "\r\n{ \"z\" : [ 1.0 ,2E+1 ] ,\n\t\"issuer\"\t:\t\"UP\"\t,\n  \"a\":{ } , \"signed_metadata\" : { \"issuer\":\"UP\" },\t\"x\":null,\"\":\"\u2028\" }\n ",
		want: "\r\n{ \"z\" : [ 1.0 ,2E+1 ] ,\n\t\"issuer\"\t:\t\"PUB\"\t,\n  \"a\":{ } , \"x\":null,\"\":\"\u2028\" }\n ",
	},
}

// Rule C5: of the documents the URLs on the server's own origin get the public
// one, what cannot cross is removed, and every other byte stays.
func TestMapDocument(t *testing.T) {
	for _, tc := range serverCases {
		t.Run(tc.name, func(t *testing.T) {
			in, want, pub := places.Replace(tc.in), places.Replace(tc.want), tc.pub
			if want == "" {
				want = in
			}
			if pub == (Public{}) {
				pub = public
			}
			got, srv, events := mapServer(t, tc.cfg, pub, tc.sent, in)
			if got.status != found || string(got.body) != want || !json.Valid(got.body) {
				t.Errorf("got status %d\n%s\nwant\n%s", got.status, got.body, want)
			}
			if !srv.known || srv.unavailable || tc.foreign != (len(srv.issuers) == 0) {
				t.Errorf("known %v, unavailable %v, issuers %v; foreign is %v", srv.known, srv.unavailable, srv.issuers, tc.foreign)
			}
			var issuer struct{ Issuer string }
			if err := json.Unmarshal(got.body, &issuer); err != nil {
				t.Fatal(err)
			}
			if len(srv.issuers) > 0 && srv.issuers[0].public != issuer.Issuer {
				t.Errorf("the public issuer is %q; the document has %q", srv.issuers[0].public, issuer.Issuer)
			}
			var reported []Event
			if tc.foreign {
				reported = []Event{{Kind: ForeignIssuer, Endpoint: pub.URL(), Source: serverPath, Value: redact(issuer.Issuer), Option: "challenge origins"}}
			} else if tc.dropped != "" {
				reported = []Event{{Kind: ServerFeatureDropped, Endpoint: pub.URL(), Value: tc.dropped}}
			}
			if !slices.Equal(events, reported) {
				t.Errorf("reported\n%+v\nwant\n%+v", events, reported)
			}
			if tc.foreign && (len(srv.routes) > 0 || len(srv.origins) > 0) {
				t.Errorf("a foreign server has routes %v and origins %v", srv.routes, srv.origins)
			}
			if !tc.foreign {
				again, _, events := mapServer(t, tc.cfg, pub, tc.sent, want)
				if string(again.body) != want || len(events) > 0 {
					t.Errorf("mapped again it is\n%s\nwith %+v", again.body, events)
				}
			}
		})
	}
}

// serverRefused are documents of the same kind as invalidDocuments.
var serverRefused = []struct {
	name, in string
	err      error
}{
	{"empty", "", jsontext.ErrNotJSON},
	{"HTML", "<!doctype html>", jsontext.ErrNotJSON},
	{"cut off", `{"issuer":"UP"`, jsontext.ErrNotJSON},
	{"two documents", `{"issuer":"UP"}{"issuer":"UP"}`, jsontext.ErrNotJSON},
	{"byte order mark", "\ufeff" + `{"issuer":"UP"}`, jsontext.ErrNotJSON},
	{"UTF-16", "\xfe\xff\x00{\x00}", jsontext.ErrNotUTF8},
	{"Latin-1", "{\"issuer\":\"UP/\xfc\"}", jsontext.ErrNotUTF8},
	{"Latin-1 elsewhere", "{\"issuer\":\"UP\",\"a\":\"\xfc\"}", jsontext.ErrNotUTF8},
	{"array", `[{"issuer":"UP"}]`, jsontext.ErrNotObject},
	{"string", `"UP"`, jsontext.ErrNotObject},
	{"too deep", `{"issuer":"UP","a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, jsontext.ErrTooDeep},
	{"very deep", strings.Repeat(`{"mtls_endpoint_aliases":`, 1<<16), jsontext.ErrTooDeep},
	{"issuer twice", `{"issuer":"UP","issuer":"https://evil.test"}`, jsontext.ErrDuplicate},
	{"issuer twice, one with escapes", `{"issuer":"https://evil.test","issue\u0072":"UP"}`, jsontext.ErrDuplicate},
	{"endpoint twice", `{"token_endpoint":"UP/t","issuer":"UP","token_endpoint":"https://evil.test/t"}`, jsontext.ErrDuplicate},
	{"dropped member twice", `{"issuer":"UP","signed_metadata":"a","signed_metadata":"b"}`, jsontext.ErrDuplicate},
	{"empty object", `{}`, errNoIssuer},
	{"no issuer", `{"token_endpoint":"UP/t"}`, errNoIssuer},
	{"issuer in another case", `{"Issuer":"UP"}`, errNoIssuer},
	{"null issuer", `{"issuer":null}`, errNoIssuer},
	{"list of issuers", `{"issuer":["UP"]}`, errNoIssuer},
	{"number as issuer", `{"issuer":1}`, errNoIssuer},
}

// Rule C5: what clients could understand differently is no document: neither
// mapped nor passed on.
func TestMapDocumentRefuses(t *testing.T) {
	for _, tc := range serverRefused {
		t.Run(tc.name, func(t *testing.T) {
			in := places.Replace(tc.in)
			if _, _, err := parseServer([]byte(in)); !errors.Is(err, tc.err) {
				t.Errorf("error %v; want %v", err, tc.err)
			}
			got, srv, events := mapServer(t, Config{}, public, "", in)
			if got.status != unusable || got.reason != tc.err.Error() || got.body != nil || srv.known || srv.Available() || len(srv.routes) > 0 {
				t.Errorf("got %+v of %+v; want nothing", got, srv)
			}
			want := []Event{{Kind: DocumentInvalid, Endpoint: public.URL(), Source: serverPath, Reason: tc.err.Error()}}
			if !slices.Equal(events, want) {
				t.Errorf("reported %+v; want %+v", events, want)
			}
		})
	}
}

// Rule C5: a document with as many members as fit is mapped all the same, and
// what is reported of it is bounded.
func TestMapDocumentManyMembers(t *testing.T) {
	var in, want strings.Builder
	in.WriteString(`{"request_object_0":1,"issuer":"http://10.0.0.5:3000"`)
	want.WriteString(`{"issuer":"https://mcp.example.com"`)
	for n := range 5000 {
		fmt.Fprintf(&in, `,"request_object_x%d":[%d],"%d_endpoint":"http://10.0.0.5:3000/%d"`, n, n, n, n)
		fmt.Fprintf(&want, `,"%d_endpoint":"https://mcp.example.com/%d"`, n, n)
	}
	in.WriteByte('}')
	want.WriteByte('}')
	got, _, events := mapServer(t, Config{}, public, "", in.String())
	if string(got.body) != want.String() {
		t.Errorf("got %d bytes; want %d others", len(got.body), want.Len())
	}
	if len(events) != 1 || len(events[0].Value) > maxEventValue {
		t.Errorf("reported %d events; want one that is bounded", len(events))
	}
}
