package programenv

import (
	"strings"
	"testing"
)

func FuzzProgramEnvironment(f *testing.F) {
	for _, s := range []string{"A=b", "A={env.X}", `A=\{x}`, "A={{env.X}", `A={"a":{}}`, "=", "{", "A={file.x}", "A=\\", "A=é{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := Parse(s)
		if err != nil {
			return
		}
		// Without braces and backslashes a value is as it is written.
		_, value, _ := strings.Cut(s, "=")
		all := ""
		for _, part := range v.Parts {
			all += part.Text
			if p := part.Placeholder; p != "" && !strings.HasPrefix(p, "env.") && !strings.HasPrefix(p, "file.") {
				t.Errorf("%q has placeholder %q", s, p)
			}
		}
		if !strings.ContainsAny(value, `{\`) && all != value {
			t.Errorf("%q: got value %q", s, all)
		}
		if v.Name == "" || strings.ContainsAny(v.Name, "{}=\x00") {
			t.Errorf("%q: got name %q", s, v.Name)
		}
	})
}
