package metadata

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// document is a metadata document without the value of resource, which depends on how the
// client wrote the metadata URL.
type document struct {
	head, tail []byte
	mapped     bool // the public resource stands between head and tail
	// query is the query of the upstream's resource, with its question mark.
	query string
}

// render returns the document for a public resource without query.
func (d *document) render(resource string) []byte { return d.renderQuery(resource, d.query) }

// renderQuery returns the document for a public resource with a query.
func (d *document) renderQuery(resource, query string) []byte {
	if !d.mapped {
		return d.head
	}
	return slices.Concat(d.head, jsontext.Quote(resource+query), d.tail)
}

// generate makes the configured document (RFC 9728 section 2).
func generate(c *Config) *document {
	members := []Member{{"authorization_servers", jsontext.Marshal(c.AuthorizationServers)}}
	if len(c.ScopesSupported) > 0 {
		members = append(members, Member{"scopes_supported", jsontext.Marshal(c.ScopesSupported)})
	}
	members = append(members, Member{"bearer_methods_supported", []byte(`["header"]`)})
	if c.ResourceName != "" {
		members = append(members, Member{"resource_name", jsontext.Quote(c.ResourceName)})
	}
	for _, set := range c.Set {
		i := slices.IndexFunc(members, func(m Member) bool { return m.Name == set.Name })
		if i >= 0 {
			members[i].Value = set.Value
		} else {
			members = append(members, set)
		}
	}
	d := &document{head: []byte(`{"resource":`), mapped: true}
	for _, m := range members {
		d.tail = append(d.tail, ',')
		d.tail = append(d.tail, jsontext.Quote(m.Name)...)
		d.tail = append(d.tail, ':')
		d.tail = append(d.tail, m.Value...)
	}
	d.tail = append(d.tail, '}')
	return d
}

// overlays returns the members that the operator sets on the upstream's document.
func overlays(c *Config) []Member {
	var members []Member
	if len(c.ScopesSupported) > 0 {
		members = append(members, Member{"scopes_supported", jsontext.Marshal(c.ScopesSupported)})
	}
	if c.ResourceName != "" {
		members = append(members, Member{"resource_name", jsontext.Quote(c.ResourceName)})
	}
	return append(members, c.Set...)
}

// mapper makes the public document from the upstream's.
type mapper struct {
	up           *upstream
	keepResource bool
	overlays     []Member
}

// rewrite makes the public document from the upstream's, byte by byte the same
// but for the members that have to differ.
func (m *mapper) rewrite(raw []byte, pub Public, sentHost string, srv *Server, report func(Event)) (*document, error) {
	o, err := jsontext.ParseObject(raw)
	if err != nil {
		return nil, err
	}
	if _, _, err := resourceIn(o); err != nil {
		return nil, err
	}
	raw = m.withoutPrivateURLs(raw, pub, sentHost, srv, report)
	if o, err = jsontext.ParseObject(raw); err != nil {
		return nil, err
	}
	at, resource, err := resourceIn(o)
	if err != nil {
		return nil, err
	}
	edits := m.overlay(o)
	if i := o.Find("signed_metadata"); i >= 0 && !m.sets("signed_metadata") {
		edits = append(edits, jsontext.Edit{Span: o.Without(i)})
		report(Event{Kind: SignedMetadataDropped})
	}
	if srv != nil && !m.sets("authorization_servers") {
		edits = append(edits, srv.mapServers(o)...)
	}
	m.reportServers(o, pub, sentHost, srv, report)
	d := &document{}
	if !m.keepResource {
		if m.ownsResource(resource, pub, sentHost) {
			d.mapped = true
			if u, err := origin.Parse(resource); err == nil {
				d.query = u.Query
			}
			if srv != nil {
				srv.resource = resource
			}
		} else {
			report(Event{Kind: ForeignResource, Value: resource, Option: "challenge origins"})
		}
	}
	if !d.mapped {
		d.head = jsontext.Apply(raw, jsontext.Span{Start: 0, End: len(raw)}, edits)
		return d, nil
	}
	v := o.Members[at].Value
	d.head = jsontext.Apply(raw, jsontext.Span{Start: 0, End: v.Start}, edits)
	d.tail = jsontext.Apply(raw, jsontext.Span{Start: v.End, End: len(raw)}, edits)
	return d, nil
}

// foreignResource returns the resource of a document if it is not the upstream's own. Such a
// document is not the endpoint's (RFC 9728 section 3.3). With keep_resource every resource
// is accepted.
func (m *mapper) foreignResource(raw []byte, pub Public, sentHost string) (string, error) {
	o, err := jsontext.ParseObject(raw)
	if err != nil {
		return "", err
	}
	_, resource, err := resourceIn(o)
	if err != nil || m.keepResource || m.ownsResource(resource, pub, sentHost) {
		return "", err
	}
	return cmp.Or(resource, "none"), nil
}

// ownsResource reports whether resource is the upstream's own, with or without the query of
// the MCP URL.
func (m *mapper) ownsResource(resource string, pub Public, sentHost string) bool {
	u, err := origin.Parse(resource)
	if u.Query == pub.Query {
		u.Query = ""
	}
	return err == nil && m.up.namesResource(u, pub, sentHost)
}

// overlay returns the edits that set the operator's members. A member that the document has
// is replaced; others are appended in the layout of the document.
func (m *mapper) overlay(o *jsontext.Object) []jsontext.Edit {
	var edits []jsontext.Edit
	var appended []byte
	for _, m := range m.overlays {
		if i := o.Find(m.Name); i >= 0 {
			edits = append(edits, jsontext.Edit{Span: o.Members[i].Value, Text: m.Value})
			continue
		}
		appended = append(appended, ',')
		appended = append(appended, o.Raw[o.Indent.Start:o.Indent.End]...)
		appended = append(appended, jsontext.Quote(m.Name)...)
		appended = append(appended, ':')
		if o.Members[0].ColonSpaced {
			appended = append(appended, ' ')
		}
		appended = append(appended, m.Value...)
	}
	if appended != nil {
		end := o.Members[len(o.Members)-1].Value.End
		edits = append(edits, jsontext.Edit{Span: jsontext.Span{Start: end, End: end}, Text: appended})
	}
	return edits
}

func (m *mapper) sets(name string) bool {
	return slices.ContainsFunc(m.overlays, func(set Member) bool { return set.Name == name })
}

// reportServers reports the first authorization server that is the MCP server itself, which
// is not bridged, or that is on a local host. It does not report the latter if the public host
// is local as well: then everything is on one machine or network.
func (m *mapper) reportServers(o *jsontext.Object, pub Public, sentHost string, srv *Server, report func(Event)) {
	i := o.Find("authorization_servers")
	if i < 0 {
		return
	}
	var servers []string
	if json.Unmarshal(o.Value(i), &servers) != nil {
		return
	}
	for _, server := range servers {
		if srv != nil {
			server, _ = srv.publicIssuer(server)
		}
		u, err := origin.Parse(server)
		if err != nil {
			continue
		}
		if srv == nil && m.isUpstream(u, pub.seen(sentHost)) {
			report(Event{Kind: OwnAuthorizationServer, Value: server, Option: "authorization_server bridge"})
			return
		}
		if u.Local() && !pub.location().Local() {
			report(Event{
				Kind: PrivateAuthorizationServer, Value: server,
				Option: "metadata authorization_servers or authorization_server bridge",
			})
			return
		}
	}
}

// isUpstream reports whether an authorization server is the MCP server itself: it has the
// address that is dialled, or the same port on a local host. One on the public host is served
// there by something else.
func (m *mapper) isUpstream(u origin.URL, seen origin.Seen) bool {
	names := m.up.names
	if u.Local() {
		const http, https = 80, 443 // which say nothing of the server
		return names.DialsPort(u.Port) && u.Port != http && u.Port != https && (u.Name != seen.Public.Name || u.Port != seen.Public.Port)
	}
	return u.Name != seen.Public.Name && names.Own(u, seen, origin.Fetch)
}

// withoutPrivateURLs returns the upstream's document of the protected resource without
// private URLs. A URL is mapped if it is the MCP server's, or if the bridged authorization
// server serves its path; otherwise its member is removed. The members resource and
// authorization_servers are handled elsewhere.
func (m *mapper) withoutPrivateURLs(raw []byte, pub Public, sentHost string, srv *Server, report func(Event)) []byte {
	seen := pub.seen(sentHost)
	if seen.Public.Name == "" {
		return raw
	}
	own := func(u origin.URL) bool {
		return !u.SameOrigin(seen.Public) && m.up.names.Own(u, seen, origin.Document)
	}
	keep := func(top string) bool {
		return top == "resource" || top == "authorization_servers" || top == "signed_metadata" || m.sets(top)
	}
	return replacePrivateURLs(raw, pub.Origin, own, keep, func(_ jsontext.At, u origin.URL, mapped string) (string, bool) {
		path, err := url.PathUnescape(u.Path)
		switch {
		case err != nil:
			return "", false
		case m.up.isEndpoint(u):
			return pub.URL(), true
		}
		return mapped, srv != nil && srv.Route(path) != RouteNone
	}, report)
}

// replacePrivateURLs replaces the private URLs in the strings of a document, but for members for
// which keep returns true. private reports whether an origin is private, and public is the origin
// that takes its place. If a string or the name of a member is a URL, replacement returns what
// takes its place; if it returns false, the whole member is removed, and reported. URLs inside a
// longer text are mapped to public.
func replacePrivateURLs(
	raw []byte, public string, private func(origin.URL) bool, keep func(top string) bool,
	replacement func(at jsontext.At, u origin.URL, mapped string) (string, bool), report func(Event),
) []byte {
	var gone []string
	out, ok := jsontext.EditStrings(raw, func(at jsontext.At, value string) (string, jsontext.Action) {
		if keep(at.Top) {
			return value, jsontext.Keep
		}
		mapped, found := origin.MapText(value, public, private)
		if !found {
			return value, jsontext.Keep
		}
		u, err := origin.Parse(value)
		if err != nil && !at.Name {
			return mapped, jsontext.Replace
		}
		if !at.Name {
			if to, ok := replacement(at, u, mapped); ok {
				return to, jsontext.Replace
			}
		}
		gone = append(gone, at.Top)
		return mapped, jsontext.Drop
	})
	if !ok {
		return raw
	}
	if len(gone) > 0 {
		slices.Sort(gone)
		report(Event{Kind: PrivateURLDropped, Value: strings.Join(slices.Compact(gone), " ")})
	}
	return out
}

// Why a document cannot be used.
var (
	errNoResource    = errors.New("has no resource")
	errResourceIs    = errors.New("has a resource that is not a string")
	errResources     = errors.New("has a resource that is a list")
	errEmptyResource = errors.New("has a resource that is empty")
)

// resourceIn returns the index of the member resource and its value, which must be one
// string that is not empty (RFC 9728 section 2).
func resourceIn(o *jsontext.Object) (at int, resource string, err error) {
	at = o.Find("resource")
	if at < 0 {
		return at, "", errNoResource
	}
	resource, ok := o.Text(at)
	switch {
	case ok && resource == "":
		return at, "", errEmptyResource
	case ok:
		return at, resource, nil
	case o.Value(at)[0] == '[':
		return at, "", errResources
	}
	return at, "", errResourceIs
}
