package metadata

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// errNoIssuer says that a document cannot be one of an authorization server.
var errNoIssuer = errors.New("has no issuer that is a string")

// parseServer parses the metadata of an authorization server (RFC 8414 section
// 2).
func parseServer(raw []byte) (o *object, iss string, err error) {
	if o, err = parseObject(raw); err != nil {
		return nil, "", err
	}
	iss, ok := o.text(o.find("issuer"))
	if !ok {
		return nil, "", errNoIssuer
	}
	return o, iss, nil
}

// text returns the value of member i, if it is a string.
func (o *object) text(i int) (string, bool) {
	var s string
	if i < 0 || o.value(i)[0] != '"' || json.Unmarshal(o.value(i), &s) != nil {
		return "", false
	}
	return s, true
}

// mapDocument returns the document as the public origin serves it, and takes
// its endpoints into the routes. at is the issuer's location: a URL elsewhere is
// not the server's. Every other byte stays. Where the server knows its public
// origin already nothing is changed.
//
// Removed is what cannot survive the mapping (C5): what a client signs for one
// of the URLs, what the server signed, and answers that are no redirect.
func (s *Server) mapDocument(o *object, at location, report func(Event)) []byte {
	public, err := parseOrigin(s.public)
	if err != nil {
		return o.raw
	}
	e := serverEditor{server: s, at: at, public: public, object: o}
	for i := range o.members {
		e.member(i)
	}
	if at.sameOrigin(public) {
		return o.raw
	}
	if e.dropped {
		report(Event{Kind: ServerFeatureDropped, Value: strings.Join(e.names, " ")})
	}
	return apply(o.raw, span{0, len(o.raw)}, append(e.edits, o.drop(e.gone)...))
}

// serverEditor edits one document.
type serverEditor struct {
	*object

	server  *Server
	at      location
	public  location
	edits   []edit
	gone    []int // members to drop, in order
	names   []string
	dropped bool
}

// member decides on one member.
func (e *serverEditor) member(i int) {
	name := e.members[i].name
	switch {
	case name == "issuer", strings.HasSuffix(name, "_endpoint"), strings.HasSuffix(name, "_uri"),
		name == "service_documentation", name == "check_session_iframe":
		e.mapURL(e.object, i, 0)
	case name == "mtls_endpoint_aliases":
		e.aliases(i)
	case name == "signed_metadata",
		name == "dpop_signing_alg_values_supported",
		strings.HasPrefix(name, "request_object_"),
		strings.HasSuffix(name, "_endpoint_auth_signing_alg_values_supported"):
		e.drop(i)
	case name == "request_parameter_supported", name == "request_uri_parameter_supported":
		// Its default depends on the document, so that "no" is said.
		if string(e.value(i)) != "false" {
			e.replace(i, []byte("false"))
		}
	case strings.HasSuffix(name, "_endpoint_auth_methods_supported"):
		e.filter(i, func(v string) bool { return v != "private_key_jwt" && v != "client_secret_jwt" })
	case name == "response_modes_supported":
		e.filter(i, func(v string) bool { return v == "query" })
	}
}

// mapURL maps the URL that member i of o is, and makes it a route. start is
// where o begins in the document.
func (e *serverEditor) mapURL(o *object, i, start int) {
	raw, ok := o.text(i)
	if !ok {
		return
	}
	l, err := parseLocation(raw)
	if err != nil || !l.sameOrigin(e.at) && !l.sameOrigin(e.public) {
		return
	}
	name := o.members[i].name
	if name != "issuer" {
		e.server.addRoute(name, l)
	}
	if l.sameOrigin(e.public) {
		return // the server knows where it is, for this one at least
	}
	v := o.members[i].value
	e.edits = append(e.edits, edit{span{start + v.start, start + v.end}, quote(e.server.public + afterAuthority(raw))})
}

// aliases maps the endpoints for clients with certificates (RFC 8705 section 5).
func (e *serverEditor) aliases(i int) {
	inner, err := parseObject(e.value(i))
	if err != nil {
		return
	}
	for j := range inner.members {
		if strings.HasSuffix(inner.members[j].name, "_endpoint") {
			e.mapURL(inner, j, e.members[i].value.start)
		}
	}
}

func (e *serverEditor) replace(i int, value []byte) {
	e.edits = append(e.edits, edit{e.members[i].value, value})
	e.note(e.members[i].name)
}

func (e *serverEditor) drop(i int) {
	e.gone = append(e.gone, i)
	e.note(e.members[i].name)
}

func (e *serverEditor) note(name string) {
	e.dropped = true
	e.names = append(e.names, name)
}

// filter keeps of a list what may stay: what is no string does. An empty list
// may not stand (RFC 8414 section 2), so that the member goes with its last
// element.
func (e *serverEditor) filter(i int, keep func(string) bool) {
	var values []json.RawMessage
	if json.Unmarshal(e.value(i), &values) != nil {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(values), func(raw json.RawMessage) bool {
		var v string
		return raw[0] == '"' && json.Unmarshal(raw, &v) == nil && !keep(v)
	})
	switch {
	case len(kept) == len(values):
	case len(kept) == 0:
		e.drop(i)
	default:
		e.replace(i, marshal(kept))
	}
}

// drop returns the edits that remove members, with a comma each. The object has
// another member.
func (o *object) drop(gone []int) []edit {
	edits := make([]edit, 0, len(gone))
	for len(gone) > 0 {
		n := 1
		for n < len(gone) && gone[n] == gone[0]+n {
			n++
		}
		first, last := gone[0], gone[n-1]
		at := span{o.members[first].name0, 0}
		if last+1 < len(o.members) {
			at.end = o.members[last+1].name0
		} else {
			at = span{o.members[first-1].value.end, o.members[last].value.end}
		}
		edits = append(edits, edit{span: at})
		gone = gone[n:]
	}
	return edits
}

// addRoute takes the path of an endpoint into the routes.
func (s *Server) addRoute(name string, l location) {
	kind := kindOf(name)
	path, err := url.PathUnescape(l.path)
	if err != nil {
		return
	}
	if path == "" {
		path = "/"
	}
	if kind == RouteNone {
		s.closed[path] = true
		return
	}
	if kind == RoutePage && path == "/" {
		return // a link to the whole site is no page of a login
	}
	if old, ok := s.routes[path]; !ok || kind < old {
		s.routes[path] = kind
	}
}

// mapServers maps the authorization servers of a protected resource's metadata
// that are the bridged one, each to the very bytes of its public issuer.
func (s *Server) mapServers(o *object) []edit {
	i := o.find("authorization_servers")
	var servers []json.RawMessage
	if i < 0 || json.Unmarshal(o.value(i), &servers) != nil {
		return nil
	}
	changed := false
	for j, raw := range servers {
		var server string
		if json.Unmarshal(raw, &server) != nil {
			continue
		}
		if mapped, ok := s.publicIssuer(server); ok && mapped != server {
			servers[j], changed = quote(mapped), true
		}
	}
	if !changed {
		return nil
	}
	return []edit{{o.members[i].value, marshal(servers)}}
}

// publicIssuer returns the public form of what the protected resource calls the
// server. A final slash, which it may have other than the server's own document,
// is the document's, for clients compare the two.
func (s *Server) publicIssuer(server string) (string, bool) {
	rest, ok := s.Owns(server)
	if !ok {
		return server, false
	}
	for _, i := range s.issuers {
		if strings.TrimSuffix(afterAuthority(i.public), "/") == strings.TrimSuffix(rest, "/") {
			return i.public, true
		}
	}
	return s.public + rest, true
}
