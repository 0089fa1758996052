package metadata

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// status is what is known of the upstream's document.
type status int

const (
	unavailable status = iota // it could not be had
	absent                    // the upstream has none
	found
)

// outcome is the result of one discovery.
type outcome struct {
	status status
	doc    *document
	server *Server // where it is bridged
	source Source
	reason string // of unavailable, from a closed set
}

const (
	maxRedirects = 3
	// maxChallengeLines bounds the field lines of the upstream's 401.
	maxChallengeLines = 64
)

// ping is the request whose 401 names the metadata. It needs no session.
const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`

// search is one discovery in progress.
type search struct {
	*Store
	pub     Public
	tried   []target
	refused bool // a source ended in a redirect that was not followed
}

// target is one place to ask at: the upstream, or a listed origin.
type target struct{ origin, path string }

// discover looks where a client would look. A definite "no" moves on to the next
// place; what could not be had ends the search, for the answer may be there.
func (s *Store) discover(ctx context.Context, pub Public) outcome {
	d := &search{Store: s, pub: pub}
	out := outcome{status: found, doc: s.configured, source: SourceConfigured}
	if s.configured == nil {
		out = d.resource(ctx)
	}
	if s.cfg.BridgeServer && out.server == nil {
		out.server = d.server(ctx, nil, "")
		if (out.status == absent || s.configured != nil) && !s.cfg.KeepResource {
			out.server.resource = s.ownURL(out.server)
		}
	}
	return out
}

// resource looks for the metadata of the protected resource.
func (d *search) resource(ctx context.Context) outcome {
	path := WellKnownPath
	if d.id.path != "" {
		out := d.try(ctx, target{path: WellKnownPath + d.cfg.UpstreamPath}, SourcePath)
		if out.status != absent {
			return out
		}
	}
	if out := d.try(ctx, target{path: path}, SourceRoot); out.status != absent {
		return out
	}
	targets, out := d.probe(ctx)
	if out.status != absent {
		return out
	}
	for _, t := range targets {
		if out := d.try(ctx, t, SourceChallenge); out.status != absent {
			return out
		}
	}
	if d.refused {
		return outcome{reason: "redirect refused"}
	}
	return outcome{status: absent}
}

func (d *search) event(e Event) { d.reports.report(d.pub, e) }

// fail reports what could not be had.
func (d *search) fail(kind EventKind, source, reason string) outcome {
	d.event(Event{Kind: kind, Source: source, Reason: reason})
	return outcome{reason: reason}
}

// try asks for the document at one place.
func (d *search) try(ctx context.Context, t target, source Source) outcome {
	if slices.Contains(d.tried, t) {
		return outcome{status: absent}
	}
	d.tried = append(d.tried, t)
	res, out := d.get(ctx, t)
	if out.status != found {
		return out
	}
	var srv *Server
	if d.cfg.BridgeServer {
		srv = d.server(ctx, res.Body, res.SentHost)
	}
	doc, err := d.rewrite(res.Body, d.pub, res.SentHost, srv, d.event)
	if err != nil {
		out = d.fail(DocumentInvalid, t.path, err.Error())
		out.server = srv
		return out
	}
	return outcome{status: found, doc: doc, server: srv, source: source}
}

// probe asks the MCP server itself, without credentials, and returns where its
// 401 says that the metadata is.
func (d *search) probe(ctx context.Context) ([]target, outcome) {
	none := outcome{status: absent}
	if d.cfg.ChallengeMetadata == nil {
		return nil, none
	}
	header := http.Header{
		"Accept":          {"application/json, text/event-stream"},
		"Accept-Encoding": {"identity"},
		"Content-Type":    {"application/json"},
	}
	res, out := d.send(ctx, target{path: d.cfg.UpstreamPath}, FetchRequest{
		Method: http.MethodPost, Header: header, Body: []byte(ping),
	})
	if out.status != found {
		return nil, out
	}
	if res.Status != http.StatusUnauthorized {
		return nil, none
	}
	lines := res.Header.Values("WWW-Authenticate")
	if len(lines) == 0 {
		lines = res.Header.Values("X-Amzn-Remapped-Www-Authenticate")
	}
	raw, ok := d.cfg.ChallengeMetadata(lines[:min(len(lines), maxChallengeLines)])
	if !ok {
		return nil, none
	}
	targets := d.targets(raw, res.SentHost)
	if targets == nil {
		d.event(Event{Kind: ForeignMetadataURL, Value: raw, Option: "challenge origins"})
	}
	return targets, none
}

// targets returns where to ask for a metadata URL that the upstream named: at
// the upstream itself, whose path and query it is, or at a listed origin. A
// foreign URL gives none.
func (d *search) targets(raw, sentHost string) []target {
	if pathAbsolute(raw) {
		raw, _, _ = strings.Cut(raw, "#")
		return requestTargets(raw)
	}
	l, err := parseLocation(raw)
	if err != nil {
		return nil
	}
	path := l.path + l.query
	if l.path == "" {
		path = "/" + path
	}
	public, sent := d.pub.location(), sentHostPort(sentHost)
	switch {
	case d.id.exactly(l, public, sent):
		return requestTargets(path)
	case d.id.lists(l) && len(d.id.dials) == 0:
		// The origin may be a name of this upstream, which has none of its own.
		return requestTargets(path, "", l.origin())
	case d.id.lists(l):
		return requestTargets(path, l.origin())
	case l.local(), l.host == public.host, l.host == sent.host, d.id.dialsHost(l.host):
		return requestTargets(path)
	}
	return nil
}

// requestTargets returns path at each origin, or at the upstream where none is
// given, if the path can be sent as it is.
func requestTargets(path string, origins ...string) []target {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return nil
	}
	if len(origins) == 0 {
		origins = []string{""}
	}
	targets := make([]target, 0, len(origins))
	for _, origin := range origins {
		targets = append(targets, target{origin, u.RequestURI()})
	}
	return targets
}

// send sends a request and follows redirects inside the place that was asked.
// The outcome is found where there is a response to judge; it is absent after a
// definite "no".
func (d *search) send(ctx context.Context, t target, req FetchRequest) (FetchResponse, outcome) {
	source := t.path
	for range maxRedirects + 1 {
		req.Path, req.Origin, req.Public = t.path, t.origin, d.pub
		req.Header = req.Header.Clone()
		res, err := d.cfg.Fetch(ctx, req)
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return res, outcome{reason: "closed"} // nobody's failure
		case ctx.Err() != nil:
			return res, d.fail(Unavailable, source, "timeout")
		case err != nil:
			return res, d.fail(Unavailable, source, "no response")
		case res.Status == http.StatusRequestTimeout, res.Status == http.StatusTooEarly,
			res.Status == http.StatusTooManyRequests:
			return res, d.fail(Unavailable, source, "asked to come back later")
		case res.Status < 200, res.Status >= 500:
			return res, d.fail(Unavailable, source, "server error")
		case res.Status < 300, res.Status >= 400:
			return res, outcome{status: found}
		}
		next, ok := d.redirect(t, req.Method, res)
		if !ok {
			return res, d.refuse(source, res.Header.Get("Location"), "redirect to elsewhere")
		}
		t.path = next
	}
	return FetchResponse{}, d.refuse(source, "", "too many redirects")
}

// refuse moves on after a redirect that is not followed. The document may be
// where it leads, so that the search can no longer end in "there is none".
func (d *search) refuse(source, location, reason string) outcome {
	d.refused = true
	d.event(Event{Kind: RedirectRefused, Source: source, Value: location, Reason: reason})
	return outcome{status: absent}
}

// redirect returns the request target of a redirect that stays where it was.
func (d *search) redirect(t target, method string, res FetchResponse) (string, bool) {
	switch res.Status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		if method != http.MethodGet {
			return "", false
		}
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return "", false
	}
	raw, _, _ := strings.Cut(res.Header.Get("Location"), "#")
	if raw == "" || !cleanText(raw) || strings.HasPrefix(raw, "//") {
		return "", false
	}
	if l, err := parseLocation(raw); err == nil {
		if t.origin != "" {
			if l.origin() != t.origin {
				return "", false
			}
		} else if !d.id.exactly(l, d.pub.location(), sentHostPort(res.SentHost)) {
			return "", false
		}
		raw = l.path + l.query
		if l.path == "" {
			raw = "/" + raw
		}
	}
	base, err := url.ParseRequestURI(t.path)
	if err != nil {
		return "", false
	}
	ref, err := url.Parse(raw)
	if err != nil || ref.Scheme != "" || ref.Host != "" || ref.User != nil {
		return "", false
	}
	return base.ResolveReference(ref).RequestURI(), true
}

// jsonMedia reports whether a Content-Type is application/json or ends in +json.
func jsonMedia(value string) bool {
	media, _, err := mime.ParseMediaType(value)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return false
	}
	return media == "application/json" ||
		(strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
}
