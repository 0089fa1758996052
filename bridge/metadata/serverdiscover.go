package metadata

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// asked is one document of the authorization server, as the upstream sent it.
type asked struct {
	path     serverSuffix
	outcome  outcome
	raw      []byte
	header   http.Header
	sentHost string
}

// server fetches every document that a client may ask for, all at once, and maps them.
// resource is the upstream's metadata of the protected resource, if it has one and none is
// configured.
func (d *search) server(ctx context.Context, resource []byte, sentHost string) *Server {
	if d.configured != nil {
		resource = d.configured.render(d.pub.URL())
	}
	named := d.namedServers(resource, sentHost)
	var all []*asked
	var wg sync.WaitGroup
	for _, suffix := range d.up.serverSuffixes(d.pub, named) {
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
		srv.origins.Add(l)
	}
	for _, a := range all {
		srv.documents[a.path.public] = d.document(srv, a)
	}
	for _, a := range all {
		if doc := srv.documents[a.path.public]; doc.own {
			doc.body = d.withoutPrivateURLs(srv, doc.body, a.sentHost)
			srv.documents[a.path.public] = doc
		}
	}
	d.forgetResource(srv)
	return srv
}

// ask fetches one document. It has a search of its own because it runs concurrently with
// others.
func (d *search) ask(ctx context.Context, a *asked) {
	defer func() {
		if recover() != nil {
			a.outcome = failed(a.path.upstream, "panic", 0)
		}
	}()
	own := &search{finder: d.finder, pub: d.pub}
	var res FetchResponse
	res, a.outcome = own.get(ctx, target{path: a.path.upstream})
	a.raw, a.header, a.sentHost = res.Body, res.Header, res.SentHost
}

// document adds one answer to srv.
func (d *search) document(srv *Server, a *asked) serverDocument {
	if a.outcome.status == found {
		return d.readDocument(srv, a)
	}
	return d.withoutDocument(srv, a.outcome)
}

// withoutDocument adds an answer without a document to srv. An invalid document is reported,
// and counts as unavailable: the server may exist all the same.
func (d *search) withoutDocument(srv *Server, out outcome) serverDocument {
	if out.event.Kind != "" {
		d.event(out.event)
	}
	if out.event.Kind == NotJSON { // the site serves one page at every path
		return serverDocument{status: absent}
	}
	srv.unavailable = srv.unavailable || out.status == unavailable || out.status == unusable
	return serverDocument{status: out.status, reason: out.reason, code: out.code}
}

func (d *search) readDocument(srv *Server, a *asked) serverDocument {
	o, iss, err := parseServer(a.raw)
	if err != nil {
		return d.withoutDocument(srv, unreadable(err, a.path.upstream, a.header))
	}
	l, err := origin.Parse(iss)
	if err != nil || !d.up.isServer(l, d.pub, a.sentHost) {
		// This is a copy of another server's document. Clients find that server by themselves.
		d.event(Event{Kind: ForeignIssuer, Source: a.path.upstream, Value: iss, Option: "challenge origins"})
		srv.known = true
		return serverDocument{status: found, body: a.raw}
	}
	srv.known = true
	srv.origins.Add(l)
	mapped := srv.public + origin.AfterAuthority(iss)
	if l.SameOrigin(d.pub.location()) {
		mapped = iss // it is public already; keep its bytes
	}
	srv.issuers = append(srv.issuers, issuer{iss, mapped})
	return serverDocument{status: found, body: srv.mapDocument(o, l, d.event), own: true}
}

// namedServers returns those authorization servers of the upstream's metadata that are on
// its own origin.
func (d *search) namedServers(resource []byte, sentHost string) []origin.URL {
	o, err := jsontext.ParseObject(resource)
	if err != nil {
		return nil
	}
	i := o.Find("authorization_servers")
	if i < 0 {
		return nil
	}
	var servers []string
	if json.Unmarshal(o.Value(i), &servers) != nil {
		return nil
	}
	var named []origin.URL
	for _, server := range servers {
		l, err := origin.Parse(server)
		if err == nil && d.up.isServer(l, d.pub, sentHost) && len(named) < maxServers {
			named = append(named, l)
		}
	}
	return named
}

// forgetResource removes the routes that belong to the MCP server or to its metadata.
func (d *search) forgetResource(srv *Server) {
	for path := range srv.routes {
		if d.up.reserved(path) {
			delete(srv.routes, path)
		}
	}
}

// withoutPrivateURLs returns a mapped document of the bridged authorization server without
// private URLs. A URL is mapped if it is an endpoint or its path is served; otherwise its
// member is removed. URLs inside a longer text are mapped.
func (d *search) withoutPrivateURLs(srv *Server, raw []byte, sentHost string) []byte {
	private := d.up.privateOrigins(srv, d.pub, sentHost)
	keep := func(string) bool { return false }
	return replacePrivateURLs(raw, srv.public, private.Has, keep, func(at jsontext.At, u origin.URL, mapped string) (string, bool) {
		if isEndpointMember(at.Member) {
			srv.addRoute(at.Member, u)
			return mapped, true
		}
		path, err := url.PathUnescape(u.Path)
		switch {
		case err != nil:
			return "", false
		case at.Top == "issuer" || srv.Route(path) != RouteNone || srv.closed[path]:
			return mapped, true
		}
		return d.pub.URL(), d.up.isEndpoint(u)
	}, d.event)
}
