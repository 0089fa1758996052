package mcpauthbridge

import (
	"testing"
	"time"
)

// A program that does not want to end has the grace period of the servers, once Caddy
// itself ends, and what it always has before.
func TestGraceOfProgramsOnExit(t *testing.T) {
	for _, tc := range []struct {
		exiting     bool
		grace, want time.Duration
	}{
		{false, time.Second, 5 * time.Second},
		{true, 0, 5 * time.Second},
		{true, time.Minute, 5 * time.Second},
		{true, 3500 * time.Millisecond, 1500 * time.Millisecond},
		{true, 400 * time.Millisecond, 100 * time.Millisecond},
	} {
		if got := endStep(tc.exiting, tc.grace); got != tc.want {
			t.Errorf("ending %v, grace period %s: got %s, want %s", tc.exiting, tc.grace, got, tc.want)
		}
		if got := endStep(tc.exiting, tc.grace); tc.exiting && tc.grace > 0 && 2*got > tc.grace {
			t.Errorf("%s is more than half of %s", got, tc.grace)
		}
	}
}
