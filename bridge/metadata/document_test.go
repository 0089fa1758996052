package metadata

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
)

// rewriteWith maps raw as it came from tcpUpstream, changed by cfg, and returns
// the public document and the kinds of what was reported.
func rewriteWith(t *testing.T, cfg Config, raw string) (string, []EventKind, error) {
	t.Helper()
	if cfg.Dials == nil {
		cfg.Dials, cfg.UpstreamPath = tcpUpstream.Dials, tcpUpstream.UpstreamPath
	}
	s := mustNew(t, cfg)
	var kinds []EventKind
	doc, err := s.finder.maps.rewrite([]byte(raw), public, "", nil, func(e Event) { kinds = append(kinds, e.Kind) })
	if err != nil {
		return "", kinds, err
	}
	return string(doc.render(public.URL())), kinds, nil
}

// rewriteCases seed the fuzzing as well.
var rewriteCases = []struct {
	name, in, want string
	cfg            Config
	events         []EventKind
}{
	{name: "resource alone", in: `{"resource":"http://10.0.0.5:3000/mcp"}`, want: `{"resource":"https://mcp.example.com/mcp"}`},
	{
		name: "order, white space and unknown members",
		in:   "\r\n{ \"z\" : [ 1 ,2 ] ,\n\t\"resource\"\t:\t\"http://10.0.0.5:3000/mcp\"\t,\n  \"a\":{ } , \"x\":null,\"\":\"\" }\n ",
		want: "\r\n{ \"z\" : [ 1 ,2 ] ,\n\t\"resource\"\t:\t\"https://mcp.example.com/mcp\"\t,\n  \"a\":{ } , \"x\":null,\"\":\"\" }\n ",
	},
	{
		name: "number forms",
		in:   `{"a":1e400,"b":9007199254740993,"c":-0,"d":1.0,"e":1E+2,"resource":"http://10.0.0.5:3000/mcp","f":0.10}`,
		want: `{"a":1e400,"b":9007199254740993,"c":-0,"d":1.0,"e":1E+2,"resource":"https://mcp.example.com/mcp","f":0.10}`,
	},
	{
		name: "escapes in values",
		in:   `{"a":"\u0041\/\ud83d\ude00\ud800","b":"}]\"\\","resource":"http://10.0.0.5:3000/mcp"}`,
		want: `{"a":"\u0041\/\ud83d\ude00\ud800","b":"}]\"\\","resource":"https://mcp.example.com/mcp"}`,
	},
	{
		name: "escapes in the name of resource",
		in:   `{"\u0072esourc\u0065":"http://10.0.0.5:3000/mcp"}`,
		want: `{"\u0072esourc\u0065":"https://mcp.example.com/mcp"}`,
	},
	{
		name: "escapes in the value of resource",
		in:   `{"resource":"http:\/\/10.0.0.5\u003a3000/mcp"}`,
		want: `{"resource":"https://mcp.example.com/mcp"}`,
	},
	{
		name: "resource further down is no resource",
		in:   `{"a":{"resource":"http://10.0.0.5:3000/mcp"},"b":["resource","http://10.0.0.5:3000/mcp"],"resource":"http://10.0.0.5:3000"}`,
		want: `{"a":{"resource":"https://mcp.example.com/mcp"},"b":["resource","https://mcp.example.com/mcp"],"resource":"https://mcp.example.com/mcp"}`,
	},
	{
		name:   "private URLs",
		in:     `{"resource_documentation":"http://10.0.0.5:3000/docs","resource":"http://10.0.0.5:3000/mcp", "jwks_uri":"http:\/\/localhost:3000\/jwks","a":[{"b":"http://mcp.vendor.example:8443"},1],"c":"docs are at http://10.0.0.5:3000/docs."}`,
		want:   `{"resource":"https://mcp.example.com/mcp","a":[{},1],"c":"docs are at https://mcp.example.com/docs."}`,
		events: []EventKind{PrivateURLDropped},
	},
	{
		name: "URLs that only look private",
		in:   `{"resource":"http://10.0.0.5:3000/mcp","resource_documentation":"http://10.0.0.5:3001/docs","jwks_uri":"https://mcp.example.com/jwks","resource_policy_uri":"http://10.0.0.5:3000.evil.test/"}`,
		want: `{"resource":"https://mcp.example.com/mcp","resource_documentation":"http://10.0.0.5:3001/docs","jwks_uri":"https://mcp.example.com/jwks","resource_policy_uri":"http://10.0.0.5:3000.evil.test/"}`,
	},
	{
		name: "members that differ in case",
		in:   `{"Resource":"https://evil.test/","resource":"http://10.0.0.5:3000/mcp","RESOURCE":1}`,
		want: `{"Resource":"https://evil.test/","resource":"https://mcp.example.com/mcp","RESOURCE":1}`,
	},
	{
		name: "duplicates further down",
		in:   `{"a":{"b":1,"b":2},"resource":"http://10.0.0.5:3000/mcp"}`,
		want: `{"a":{"b":1,"b":2},"resource":"https://mcp.example.com/mcp"}`,
	},
	{
		name: "non-ASCII and separators of lines",
		in:   "{\"resource_name\":\"Übersicht \u2028 & <b>\",\"resource\":\"http://10.0.0.5:3000/mcp\"}",
		want: "{\"resource_name\":\"Übersicht \u2028 & <b>\",\"resource\":\"https://mcp.example.com/mcp\"}",
	},
	{
		name: "nesting at the limit",
		in:   `{"resource":"http://10.0.0.5:3000/mcp","a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`,
		want: `{"resource":"https://mcp.example.com/mcp","a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`,
	},
	{
		name: "brackets in strings do not nest",
		in:   `{"resource":"http://10.0.0.5:3000/mcp","a":"` + strings.Repeat("[{", 99) + `"}`,
		want: `{"resource":"https://mcp.example.com/mcp","a":"` + strings.Repeat("[{", 99) + `"}`,
	},

	{
		name: "foreign resource", events: []EventKind{ForeignResource},
		in:   `{ "resource" : "https://evil.test/mcp" , "a":1 }`,
		want: `{ "resource" : "https://evil.test/mcp" , "a":1 }`,
	},
	{
		name: "resource of another server on the network", events: []EventKind{ForeignResource},
		in:   `{"resource":"http://10.0.0.6:4000/mcp"}`,
		want: `{"resource":"http://10.0.0.6:4000/mcp"}`,
	},
	{
		name: "foreign resource keeps its escapes", events: []EventKind{ForeignResource},
		in:   `{"resource":"https:\/\/evil.test\u002fmcp"}`,
		want: `{"resource":"https:\/\/evil.test\u002fmcp"}`,
	},
	{
		name: "resource that is no URL", events: []EventKind{ForeignResource},
		in:   `{"resource":"mcp"}`,
		want: `{"resource":"mcp"}`,
	},
	{
		name: "resource with half a surrogate", events: []EventKind{ForeignResource},
		in:   `{"resource":"http://10.0.0.5:3000/mcp\ud800"}`,
		want: `{"resource":"http://10.0.0.5:3000/mcp\ud800"}`,
	},
	{
		name: "resource with an escaped line end", events: []EventKind{ForeignResource},
		in:   `{"resource":"http://10.0.0.5:3000/mcp\n"}`,
		want: `{"resource":"http://10.0.0.5:3000/mcp\n"}`,
	},
	{
		name: "keep_resource", cfg: Config{KeepResource: true},
		in:   `{ "resource" : "http://10.0.0.5:3000/mcp", "a" : 1 }`,
		want: `{ "resource" : "http://10.0.0.5:3000/mcp", "a" : 1 }`,
	},
	{
		name: "keep_resource of a foreign one", cfg: Config{KeepResource: true},
		in:   `{"resource":"urn:a"}`,
		want: `{"resource":"urn:a"}`,
	},
	{
		name: "keep_resource with overlays", cfg: Config{KeepResource: true, ResourceName: "A", Set: []Member{{"b", []byte("2")}}},
		in:   `{"resource":"urn:a","resource_name":"x"}`,
		want: `{"resource":"urn:a","resource_name":"A","b":2}`,
	},

	{
		name: "signed_metadata first", events: []EventKind{SignedMetadataDropped},
		in:   `{ "signed_metadata" : "e30.e30." , "resource":"http://10.0.0.5:3000/mcp" }`,
		want: `{ "resource":"https://mcp.example.com/mcp" }`,
	},
	{
		name: "signed_metadata in the middle", events: []EventKind{SignedMetadataDropped},
		in:   `{"resource":"http://10.0.0.5:3000/mcp","signed_metadata":"e30.e30.","a":1}`,
		want: `{"resource":"https://mcp.example.com/mcp","a":1}`,
	},
	{
		name: "signed_metadata last", events: []EventKind{SignedMetadataDropped},
		in:   `{"resource":"http://10.0.0.5:3000/mcp" , "signed_metadata":{"a":[1,2]} }`,
		want: `{"resource":"https://mcp.example.com/mcp" }`,
	},
	{
		name: "signed_metadata with escapes in its name", events: []EventKind{SignedMetadataDropped},
		in:   `{"resource":"http://10.0.0.5:3000/mcp","\u0073igned_metadata":"e30.e30."}`,
		want: `{"resource":"https://mcp.example.com/mcp"}`,
	},
	{
		name: "signed_metadata with keep_resource", cfg: Config{KeepResource: true}, events: []EventKind{SignedMetadataDropped},
		in:   `{"resource":"http://10.0.0.5:3000/mcp","signed_metadata":"e30.e30."}`,
		want: `{"resource":"http://10.0.0.5:3000/mcp"}`,
	},
	{
		name: "signed_metadata with a foreign resource", events: []EventKind{SignedMetadataDropped, ForeignResource},
		in:   `{"signed_metadata":"e30.e30.","resource":"https://evil.test"}`,
		want: `{"resource":"https://evil.test"}`,
	},
	{
		name: "signed_metadata of the operator", cfg: Config{Set: []Member{{"signed_metadata", []byte(`"mine"`)}}},
		in:   `{"signed_metadata":"e30.e30.","resource":"http://10.0.0.5:3000/mcp"}`,
		want: `{"signed_metadata":"mine","resource":"https://mcp.example.com/mcp"}`,
	},
	{
		name: "signed_metadata last, and members appended", events: []EventKind{SignedMetadataDropped},
		cfg:  Config{ScopesSupported: []string{"a", "b"}},
		in:   `{"resource":"http://10.0.0.5:3000/mcp","signed_metadata":"e30.e30."}`,
		want: `{"resource":"https://mcp.example.com/mcp","scopes_supported":["a","b"]}`,
	},
	{
		name: "signed_metadata last after a replaced member", events: []EventKind{SignedMetadataDropped},
		cfg:  Config{ResourceName: "N", Set: []Member{{"n", []byte("1")}}},
		in:   `{"resource":"http://10.0.0.5:3000/mcp","resource_name":"x","signed_metadata":"e30.e30."}`,
		want: `{"resource":"https://mcp.example.com/mcp","resource_name":"N","n":1}`,
	},

	{
		name: "overlays in place",
		cfg:  Config{ScopesSupported: []string{"a:b"}, ResourceName: `N"<&>`, Set: []Member{{"x", []byte(`{"y": 1e400}`)}}},
		in:   `{"x":1,"scopes_supported":["z"],"resource":"http://10.0.0.5:3000/mcp","resource_name":null}`,
		want: `{"x":{"y": 1e400},"scopes_supported":["a:b"],"resource":"https://mcp.example.com/mcp","resource_name":"N\"<&>"}`,
	},
	{
		name: "overlays appended in the same layout",
		cfg:  Config{ScopesSupported: []string{"a"}, Set: []Member{{"ü", []byte(`true`)}}},
		in:   "{\n  \"resource\": \"http://10.0.0.5:3000/mcp\",\n  \"a\": 1\n}\n",
		want: "{\n  \"resource\": \"https://mcp.example.com/mcp\",\n  \"a\": 1,\n  \"scopes_supported\": [\"a\"],\n  \"ü\": true\n}\n",
	},
	{
		name: "overlays with an escaped name",
		cfg:  Config{Set: []Member{{"x", []byte(`2`)}}},
		in:   `{"\u0078":1,"resource":"http://10.0.0.5:3000/mcp"}`,
		want: `{"\u0078":2,"resource":"https://mcp.example.com/mcp"}`,
	},

	{
		name: "authorization server on a private host", events: []EventKind{PrivateAuthorizationServer},
		in:   `{"resource":"http://10.0.0.5:3000/mcp","authorization_servers":["https://as.example.com","http://keycloak:8080/realms/a","http://localhost"]}`,
		want: `{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com","http://keycloak:8080/realms/a","http://localhost"]}`,
	},
	{
		name: "authorization servers of another type",
		in:   `{"resource":"http://10.0.0.5:3000/mcp","authorization_servers":"http://keycloak:8080"}`,
		want: `{"resource":"https://mcp.example.com/mcp","authorization_servers":"http://keycloak:8080"}`,
	},
}

// C3: the upstream's document keeps every member, its order and every byte but
// resource, signed_metadata and what the operator sets.
func TestRewrite(t *testing.T) {
	for _, tc := range rewriteCases {
		t.Run(tc.name, func(t *testing.T) {
			got, events, err := rewriteWith(t, tc.cfg, tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if !slices.Equal(events, tc.events) {
				t.Errorf("reported %q; want %q", events, tc.events)
			}
			if !json.Valid([]byte(got)) {
				t.Errorf("%s is not JSON", got)
			}
		})
	}
}

var invalidDocuments = []struct {
	name, in string
	err      error
}{
	{"empty", "", jsontext.ErrNotJSON},
	{"white space", " \n", jsontext.ErrNotJSON},
	{"HTML", "<!doctype html>", jsontext.ErrNotJSON},
	{"cut off", `{"resource":"http://10.0.0.5:3000/mcp"`, jsontext.ErrNotJSON},
	{"cut off in an escape", `{"resource":"\`, jsontext.ErrNotJSON},
	{"text after it", `{"resource":"http://10.0.0.5:3000/mcp"}{}`, jsontext.ErrNotJSON},
	{"comment", `{"resource":"http://10.0.0.5:3000/mcp"/**/}`, jsontext.ErrNotJSON},
	{"trailing comma", `{"resource":"http://10.0.0.5:3000/mcp",}`, jsontext.ErrNotJSON},
	{"single quotes", `{'resource':'http://10.0.0.5:3000/mcp'}`, jsontext.ErrNotJSON},
	{"raw line end in a string", "{\"resource\":\"http://10.0.0.5:3000/mcp\n\"}", jsontext.ErrNotJSON},
	{"byte order mark", "\ufeff" + `{"resource":"http://10.0.0.5:3000/mcp"}`, jsontext.ErrNotJSON},
	{"UTF-16", "{\x00\"\x00a\x00\"\x00:\x001\x00}\x00", jsontext.ErrNotJSON},
	{"UTF-16 byte order mark", "\xff\xfe{\x00}\x00", jsontext.ErrNotUTF8},
	{"Latin-1", "{\"resource\":\"http://10.0.0.5:3000/mcp\",\"a\":\"\xfc\"}", jsontext.ErrNotUTF8},
	{"encoded surrogate", "{\"a\":\"\xed\xa0\x80\"}", jsontext.ErrNotUTF8},
	{"overlong", "{\"a\":\"\xc0\xaf\"}", jsontext.ErrNotUTF8},
	{"array", `[{"resource":"http://10.0.0.5:3000/mcp"}]`, jsontext.ErrNotObject},
	{"string", `"resource"`, jsontext.ErrNotObject},
	{"number", ` 1`, jsontext.ErrNotObject},
	{"null", `null`, jsontext.ErrNotObject},
	{"too deep", `{"resource":"http://10.0.0.5:3000/mcp","a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, jsontext.ErrTooDeep},
	{"very deep", strings.Repeat(`{"a":`, 1<<16), jsontext.ErrTooDeep},
	{"deep after it closed too often", "]]]]" + strings.Repeat("[", 100), jsontext.ErrTooDeep},
	{"empty object", `{}`, errNoResource},
	{"no resource", `{"a":1}`, errNoResource},
	{"resource in another case", `{"Resource":"http://10.0.0.5:3000/mcp"}`, errNoResource},
	{"empty resource", `{"resource":""}`, errEmptyResource},
	{"null resource", `{"resource":null}`, errResourceIs},
	{"list of resources", `{"resource":["http://10.0.0.5:3000/mcp"]}`, errResources},
	{"object as resource", `{"resource":{"resource":"http://10.0.0.5:3000/mcp"}}`, errResourceIs},
	{"number as resource", `{"resource":1}`, errResourceIs},

	{"foreign resource after ours", `{"resource":"http://10.0.0.5:3000/mcp","resource":"https://evil.test"}`, jsontext.ErrDuplicate},
	{"foreign resource before ours", `{"resource":"https://evil.test","resource":"http://10.0.0.5:3000/mcp"}`, jsontext.ErrDuplicate},
	{"the same resource twice", `{"resource":"http://10.0.0.5:3000/mcp","resource":"http://10.0.0.5:3000/mcp"}`, jsontext.ErrDuplicate},
	{"resource twice, one with escapes", `{"resource":"http://10.0.0.5:3000/mcp","\u0072esource":"https://evil.test"}`, jsontext.ErrDuplicate},
	{"signed_metadata twice", `{"signed_metadata":"a","resource":"http://10.0.0.5:3000/mcp","signed_metadat\u0061":"b"}`, jsontext.ErrDuplicate},
	{"authorization_servers twice", `{"authorization_servers":[],"resource":"http://10.0.0.5:3000/mcp","authorization_servers":["https://evil.test"]}`, jsontext.ErrDuplicate},
	{"names that decode alike", `{"resource":"http://10.0.0.5:3000/mcp","\ud800":1,"\udc00":2}`, jsontext.ErrDuplicate},
	{"empty name twice", `{"":1,"":2,"resource":"http://10.0.0.5:3000/mcp"}`, jsontext.ErrDuplicate},
}

// C3: what clients could understand differently is no document; a second
// resource never lets a foreign one through.
func TestRewriteRefuses(t *testing.T) {
	for _, tc := range invalidDocuments {
		t.Run(tc.name, func(t *testing.T) {
			got, events, err := rewriteWith(t, Config{}, tc.in)
			if !errors.Is(err, tc.err) {
				t.Errorf("rewriting %.80q gives %q, error %v; want %v", tc.in, got, err, tc.err)
			}
			if len(events) > 0 {
				t.Errorf("reported %q of a document that is refused", events)
			}
		})
	}
}

// C3: resource becomes the public origin and the suffix as written, however the
// upstream wrote its own.
func TestRenderResource(t *testing.T) {
	s := mustNew(t, tcpUpstream)
	doc, err := s.finder.maps.rewrite([]byte(`{"a":1,"resource":"http://10.0.0.5:3000/mcp","b":2}`), public, "", nil, func(Event) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range []string{"https://mcp.example.com/mcp", "https://mcp.example.com/mcp/", "https://mcp.example.com"} {
		want := `{"a":1,"resource":"` + resource + `","b":2}`
		for range 2 { // a document is rendered many times
			if got := string(doc.render(resource)); got != want {
				t.Errorf("got %s; want %s", got, want)
			}
		}
	}
}

// C3: on a public host that is local itself, a local authorization server is no
// cause for alarm.
func TestLocalAuthorizationServer(t *testing.T) {
	s := mustNew(t, tcpUpstream)
	raw := []byte(`{"resource":"http://10.0.0.5:3000/mcp","authorization_servers":["http://localhost:9000"]}`)
	for _, tc := range []struct {
		origin string
		want   []EventKind
	}{
		{"http://localhost:8080", nil},
		{"http://192.168.0.2", nil},
		{"https://mcp.example.com", []EventKind{PrivateAuthorizationServer}},
	} {
		var got []EventKind
		_, err := s.finder.maps.rewrite(raw, Public{Origin: tc.origin, Path: "/mcp"}, "", nil, func(e Event) { got = append(got, e.Kind) })
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: reported %q, %v; want %q", tc.origin, got, err, tc.want)
		}
	}
}

// C2: the document that the operator configured, made from that alone.
func TestGenerate(t *testing.T) {
	as := []string{"https://as.example.com/tenant"}
	for _, tc := range []struct {
		name string
		cfg  Config
		want string
	}{
		{
			"least",
			Config{AuthorizationServers: as},
			`{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com/tenant"],"bearer_methods_supported":["header"]}`,
		},
		{
			"all",
			Config{
				AuthorizationServers: append(as, "HTTPS://b.example/"), ScopesSupported: []string{"a", "b:c"}, ResourceName: "Tools & <more>",
				Set: []Member{{"x_num", []byte("1e400")}, {"bearer_methods_supported", []byte(`["header", "body"]`)}, {"dpop\"", []byte("null")}},
			},
			`{"resource":"https://mcp.example.com/mcp","authorization_servers":["https://as.example.com/tenant","HTTPS://b.example/"],` +
				`"scopes_supported":["a","b:c"],"bearer_methods_supported":["header", "body"],"resource_name":"Tools & <more>","x_num":1e400,"dpop\"":null}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := mustNew(t, tc.cfg)
			if !s.Configured() {
				t.Fatal("not configured")
			}
			if got := string(s.configured.render(public.URL())); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if !json.Valid(s.configured.render(public.URL())) {
				t.Error("not JSON")
			}
		})
	}
}
