// Package record has what all stages of a walk share: it sends requests as parts of
// steps, fetches metadata documents, and records findings.
package record

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
)

// Recorder sends the requests of a walk, and records its steps and findings. All stages
// of the walk share one.
type Recorder struct {
	Target *url.URL // URL of the server
	Origin string   // origin of the page whose access is checked
	Asked  bool     // the caller named the origin
	Page   string   // origin that requests are sent with; empty if no page may send them

	Secrets *report.Secrets
	Prober  *probe.Prober
	Report  *report.Report
	Steps   map[string]*report.Step

	Lost          bool // the server was not reached: no step follows
	Unusable      bool // the URL is not that of an MCP server: no step follows
	Bridged       bool // mcp_auth_bridge is in front of the server
	Caddy         bool // a Caddy is in front of the server
	RefusedOrigin bool // mcp_auth_bridge refused the origin of the page
}

// Send sends a request, and records it in a step.
func (r *Recorder) Send(ctx context.Context, s *report.Step, q probe.Request) *probe.Answer {
	a := r.Prober.Do(ctx, q)
	s.Exchanges = append(s.Exchanges, a.Exchange)
	if strings.EqualFold(q.URL.Host, r.Target.Host) { // the scheme may differ
		r.recognize(a)
	}
	return a
}

// recognize sets Bridged if an answer is from mcp_auth_bridge: by the order of the names
// in its CORS fields, or by a text that only it writes.
func (r *Recorder) recognize(a *probe.Answer) {
	if cors.IsRefusal(a.Body) {
		r.Bridged, r.RefusedOrigin = true, true
	}
	r.Bridged = r.Bridged || cors.IsPolicys(a.Header) || a.IsOwn() || strings.HasPrefix(a.Description(), metadata.NothingServed) || a.HasNoLogin()
	r.Caddy = r.Caddy || r.Bridged || a.FromCaddy()
}

// Note records a finding.
func (r *Recorder) Note(s *report.Step, level report.Level, rule, format string, args ...any) {
	r.NoteWith(s, level, rule, nil, format, args...)
}

// NoteWith is Note with facts for the cures.
func (r *Recorder) NoteWith(s *report.Step, level report.Level, rule string, seen report.Facts, format string, args ...any) {
	found, ok := rules.Find(rule)
	if !ok {
		panic("doctor: no rule " + rule)
	}
	if level == report.Pass {
		found.Short = ""
	}
	s.Add(report.Finding{Rule: rule, Level: level, Text: fmt.Sprintf(format, args...), Short: found.Short, Reference: found.Reference, Facts: seen})
}

// Pass records that a rule is met.
func (r *Recorder) Pass(s *report.Step, rule, format string, args ...any) {
	r.Note(s, report.Pass, rule, format, args...)
}

// Warn records a warning.
func (r *Recorder) Warn(s *report.Step, rule, format string, args ...any) {
	r.Note(s, report.Warn, rule, format, args...)
}

// Fail records a failure.
func (r *Recorder) Fail(s *report.Step, rule, format string, args ...any) {
	r.Note(s, report.Fail, rule, format, args...)
}

// Pages names the browser clients whose access is checked.
func (r *Recorder) Pages() string {
	if r.Asked {
		return "pages at " + r.Origin
	}
	return "pages at " + r.Origin + " (--origin tests another)"
}

// PageLevel is the level of findings about pages. They are warnings if the caller named
// no page.
func (r *Recorder) PageLevel() report.Level {
	if r.Asked {
		return report.Fail
	}
	return report.Warn
}
