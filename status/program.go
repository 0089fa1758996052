package status

import (
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// The states of the programs of an endpoint.
const (
	programReady = "ready" // the next session starts one
	// programStarting: one was started that has not answered yet.
	programStarting = "starting"
	// programBackoff: several have ended soon after their start, and the next one is started
	// only after a while. Clients get 503 until then.
	programBackoff = "backoff"
)

// programState is the state of the programs of an endpoint.
type programState struct {
	State string `json:"state"`
	// Since is when the program was started that has not answered yet.
	Since *time.Time `json:"starting_since,omitempty"`
	// Retry is when the next program may be started, after Failed in a row have ended soon.
	Retry  *time.Time `json:"retry_at,omitempty"`
	Failed int        `json:"failed_starts"`
	// Last is the last end that needs attention; nil if there was none.
	Last *exitState `json:"last_end,omitempty"`
}

// exitState is the end of a program.
type exitState struct {
	At     time.Time       `json:"time"`
	Count  uint64          `json:"count"` // of such ends
	Cause  stats.ExitCause `json:"cause"`
	Status string          `json:"status"`
	After  float64         `json:"after_seconds"`
	Stderr []string        `json:"stderr"` // the last lines, without secrets
	Advice string          `json:"advice"`
}

// program returns the state of the programs; nil if the endpoint has none.
func (e *Endpoint) program() *programState {
	if e.Starts == nil {
		return nil
	}
	now := e.Starts()
	p := &programState{State: programReady, Since: Time(now.Starting), Retry: Time(now.NotUntil), Failed: now.Failed}
	switch {
	case p.Retry != nil:
		p.State = programBackoff
	case p.Since != nil:
		p.State = programStarting
	}
	if last := e.Memory.Exit(); last.Count > 0 {
		p.Last = &exitState{
			At: stamp(last.Last), Count: last.Count, Cause: last.Cause, Status: last.Status,
			After: last.After.Round(time.Millisecond).Seconds(), Stderr: append([]string{}, last.Stderr...), Advice: last.Advice,
		}
	}
	return p
}
