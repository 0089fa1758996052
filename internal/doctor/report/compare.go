package report

import (
	"slices"
	"strings"
)

// comparedFields are the header fields of answers that change what a client does.
var comparedFields = []string{
	"WWW-Authenticate", "Content-Type", "Location", "Retry-After", "Mcp-Session-Id",
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Allow-Headers",
}

// Compare returns what differs between the check of the front and the check of the
// upstream. It also sets Blame in the verdict of the front.
func Compare(front, upstream *Report) []Difference {
	var all []Difference
	for _, s := range front.Steps {
		i := slices.IndexFunc(upstream.Steps, func(u *Step) bool { return u.ID == s.ID })
		if i < 0 {
			continue
		}
		for _, d := range compareStep(s, upstream.Steps[i]) {
			well := worse(Pass, upstream.Steps[i].Level)
			d.Step, d.Meant = s.ID, worse(s.Level, well) == well
			all = append(all, d)
		}
	}
	if f := front.Verdict.Finding; f != nil && upstream.took(front.Verdict.Step) {
		front.Verdict.Blame = "front"
		if upstream.finds(front.Verdict.Step, f.Rule, f.Level) {
			front.Verdict.Blame = "server"
		}
	}
	return all
}

// took reports whether a step was not skipped.
func (r *Report) took(step string) bool {
	return slices.ContainsFunc(r.Steps, func(s *Step) bool { return s.ID == step && s.Level != Skip })
}

// finds reports whether a step has a finding for a rule with this level.
func (r *Report) finds(step, rule string, level Level) bool {
	for _, s := range r.Steps {
		for _, f := range s.Findings {
			if s.ID == step && f.Rule == rule && f.Level == level {
				return true
			}
		}
	}
	return false
}

// compareStep compares the exchanges of a step, and its level.
func compareStep(front, upstream *Step) []Difference {
	var all []Difference
	differ := func(what, f, u string) {
		if f != u {
			all = append(all, Difference{What: what, Front: f, Upstream: u})
		}
	}
	for _, f := range front.Exchanges {
		i := slices.IndexFunc(upstream.Exchanges, func(u *Exchange) bool { return u.Name == f.Name })
		if i < 0 {
			differ(f.Name, f.Outcome(), "not sent")
			continue
		}
		u := upstream.Exchanges[i]
		differ(f.Name+", status", f.Outcome(), u.Outcome())
		for _, name := range comparedFields {
			differ(f.Name+", "+name, f.field(name), u.field(name))
		}
	}
	for _, u := range upstream.Exchanges {
		if !slices.ContainsFunc(front.Exchanges, func(f *Exchange) bool { return u.Name == f.Name }) {
			differ(u.Name, "not sent", u.Outcome())
		}
	}
	differ("outcome", string(front.Level), string(upstream.Level))
	return all
}

// Outcome returns the status, or the error if there was no answer.
func (e *Exchange) Outcome() string {
	if e.Status == 0 {
		return e.Error
	}
	return StatusText(e.Status)
}

// field returns the values of a header field of the answer, or "none".
func (e *Exchange) field(name string) string {
	var values []string
	for _, f := range e.Seen {
		if f.Name == name {
			values = append(values, f.Value)
		}
	}
	if len(values) == 0 {
		return "none"
	}
	return strings.Join(values, " | ")
}
