package upstreams

import (
	"strings"
	"testing"
)

// passwdList is a list of users with lines that are none.
const passwdList = "root:x:0:0:root:/root:/bin/bash\n" +
	"# a comment: with: colons: in: it: and: more\n" +
	"+::::::\n" +
	"short:x:1:1\n" +
	"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" +
	"none:x:7:7::/:\n"

func TestLoginShell(t *testing.T) {
	for name, want := range map[string]string{
		"root": "/bin/bash", "nobody": "/usr/sbin/nologin", "none": "", "short": "", "": "", "no-such-user": "", "x": "",
	} {
		if got := shellIn(strings.NewReader(passwdList), name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// Whatever the list has, a shell is the last of seven fields of a line of that user, and can
// be in an environment.
func FuzzLoginShell(f *testing.F) {
	f.Add(passwdList, "nobody")
	f.Add("a:b:c:d:e:f:g\x00\n", "a")
	f.Fuzz(func(t *testing.T, list, name string) {
		got := shellIn(strings.NewReader(list), name)
		if strings.ContainsAny(got, "\x00\n:") || got != "" && !strings.Contains(list, name+":") {
			t.Errorf("got %q", got)
		}
	})
}
