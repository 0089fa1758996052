package doctor

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/schema"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// resourceDocument is the metadata of the protected resource.
type resourceDocument struct {
	record.Fetched
	resource string
	servers  []string
}

// place is a URL where metadata may be.
type place struct {
	name   string // of the exchange
	text   string
	at     *url.URL
	schema schema.Schema // of the document there
}

// resourceStage finds and checks the metadata of the protected resource.
type resourceStage struct {
	*record.Recorder
	endpoint  *endpoint
	challenge *challengeStage

	doc     resourceDocument
	unfound []unfound
	noLogin bool // the server says that it has no login
}

// resourcePlaces returns where clients look, in their order (RFC 9728 section 3.1;
// MCP 2026-07-28 Authorization Server Discovery).
func (m *resourceStage) resourcePlaces() []place {
	var places []place
	if m.challenge.link != nil {
		places = append(places, place{"challenge", "in WWW-Authenticate", m.challenge.link, schema.Resource})
	}
	for _, p := range m.wellKnownPlaces() {
		if !slices.ContainsFunc(places, func(q place) bool { return q.at.String() == p.at.String() }) {
			places = append(places, p)
		}
	}
	return places
}

// wellKnownPlaces returns the places where clients look without a challenge.
func (m *resourceStage) wellKnownPlaces() []place {
	root := &url.URL{Scheme: m.Target.Scheme, Host: m.Target.Host}
	places := []place{
		{"path", "well-known, with the path", urls.WellKnown(m.Target, "oauth-protected-resource"), schema.Resource},
		{"root", "well-known, without a path", urls.WellKnown(root, "oauth-protected-resource"), schema.Resource},
	}
	if places[0].at.String() == places[1].at.String() {
		return places[1:]
	}
	return places
}

// findResource tries the places in their order, and skips those that clients skip.
func (m *resourceStage) findResource(ctx context.Context, s *report.Step) {
	if m.endpoint.refused == nil {
		s.Skip("no login is required")
		return
	}
	var first, faulty *record.Fetched // the first place that failed, and the first document without a resource
	for _, p := range m.resourcePlaces() {
		f := m.Fetch(ctx, s, p.name, p.at)
		if f.Answer.HasNoLogin() {
			m.noLogin = true
			m.Pass(s, "metadata.found", "the server says that it has no login; clients need a key, or an account of the site")
			return
		}
		if f.Document != nil {
			if f.Without(schema.Resource, "resource") == "" {
				if p.at == m.challenge.link {
					m.challenge.settleScheme(true)
				}
				m.settleUnfound(report.Fail, "")
				m.judgePassedOver(s, first)
				m.acceptResource(s, f, p)
				if m.challenge.link != nil {
					m.challenge.settleUnread(m.findsWellKnown(ctx, s, p))
				}
				break
			}
			f.Rule, f.Why = "resource.usable", "has no usable resource: "+f.Without(schema.Resource, "resource")
			if faulty == nil {
				faulty = &f
			}
		}
		if p.at == m.challenge.link {
			m.judgeNamed(s, f)
		}
		if first == nil || first.Absent() && !f.Absent() {
			first = &f
		}
	}
	switch {
	case m.doc.Document != nil:
		m.challenge.settleChallenge(report.Warn, m.findsWithout())
	case faulty != nil: // check the rest of the document
		m.settleUnfound(report.Fail, "")
		m.acceptResource(s, *faulty, place{at: faulty.At})
		m.challenge.settleChallenge(report.Fail, notFound)
	case m.challenge.link == nil && first != nil:
		m.unfound = append(m.unfound, unfound{s, first.Rule, first.Facts, "no well-known URL has the OAuth metadata; " + m.Secrets.Text(urls.WithoutQuery(first.At)) + " " + first.Why})
	}
}

// findsWellKnown reports whether clients that ignore the challenge find the document at a
// well-known URL. where is the place of the document.
func (m *resourceStage) findsWellKnown(ctx context.Context, s *report.Step, where place) bool {
	if where.at != m.challenge.link || m.challenge.unread() == "" {
		return true
	}
	for _, p := range m.wellKnownPlaces() {
		if p.at.String() == where.at.String() {
			return true
		}
		if f := m.Fetch(ctx, s, p.name, p.at); f.Document != nil && f.Without(schema.Resource, "resource") == "" {
			return true
		}
	}
	return false
}

// findsWithout returns a text about which clients find the document if the challenge does
// not name it. At the URL without a path the Go SDK expects the origin as the resource (RFC
// 9728 section 3.3).
func (m *resourceStage) findsWithout() string {
	root := strings.TrimSuffix(m.doc.At.Path, "/") == "/.well-known/oauth-protected-resource"
	if root && strings.Trim(m.Target.Path, "/") != "" && strings.TrimSuffix(m.doc.resource, "/") != urls.Origin(m.Target) {
		return "; clients find the metadata at the well-known URL without a path, but not old clients and those built with the Go SDK"
	}
	return "; clients find the metadata at its well-known URL, old clients do not"
}

// unfound is a finding about missing metadata. It is a failure only if clients also find no
// authorization server without the metadata.
type unfound struct {
	step  *report.Step
	rule  string
	facts report.Facts
	text  string
}

// judgeNamed records that the URL of the challenge has no usable document.
func (m *resourceStage) judgeNamed(s *report.Step, f record.Fetched) {
	m.challenge.settleScheme(false)
	if f.Document != nil || m.challenge.scheme != "" {
		return // recorded elsewhere
	}
	if m.challenge.several {
		m.unfound = append(m.unfound, unfound{m.Steps[stepChallenge], "challenge.one", nil, "the first URL in WWW-Authenticate, which clients use, " + f.Why + ": " + m.Secrets.Text(urls.WithoutQuery(f.At))})
		return
	}
	m.unfound = append(m.unfound, unfound{s, f.Rule, f.Facts, "the URL in WWW-Authenticate " + f.Why + ": " + m.Secrets.Text(urls.WithoutQuery(f.At))})
}

// acceptResource uses a document for the rest of the walk, and checks it.
func (m *resourceStage) acceptResource(s *report.Step, f record.Fetched, p place) {
	m.doc = resourceDocument{Fetched: f, resource: f.Text("resource")}
	m.doc.servers, _ = f.Texts("authorization_servers")
	if p.name != "" {
		m.Pass(s, "metadata.found", "found at the URL %s", p.text)
	}
	m.judgeResource(s, p.at == m.challenge.link, p)
}

// judgePassedOver checks the first place that failed, if a later one has the document. After
// a status of 4xx all clients try the next place. After anything else, clients built with
// the TypeScript SDK stop.
func (m *resourceStage) judgePassedOver(s *report.Step, first *record.Fetched) {
	if first == nil || first.Status/100 == 4 || first.Status/100 == 3 || m.challenge.broken() || m.challenge.link != nil && first.Document == nil {
		return
	}
	m.NoteWith(s, report.Fail, first.Rule, first.Facts, "%s %s; clients built with the TypeScript SDK stop there", m.Secrets.Text(urls.WithoutQuery(first.At)), first.Why)
}

// judgeResource checks the document.
func (m *resourceStage) judgeResource(s *report.Step, named bool, p place) {
	m.JudgeLeft(s, m.doc.Fetched, "metadata.redirect")
	m.JudgeType(s, m.doc.Fetched, "metadata.type")
	m.JudgeBrowser(s, m.doc.Fetched, "metadata.browser")
	all := schema.Resource.Faults(m.doc.Document)
	if len(all) > 0 && all[0].Name == "resource" { // the first member of the schema
		m.NoteFaults(s, "resource.usable", "the document", all[:1])
	} else {
		m.judgeIdentity(s, named, p)
	}
	m.NoteFaults(s, "resource.members", "the document", schema.Without(all, "resource", "authorization_servers"))
	if what := schema.FaultOf(all, "authorization_servers"); what != "" {
		m.Fail(s, "resource.servers", "the OAuth metadata names no authorization server: %s", what)
		return
	}
	m.Pass(s, "resource.servers", "authorization server: %s", m.Secrets.Link(m.doc.servers[0]))
}

// judgeIdentity compares resource with the URL that clients have, including its query (RFC
// 9728 section 3.3). Many servers name a parent of the URL or another query. The TypeScript
// SDK accepts that, other clients do not.
func (m *resourceStage) judgeIdentity(s *report.Step, named bool, p place) {
	resource, want := m.doc.resource, m.Target.String()
	shown := m.Secrets.Link(resource)
	u, err := url.Parse(resource)
	if err != nil {
		u = new(url.URL)
	}
	seen := report.Facts{}
	if u.Host != "" && urls.Origin(u) != urls.Origin(m.Target) {
		seen[rules.Other] = m.Secrets.Text(urls.Origin(u))
	}
	sameQuery := u.RawQuery == m.Target.RawQuery
	got, asked := *u, *m.Target
	got.Path, got.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
	asked.Path, asked.RawPath = strings.TrimSuffix(asked.Path, "/"), strings.TrimSuffix(asked.RawPath, "/")
	same := got.Path == asked.Path && urls.Origin(u) == urls.Origin(m.Target)
	switch {
	case resource == want || resource == urls.Origin(m.Target) && asked.Path == "" && sameQuery:
		m.Pass(s, "resource.identical", "the OAuth metadata is for this URL")
	case same && !sameQuery:
		m.NoteWith(s, report.Warn, "resource.identical", seen, "the OAuth metadata is for %s, with another query than the URL: some clients stop", shown)
	case !named && p.name == "root" && strings.TrimSuffix(resource, "/") == urls.Origin(m.Target):
		m.Warn(s, "resource.identical", "the OAuth metadata is for %s, not only for this URL", shown)
	case same && u.Path == m.Target.Path:
		m.Warn(s, "resource.identical", "the OAuth metadata writes this server's URL as %s instead of %s: some clients stop", shown, m.Report.URL)
	case same:
		m.Fail(s, "resource.identical", "the OAuth metadata says this server is %s, which differs from %s in the final slash: some clients stop", shown, m.Report.URL)
	case within(resource, m.Target):
		m.Warn(s, "resource.identical", "the OAuth metadata is for %s, not only for this URL: some clients stop", shown)
	default:
		m.NoteWith(s, report.Fail, "resource.identical", seen, "the OAuth metadata says this server is %s, but clients use %s", shown, m.Report.URL)
	}
}

// within reports whether a resource is a parent of the URL, at the same origin.
func within(resource string, target *url.URL) bool {
	u, err := url.Parse(resource)
	if err != nil || urls.Origin(u) != urls.Origin(target) || u.RawQuery != "" {
		return false
	}
	return strings.HasPrefix(strings.TrimSuffix(target.Path, "/")+"/", strings.TrimSuffix(u.Path, "/")+"/")
}

// settleUnfound records that there is no metadata of the resource. level and then depend on
// what clients do without it.
func (m *resourceStage) settleUnfound(level report.Level, then string) {
	for _, u := range m.unfound {
		m.NoteWith(u.step, level, u.rule, u.facts, "%s%s", u.text, then)
	}
	m.unfound = nil
}
