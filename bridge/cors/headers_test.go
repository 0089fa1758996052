package cors

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const exposed = "WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version, DPoP-Nonce, Retry-After"

func TestSetHeaders(t *testing.T) {
	for _, c := range []struct {
		name   string
		cfg    Config
		origin string
		want   string // "" for no header
		expose string
	}{
		{"B1 exact", Config{AllowOrigins: []string{"https://a.example"}}, "https://a.example", "https://a.example", exposed},
		{"B1 pattern", Config{AllowOrigins: []string{"https://*.example.com"}}, "https://a.example.com", "https://a.example.com", exposed},
		{"B1 loopback", Config{}, "http://localhost:6274", "http://localhost:6274", exposed},
		{"B1 normal form", Config{}, "HTTP://LOCALHOST:80", "http://localhost", exposed},
		{"B1 star", Config{AllowOrigins: []string{"*"}}, "https://a.example", "*", exposed},
		{"B1 star for null", Config{AllowOrigins: []string{"*"}}, "null", "*", exposed},
		{"B1 more headers, each once", Config{ExposeHeaders: []string{"X-Trace", "retry-after", "x-trace"}}, "http://localhost", "http://localhost", exposed + ", X-Trace"},
		{"B1 no origin", Config{}, "http://a.example\r\nSet-Cookie: x=y", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{}
			mustNew(t, c.cfg).SetHeaders(h, c.origin)
			want := http.Header{}
			if c.want != "" {
				want = http.Header{allowOrigin: {c.want}, exposeHeaders: {c.expose}}
			}
			if !maps.EqualFunc(h, want, slices.Equal) {
				t.Errorf("got %v; want %v", h, want)
			}
		})
	}
}

// B1: one header each, whatever stood there.
func TestSetHeadersReplaces(t *testing.T) {
	h := http.Header{allowOrigin: {"*", "https://b.example"}, exposeHeaders: {"X"}}
	mustNew(t, Config{AllowOrigins: []string{"https://a.example"}}).SetHeaders(h, "https://a.example")
	if got := h[allowOrigin]; !slices.Equal(got, []string{"https://a.example"}) {
		t.Errorf("%s = %q; want one value", allowOrigin, got)
	}
	if got := h[exposeHeaders]; !slices.Equal(got, []string{exposed}) {
		t.Errorf("%s = %q; want one value", exposeHeaders, got)
	}
}

func TestSetVary(t *testing.T) {
	for _, c := range []struct {
		name     string
		in, want []string
	}{
		{"B1 none", nil, []string{"Origin"}},
		{"B1 other", []string{"Accept-Encoding"}, []string{"Accept-Encoding", "Origin"}},
		{"B1 there", []string{"Accept-Encoding, origin"}, []string{"Accept-Encoding, origin"}},
		{"B1 similar", []string{"X-Origin"}, []string{"X-Origin", "Origin"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{}
			if c.in != nil {
				h["Vary"] = c.in
			}
			SetVary(h)
			SetVary(h)
			if got := h["Vary"]; !slices.Equal(got, c.want) {
				t.Errorf("Vary = %q; want %q", got, c.want)
			}
		})
	}
}

var varyCases = []struct {
	in, want []string
}{
	{[]string{"Origin"}, nil},
	{[]string{"origin"}, nil},
	{[]string{"Accept,Origin ,\tAccept-Encoding"}, []string{"Accept, Accept-Encoding"}},
	{[]string{"Accept", "Origin", "X-Origin"}, []string{"Accept", "X-Origin"}},
	{[]string{"Origin, Origin"}, nil},
	{[]string{"Accept ,Cookie"}, []string{"Accept ,Cookie"}},
	{[]string{"*"}, []string{"*"}},
	{[]string{"Accept,  Cookie", "Origin, Host"}, []string{"Accept,  Cookie", "Host"}},
}

func TestDrop(t *testing.T) {
	for _, c := range varyCases {
		t.Run("B1 Vary "+strings.Join(c.in, " | "), func(t *testing.T) {
			in := slices.Clone(c.in)
			h := http.Header{"Vary": in}
			Drop(h)
			if got := h["Vary"]; !slices.Equal(got, c.want) {
				t.Errorf("Vary = %q; want %q", got, c.want)
			}
			if _, ok := h["Vary"]; ok && len(c.want) == 0 {
				t.Error("Vary is there without a value; want none")
			}
			if !slices.Equal(in, c.in) {
				t.Errorf("input became %q; want it untouched", in)
			}
		})
	}
	t.Run("B1 fields", func(t *testing.T) {
		h := http.Header{
			allowOrigin:                        {"*"},
			exposeHeaders:                      {"X"},
			"Access-Control-Allow-Credentials": {"true"},
			"Access-Control-Something-New":     {"x"},
			"access-control-max-age":           {"1"},
			"Www-Authenticate":                 {"Bearer"},
			"Access-Controls":                  {"stays"},
		}
		Drop(h)
		want := http.Header{"Www-Authenticate": {"Bearer"}, "Access-Controls": {"stays"}}
		if !maps.EqualFunc(h, want, slices.Equal) {
			t.Errorf("got %v; want %v", h, want)
		}
	})
}

func TestRefuse(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set(allowOrigin, "*")
	w.Header().Set("Vary", "Accept-Encoding")
	Refuse(w)
	if w.Code != http.StatusForbidden {
		t.Errorf("B3: status = %d; want 403", w.Code)
	}
	want := http.Header{
		"Vary":                   {"Accept-Encoding", "Origin"},
		"Content-Type":           {"application/json"},
		"X-Content-Type-Options": {"nosniff"},
	}
	if got := w.Result().Header; !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("B3: header = %v; want %v", got, want)
	}
	var body struct {
		JSONRPC string           `json:"jsonrpc"`
		ID      *json.RawMessage `json:"id"`
		Error   struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	if body.JSONRPC != "2.0" || body.Error.Code != -32000 || body.Error.Message == "" {
		t.Errorf("B3: body = %s; want a JSON-RPC error -32000 with a message", w.Body)
	}
	if strings.Contains(w.Body.String(), `"id"`) {
		t.Errorf("B3: body = %s; want no id", w.Body)
	}
}

// FuzzDropVary checks that Origin goes and that nothing else does.
func FuzzDropVary(f *testing.F) {
	for _, c := range varyCases {
		f.Add(strings.Join(c.in, "\n"))
	}
	f.Fuzz(func(t *testing.T, s string) {
		in := strings.Split(s, "\n")
		h := http.Header{"Vary": slices.Clone(in)}
		Drop(h)
		var want []string
		for _, e := range elements(in) {
			if !strings.EqualFold(e, "Origin") {
				want = append(want, e)
			}
		}
		if got := elements(h["Vary"]); !slices.Equal(got, want) {
			t.Errorf("Drop(%q) leaves %q; want %q", in, got, want)
		}
	})
}

// elements returns the elements of a list that are not empty.
func elements(lines []string) []string {
	var out []string
	for _, e := range strings.Split(strings.Join(lines, ","), ",") {
		if e = strings.Trim(e, " \t"); e != "" {
			out = append(out, e)
		}
	}
	return out
}
