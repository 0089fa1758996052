package metadata

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// status is what is known of the upstream's document.
type status int

const (
	unavailable status = iota // it could not be fetched; a later attempt may succeed
	unusable                  // the upstream has one that is invalid
	absent                    // the upstream has none
	found
)

// outcome is the result of one discovery, or of asking at one place.
type outcome struct {
	status status
	doc    *document
	server *Server // the bridged authorization server; nil if none is bridged
	source Source
	from   target // where doc was found
	named  target // the URL of the document in the upstream's own challenge
	reason string // why there is no document, from a closed set
	// code is the status that a client gets if the document is unavailable. 0 means 503.
	code int
	// detail is the resource in a document for another resource, redacted.
	detail string
	// unsure is set if status is absent although one place gave no definite answer.
	unsure bool
	// event is the event for the operator, if it was not reported yet.
	event Event
}

const (
	maxRedirects = 3
	// maxChallengeLines bounds the field lines of the upstream's challenge.
	maxChallengeLines = 64
	// stepShare divides the timeout of a discovery: one place may take 1/stepShare of it, so
	// that a place that does not answer leaves time for the others.
	stepShare = 2
)

// ping is a request that needs no session. The upstream's challenge to it names the
// metadata.
const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`

// finder searches the upstream for the metadata. Each search is a [search].
type finder struct {
	cfg        *Config
	configured *document
	up         *upstream
	maps       mapper
	reports    *reporter
}

// search is one discovery in progress.
type search struct {
	*finder
	pub   Public
	tried []target
	// troubles are the outcomes of the places where a document was unavailable or unusable.
	troubles []outcome
	// foreign is the first document for another resource, and at is where it was found.
	foreign *FetchResponse
	at      place
}

// findSafely calls find and recovers from a panic of the transport, as net/http does for
// requests.
func (f *finder) findSafely(ctx context.Context, pub Public) (out outcome) {
	defer func() {
		if recover() != nil {
			out = outcome{reason: "panic"}
			f.reports.report(pub, Event{Kind: Unavailable, Reason: out.reason})
		}
	}()
	return f.find(ctx, pub)
}

// find looks where a client would look, in the client's order, and skips what a client
// skips.
func (f *finder) find(ctx context.Context, pub Public) outcome {
	d := &search{finder: f, pub: pub}
	if pub.relay {
		return d.relayed(ctx)
	}
	out := outcome{status: found, doc: f.configured, source: SourceConfigured}
	if f.configured == nil {
		out = d.resource(ctx)
	}
	if f.cfg.BridgeServer && out.server == nil {
		out.server = d.server(ctx, nil, "")
		if (out.status == absent || f.configured != nil) && !f.cfg.KeepResource {
			out.server.resource = f.up.ownURL(out.server)
		}
	}
	return out
}

// resource looks for the metadata of the protected resource: at the URL in the upstream's
// own challenge, at the well-known URL with the path, and at the well-known URL of the root
// (MCP specification 2025-11-25 and 2026-07-28, "Protected Resource Metadata Discovery
// Requirements").
//
// If pub is for a document that a challenge named, that place is asked first, and the
// upstream is not asked for its challenge.
func (d *search) resource(ctx context.Context) outcome {
	var places []place
	var challenged target
	open := false
	if d.pub.named != (target{}) {
		places = d.up.places(d.pub.named)
	} else {
		var named []target
		named, open = d.probe(ctx)
		for _, t := range named {
			places, challenged = append(places, place{t, SourceChallenge}), t
		}
	}
	for _, p := range append(places, d.wellKnown()...) {
		if out := d.try(ctx, p); out.status == found {
			out.named = challenged
			d.passOver()
			return out
		}
	}
	return d.verdict(ctx, open)
}

// wellKnown returns the well-known places of the metadata. Some clients keep the query of
// the MCP URL in them, and others do not.
func (d *search) wellKnown() []place {
	var places []place
	if d.up.path != "" {
		path := WellKnownPath + d.cfg.UpstreamPath
		places = append(places, place{target{path: path + d.pub.Query}, SourcePath}, place{target{path: path}, SourcePath})
	} else {
		places = append(places, place{target{path: WellKnownPath + d.pub.Query}, SourceRoot})
	}
	return append(places, place{target{path: WellKnownPath}, SourceRoot})
}

// verdict returns the outcome of a search without a usable document. open is set if the MCP
// server answers without asking for authorization. Then it most likely has no metadata, and
// errors at paths that it does not know are ignored.
func (d *search) verdict(ctx context.Context, open bool) outcome {
	out := outcome{status: absent}
	for _, t := range d.troubles {
		switch {
		case t.event.Kind == ForeignResource:
			continue // below
		case t.reason == closed:
			return outcome{reason: closed} // the search was ended from here
		case t.status == unavailable && open:
			out.unsure = true
			continue
		case open && t.event.Kind == NotJSON: // a page for every path
		case t.status == unavailable && out.status != unavailable:
			out = outcome{status: unavailable, reason: t.reason, code: t.code}
		case t.status == unavailable && out.code != t.code:
			out.code = 0
		case t.status == unusable && out.status == absent:
			out.status, out.reason = unusable, t.reason
		}
		d.event(t.event)
	}
	if out.status != unavailable && d.foreign != nil {
		return d.useForeign(ctx)
	}
	return out
}

// useForeign returns a document for another resource if no other was found. It is served as
// it is, so that clients refuse it and can say why (C3).
func (d *search) useForeign(ctx context.Context) outcome {
	out := d.use(ctx, *d.foreign, d.at)
	for _, t := range d.troubles {
		if t.event.Kind == ForeignResource {
			out.reason, out.detail = t.reason, redact(t.event.Value)
			break
		}
	}
	return out
}

// passOver reports the places whose documents were unusable, although a document was found
// elsewhere.
func (d *search) passOver() {
	for _, t := range d.troubles {
		e := t.event
		d.event(Event{Kind: PassedOver, Source: e.Source, Value: e.Value, Reason: t.reason})
	}
}

func (d *search) event(e Event) { d.reports.report(d.pub, e) }

// failed returns the outcome of a place that could not be asked. A later attempt may
// succeed.
func failed(source, reason string, code int) outcome {
	return outcome{reason: reason, code: code, event: Event{Kind: Unavailable, Source: source, Reason: reason}}
}

// unfit returns the outcome of a place with an invalid answer.
func unfit(kind EventKind, source, value, reason string) outcome {
	return outcome{status: unusable, reason: reason, event: Event{Kind: kind, Source: source, Value: value, Reason: reason}}
}

// closed is the reason of a discovery that ended because the store was closed.
const closed = "closed"

// step returns a context that ends when one place has used its share of the time.
func (d *search) step(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d.cfg.Timeout/stepShare)
}

// note adds out to the troubles if it is one, and returns it.
func (d *search) note(out outcome) outcome {
	if out.status == unavailable || out.status == unusable {
		d.troubles = append(d.troubles, out)
	}
	return out
}

// try asks for the document at one place.
func (d *search) try(ctx context.Context, p place) outcome {
	if slices.Contains(d.tried, p.target) {
		return outcome{status: absent}
	}
	d.tried = append(d.tried, p.target)
	step, cancel := d.step(ctx)
	defer cancel()
	res, out := d.get(step, p.target)
	if out.status != found {
		return d.note(out)
	}
	switch foreign, err := d.maps.foreignResource(res.Body, d.pub, res.SentHost); {
	case err != nil:
		return d.note(unreadable(err, p.path, res.Header))
	case foreign != "":
		if d.foreign == nil {
			d.foreign, d.at = &res, p
		}
		return d.note(unfit(ForeignResource, p.path, foreign, "names another resource"))
	}
	return d.use(ctx, res, p)
}

// use makes the public document from one that was found.
func (d *search) use(ctx context.Context, res FetchResponse, p place) outcome {
	var srv *Server
	if d.cfg.BridgeServer {
		srv = d.server(ctx, res.Body, res.SentHost)
	}
	doc, err := d.maps.rewrite(res.Body, d.pub, res.SentHost, srv, d.event)
	if err != nil { // cannot happen: foreignResource has parsed it
		return outcome{status: unusable, reason: err.Error(), server: srv}
	}
	return outcome{status: found, doc: doc, server: srv, source: p.source, from: p.target}
}

// unreadable returns the outcome of a document that does not parse.
func unreadable(err error, path string, h http.Header) outcome {
	if media := h.Get("Content-Type"); errors.Is(err, jsontext.ErrNotJSON) && !jsonMedia(media) {
		return unfit(NotJSON, path, media, err.Error())
	}
	return unfit(DocumentInvalid, path, "", err.Error())
}

// probe asks the MCP server without credentials, and returns the places of the metadata that
// its challenge names. The challenge may come with any status. open is true if the server
// did not ask for authorization.
func (d *search) probe(ctx context.Context) (named []target, open bool) {
	if d.cfg.ChallengeMetadata == nil {
		return nil, false
	}
	post := FetchRequest{Method: http.MethodPost, Body: []byte(ping), Header: http.Header{
		"Accept":          {"application/json, text/event-stream"},
		"Accept-Encoding": {"identity"},
		"Content-Type":    {"application/json"},
	}}
	named, open = d.challenge(ctx, post)
	if named == nil && open && d.cfg.EventStream {
		// Clients of HTTP+SSE continue with the event stream.
		return d.challenge(ctx, FetchRequest{Method: http.MethodGet, Header: http.Header{
			"Accept": {"text/event-stream"}, "Accept-Encoding": {"identity"},
		}})
	}
	return named, open
}

// challenge sends a request to the MCP server and looks only at the challenge of the answer.
func (d *search) challenge(ctx context.Context, req FetchRequest) (named []target, open bool) {
	ctx, cancel := d.step(ctx)
	defer cancel()
	res, out := d.send(ctx, target{path: d.cfg.UpstreamPath + d.pub.Query}, req)
	lines := ChallengeLines(res.Header)
	lines = lines[:min(len(lines), maxChallengeLines)]
	if raw, ok := d.cfg.ChallengeMetadata(lines); ok {
		named = d.up.targets(raw, d.pub, res.SentHost)
		if named == nil {
			d.event(Event{Kind: ForeignMetadataURL, Value: raw, Option: "challenge origins"})
		}
		return named, false
	}
	if out.status != found {
		d.note(out)
		return nil, false
	}
	return nil, len(lines) == 0 && !asksForAuthorization(res.Status)
}

// RemappedChallenge is the name, as http.Header has it, that Amazon's API gateway gives to
// WWW-Authenticate.
const RemappedChallenge = "X-Amzn-Remapped-Www-Authenticate"

// ChallengeLines returns the WWW-Authenticate field lines of an answer, and after them those that
// Amazon's API gateway has renamed.
func ChallengeLines(h http.Header) []string {
	return slices.Concat(h["Www-Authenticate"], h[RemappedChallenge])
}

// asksForAuthorization reports whether a status asks for credentials, even without a
// challenge.
func asksForAuthorization(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return true
	}
	return false
}

// Clients of MCP specification 2025-03-26 look for the metadata of the authorization server
// at the origin of the MCP server. Some servers have it there for an authorization server
// elsewhere. Where such a server has no metadata of a protected resource, which would lead
// there, its document is relayed byte by byte, so that a client gets what it gets directly.
//
// Everything in it has to be elsewhere: a document of the MCP server's own origin has to be
// mapped (authorization_server bridge), and nothing on a private host leaves.

// Reasons why the metadata of an authorization server is not relayed.
var (
	errRelayPrivate  = errors.New("names a URL on a private host")
	errRelayOwn      = errors.New("names a URL of the MCP server's own origin")
	errRelayInsecure = errors.New("names an endpoint without https")
	errRelayEndpoint = errors.New("names no authorization and token endpoint")
)

// relayed fetches metadata of an authorization server that may be relayed.
func (d *search) relayed(ctx context.Context) outcome {
	res, out := d.get(ctx, d.pub.named)
	if out.status != found {
		if out.event.Kind == NotJSON {
			return outcome{status: absent}
		}
		return out // not reported: the client gets the reason in its answer
	}
	err := d.relayable(res.Body, res.SentHost)
	switch {
	case err == nil:
		return outcome{status: found, doc: &document{head: res.Body}, from: d.pub.named}
	case errors.Is(err, jsontext.ErrNotJSON) && !jsonMedia(res.Header.Get("Content-Type")):
		return outcome{status: absent} // a page for every path
	}
	e := Event{Kind: ServerNotRelayed, Source: d.pub.named.path, Reason: err.Error()}
	if errors.Is(err, errRelayOwn) || errors.Is(err, errRelayPrivate) {
		e.Option = "authorization_server bridge"
	}
	d.event(e)
	return outcome{status: unusable, reason: err.Error()}
}

// relayable returns why a document must not be relayed, or nil. URLs on private hosts are
// allowed if the public host is private as well: then everything is on one machine or
// network.
func (d *search) relayable(raw []byte, sentHost string) error {
	o, _, err := parseServer(raw)
	if err != nil {
		return err
	}
	seen := d.pub.seen(sentHost)
	private := func(u origin.URL) bool { return u.Local() && !seen.Public.Local() }
	for i := range o.Members {
		if name := o.Members[i].Name; name != "issuer" && !isEndpointMember(name) {
			continue
		}
		value, ok := o.Text(i)
		if !ok {
			continue // clients handle this as they do without the bridge
		}
		if u, err := origin.Parse(value); err != nil || !u.HTTPS && !u.Local() {
			return errRelayInsecure
		}
	}
	for _, name := range []string{"authorization_endpoint", "token_endpoint"} {
		if _, ok := o.Text(o.Find(name)); !ok {
			return errRelayEndpoint
		}
	}
	jsontext.EditStrings(raw, func(_ jsontext.At, value string) (string, jsontext.Action) {
		if _, found := origin.MapText(value, "", private); found {
			err = errRelayPrivate
		}
		return value, jsontext.Keep
	})
	jsontext.EditStrings(raw, func(_ jsontext.At, value string) (string, jsontext.Action) {
		if _, found := origin.MapText(value, "", func(u origin.URL) bool { return d.up.names.Own(u, seen, origin.Document) }); found {
			err = errRelayOwn
		}
		return value, jsontext.Keep
	})
	return err
}
