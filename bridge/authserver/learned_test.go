package authserver

import (
	"fmt"
	"testing"
)

// Rule C5, G: what a server redirects to is remembered within a bound, and a
// session in a path does not make it another path.
func TestLearnedPaths(t *testing.T) {
	var l learnedPaths
	if !l.add("/login") || l.add("/login") || !l.has("/login") || l.has("/logi") || l.has("/login/") {
		t.Error("a path is not learned as it is")
	}
	for i := range 1000 {
		path := fmt.Sprintf("/login;jsessionid=%d", i)
		if l.add(path) || !l.has(path) {
			t.Fatalf("%s is taken for another path", path)
		}
	}
	if l.has("/login;x/admin") || l.has("/x;y/login") {
		t.Error("a parameter of another segment is ignored")
	}
	notes := 1
	for i := range 10 * maxLearned {
		l.has("/login") // a login that goes on is not what gives way
		if l.add(fmt.Sprintf("/p%d", i)) {
			notes++
		}
	}
	if len(l.paths) != maxLearned || notes != maxLearned {
		t.Errorf("got %d paths and %d notes, want %d", len(l.paths), notes, maxLearned)
	}
	if !l.has("/login") || l.has("/p0") || !l.has(fmt.Sprintf("/p%d", 10*maxLearned-1)) {
		t.Error("not what was unused for longest gave way")
	}
}

// Rule C5: paths that differ in the id of a login are one; words are not ids.
func TestPathFamily(t *testing.T) {
	for path, want := range map[string]string{
		"/interaction/Xc3aF9-kQz_71mNbB2o":            "/interaction/*",
		"/i/018f3c1e-7b1a-7c3e-9d55-0242ac120002;x=1": "/i/*",
		"/login/account-recovery-settings":            "/login/account-recovery-settings",
		"/login/step2":                                "/login/step2",
		"/0123456789abcdef0123":                       "/0123456789abcdef0123",
		"/a/0123456789abcdef.js":                      "/a/0123456789abcdef.js",
		"/a/0123456789abcdef/":                        "/a/0123456789abcdef/",
		"/a/b":                                        "/a/b",
		"/":                                           "/",
	} {
		if got := family(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	var l learnedPaths
	l.add("/interaction/Xc3aF9-kQz_71mNbB2o")
	if !l.has("/interaction/aaaaaaaaaaaaaaaaaaaaaa1") || l.has("/interaction/admin") || l.has("/interaction/aaaaaaaaaaaaaaaaaaaaaa1/x") {
		t.Error("a login's id is not told from a word")
	}
}
