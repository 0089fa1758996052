package status

import (
	"fmt"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
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

// recentEnd is how long the end of a program needs attention.
const recentEnd = time.Hour

// slowAdvice is what helps against a program that starts slowly.
const slowAdvice = "clients are told to try again meanwhile; if the program is downloaded when it starts, install it first"

// programProblems says why the programs of an endpoint need attention. p may be nil.
func programProblems(p *programState, now time.Time) []problem {
	switch {
	case p == nil:
	case p.Failed >= servers.BackoffAfter: // also when the wait is over: the next start has to show that it works
		found := problem{State: failing, Text: fmt.Sprintf("the stdio server ended soon after its start, %s in a row", times(uint64(p.Failed)))}
		if p.Last != nil {
			found.Text += " (" + p.Last.what() + ")"
			found.Advice = p.Last.Advice
		}
		return []problem{found}
	case p.State == programStarting:
		return []problem{{State: attention, Text: "the stdio server has not answered since its start", Advice: slowAdvice}}
	case p.Last != nil && p.Last.At.After(now.Add(-recentEnd)):
		return []problem{{State: attention, Text: "the stdio server ended (" + p.Last.what() + ")", Advice: p.Last.Advice}}
	}
	return nil
}

// what describes the end in a few words.
func (e *exitState) what() string { return string(e.Cause) + ", " + e.Status }
