package notes

import (
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
)

// shownNames are names of tools as clients may send them, and as they are shown.
var shownNames = []struct{ name, want string }{
	{"get_weather", "get_weather"},
	{"admin/tools.list-all:v2 b", "admin/tools.list-all:v2 b"},
	{"天気を調べる", "天気を調べる"},
	{"a\nINFO forged", "a?INFO forged"},
	{"{http.request.header.Authorization}", "?http.request.header.Authorization?"},
	{"a\u202eb\x1b[31m", "a?b??31m"},
	{"a\xffb", "a?b"},
	{strings.Repeat("n", 200), strings.Repeat("n", 128)},
	{strings.Repeat("n", 127) + "é", strings.Repeat("n", 127) + "?"},
}

// What a client calls a tool is bounded where it is shown, and ends no line and starts
// no placeholder.
func TestShownName(t *testing.T) {
	for _, c := range shownNames {
		if got := ShownName(c.name); got != c.want {
			t.Errorf("ShownName(%q) = %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzShown(f *testing.F) {
	for _, c := range shownNames {
		f.Add(c.name)
	}
	f.Add("tools/call")
	f.Fuzz(func(t *testing.T, text string) {
		name, method := ShownName(text), ShownMethod(text)
		if len(name) > 3*maxShownName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) || strings.ContainsAny(name, "{}\"\\") {
			t.Errorf("ShownName(%q) = %q", text, name)
		}
		if method != "" && method != text || len(method) > maxShownMethod {
			t.Errorf("ShownMethod(%q) = %q", text, method)
		}
	})
}

// What the fields of a request say of it is shown within bounds, and addresses of
// resources are not.
func TestNotesOf(t *testing.T) {
	for name, c := range map[string]struct {
		fields map[string]string
		want   Notes
	}{
		"nothing":   {nil, Notes{Era: EraHandshake}},
		"handshake": {map[string]string{"Mcp-Protocol-Version": "2025-06-18"}, Notes{Era: EraHandshake, Version: "2025-06-18"}},
		"stateless": {
			map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "add"},
			Notes{Era: EraStateless, Version: "2026-07-28", Method: "tools/call", Name: "add"},
		},
		"Base64": {
			map[string]string{"Mcp-Method": "prompts/get", "Mcp-Name": "=?base64?w6k=?="},
			Notes{Era: EraHandshake, Method: "prompts/get", Name: "é"},
		},
		"resource": {
			map[string]string{"Mcp-Method": "resources/read", "Mcp-Name": "https://files.example/?token=secret"},
			Notes{Era: EraHandshake, Method: "resources/read"},
		},
		"no method":  {map[string]string{"Mcp-Method": "tools call", "Mcp-Name": "add"}, Notes{Era: EraHandshake}},
		"no version": {map[string]string{"Mcp-Protocol-Version": "<latest>"}, Notes{Era: EraHandshake}},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/mcp", nil)
			for name, value := range c.fields {
				r.Header.Set(name, value)
			}
			if got := Of(r); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// A session is shown as something that tells nobody its id.
func TestNotedSession(t *testing.T) {
	one, again, other := safetext.HashID("1"), safetext.HashID("1"), safetext.HashID("2")
	if one != again || one == other || len(one) != 16 {
		t.Errorf("hashes of 1, 1 and 2: %q, %q, %q", one, again, other)
	}
	if got := safetext.HashID(""); got != "" {
		t.Errorf("no id has the hash %q", got)
	}
	r := httptest.NewRequest("POST", "/mcp", nil)
	r.Header.Set("Mcp-Session-Id", "1")
	if got := Of(r).Session; got != one {
		t.Errorf("a request of the session has %q, want %q", got, one)
	}
}

// A message bridge notes what it has read, in place of what the fields say.
func TestNoteMessages(t *testing.T) {
	n := &Notes{Era: EraHandshake, Name: "of the field"}
	r := httptest.NewRequest("POST", "/mcp", nil)
	r = r.WithContext(With(r.Context(), n))
	all, err := message.ParseAll([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\nb","_meta":{"`+mcp.MetaVersion+`":"2026-07-28"}}}`), message.MaxBatch)
	if err != nil {
		t.Fatal(err)
	}
	NoteMessages(r, all)
	if want := (Notes{Era: EraStateless, Method: "tools/call", Name: "a?b"}); *n != want {
		t.Errorf("got %+v, want %+v", *n, want)
	}
	NoteMessages(httptest.NewRequest("POST", "/mcp", nil), []message.Message{{}}) // nobody asks
}

// What was read in a body counts in place of the fields, within the same bounds. A URI is not
// shown.
func TestNotesRead(t *testing.T) {
	n := Notes{Era: EraHandshake, Method: "of the field", Name: "of the field"}
	for _, c := range []struct{ method, name, wantMethod, wantName string }{
		{"tools/call", "a\nb", "tools/call", "a?b"},
		{"resources/read", "file:///secret", "resources/read", ""},
		{"ping", "x", "ping", ""},
		{"", "", "", ""},
	} {
		if got, want := n.Read(c.method, c.name), (Notes{Era: EraHandshake, Method: c.wantMethod, Name: c.wantName}); got != want {
			t.Errorf("%s %q: got %+v, want %+v", c.method, c.name, got, want)
		}
	}
}
