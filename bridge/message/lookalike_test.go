package message

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/cputime"
)

// wrap returns a notification with a member of that name, as it is written, at a place.
func wrap(where place, quoted string) string {
	member := quoted + `:0`
	return map[place]string{
		inMessage: `{"jsonrpc":"2.0","method":"x",` + member + `}`,
		inParams:  `{"jsonrpc":"2.0","method":"x","params":{` + member + `}}`,
		inMeta:    `{"jsonrpc":"2.0","method":"x","params":{"_meta":{` + member + `}}}`,
	}[where]
}

// others returns names, as they are written in JSON, that a reader may take for name.
func others(name string) (all []string) {
	all = append(all, `"`+strings.ToUpper(name)+`"`)
	for i, c := range name {
		if unicode.IsLetter(c) {
			flipped := string(unicode.SimpleFold(c))
			all = append(all, `"`+name[:i]+flipped+name[i+1:]+`"`, fmt.Sprintf(`"%s\u%04x%s"`, name[:i], []rune(flipped)[0], name[i+1:]))
		}
		if c == 'i' {
			all = append(all, `"`+name[:i]+`ı`+name[i+1:]+`"`, `"`+name[:i]+`İ`+name[i+1:]+`"`)
		}
	}
	for from, to := range map[string]string{"s": "ſ", "k": "\u212a", "ss": "ß", "st": "ﬆ", "fi": "ﬁ", "ff": "ﬀ"} {
		if strings.Contains(name, from) {
			all = append(all, `"`+strings.Replace(name, from, to, 1)+`"`)
		}
	}
	return append(all, `"`+name+`\u0000"`, `"`+name+`\u0000more"`, `"`+strings.ToUpper(name)+`\u0000"`)
}

// D5c: at each place, whatever equals a known name but for case is seen, in every way
// to write it; the name itself is not, nor is one that only resembles it.
func TestANameThatDiffersOnlyInCaseIsFound(t *testing.T) {
	for where, names := range knownNames {
		for _, name := range names {
			if len(name) > maxKnown {
				t.Errorf("%q is longer than maxKnown", name)
			}
			for _, written := range others(name) {
				raw := wrap(place(where), written)
				m, err := Parse([]byte(raw))
				if err != nil {
					t.Errorf("%s: %v", raw, err)
					continue
				}
				if m.Lookalike == nil || m.Lookalike.Known != name || m.Lookalike.Where != placeNames[where] {
					t.Errorf("%s: looks like %v, want %q of %s", raw, m.Lookalike, name, placeNames[where])
				}
			}
			if place(where) == inMessage {
				continue // it has a meaning
			}
			for _, written := range []string{name, name + "s", "x" + name, "x-" + name, name[:len(name)-1]} {
				raw := wrap(place(where), `"`+written+`"`)
				if m, err := Parse([]byte(raw)); err != nil || m.Lookalike != nil {
					t.Errorf("%s: %v, looks like %v", raw, err, m.Lookalike)
				}
			}
		}
	}
}

// Members of objects that the bridge does not read are not checked.
func TestOtherMembersMayHaveAnyCase(t *testing.T) {
	for _, raw := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"ID":1,"Name":"x","_META":{}},"_meta":{"x":{"ProgressToken":1}}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"x","params":[{"Name":"x"}]}`,
		`{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":[{"ProgressToken":1}]}}`,
	} {
		if m, err := Parse([]byte(raw)); err != nil || m.Lookalike != nil {
			t.Errorf("%s: %v, looks like %v", raw, err, m.Lookalike)
		}
	}
}

// FuzzLookalike: what has no lookalike is one and the same message to a reader that
// compares names with their case and to those that do not, be it that the first or the
// last of several members counts.
func FuzzLookalike(f *testing.F) {
	for where, names := range knownNames {
		for _, name := range names {
			f.Add([]byte(wrap(place(where), `"`+name+`"`)))
			for _, written := range others(name) {
				f.Add([]byte(wrap(place(where), written)))
			}
		}
	}
	f.Add([]byte(`{"jsonrpc":"2.0","id":5,"ID":3,"method":"tools/call","params":{"_meta":{"progressToken":1,"progresstoken":2}}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","method":"x","params":{"_meta":{"progressToken":1,"progressToken":2}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Parse(raw)
		if err != nil || m.Lookalike != nil {
			return
		}
		objects := [places][]byte{inMessage: raw}
		if m.Kind != Response {
			objects[inParams], objects[inMeta] = Get(raw, "params"), Get(raw, "params", "_meta")
		}
		for where, object := range objects {
			if len(object) == 0 || bytes.TrimSpace(object)[0] != '{' {
				continue
			}
			for _, known := range knownNames[where] {
				want := Get(object, known)
				for _, got := range readCarelessly(t, object, known) {
					if !bytes.Equal(got, want) {
						t.Fatalf("a reader sees %q at %s of %q, the bridge sees %q", got, known, object, want)
					}
				}
			}
		}
		var lax struct {
			ID     json.RawMessage
			Method string
			Params json.RawMessage
		}
		if json.Unmarshal(raw, &lax) == nil && (lax.Method != m.Method || !bytes.Equal(lax.ID, m.RawID) && m.ID != "") {
			t.Fatalf("encoding/json reads %q with the id %q of %q, the bridge %q with %q", lax.Method, lax.ID, raw, m.Method, m.RawID)
		}
	})
}

// readCarelessly returns the values of all members of an object whose names a reader
// may take for known.
func readCarelessly(t *testing.T, object []byte, known string) (values [][]byte) {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		name, value := token.(string), json.RawMessage{}
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
		inC, _, _ := strings.Cut(name, "\x00")
		upper, lower := strings.ToUpper(inC), strings.ToLower(inC)
		if strings.EqualFold(inC, known) || upper == strings.ToUpper(known) || lower == strings.ToLower(known) {
			values = append(values, value)
		}
	}
	return values
}

// Each character whose upper, lower or folded form is in ASCII is taken for it.
func TestCharactersThatFoldToASCII(t *testing.T) {
	for r := rune(utf8.RuneSelf); r <= unicode.MaxRune; r++ {
		for _, form := range []string{strings.ToUpper(string(r)), strings.ToLower(string(r)), string(unicode.SimpleFold(r))} {
			if form != "" && len(form) == 1 && form[0] < utf8.RuneSelf && foldRune(r) != strings.ToLower(form) {
				t.Errorf("%q is taken for %q, want %q", r, foldRune(r), form)
			}
		}
	}
}

// G: the number of members is bounded, and duplicates are found however many there are.
func TestTooManyMembersAreAnError(t *testing.T) {
	object := func(n int, more string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"m%d":0,`, i)
		}
		return "{" + b.String() + more + "}"
	}
	for name, tc := range map[string]struct {
		raw  string
		want error
	}{
		"as many in the message":    {object(maxMembers-2, `"jsonrpc":"2.0","method":"x"`), nil},
		"too many in the message":   {object(maxMembers-1, `"jsonrpc":"2.0","method":"x"`), ErrMembers},
		"as many in params":         {`{"jsonrpc":"2.0","method":"x","params":` + object(maxMembers-1, `"x":0`) + `}`, nil},
		"too many in params":        {`{"jsonrpc":"2.0","method":"x","params":` + object(maxMembers, `"x":0`) + `}`, ErrMembers},
		"too many in _meta":         {`{"jsonrpc":"2.0","method":"x","params":{"_meta":` + object(maxMembers, `"x":0`) + `}}`, ErrMembers},
		"any number of arguments":   {`{"jsonrpc":"2.0","method":"x","params":{"arguments":` + object(10*maxMembers, `"x":0`) + `}}`, nil},
		"any number in a result":    {`{"jsonrpc":"2.0","id":1,"result":` + object(10*maxMembers, `"x":0`) + `}`, nil},
		"the first again":           {object(maxMembers-3, `"jsonrpc":"2.0","method":"x","m0":1`), ErrDuplicate},
		"the ninth again, escaped":  {object(maxMembers-3, `"jsonrpc":"2.0","method":"x","\u006d8":1`), ErrDuplicate},
		"the last again":            {object(400, `"jsonrpc":"2.0","method":"x","m399":1`), ErrDuplicate},
		"a duplicate in some _meta": {`{"jsonrpc":"2.0","method":"x","params":{"_meta":{"a":1,"a":2}}}`, ErrDuplicate},
	} {
		if _, err := Parse([]byte(tc.raw)); err != tc.want {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

// G: a message with very many members costs about as much time as the check that it is JSON,
// and hardly any memory.
func TestManyMembersCostLinearTime(t *testing.T) {
	const size = 4 << 20
	var distinct strings.Builder
	for i := 0; distinct.Len() < size; i++ {
		fmt.Fprintf(&distinct, `,"%x":0`, i)
	}
	same := strings.Repeat(`,"a":0`, size/6)
	for name, raw := range map[string]string{
		"one name in the message":   `{"jsonrpc":"2.0","id":1,"method":"x"` + same + `}`,
		"many names in the message": `{"jsonrpc":"2.0","id":1,"method":"x"` + distinct.String() + `}`,
		"one name in params":        `{"jsonrpc":"2.0","id":1,"method":"x","params":{"b":0` + same + `}}`,
		"many names in params":      `{"jsonrpc":"2.0","id":1,"method":"x","params":{"y":0` + distinct.String() + `}}`,
		"many names in _meta":       `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"y":0` + distinct.String() + `}}}`,
	} {
		text := []byte(raw)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Parse(text); err == nil {
			t.Errorf("%s: it was taken", name)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10 {
			t.Errorf("%s: %d bytes were allocated, want at most 64 KiB", name, got)
		}
		if got := cputime.Ratio(4, func() { _ = json.Valid(text) }, func() { _, _ = Parse(text) }); got > 4 {
			t.Errorf("%s: it takes %.1f times as long as json.Valid", name, got)
		}
	}
}

func TestLooksLike(t *testing.T) {
	for name, want := range map[string]string{
		"name": "", "Name": "name", "NAME": "name", "name\x00x": "name", "uri": "", "URI": "uri", "ur\u0131": "uri",
		"re\u017fource": "", "resource\u017fubscriptions": "resourceSubscriptions", "resourcesubscriptions": "resourceSubscriptions",
		"resourceSubscriptions": "", "other": "", "": "",
	} {
		known, ok := LooksLike([]byte(name), "name", "uri", "resourceSubscriptions")
		if !ok {
			known = ""
		}
		if known != want {
			t.Errorf("LooksLike(%q): got %q, want %q", name, known, want)
		}
	}
}

func TestFoldName(t *testing.T) {
	for _, same := range [][]string{
		{"path", "Path", "PATH", "path\x00x"},
		{"ss", "ß", "ẞ", "SS"},
		{"k", "K", "\u212a"},
		{"i", "I", "ı", "İ"},
		{"Σ", "σ", "ς"},
		{"É", "é"},
	} {
		for _, name := range same {
			if got, want := FoldName([]byte(name)), FoldName([]byte(same[0])); got != want {
				t.Errorf("FoldName(%q): got %q, want %q", name, got, want)
			}
		}
	}
	if FoldName([]byte("a")) == FoldName([]byte("b")) || FoldName([]byte("é")) == FoldName([]byte("e")) {
		t.Error("different names are equal")
	}
}
