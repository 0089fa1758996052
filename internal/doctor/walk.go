package doctor

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The steps that others look at by name.
const (
	stepConnect   = "connect"
	stepPreflight = "preflight"
	stepInit      = "initialize"
	stepDiscover  = "discover"
	stepGet       = "get"
	stepSession   = "session"
	stepChallenge = "challenge"
	stepResource  = "resource-metadata"
	stepServer    = "authorization-server"
	stepEndpoints = "token-endpoint"
	stepDPoP      = "dpop"
	stepLogin     = "login"
	stepToken     = "token"
)

// walk is one walk to a server.
type walk struct {
	opts    Options
	target  *url.URL
	origin  string // of the page that is looked at
	asked   bool   // the caller named it
	page    string // origin that requests are sent with; empty: none
	secrets *secrets
	prober  *prober
	report  *Report
	steps   map[string]*Step
	fills   *strings.Replacer

	// What was found on the way.
	sendTo     *url.URL // the target, or where it redirects to at the same origin
	lost       bool     // no answer came at all
	unusable   bool     // what is there is no MCP server
	initialize *answer  // of the first message
	opened     bool     // it was let in without a token
	refused    *answer  // the first 401, or what stands for it
	session    string
	revision   string // of the session
	modern     bool   // server/discover was answered
	overStream bool   // it is a server of HTTP+SSE
	noDelete   bool   // pages may not end sessions
	challenged challenged
	resource   resourceDocument
	issuer     string // the first that can be used
	server     serverDocument
	withToken  bool // the messages have a token now
	loggedIn   bool // which comes fresh from a login
}

func newWalk(opts Options, raw string, known *secrets) (*walk, error) {
	target, err := parseTarget(raw)
	if err != nil {
		return nil, err
	}
	w := &walk{opts: opts, target: target, sendTo: target, origin: originOf(target), secrets: known, steps: make(map[string]*Step)}
	if opts.Origin != "" {
		if w.origin, err = parseOrigin(opts.Origin); err != nil {
			return nil, err
		}
		w.asked = true
	}
	w.keepSecret(opts)
	w.prober = newProber(opts, originOf(target), w.secrets)
	w.report = &Report{Version: Version, URL: linkOf(target), Origin: w.origin, OriginAsked: w.asked}
	page := w.origin
	if !w.asked {
		page = "<origin of the page>"
	}
	w.fills = strings.NewReplacer(
		"{url}", w.report.URL, "{origin}", originOf(target), "{page}", page, "{host}", target.Host,
		"{path}", plain(target.EscapedPath()), "{wellknown}", wellKnown(target, "oauth-protected-resource").String(),
	)
	return w, nil
}

// keepSecret learns what must not be shown.
func (w *walk) keepSecret(opts Options) {
	w.secrets.add(opts.Token)
	w.secrets.add(opts.ClientSecret)
	for name, values := range opts.Header {
		if http.CanonicalHeaderKey(name) == "Host" {
			continue
		}
		for _, value := range values {
			w.secrets.addField(value)
		}
	}
	for name, values := range w.target.Query() {
		w.secrets.addPart(name)
		for _, value := range values {
			w.secrets.addPart(value)
		}
	}
	for _, part := range strings.FieldsFunc(w.target.RawQuery, func(r rune) bool { return r == '&' || r == '=' }) {
		w.secrets.addPart(part) // as it is escaped there
	}
}

// plan is what is walked, in the order of a client.
var plan = []struct {
	id, title string
	run       func(*walk, context.Context, *Step)
}{
	{stepConnect, "connect", (*walk).connect},
	{stepPreflight, "a page asks whether it may call", (*walk).preflight},
	{stepInit, "initialize, as clients before 2026-07-28", (*walk).sendInitialize},
	{stepDiscover, "server/discover, as clients since 2026-07-28", (*walk).sendDiscover},
	{stepGet, "GET, for an event stream", (*walk).get},
	{stepSession, "a session without a login", (*walk).anonymousSession},
	{stepChallenge, "the challenge", (*walk).readChallenge},
	{stepResource, "metadata of the protected resource", (*walk).findResource},
	{stepServer, "metadata of the authorization server", (*walk).findServer},
	{stepEndpoints, "a page calls the token endpoint", (*walk).callEndpoints},
	{stepDPoP, "a proof of possession", (*walk).proveKey},
	{stepLogin, "the login", (*walk).login},
	{stepToken, "a session with the token", (*walk).useToken},
}

// run walks all steps.
func (w *walk) run(ctx context.Context) {
	limit := walkTimeouts * w.opts.Timeout
	if w.opts.Login {
		limit += loginPatience
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer w.prober.client.CloseIdleConnections()
	late := false
	for _, p := range plan {
		s := &Step{ID: p.id, Title: p.title, Level: Skip}
		w.steps[p.id] = s
		w.report.Steps = append(w.report.Steps, s)
		switch {
		case w.lost:
			s.Why = "the server was not reached"
		case w.unusable:
			s.Why = "there is no MCP server here"
		case ctx.Err() != nil && late:
			s.Why = "the time for the walk is over"
		case ctx.Err() != nil:
			late = true
			w.fail(s, "connect.answers", "the time for the walk is over: the answers are too slow")
		default:
			p.run(w, ctx, s)
		}
	}
	w.report.judge(w.lost, w.opened)
}

// send sends a request as a part of a step.
func (w *walk) send(ctx context.Context, s *Step, r request) *answer {
	a := w.prober.do(ctx, r)
	s.Exchanges = append(s.Exchanges, a.Exchange)
	return a
}

// note records how a rule is met.
func (w *walk) note(s *Step, level Level, rule, format string, args ...any) {
	r, ok := rules[rule]
	if !ok {
		panic("doctor: no rule " + rule)
	}
	f := Finding{Rule: rule, Level: level, Text: fmt.Sprintf(format, args...), Reference: r.Reference}
	if level != Pass {
		for _, c := range r.Cures {
			f.Cures = append(f.Cures, Cure{c.Where, w.fills.Replace(c.Text)})
		}
	}
	s.add(f)
}

func (w *walk) pass(s *Step, rule, format string, args ...any) {
	w.note(s, Pass, rule, format, args...)
}

func (w *walk) warn(s *Step, rule, format string, args ...any) {
	w.note(s, Warn, rule, format, args...)
}

func (w *walk) fail(s *Step, rule, format string, args ...any) {
	w.note(s, Fail, rule, format, args...)
}

// skip says why there was nothing to look at.
func (s *Step) skip(why string) { s.Why = why }

// pages names those whose reading is looked at.
func (w *walk) pages() string {
	if w.asked {
		return "pages at " + w.origin
	}
	return "pages of other origins (tried as " + w.origin + ")"
}

// pageLevel is how bad it is that a page cannot read something: no failure, if
// the caller has no page.
func (w *walk) pageLevel() Level {
	if w.asked {
		return Fail
	}
	return Warn
}

// post is a message to the server.
func (w *walk) post(name, body string, event string) request {
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json, text/event-stream")
	at := w.sendTo
	if w.withToken { // no redirect is followed with one
		at = w.target
	}
	return request{name: name, method: http.MethodPost, url: at, header: h, body: body, origin: w.page, private: true, event: responds(event)}
}

// modernPost is a message of the revisions since 2026-07-28.
func (w *walk) modernPost(name, method, body, event string) request {
	r := w.post(name, body, event)
	r.header.Set("MCP-Protocol-Version", modernRevision)
	r.header.Set("Mcp-Method", method)
	return r
}

// patience bounds the wait for an event that may never come.
func (w *walk) patience() time.Duration { return min(w.opts.Timeout, 3*time.Second) }

// wellKnown is a well-known URL with the path of another inserted behind it
// (RFC 8414 section 3.1, RFC 9728 section 3.1).
func wellKnown(u *url.URL, suffix string) *url.URL {
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	at := &url.URL{Scheme: u.Scheme, Host: u.Host}
	if parsed, err := at.Parse("/.well-known/" + suffix + path); err == nil {
		at = parsed
	}
	at.RawQuery = "" // the query of a resource is rare, and may be secret
	return at
}
