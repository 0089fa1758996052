package doctor

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/challenge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// challenged is what the WWW-Authenticate fields of an answer contain.
type challenged struct {
	lines   []challenge.Line
	bearer  []challenge.Challenge
	dpop    bool
	others  []string // the schemes that are not Bearer
	link    *url.URL // the URL of the metadata, if clients can use it
	rawLink string   // link as it was sent
	scope   string
	several bool // the challenges name different URLs
	// scheme is a text about a link whose scheme is not that of the server. It is empty
	// if the schemes are equal.
	scheme string
	// ruleOfLink and whyNoLink are the rule and the text of a finding if there is no
	// link. They are recorded later, with a level that depends on whether clients find
	// the metadata without a link.
	ruleOfLink, whyNoLink string
}

// parseChallenge parses the WWW-Authenticate fields of an answer.
func parseChallenge(h http.Header) challenged {
	var c challenged
	for _, text := range h.Values("WWW-Authenticate") {
		line := challenge.Parse(text)
		c.lines = append(c.lines, line)
		for _, one := range line.Challenges() {
			switch {
			case one.Is("Bearer"):
				c.bearer = append(c.bearer, one)
			case one.Is("DPoP"):
				c.dpop = true
				c.others = append(c.others, one.Scheme)
			default:
				c.others = append(c.others, one.Scheme)
			}
		}
	}
	return c
}

// has reports whether there is a challenge of a scheme other than Bearer.
func (c challenged) has(scheme string) bool {
	return slices.ContainsFunc(c.others, func(other string) bool { return strings.EqualFold(other, scheme) })
}

// first returns the challenge that clients use.
func (c challenged) first() (challenge.Challenge, bool) {
	if len(c.bearer) > 0 {
		return c.bearer[0], true
	}
	for _, line := range c.lines {
		for _, one := range line.Challenges() {
			if one.Is("DPoP") {
				return one, true
			}
		}
	}
	return challenge.Challenge{}, false
}

// param returns the first value of a parameter in the Bearer challenges, or in the
// challenge that clients use.
func (c challenged) param(name string) (string, bool) {
	for _, one := range c.bearer {
		if value, ok := one.Param(name); ok {
			return value, true
		}
	}
	one, _ := c.first()
	return one.Param(name)
}

// unread returns why clients built with the TypeScript SDK ignore the challenge, or "".
// They join all fields to one text, and read it only if it begins with Bearer and a space.
func (c challenged) unread() string {
	if len(c.bearer) == 0 {
		return ""
	}
	begin := c.lines[0].Challenges()
	switch head, rest, _ := strings.Cut(c.lines[0].String(), " "); {
	case strings.EqualFold(head, "Bearer") && rest != "":
		return ""
	case len(begin) > 0 && !begin[0].Is("Bearer"):
		return "the first challenge is " + begin[0].Scheme + ", before Bearer"
	}
	return "the first challenge is a Bearer challenge without parameters"
}

// challengeStage checks the challenge of the first 401.
type challengeStage struct {
	*record.Recorder
	endpoint *endpoint

	challenged
}

// readChallenge parses the challenge as a client does.
func (c *challengeStage) readChallenge(_ context.Context, s *report.Step) {
	a := c.endpoint.refused
	if a == nil {
		s.Skip("no login is required")
		return
	}
	c.challenged = parseChallenge(a.Header)
	missing := func(rule, why string) { c.ruleOfLink, c.whyNoLink = rule, why }
	if len(c.lines) == 0 {
		missing("challenge.present", "the 401 has no WWW-Authenticate header")
		return
	}
	for _, line := range c.lines {
		if err := line.Err(); err != nil {
			missing("challenge.syntax", "WWW-Authenticate has a syntax error: "+err.Error()+" in "+c.Secrets.Text(line.String()))
		}
	}
	if _, ok := c.first(); !ok {
		if c.ruleOfLink == "" {
			missing("challenge.bearer", "WWW-Authenticate has no Bearer challenge, only "+c.Secrets.Text(strings.Join(c.others, ", ")))
		}
		return
	}
	if _, is := c.param("error"); is && a.Status == http.StatusUnauthorized {
		c.Warn(s, "challenge.error", "WWW-Authenticate has an error, although no token was sent")
	}
	c.scope, _ = c.param("scope")
	raw, ok := c.param("resource_metadata")
	if !ok {
		if c.ruleOfLink == "" {
			missing("challenge.metadata", "WWW-Authenticate has no resource_metadata")
		}
		return
	}
	c.ruleOfLink = ""
	c.judgeLink(s, raw)
	c.judgeSeveral(s)
}

// judgeSeveral checks several Bearer challenges. Clients use the first URL in them.
func (c *challengeStage) judgeSeveral(s *report.Step) {
	links := make(map[string]bool)
	for _, one := range c.bearer {
		if link, ok := one.Param("resource_metadata"); ok {
			links[link] = true
		}
	}
	switch {
	case len(links) > 1:
		c.several = true
		c.Warn(s, "challenge.one", "WWW-Authenticate has %d Bearer challenges with different resource_metadata; clients use the first one", len(c.bearer))
	case len(c.bearer) > 1:
		c.Pass(s, "challenge.one", "%d Bearer challenges with the same resource_metadata", len(c.bearer))
	}
}

// settleScheme records a link with another scheme. found is true if it leads to the
// metadata all the same, for example by a redirect.
func (c *challengeStage) settleScheme(found bool) {
	switch {
	case c.scheme == "":
	case found:
		c.Warn(c.Steps[stepChallenge], "challenge.scheme", "%s; most clients find the metadata by a redirect, some refuse the scheme", c.scheme)
	default:
		c.Fail(c.Steps[stepChallenge], "challenge.scheme", "%s", c.scheme)
	}
}

// settleUnread records a challenge that clients built with the TypeScript SDK ignore. found
// is true if the metadata is at a well-known URL too.
func (c *challengeStage) settleUnread(found bool) {
	why := c.unread()
	if why == "" {
		return
	}
	level, then := report.Fail, ", and do not find the metadata"
	if found {
		level, then = report.Warn, "; they still find the metadata at its well-known URL"
	}
	c.Note(c.Steps[stepChallenge], level, "challenge.first", "%s, so clients built with the TypeScript SDK ignore it%s", c.Secrets.Text(why), then)
}

// judgeLink checks the URL of the metadata.
func (c *challengeStage) judgeLink(s *report.Step, raw string) {
	link, err := url.Parse(raw)
	shown := c.Secrets.Link(raw)
	if err != nil || link.Host == "" || link.Scheme != "http" && link.Scheme != "https" {
		c.ruleOfLink, c.whyNoLink = "challenge.url", "resource_metadata in WWW-Authenticate is not a usable URL: "+shown
		return
	}
	c.rawLink = raw
	sameHost := strings.EqualFold(link.Hostname(), c.Target.Hostname())
	if link.Scheme != c.Target.Scheme && sameHost {
		c.link = link
		c.scheme = "WWW-Authenticate points to an " + link.Scheme + " URL, but clients use " + c.Target.Scheme + ": " + shown
		return
	}
	seen := report.Facts{rules.Other: c.Secrets.Text(urls.Origin(link))}
	if why := urls.Misplaced(c.Target, link); why != "" {
		c.NoteWith(s, report.Fail, "challenge.url", seen, "WWW-Authenticate points to a URL that %s: %s", why, shown)
		return
	}
	c.link = link
	if urls.Origin(link) != urls.Origin(c.Target) {
		c.NoteWith(s, report.Warn, "challenge.url", seen, "WWW-Authenticate points to another host, which some clients refuse: %s", shown)
		return
	}
	c.Pass(s, "challenge.url", "resource_metadata is %s", shown)
}

// notFound ends the text of a finding about a challenge that does not lead to the metadata.
const notFound = "; clients do not find the OAuth metadata without it"

// settleChallenge records why a challenge does not lead to the metadata. level and then
// depend on whether clients find the metadata without it.
func (c *challengeStage) settleChallenge(level report.Level, then string) {
	if c.ruleOfLink != "" {
		seen := report.Facts{}
		if c.has("Basic") {
			seen[rules.Basic] = "yes"
		}
		c.NoteWith(c.Steps[stepChallenge], level, c.ruleOfLink, seen, "%s%s", c.whyNoLink, then)
	}
}

// broken reports whether the challenge has a URL that clients cannot use.
func (c challenged) broken() bool { return c.rawLink != "" && c.link == nil }
