package metadata

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// asked is one document of the authorization server as the upstream sent it.
type asked struct {
	path     serverSuffix
	outcome  outcome
	raw      []byte
	sentHost string
	refused  bool
}

// server asks the upstream for every document that a client may ask for, all at
// once, and maps what it gets. resource is the upstream's metadata of the
// protected resource, where it has one and none is configured.
func (d *search) server(ctx context.Context, resource []byte, sentHost string) *Server {
	if d.configured != nil {
		resource = d.configured.render(d.pub.URL())
	}
	named := d.namedServers(resource, sentHost)
	var all []*asked
	var wg sync.WaitGroup
	for _, suffix := range d.serverSuffixes(d.pub, named) {
		for _, path := range suffix.documentPaths() {
			a := &asked{path: path}
			all = append(all, a)
			wg.Go(func() { d.ask(ctx, a) })
		}
	}
	wg.Wait()
	srv := &Server{
		public:    d.pub.Origin,
		documents: make(map[string]serverDocument),
		routes:    make(map[string]RouteKind),
		closed:    make(map[string]bool),
	}
	for _, l := range named {
		srv.addOrigin(l)
	}
	for _, a := range all {
		srv.documents[a.path.public] = d.document(srv, a)
	}
	d.forgetResource(srv)
	return srv
}

// ownURL is how an upstream without metadata most likely calls its MCP server:
// at the origin that its authorization server has, or at the one that is dialled.
func (s *Store) ownURL(srv *Server) string {
	switch {
	case len(srv.origins) > 0:
		return srv.origins[0].origin() + s.id.path
	case len(s.id.dials) > 0 && s.id.dials[0].host != "":
		return location{hostPort: s.id.dials[0], https: s.cfg.TLS}.origin() + s.id.path
	}
	return ""
}

// ask asks for one document, with a search of its own: it runs beside others.
func (d *search) ask(ctx context.Context, a *asked) {
	defer func() {
		if recover() != nil {
			a.outcome = d.fail(Unavailable, a.path.upstream, "panic")
		}
	}()
	own := &search{Store: d.Store, pub: d.pub}
	var res FetchResponse
	res, a.outcome = own.get(ctx, target{path: a.path.upstream})
	a.raw, a.sentHost, a.refused = res.Body, res.SentHost, own.refused
}

// document takes one answer into srv.
func (d *search) document(srv *Server, a *asked) serverDocument {
	if a.outcome.status == found {
		return d.readDocument(srv, a)
	}
	if a.refused && a.outcome.status == absent {
		a.outcome.status = unavailable // it may be where the redirect leads
	}
	srv.unavailable = srv.unavailable || a.outcome.status == unavailable
	return serverDocument{status: a.outcome.status}
}

func (d *search) readDocument(srv *Server, a *asked) serverDocument {
	o, iss, err := parseServer(a.raw)
	if err != nil {
		d.event(Event{Kind: DocumentInvalid, Source: a.path.upstream, Reason: err.Error()})
		srv.unavailable = true
		return serverDocument{status: unavailable}
	}
	l, err := parseLocation(iss)
	if err != nil || !d.id.isServer(l, d.pub, sentHostPort(a.sentHost)) {
		// A copy of another server's document: clients go there by themselves.
		d.event(Event{Kind: ForeignIssuer, Source: a.path.upstream, Value: iss, Option: "challenge origins"})
		srv.known = true
		return serverDocument{found, a.raw}
	}
	srv.known = true
	srv.addOrigin(l)
	mapped := srv.public + afterAuthority(iss)
	if l.sameOrigin(d.pub.location()) {
		mapped = iss // the document stays, whatever the case of the host
	}
	srv.issuers = append(srv.issuers, issuer{iss, mapped})
	return serverDocument{found, srv.mapDocument(o, l, d.event)}
}

// namedServers returns the authorization servers that the upstream's metadata
// names on its own origin.
func (d *search) namedServers(resource []byte, sentHost string) []location {
	o, err := parseObject(resource)
	if err != nil {
		return nil
	}
	i := o.find("authorization_servers")
	if i < 0 {
		return nil
	}
	var servers []string
	if json.Unmarshal(o.value(i), &servers) != nil {
		return nil
	}
	var named []location
	for _, server := range servers {
		l, err := parseLocation(server)
		if err == nil && d.id.isServer(l, d.pub, sentHostPort(sentHost)) && len(named) < maxServers {
			named = append(named, l)
		}
	}
	return named
}

// isServer reports whether an issuer is on the upstream's own origin. It is as
// strict as for a resource: what is mapped becomes the public host's word.
func (id *identity) isServer(l location, pub Public, sent hostPort) bool {
	if l.query != "" || l.marked {
		return false
	}
	public := pub.location()
	return public.host != "" && (id.exactly(l, public, sent) || l.local() && id.dialsPort(l.port) || id.lists(l))
}

func (s *Server) addOrigin(l location) {
	l.path, l.query, l.marked = "", "", false
	for _, o := range s.origins {
		if o.sameOrigin(l) {
			return
		}
	}
	s.origins = append(s.origins, l)
}

// forgetResource takes away the routes that are not the authorization server's
// to give: those of the MCP server, and where its metadata stands.
func (d *search) forgetResource(srv *Server) {
	for path := range srv.routes {
		if d.reserved(path) {
			delete(srv.routes, path)
		}
	}
}

// reserved reports whether path, unescaped, is another's: the MCP server's own
// at the upstream, or a metadata path.
func (s *Store) reserved(path string) bool {
	own, err := url.PathUnescape(s.id.path)
	if err != nil {
		own = s.id.path
	}
	path, own = plainest(path), plainest(own)
	if own != "" && strings.TrimSuffix(path, "/") == strings.TrimSuffix(own, "/") || own == "" && path == "/" {
		return true
	}
	return OwnsServerPath(path) || path == WellKnownPath || strings.HasPrefix(path, WellKnownPath+"/")
}

// plainest returns what some servers make of a path: in lower case, its segments
// without their parameters, as Java's servers have it, and without the dots and
// spaces that Windows does not see at the end of a name.
func plainest(path string) string {
	segments := strings.Split(strings.ToLower(path), "/")
	for i, segment := range segments {
		name, _, _ := strings.Cut(segment, ";")
		segments[i] = strings.TrimRight(name, ". ")
	}
	return strings.Join(segments, "/")
}

// Reserved reports whether path, unescaped, can be no path of the authorization
// server: it is the MCP server's own at the upstream, or a metadata path.
func (s *Store) Reserved(path string) bool { return s.reserved(path) }

// get asks for a JSON document at one place.
func (d *search) get(ctx context.Context, t target) (FetchResponse, outcome) {
	header := http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"identity"}}
	res, out := d.send(ctx, t, FetchRequest{Method: http.MethodGet, Header: header, MaxBody: d.cfg.MaxSize})
	if out.status != found {
		return res, out
	}
	if res.Status != http.StatusOK {
		return res, outcome{status: absent}
	}
	if media := res.Header.Get("Content-Type"); !jsonMedia(media) {
		d.event(Event{Kind: NotJSON, Source: t.path, Value: media})
		return res, outcome{status: absent}
	}
	if e := res.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return res, d.fail(DocumentInvalid, t.path, errEncodedBody.Error())
	}
	if res.TooLarge || int64(len(res.Body)) > d.cfg.MaxSize {
		return res, d.fail(DocumentInvalid, t.path, errTooLarge.Error())
	}
	return res, outcome{status: found}
}
