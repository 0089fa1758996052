package status

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// health is how an endpoint is.
type health string

// The states of an endpoint, the worst first.
const (
	failing   health = "failing"   // clients cannot use it
	attention health = "attention" // some clients cannot use it, or someone should look
	healthy   health = "ok"
)

var healths = []health{failing, attention, healthy}

// rank is smaller for a worse state.
func (h health) rank() int { return slices.Index(healths, h) }

// problem is one reason why an endpoint is not ok.
type problem struct {
	State health `json:"state"`
	Text  string `json:"text"`
	// Advice is what helps; empty if it is shown with the details of the endpoint.
	Advice string `json:"advice,omitempty"`
}

// recent is how long something that was refused or logged needs attention.
const recent = 24 * time.Hour

// judge fills in the state of the endpoint, and the problems that it comes from, the worst
// first.
func (s *endpointState) judge(now time.Time) {
	s.Problems = append([]problem{}, slices.Concat(s.serverProblems(), upstreamProblems(s.Upstreams), programProblems(s.Program, now), s.issuerProblems(now), metadataProblems(s.Metadata))...)
	late := now.Add(-recent)
	refused, notices, challenges := uint64(0), uint64(0), uint64(0)
	for _, o := range s.Refused {
		if o.Last.After(late) {
			refused++
		}
	}
	for _, n := range s.Notices {
		if n.Last.After(late) {
			notices++
		}
	}
	for _, c := range s.Last {
		if c.Last.After(late) && isUseless(&c) {
			challenges++
		}
	}
	for _, seen := range []struct {
		n            uint64
		noun, suffix string
	}{{refused, "refused origin", ""}, {challenges, "challenge", " without a metadata URL"}, {notices, "notice", ""}} {
		if seen.n > 0 {
			s.Problems = append(s.Problems, problem{State: attention, Text: count(seen.n, seen.noun) + seen.suffix})
		}
	}
	slices.SortStableFunc(s.Problems, func(a, b problem) int { return a.State.rank() - b.State.rank() })
	s.State = healthy
	if len(s.Problems) > 0 {
		s.State = s.Problems[0].State
	}
}

// serverProblems says that clients cannot begin with the upstream.
func (s *endpointState) serverProblems() []problem {
	why := s.NoService
	if why == nil {
		return nil
	}
	state := failing
	if why.Refused {
		state = attention
	}
	return []problem{{State: state, Text: why.Text, Advice: why.Advice}}
}

// upstreamProblems says which addresses of the upstream do not answer.
func upstreamProblems(all []Upstream) (problems []problem) {
	state := failing
	if slices.ContainsFunc(all, func(u Upstream) bool { return !u.isDown() }) {
		state = attention // Caddy's proxy may use another one
	}
	for _, u := range all {
		switch {
		case u.Failing != nil:
			problems = append(problems, problem{State: state, Text: fmt.Sprintf("upstream %s does not answer (%s)", u.Address, u.Why)})
		case u.isDown():
			problems = append(problems, problem{State: state, Text: fmt.Sprintf("upstream %s fails Caddy's health checks", u.Address)})
		}
	}
	return problems
}

// metadataProblems reports the URLs for which clients get no usable resource metadata.
func metadataProblems(all []Metadata) (problems []problem) {
	for _, m := range all {
		switch {
		case m.Foreign != "":
			problems = append(problems, problem{State: failing, Text: "OAuth metadata names another resource, so clients refuse it"})
		case m.LastError != "" && !m.Known:
			problems = append(problems, problem{State: failing, Text: "OAuth metadata is not available"})
		case m.LastError != "":
			problems = append(problems, problem{State: attention, Text: "OAuth metadata cannot be refreshed"})
		}
	}
	slices.SortFunc(problems, func(a, b problem) int { return strings.Compare(a.Text, b.Text) })
	return slices.Compact(problems)
}

// isUseless reports whether a challenge leads no client to a login.
func isUseless(c *challengeState) bool {
	switch c.Reason {
	case stats.ReasonUnknown, stats.ReasonUnparsable, stats.ReasonScheme, stats.ReasonHost:
		return true
	}
	return c.Action == stats.ActionMissing
}

// isDown reports whether the address does not answer.
func (u *Upstream) isDown() bool { return u.Failing != nil || !u.Healthy }

// blocks are the blocks of the directive that options are in; the others are in none.
var blocks = map[string]string{
	"allow_origins": "cors", "allow_headers": "cors", "private_network": "cors",
	"origins": "challenge", "paths": "authorization_server bridge",
}

// Snippet returns the lines that add an option to a directive: the option in its block.
func Snippet(line string) string {
	option, _, _ := strings.Cut(line, " ")
	if block := blocks[option]; block != "" {
		return block + " {\n\t" + line + "\n}"
	}
	return line
}
