package testcaddy

import (
	"encoding/json"
	"testing"
)

// WantAdvice checks that the log has a message once, with the line to add.
func WantAdvice(t *testing.T, message, add string) {
	t.Helper()
	n := 0
	for _, line := range Logs() {
		var entry struct{ Msg, Advice, Add string }
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Msg != message {
			continue
		}
		n++
		if entry.Advice == "" || entry.Add != add {
			t.Errorf("advice %q, add %q; want add %q", entry.Advice, entry.Add, add)
		}
	}
	if n != 1 {
		t.Errorf("%q is logged %d times; want once", message, n)
	}
}
