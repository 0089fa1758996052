package rules

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// Rule E3: names that a reader could take for each other have one form.
func TestFold(t *testing.T) {
	for want, names := range map[string][]string{
		"delete_all": {
			"delete_all", "DELETE_ALL", "Delete_All", "ｄｅｌｅｔｅ＿ａｌｌ", "𝐝𝐞𝐥𝐞𝐭𝐞_𝐚𝐥𝐥", "ⓓelete_all", "dele\u0301te_all", "délete_all",
			"delete\u200b_all", "delete\u2060_all", "\ufeffdelete_all", "delete_all ", "delete_all\t", "delete\u00a0_all", "delete\u00ad_all",
			"delete%5fall", "%64elete_all", "%2564elete_all", "d\u0435lete_all", "delete_\u0430ll", "dele\u03c4e_all", "delete_a\u04cfl", "delete\u2017all",
		},
		"a/b":  {"a/b", "a%2Fb", "a%252fb", "a\u2215b", "A／B"},
		"kiss": {"kiss", "\u212aiss", "ki\u017fs", "kiß", "KI\u1e9e"},
		"nyh":  {"nyh", "\u039d\u03a5\u0397", "NYH"}, // Greek capitals
	} {
		for _, name := range names {
			if got := fold(name); got != want {
				t.Errorf("fold(%q): got %q, want %q", name, got, want)
			}
		}
	}
	for _, name := range []string{"a", "a_b", "a-b", "a.b", "a/b", "a%", "a%2", "a%zz"} {
		for _, other := range []string{"b", "ab", "a b c"} {
			if fold(name) == fold(other) {
				t.Errorf("%q and %q have one form", name, other)
			}
		}
		if fold(name) != name {
			t.Errorf("fold(%q): got %q", name, fold(name))
		}
	}
	if got, want := foldPattern("Delete_*X*"), "delete_*x*"; got != want {
		t.Errorf("pattern: got %q, want %q", got, want)
	}
}

// FuzzFold: a form has no form but itself, as long as nothing is left to decode.
func FuzzFold(f *testing.F) {
	f.Add("Delete_Äll%20")
	f.Add("\u1e9e\u0130\u017f\u212a")
	f.Fuzz(func(t *testing.T, name string) {
		once := fold(name)
		if strings.Contains(once, "%") || len(name) > 1000 {
			return
		}
		if twice := fold(once); twice != once {
			t.Errorf("%q: %q becomes %q", name, once, twice)
		}
	})
}

// A name of ASCII is folded as every other, only faster.
func TestFoldOfASCII(t *testing.T) {
	for c := range rune(utf8.RuneSelf) {
		name := "aB" + string(c) + "Zz_"
		if got, ok := foldASCII(name); !ok || got != foldAny(name) {
			t.Errorf("%q: got %q, want %q", name, got, foldAny(name))
		}
	}
	if got, ok := foldASCII("aé"); ok {
		t.Errorf("got %q", got)
	}
}
