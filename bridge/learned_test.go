package bridge

import (
	"fmt"
	"testing"
)

// Rule C5, G: what a server redirects to is remembered within a bound, and a
// session in a path does not make it another path.
func TestLearnedPaths(t *testing.T) {
	var l LearnedPaths
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
		if l.add(fmt.Sprintf("/p%d", i)) {
			notes++
		}
	}
	if len(l.paths) != maxLearned || len(l.order) != maxLearned || notes != maxLearned {
		t.Errorf("got %d paths in %d places and %d notes, want %d", len(l.paths), len(l.order), notes, maxLearned)
	}
	if l.has("/login") || !l.has(fmt.Sprintf("/p%d", 10*maxLearned-1)) {
		t.Error("not the oldest path gave way")
	}
	if !l.add("/login;a") && !l.has("/login") {
		t.Error("a path that gave way is not learned again")
	}
}
