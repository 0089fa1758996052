package metadata

import (
	"encoding/json"
	"slices"
)

// document is a metadata document that is ready but for the value of resource,
// which depends on how the client wrote the metadata URL.
type document struct {
	head, tail []byte
	mapped     bool // the public resource stands between head and tail
}

// render returns the document for a public resource.
func (d *document) render(resource string) []byte {
	if !d.mapped {
		return d.head
	}
	return slices.Concat(d.head, quote(resource), d.tail)
}

// generate makes the configured document (RFC 9728 section 2).
func generate(c *Config) *document {
	members := []Member{{"authorization_servers", marshal(c.AuthorizationServers)}}
	if len(c.ScopesSupported) > 0 {
		members = append(members, Member{"scopes_supported", marshal(c.ScopesSupported)})
	}
	members = append(members, Member{"bearer_methods_supported", []byte(`["header"]`)})
	if c.ResourceName != "" {
		members = append(members, Member{"resource_name", quote(c.ResourceName)})
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
		d.tail = append(d.tail, quote(m.Name)...)
		d.tail = append(d.tail, ':')
		d.tail = append(d.tail, m.Value...)
	}
	d.tail = append(d.tail, '}')
	return d
}

// overlays are the members that the operator sets on the upstream's document.
func overlays(c *Config) []Member {
	var members []Member
	if len(c.ScopesSupported) > 0 {
		members = append(members, Member{"scopes_supported", marshal(c.ScopesSupported)})
	}
	if c.ResourceName != "" {
		members = append(members, Member{"resource_name", quote(c.ResourceName)})
	}
	return append(members, c.Set...)
}

// edit replaces a range of a text.
type edit struct {
	span

	text []byte
}

// rewrite makes the public document from the upstream's, byte by byte the same
// but for the members that have to differ.
func (s *Store) rewrite(raw []byte, pub Public, sentHost string, srv *Server, report func(Event)) (*document, error) {
	o, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	at := o.find("resource")
	var resource string
	if at < 0 || o.value(at)[0] != '"' || json.Unmarshal(o.value(at), &resource) != nil {
		return nil, errNoResource
	}
	edits := s.overlay(o)
	if i := o.find("signed_metadata"); i >= 0 && !s.sets("signed_metadata") {
		edits = append(edits, edit{span: o.without(i)})
		report(Event{Kind: SignedMetadataDropped})
	}
	if srv != nil && !s.sets("authorization_servers") {
		edits = append(edits, srv.mapServers(o)...)
	}
	s.reportServers(o, pub, srv, report)
	d := &document{}
	if !s.cfg.KeepResource {
		l, err := parseLocation(resource)
		if err == nil && s.id.namesResource(l, pub, sentHostPort(sentHost)) {
			d.mapped = true
			if srv != nil {
				srv.resource = resource
			}
		} else {
			report(Event{Kind: ForeignResource, Value: resource, Option: "challenge origins"})
		}
	}
	if !d.mapped {
		d.head = apply(raw, span{0, len(raw)}, edits)
		return d, nil
	}
	v := o.members[at].value
	d.head = apply(raw, span{0, v.start}, edits)
	d.tail = apply(raw, span{v.end, len(raw)}, edits)
	return d, nil
}

// overlay returns the edits that bring in the operator's members: in place of
// the upstream's, or after its last one in the same layout.
func (s *Store) overlay(o *object) []edit {
	var edits []edit
	var appended []byte
	for _, m := range s.overlays {
		if i := o.find(m.Name); i >= 0 {
			edits = append(edits, edit{o.members[i].value, m.Value})
			continue
		}
		appended = append(appended, ',')
		appended = append(appended, o.raw[o.indent.start:o.indent.end]...)
		appended = append(appended, quote(m.Name)...)
		appended = append(appended, ':')
		if o.members[0].colonSpaced {
			appended = append(appended, ' ')
		}
		appended = append(appended, m.Value...)
	}
	if appended != nil {
		end := o.members[len(o.members)-1].value.end
		edits = append(edits, edit{span{end, end}, appended})
	}
	return edits
}

func (s *Store) sets(name string) bool {
	return slices.ContainsFunc(s.overlays, func(m Member) bool { return m.Name == name })
}

// without returns the range of member i with one of the commas round it. The
// object has another member.
func (o *object) without(i int) span {
	if i+1 < len(o.members) {
		return span{o.members[i].name0, o.members[i+1].name0}
	}
	return span{o.members[i-1].value.end, o.members[i].value.end}
}

// apply returns the range of raw with those edits that are inside it. Edits do
// not overlap.
func apply(raw []byte, within span, edits []edit) []byte {
	slices.SortStableFunc(edits, func(a, b edit) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return a.end - b.end
	})
	var out []byte
	pos := within.start
	for _, e := range edits {
		if e.start < within.start || e.end > within.end {
			continue
		}
		out = append(out, raw[pos:e.start]...)
		out = append(out, e.text...)
		pos = e.end
	}
	return append(out, raw[pos:within.end]...)
}

// reportServers reports the first authorization server on a local host, unless
// the public host is one as well: then everything is on one machine or network.
func (s *Store) reportServers(o *object, pub Public, srv *Server, report func(Event)) {
	i := o.find("authorization_servers")
	if i < 0 || pub.location().local() {
		return
	}
	var servers []string
	if json.Unmarshal(o.value(i), &servers) != nil {
		return
	}
	for _, server := range servers {
		if srv != nil {
			server, _ = srv.publicIssuer(server)
		}
		if l, err := parseLocation(server); err == nil && l.local() {
			report(Event{
				Kind: PrivateAuthorizationServer, Value: server,
				Option: "metadata authorization_servers or authorization_server bridge",
			})
			return
		}
	}
}
