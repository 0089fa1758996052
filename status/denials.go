package status

import (
	"cmp"
	"fmt"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// denialState are requests that `authorize` has refused, which are alike.
type denialState struct {
	First  time.Time        `json:"first"`
	Last   time.Time        `json:"last"`
	Count  uint64           `json:"count"`
	Status int              `json:"status"`
	Kind   stats.DenialKind `json:"kind"`
	Reason string           `json:"reason"`
	Rule   string           `json:"rule,omitempty"`
	Method string           `json:"method,omitempty"`
	Name   string           `json:"name,omitempty"`
	Needed string           `json:"needed,omitempty"` // scopes of the whole request
	Held   string           `json:"held,omitempty"`   // scopes of the credentials
	User   string           `json:"user,omitempty"`
	Client string           `json:"client,omitempty"`
	Cause  string           `json:"cause,omitempty"` // why the issuer could not be asked
}

// issuerState is an issuer that cannot be asked.
type issuerState struct {
	Issuer  string          `json:"issuer"`
	Use     stats.IssuerUse `json:"use"`
	Failing time.Time       `json:"failing_since"`
	Last    time.Time       `json:"last_error_at"`
	Error   string          `json:"last_error"`
}

func denialsOf(m *stats.Memory) []denialState {
	all := []denialState{}
	for _, d := range m.Denials() {
		all = append(all, denialState{
			First: stamp(d.First), Last: stamp(d.Last), Count: d.Count, Status: d.Status, Kind: d.Kind, Reason: d.Reason, Rule: d.Rule,
			Method: d.Method, Name: d.Name, Needed: d.Needed, Held: d.Held, User: d.User, Client: d.Client, Cause: d.Cause,
		})
	}
	return all
}

func issuersOf(m *stats.Memory) []issuerState {
	all := []issuerState{}
	for _, i := range m.Issuers() {
		all = append(all, issuerState{i.Issuer, i.Use, stamp(i.Failing), stamp(i.Last), i.Error})
	}
	return all
}

// closedAfter is how long no credentials may be accepted, while the issuer cannot be asked,
// until an endpoint counts as failing.
const closedAfter = time.Hour

// issuerAdvice is what helps if an issuer cannot be asked.
const issuerAdvice = "see whether this machine reaches the issuer, and whether its metadata names exactly this issuer"

// issuerProblems says that clients cannot log in because their issuer cannot be asked. An
// endpoint that denies is healthy.
func (s *endpointState) issuerProblems(now time.Time) (problems []problem) {
	late := now.Add(-closedAfter)
	if s.Accepted == nil || s.Accepted.Before(late) {
		for _, d := range s.Denials {
			if (d.Kind == stats.DenialIssuer || d.Kind == stats.DenialFault) && d.Last.After(late) {
				text := "no credentials were accepted in the last hour, because the issuer cannot be asked (" + cmp.Or(d.Cause, d.Reason) + ")"
				return []problem{{State: failing, Text: text, Advice: issuerAdvice}}
			}
		}
	}
	for _, i := range s.Issuers {
		problems = append(problems, problem{State: attention, Text: i.what(), Advice: issuerAdvice})
	}
	return problems
}

// what says what the issuer cannot be asked for, and why.
func (i *issuerState) what() string {
	switch i.Use {
	case stats.IssuerTokens:
		return fmt.Sprintf("issuer %s cannot be asked about opaque tokens (%s)", i.Issuer, i.Error)
	case stats.IssuerExchange:
		return fmt.Sprintf("issuer %s does not exchange tokens (%s)", i.Issuer, i.Error)
	}
	return fmt.Sprintf("the keys of issuer %s cannot be fetched (%s)", i.Issuer, i.Error)
}

// denials prints the issuers that cannot be asked, and what `authorize` has refused.
func (p *printer) denials(e *endpointState) {
	for _, i := range e.Issuers {
		p.line(yellow, "%s, since %s; %s", i.what(), p.ago(i.Failing), issuerAdvice)
	}
	for n, d := range e.Denials {
		if n == p.challenges {
			break
		}
		p.line("", "%s", p.deniedText(&d))
	}
}

// deniedText describes what was refused, and why.
func (p *printer) deniedText(d *denialState) string {
	text := fmt.Sprintf("authorize %d, %s, last %s: %s", d.Status, times(d.Count), p.ago(d.Last), d.Reason)
	for _, part := range []struct{ name, value string }{
		{"cause", d.Cause}, {"method", d.Method}, {"name", d.Name}, {"rule", d.Rule}, {"needed", d.Needed}, {"held", d.Held}, {"user", d.User}, {"client", d.Client},
	} {
		if part.value != "" {
			text += fmt.Sprintf(", %s %q", part.name, part.value)
		}
	}
	return text
}
