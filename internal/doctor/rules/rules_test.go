package rules

import (
	"testing"
)

// Each rule has its own ID, a short text, a reference and fixes.
func TestRules(t *testing.T) {
	places := map[string]bool{inCaddyfile: true, atServer: true, atIssuer: true, onNetwork: true, onCommand: true}
	if len(byID) != len(Rules) {
		t.Errorf("%d rules have %d names", len(Rules), len(byID))
	}
	for _, r := range Rules {
		if r.Short == "" || r.Reference == "" || len(r.Cures) == 0 {
			t.Errorf("%s: no short text, no reference, or no fix", r.ID)
		}
		for _, c := range r.Cures {
			if !places[c.Where] || c.Text == "" {
				t.Errorf("%s: cure %+v", r.ID, c)
			}
		}
	}
}
