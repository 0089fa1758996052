package doctor

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/challenge"
)

// challenged is what a challenge says.
type challenged struct {
	lines   []challenge.Line
	bearer  []challenge.Challenge
	dpop    bool
	others  []string // schemes
	link    *url.URL // of the metadata
	rawLink string
	scope   string
	// ruleOfLink is what is wrong if no link was found, and nothing else leads
	// to the metadata; empty where one was.
	ruleOfLink, whyNoLink string
}

// parseChallenge reads the field lines of an answer.
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

// first is the challenge that clients act on.
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

// readChallenge reads the challenge as a client does.
func (w *walk) readChallenge(_ context.Context, s *Step) {
	a := w.refused
	if a == nil {
		s.skip("no login is asked for")
		return
	}
	c := parseChallenge(a.header)
	w.challenged = c
	missing := func(rule, why string) { w.challenged.ruleOfLink, w.challenged.whyNoLink = rule, why }
	if len(c.lines) == 0 {
		missing("challenge.present", "the 401 has no WWW-Authenticate field")
		return
	}
	for _, line := range c.lines {
		if err := line.Err(); err != nil {
			missing("challenge.syntax", "the challenge cannot be read: "+err.Error()+" in "+w.secrets.text(line.String()))
		}
	}
	one, ok := c.first()
	if !ok {
		if w.challenged.ruleOfLink == "" {
			missing("challenge.bearer", "no challenge is a Bearer one; the schemes are "+w.secrets.text(strings.Join(c.others, ", ")))
		}
		return
	}
	w.judgeSeveral(s, c)
	if _, is := one.Param("error"); is && a.Status == http.StatusUnauthorized {
		w.warn(s, "challenge.error", "the challenge has an error, although no token was sent")
	}
	w.challenged.scope, _ = one.Param("scope")
	raw, ok := one.Param("resource_metadata")
	if !ok {
		if w.challenged.ruleOfLink == "" {
			missing("challenge.metadata", "the challenge names no resource_metadata")
		}
		return
	}
	w.challenged.ruleOfLink = ""
	w.judgeLink(s, raw)
}

// judgeSeveral looks at several challenges and lines.
func (w *walk) judgeSeveral(s *Step, c challenged) {
	if len(c.bearer) > 1 {
		links := make(map[string]bool)
		for _, one := range c.bearer {
			link, _ := one.Param("resource_metadata")
			links[link] = true
		}
		if len(links) > 1 {
			w.fail(s, "challenge.one", "there are %d Bearer challenges that name different metadata; clients take the first, or the last", len(c.bearer))
		} else {
			w.warn(s, "challenge.one", "there are %d Bearer challenges; clients take one of them", len(c.bearer))
		}
		return
	}
	if begin := c.lines[0].Challenges(); len(c.bearer) == 1 && len(begin) > 0 && !begin[0].Is("Bearer") {
		w.warn(s, "challenge.first", "the first challenge is %s, before Bearer", w.secrets.text(begin[0].Scheme))
	}
}

// judgeLink looks at the URL of the metadata.
func (w *walk) judgeLink(s *Step, raw string) {
	link, err := url.Parse(raw)
	shown := w.secrets.link(raw)
	if err != nil || link.Host == "" || link.Scheme != "http" && link.Scheme != "https" {
		w.fail(s, "challenge.url", "resource_metadata is no URL that can be fetched: %s", shown)
		return
	}
	w.challenged.rawLink = raw
	sameHost := strings.EqualFold(link.Hostname(), w.target.Hostname())
	switch {
	case w.target.Scheme == "https" && link.Scheme == "http" && sameHost:
		w.fail(s, "challenge.scheme", "resource_metadata begins with http:, the server is at https: %s", shown)
		return
	case w.target.Scheme == "http" && link.Scheme == "https" && sameHost:
		w.fail(s, "challenge.scheme", "resource_metadata begins with https:, the server is at http: %s", shown)
		return
	}
	if why := misplaced(w.target, link); why != "" {
		w.fail(s, "challenge.url", "resource_metadata %s, where clients cannot go: %s", why, shown)
		return
	}
	w.challenged.link = link
	if originOf(link) != originOf(w.target) {
		w.warn(s, "challenge.url", "resource_metadata is at another origin, which careful clients refuse: %s", shown)
		return
	}
	w.pass(s, "challenge.url", "resource_metadata is %s", shown)
}

// settleChallenge judges a challenge that leads nowhere, when it is known
// whether clients find the metadata without it.
func (w *walk) settleChallenge(found bool) {
	c := &w.challenged
	if c.ruleOfLink == "" {
		return
	}
	level, then := Fail, "; and the metadata is not found without it"
	if found {
		level, then = Warn, "; clients find the metadata at its well-known URL, old ones do not"
	}
	w.note(w.steps[stepChallenge], level, c.ruleOfLink, "%s%s", c.whyNoLink, then)
}
