package metadata

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// errNoIssuer says that a document is not the metadata of an authorization server.
var errNoIssuer = errors.New("has no issuer that is a string")

// isEndpointMember reports whether a member of an authorization server's metadata is the URL
// of something that the server serves.
func isEndpointMember(name string) bool {
	return strings.HasSuffix(name, "_endpoint") || strings.HasSuffix(name, "_uri") ||
		name == "service_documentation" || name == "check_session_iframe"
}

// parseServer parses the metadata of an authorization server (RFC 8414 section
// 2).
func parseServer(raw []byte) (o *jsontext.Object, iss string, err error) {
	if o, err = jsontext.ParseObject(raw); err != nil {
		return nil, "", err
	}
	iss, ok := o.Text(o.Find("issuer"))
	if !ok {
		return nil, "", errNoIssuer
	}
	return o, iss, nil
}

// mapDocument returns the document as it is served at the public origin, and adds its
// endpoints to the routes. at is the issuer; URLs on other origins are not the server's.
// Every other byte stays. If the issuer is at the public origin already, nothing is changed.
//
// It removes what would not work after the mapping (C5): what clients sign for one of the
// URLs, what the server has signed, and response modes other than a redirect with a query.
func (s *Server) mapDocument(o *jsontext.Object, at origin.URL, report func(Event)) []byte {
	public, err := origin.ParseOrigin(s.public)
	if err != nil {
		return o.Raw
	}
	e := serverEditor{server: s, at: at, public: public, Object: o}
	for i := range o.Members {
		e.member(i)
	}
	if at.SameOrigin(public) {
		return o.Raw
	}
	if e.dropped {
		report(Event{Kind: ServerFeatureDropped, Value: strings.Join(e.names, " ")})
	}
	return jsontext.Apply(o.Raw, jsontext.Span{Start: 0, End: len(o.Raw)}, append(e.edits, o.Drop(e.gone)...))
}

// serverEditor edits one document.
type serverEditor struct {
	*jsontext.Object

	server  *Server
	at      origin.URL
	public  origin.URL
	edits   []jsontext.Edit
	gone    []int // members to drop, in order
	names   []string
	dropped bool
}

// member edits one member.
func (e *serverEditor) member(i int) {
	name := e.Members[i].Name
	switch {
	case name == "issuer", isEndpointMember(name):
		e.mapURL(e.Object, i, 0)
	case name == "mtls_endpoint_aliases":
		e.aliases(i)
	case name == "signed_metadata",
		name == "dpop_signing_alg_values_supported",
		strings.HasPrefix(name, "request_object_"),
		strings.HasSuffix(name, "_endpoint_auth_signing_alg_values_supported"):
		e.drop(i)
	case name == "request_parameter_supported", name == "request_uri_parameter_supported":
		// The default depends on the revision of the specification, so it is set to false.
		if string(e.Value(i)) != "false" {
			e.replace(i, []byte("false"))
		}
	case strings.HasSuffix(name, "_endpoint_auth_methods_supported"):
		e.filter(i, func(v string) bool { return v != "private_key_jwt" && v != "client_secret_jwt" })
	case name == "response_modes_supported":
		e.filter(i, func(v string) bool { return v == "query" })
	}
}

// mapURL maps the URL in member i of o, and adds it to the routes. start is the offset of o
// in the document.
func (e *serverEditor) mapURL(o *jsontext.Object, i, start int) {
	raw, ok := o.Text(i)
	if !ok {
		return
	}
	l, err := origin.Parse(raw)
	if err != nil || !l.SameOrigin(e.at) && !l.SameOrigin(e.public) {
		return
	}
	name := o.Members[i].Name
	if name != "issuer" {
		e.server.addRoute(name, l)
	}
	if l.SameOrigin(e.public) {
		return // this URL is public already
	}
	v := o.Members[i].Value
	e.edits = append(e.edits, jsontext.Edit{Span: jsontext.Span{Start: start + v.Start, End: start + v.End}, Text: jsontext.Quote(e.server.public + origin.AfterAuthority(raw))})
}

// aliases maps the endpoints for clients with certificates (RFC 8705 section 5).
func (e *serverEditor) aliases(i int) {
	inner, err := jsontext.ParseObject(e.Value(i))
	if err != nil {
		return
	}
	for j := range inner.Members {
		if strings.HasSuffix(inner.Members[j].Name, "_endpoint") {
			e.mapURL(inner, j, e.Members[i].Value.Start)
		}
	}
}

func (e *serverEditor) replace(i int, value []byte) {
	e.edits = append(e.edits, jsontext.Edit{Span: e.Members[i].Value, Text: value})
	e.note(e.Members[i].Name)
}

func (e *serverEditor) drop(i int) {
	e.gone = append(e.gone, i)
	e.note(e.Members[i].Name)
}

func (e *serverEditor) note(name string) {
	e.dropped = true
	e.names = append(e.names, name)
}

// filter removes strings from a list; other elements stay. An empty list is not allowed (RFC
// 8414 section 2), so if no element is left the member is removed.
func (e *serverEditor) filter(i int, keep func(string) bool) {
	var values []json.RawMessage
	if json.Unmarshal(e.Value(i), &values) != nil {
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
		e.replace(i, jsontext.Marshal(kept))
	}
}

// addRoute adds the path of an endpoint to the routes.
func (s *Server) addRoute(name string, l origin.URL) {
	kind := kindOf(name)
	path, err := url.PathUnescape(l.Path)
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
		return // a link to the home page is not part of a login
	}
	if old, ok := s.routes[path]; !ok || kind < old {
		s.routes[path] = kind
	}
}

// mapServers maps the bridged server in authorization_servers of a protected resource's
// metadata. Each gets exactly the bytes of its public issuer.
func (s *Server) mapServers(o *jsontext.Object) []jsontext.Edit {
	i := o.Find("authorization_servers")
	var servers []json.RawMessage
	if i < 0 || json.Unmarshal(o.Value(i), &servers) != nil {
		return nil
	}
	changed := false
	for j, raw := range servers {
		var server string
		if json.Unmarshal(raw, &server) != nil {
			continue
		}
		if mapped, ok := s.publicIssuer(server); ok && mapped != server {
			servers[j], changed = jsontext.Quote(mapped), true
		}
	}
	if !changed {
		return nil
	}
	return []jsontext.Edit{{Span: o.Members[i].Value, Text: jsontext.Marshal(servers)}}
}

// publicIssuer returns the public issuer for an entry of authorization_servers. Clients
// compare the two byte by byte, so it ends in a slash exactly if the issuer in the server's
// own document does.
func (s *Server) publicIssuer(server string) (string, bool) {
	rest, ok := s.Owns(server)
	if !ok {
		return server, false
	}
	for _, i := range s.issuers {
		if strings.TrimSuffix(origin.AfterAuthority(i.public), "/") == strings.TrimSuffix(rest, "/") {
			return i.public, true
		}
	}
	return s.public + rest, true
}
