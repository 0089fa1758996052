package record

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// longHeader matches the page of nginx for a header that is too long, which comes with 400.
var longHeader = regexp.MustCompile(`(?i)request header or cookie too large`)

// obstacleOf returns why a request did not get through. ok is false if the answer says
// something else.
func (r *Recorder) obstacleOf(a *probe.Answer) (o rules.Obstacle, ok bool) {
	switch {
	case a.Err != nil:
		return rules.Obstacle{}, false
	case a.Header.Get("Cf-Mitigated") != "":
		return rules.RobotObstacle, true
	case a.Status == http.StatusBadRequest && longHeader.Match(a.Body):
		return rules.HeaderObstacle, true
	case a.Status == http.StatusMisdirectedRequest && r.answered(a) == rules.ByCaddy:
		return rules.NameObstacle, true
	}
	return rules.ObstacleOf(a.Status)
}

// answered returns the fact about what has answered: [rules.Relayed] if Caddy has passed the
// answer on, [rules.ByCaddy] if it is from Caddy itself, or "". What mcp_auth_bridge writes
// may be the server's refusal, in words of its own.
func (r *Recorder) answered(a *probe.Answer) string {
	switch {
	case strings.Contains(strings.Join(a.Header.Values("Via"), ","), "Caddy"):
		return rules.Relayed
	case a.FromCaddy() && !r.Bridged:
		return rules.ByCaddy
	}
	return ""
}

// obstacle describes why a request did not get through, with the facts for the cures.
func (r *Recorder) obstacle(a *probe.Answer, o rules.Obstacle) (text string, seen report.Facts) {
	seen = report.Facts{o.Fact: "yes"}
	if u, err := url.Parse(a.URL); err == nil && urls.Origin(u) != urls.Origin(r.Target) {
		seen[rules.Other] = r.Secrets.Text(urls.Origin(u))
	}
	from := ""
	switch by := r.answered(a); {
	case by == rules.Relayed:
		from, seen[by] = " from the server behind Caddy", "yes"
	case by == rules.ByCaddy:
		from, seen[by] = " from Caddy itself", "yes"
	case a.Header.Get("Server") != "" && !a.FromCaddy():
		from = " from " + report.OrWord(r.Secrets.Text(a.Header.Get("Server")), "")
	}
	text = report.StatusText(a.Status) + from + ": " + o.Text
	if after := a.Header.Get("Retry-After"); after != "" {
		text += fmt.Sprintf(" (Retry-After: %.40s)", r.Secrets.Text(after))
	}
	return text + r.said(a), seen
}

// said returns what the answer says in words, unless that is its status only.
func (r *Recorder) said(a *probe.Answer) string {
	text := strings.TrimSpace(string(a.Body))
	if reply, ok := a.Reply(); ok && reply.Error != nil {
		text = reply.Error.Message
	}
	if a.IsHTML() || text == "" || strings.HasPrefix(text, strconv.Itoa(a.Status)) || strings.EqualFold(text, http.StatusText(a.Status)) {
		return ""
	}
	return "; it says: " + r.Secrets.Show(text, probe.ExcerptSize)
}

// Obstructed reports whether a request did not get through, whatever it asked for, and
// records why. what names the request.
func (r *Recorder) Obstructed(s *report.Step, level report.Level, what string, a *probe.Answer) bool {
	o, ok := r.obstacleOf(a)
	if !ok {
		return false
	}
	text, seen := r.obstacle(a, o)
	r.NoteWith(s, level, rules.Passes, seen, "%s gets %s", what, text)
	return true
}
