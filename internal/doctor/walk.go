package doctor

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// The IDs of the steps.
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

// walk is one check of a server: the stages in the order of a client, and the recorder
// that they share.
type walk struct {
	*record.Recorder
	opts Options

	reach     *reach
	endpoint  *endpoint
	sessions  *sessions
	challenge *challengeStage
	resource  *resourceStage
	issuer    *issuerStage
	proof     *proofStage
	login     *loginStage
}

// newWalk prepares a check of the server at a URL. known are the secrets that no report
// may show; those of the options are added.
func newWalk(opts Options, raw string, known *report.Secrets) (*walk, error) {
	target, err := parseTarget(raw)
	if err != nil {
		return nil, err
	}
	r := &record.Recorder{Target: target, Origin: urls.Origin(target), Secrets: known, Steps: make(map[string]*report.Step)}
	if opts.Origin != "" {
		if r.Origin, err = parseOrigin(opts.Origin); err != nil {
			return nil, err
		}
		r.Asked = true
	}
	keepSecret(known, opts, target)
	r.Prober = probe.New(opts.transport(), opts.Timeout, opts.Header, urls.Origin(target), known)
	r.Report = &report.Report{Version: report.Version, URL: urls.WithoutQuery(target), Origin: r.Origin, OriginAsked: r.Asked}

	w := &walk{Recorder: r, opts: opts}
	w.reach = &reach{Recorder: r, header: opts.Header, insecure: opts.Insecure}
	w.endpoint = &endpoint{Recorder: r, timeout: opts.Timeout, sendTo: target}
	w.challenge = &challengeStage{Recorder: r, endpoint: w.endpoint}
	w.resource = &resourceStage{Recorder: r, endpoint: w.endpoint, challenge: w.challenge}
	w.issuer = &issuerStage{Recorder: r, endpoint: w.endpoint, challenge: w.challenge, resource: w.resource, clientID: opts.ClientID, secret: opts.ClientSecret}
	w.proof = &proofStage{Recorder: r, endpoint: w.endpoint, challenge: w.challenge, resource: w.resource, upstream: opts.Upstream}
	w.login = &loginStage{Recorder: r, endpoint: w.endpoint, challenge: w.challenge, resource: w.resource, issuer: w.issuer, opts: opts, token: opts.Token}
	w.sessions = &sessions{endpoint: w.endpoint, reach: w.reach, resource: w.resource, login: w.login, call: opts.Call}
	return w, nil
}

// keepSecret adds the secrets that the options and the URL of the server hold.
func keepSecret(known *report.Secrets, opts Options, target *url.URL) {
	known.Add(opts.Token)
	known.Add(opts.ClientSecret)
	for name, values := range opts.Header {
		if slices.Contains(publicFields, http.CanonicalHeaderKey(name)) {
			continue
		}
		for _, value := range values {
			known.AddField(value)
		}
	}
	known.AddQuery(target.RawQuery)
}

// publicFields are the header fields of the caller that hold no secret.
var publicFields = []string{"Host", "Accept", "Accept-Language", "Content-Type", "Origin", "User-Agent", "Mcp-Protocol-Version", "Mcp-Method"}

// plan lists the steps in the order of a client.
func (w *walk) plan() []plannedStep {
	return []plannedStep{
		{stepConnect, "connect", w.reach.connect},
		{stepPreflight, "CORS preflight (browser clients)", w.reach.preflight},
		{stepInit, "initialize (clients up to 2025-11-25)", w.endpoint.sendInitialize},
		{stepDiscover, "server/discover (clients since 2026-07-28)", w.endpoint.sendDiscover},
		{stepGet, "GET (event stream)", w.endpoint.get},
		{stepSession, "session without login", w.sessions.useWithoutToken},
		{stepChallenge, "WWW-Authenticate", w.challenge.readChallenge},
		{stepResource, "OAuth metadata of the MCP server", w.resource.findResource},
		{stepServer, "OAuth metadata of the authorization server", w.issuer.findServer},
		{stepEndpoints, "token endpoint (browser clients)", w.issuer.callEndpoints},
		{stepDPoP, "DPoP", w.proof.proveKey},
		{stepLogin, "login", w.login.run},
		{stepToken, "session with the token", w.sessions.useToken},
	}
}

// plannedStep is a step that has not run yet.
type plannedStep struct {
	id, title string
	run       func(context.Context, *report.Step)
}

// run takes all steps, and completes the report.
func (w *walk) run(ctx context.Context) {
	limit := walkTimeouts * w.opts.Timeout
	if w.opts.Login {
		limit += loginTimeout
	}
	if w.opts.StepUp {
		limit += loginTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer w.Prober.Fresh()
	late := false
	for _, p := range w.plan() {
		s := &report.Step{ID: p.id, Title: p.title, Level: report.Skip}
		w.Steps[p.id] = s
		w.Report.Steps = append(w.Report.Steps, s)
		switch {
		case w.Lost:
			s.Why = "cannot connect"
		case w.Unusable:
			s.Why = "clients cannot use this URL"
		case ctx.Err() != nil && late:
			s.Why = "the time limit is over"
		case ctx.Err() != nil:
			late = true
			w.Fail(s, "connect.answers", "the time limit is over: the responses are too slow")
		default:
			p.run(ctx, s)
		}
	}
	w.judge()
}

// cure adds the fixes to all findings, when everything has been seen.
func (w *walk) cure() {
	seen := w.situation()
	for _, s := range w.Report.Steps {
		for i := range s.Findings {
			if f := &s.Findings[i]; f.Level != report.Pass {
				f.Cures = seen.Cures(*f)
			}
		}
	}
}

// situation collects what the fixes depend on.
func (w *walk) situation() *rules.Situation {
	s := &rules.Situation{
		Target: w.Target, Upstream: w.opts.Upstream, Bridged: w.Bridged, Caddy: w.Caddy, RefusedOrigin: w.RefusedOrigin,
		Preflight: w.reach.preflighted, Issuer: w.issuer.issuerOrigin(), Learned: w.learned(),
		Searched: w.Report.Search != nil && !w.Report.Search.Found,
	}
	if w.Asked {
		s.Page = w.Origin
	}
	return s
}
