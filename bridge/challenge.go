package bridge

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/challenge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/stats"
)

// editChallenge applies the policy to the challenges of an answer. It returns the status
// that the client gets.
func (x *Exchange) editChallenge(status int, h http.Header) int {
	e := x.endpoint
	restoreRemapped(h)
	lines := h["Www-Authenticate"]
	if len(lines) == 0 && status != http.StatusUnauthorized {
		return status
	}
	o := &stats.Outcome{Status: status, Given: status, Sent: lines, Action: stats.ActionRelayed, Reason: stats.ReasonPolicy}
	switch e.cfg.Mode {
	case ModeRelay:
		if len(lines) == 0 {
			o.Action = stats.ActionMissing
		}
	case ModeReplace:
		delete(h, "Www-Authenticate")
		o.Action = stats.ActionDropped
		if status == http.StatusUnauthorized {
			o.Action, o.Given = stats.ActionReplaced, http.StatusBadGateway
			e.warn("upstream refused a request with 401, although the edge owns the tokens", "401", "")
		}
	default:
		x.rewriteChallenge(h, o)
	}
	o.Lines = h["Www-Authenticate"]
	x.Outcome = o
	return o.Given
}

// rewriteChallenge maps the metadata URL of the challenges, and adds what is missing.
func (x *Exchange) rewriteChallenge(h http.Header, o *stats.Outcome) {
	e := x.endpoint
	if len(o.Sent) == 0 {
		o.Action = stats.ActionMissing
	}
	store := e.cfg.Metadata
	if store == nil {
		o.Reason = stats.ReasonUnknown
		return
	}
	public, ok := x.public()
	if !ok {
		o.Reason = stats.ReasonHost
		return
	}
	public.Query = x.query()
	o.At, o.Reason = public.URL(), stats.ReasonForeign
	edit := challenge.Edit{
		Map: func(value string) (string, bool) {
			if x.named == "" {
				x.named = value
			}
			if public.IsWellKnown(value) {
				o.Reason = stats.ReasonPublic
			}
			return store.MapChallengeURL(value, public, x.Host, func() bool { return x.isFirstNamed(value) })
		},
	}
	parsed := e.challenges.parse(o.Sent)
	out, report := edit.Apply(o.Sent, parsed)
	if !report.HasMetadata {
		o.Reason = stats.ReasonStatus
		if o.Status == http.StatusUnauthorized || o.Status == http.StatusForbidden && len(o.Sent) > 0 {
			ctx, cancel := context.WithTimeout(x.request.Context(), e.cfg.ChallengeWait)
			defer cancel()
			o.Reason = stats.ReasonUnknown
			if store.Known(ctx, public) {
				edit.Metadata = public.WellKnown()
				edit.Insert = o.Status == http.StatusUnauthorized
				edit.Realm, edit.Scope = e.cfg.Realm, e.cfg.Scope
				o.Reason = stats.ReasonScheme
				out, report = edit.Apply(o.Sent, parsed)
			}
		}
	}
	if len(out) > 0 {
		h["Www-Authenticate"] = out
	}
	for _, err := range report.Unparsed {
		e.warn("upstream sends a challenge that does not parse; it is passed on as it is", err.Error(), "")
	}
	switch {
	case report.Inserted:
		o.Action, o.Reason = stats.ActionInserted, ""
	case report.Added:
		o.Action, o.Reason = stats.ActionAdded, ""
	case report.Rewritten > 0:
		o.Action, o.Reason = stats.ActionRewritten, ""
	case len(report.Unparsed) > 0:
		o.Action, o.Reason = stats.ActionUnparsable, stats.ReasonUnparsable
	}
}

// lastLines parses challenges. It remembers the last ones: most answers of a server have the same.
type lastLines struct {
	last atomic.Pointer[[]challenge.Line]
}

// maxLastLines bounds, in bytes, the challenges that are remembered.
const maxLastLines = 4 << 10

// parse parses the challenges of an answer.
func (l *lastLines) parse(lines []string) []challenge.Line {
	if last := l.last.Load(); last != nil && isParsed(*last, lines) {
		return *last
	}
	parsed, size := challenge.ParseAll(lines), 0
	for _, line := range lines {
		size += len(line)
	}
	if size <= maxLastLines {
		l.last.Store(&parsed)
	}
	return parsed
}

// isParsed reports whether parsed is what lines are parsed to.
func isParsed(parsed []challenge.Line, lines []string) bool {
	return slices.EqualFunc(parsed, lines, func(l challenge.Line, text string) bool { return l.String() == text })
}

// query returns the query of the MCP URL that the client used, with its question mark.
// Where messages are posted elsewhere that URL is not known.
func (x *Exchange) query() string {
	if x.target != TargetEndpoint || x.request == nil || x.request.URL == nil {
		return ""
	}
	return metadata.UsableQuery(x.request.URL.RawQuery)
}

// restoreRemapped gives WWW-Authenticate its name back that Amazon's API gateway takes from it.
// Its lines come after those that have kept their name.
func restoreRemapped(h http.Header) {
	if _, ok := h[metadata.RemappedChallenge]; !ok {
		return
	}
	h["Www-Authenticate"] = metadata.ChallengeLines(h)
	delete(h, metadata.RemappedChallenge)
}

// isFirstNamed reports whether value is the first metadata URL that the challenges name, in
// answer to a request without anything that tells one user from another. The search for
// metadata sends such a request itself, and looks at that URL first.
func (x *Exchange) isFirstNamed(value string) bool {
	return value == x.named && identity.OwnerOf(x.request, "").IsAnonymous()
}

// hasToken reports whether the request that the upstream answered had credentials.
func hasToken(res *http.Response) bool {
	return res.Request != nil && len(res.Request.Header["Authorization"]) > 0
}

// refetchMetadata has the metadata fetched again, after a token was refused: the client reads
// there where to get another.
func (x *Exchange) refetchMetadata() {
	if x.endpoint.cfg.Metadata == nil {
		return
	}
	if public, ok := x.public(); ok {
		x.endpoint.cfg.Metadata.Refetch(public)
	}
}

// watchAudience warns, once, if the upstream refuses a token as invalid and has never
// accepted one. Likely clients get tokens for the public URL, and the upstream wants tokens
// for its private URL.
func (x *Exchange) watchAudience(res *http.Response) {
	e := x.endpoint
	if e.accepted.Load() || e.cfg.Mode != ModeRewrite || !hasToken(res) {
		return
	}
	switch {
	case x.Status < http.StatusBadRequest:
		e.accepted.Store(true)
	case x.Status == http.StatusUnauthorized && invalidToken(e.challenges.parse(x.Challenge)):
		public, ok := x.public()
		if !ok {
			return
		}
		audience := public.URL()
		if e.server != nil {
			audience = e.server.Audience(public)
		}
		e.warn("upstream answers 401 invalid_token and has accepted no token yet; if this follows right after a login, "+
			"set the audience that it expects to the URL in `detail`, for which tokens are issued", "audience", audience)
	}
}

// invalidToken reports whether a challenge calls the token invalid (RFC 6750
// section 3.1).
func invalidToken(lines []challenge.Line) bool {
	for i := range lines {
		for _, c := range lines[i].Challenges() {
			if code, ok := c.Param("error"); ok && code == "invalid_token" {
				return true
			}
		}
	}
	return false
}

// ChallengeMetadata returns the first resource_metadata parameter of the
// challenges in lines (RFC 9728 section 5.1).
func ChallengeMetadata(lines []string) (string, bool) {
	for _, line := range lines {
		for _, c := range challenge.Parse(line).Challenges() {
			if value, ok := c.Param("resource_metadata"); ok {
				return value, true
			}
		}
	}
	return "", false
}
