package doctor

import (
	"slices"
	"strings"
)

// comparedFields are the fields of answers that a client acts on.
var comparedFields = []string{
	"WWW-Authenticate", "Content-Type", "Location", "Retry-After", "Mcp-Session-Id",
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Allow-Headers",
}

// compare returns what differs between a walk and the one without what stands
// in front, and says in the verdict on which side the cause is.
func compare(front, upstream *Report) []Difference {
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
	if f := front.Verdict.Finding; f != nil {
		front.Verdict.Blame = "front"
		if upstream.finds(front.Verdict.Step, f.Rule, f.Level) {
			front.Verdict.Blame = "server"
		}
	}
	return all
}

// finds reports whether a report has a rule met as badly.
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

// compareStep compares the exchanges of a step, and its findings.
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
			differ(f.Name, f.outcome(), "not sent")
			continue
		}
		u := upstream.Exchanges[i]
		differ(f.Name+", status", f.outcome(), u.outcome())
		for _, name := range comparedFields {
			differ(f.Name+", "+name, f.field(name), u.field(name))
		}
	}
	for _, u := range upstream.Exchanges {
		if !slices.ContainsFunc(front.Exchanges, func(f *Exchange) bool { return u.Name == f.Name }) {
			differ(u.Name, "not sent", u.outcome())
		}
	}
	differ("outcome", string(front.Level), string(upstream.Level))
	return all
}

// outcome is the status, or why there is none.
func (e *Exchange) outcome() string {
	if e.Status == 0 {
		return e.Error
	}
	return statusText(e.Status)
}

// field is what an answer has in a field.
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
