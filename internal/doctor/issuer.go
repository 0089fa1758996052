package doctor

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/schema"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// serverDocument is the metadata of an authorization server.
type serverDocument struct {
	record.Fetched
	authorize, token, register, device *url.URL

	cimd bool // client ID metadata documents
}

// issuerPlaces returns where clients look for the metadata of an issuer, in their order
// (MCP 2026-07-28 Authorization Server Discovery).
func issuerPlaces(issuer *url.URL) []place {
	if strings.Trim(issuer.Path, "/") == "" {
		return []place{
			{"oauth", "RFC 8414", urls.WellKnown(issuer, "oauth-authorization-server"), schema.AuthorizationServer},
			{"openid", "OpenID Connect", urls.WellKnown(issuer, "openid-configuration"), schema.OpenID},
		}
	}
	appended := *issuer
	appended.RawQuery, appended.Fragment = "", ""
	return []place{
		{"oauth", "RFC 8414, path inserted", urls.WellKnown(issuer, "oauth-authorization-server"), schema.AuthorizationServer},
		{"openid", "OpenID Connect, path inserted", urls.WellKnown(issuer, "openid-configuration"), schema.OpenID},
		{"openid-appended", "OpenID Connect, path appended", appended.JoinPath(".well-known", "openid-configuration"), schema.OpenID},
	}
}

// issuerStage finds and checks the metadata of the authorization server, and asks whether a
// page may call its endpoints.
type issuerStage struct {
	*record.Recorder
	endpoint         *endpoint
	challenge        *challengeStage
	resource         *resourceStage
	clientID, secret string // of the caller

	issuer string // the issuer, once it is known
	doc    serverDocument
}

// noLogin is why steps are skipped if the server says that it has no login.
const noLogin = "the server has no login"

// findServer finds the metadata of the first authorization server. Clients from before
// 2025-06-18 look at the origin of the MCP server.
func (i *issuerStage) findServer(ctx context.Context, s *report.Step) {
	switch {
	case i.endpoint.refused == nil:
		s.Skip("no login is required")
		return
	case i.resource.noLogin:
		s.Skip(noLogin)
		return
	case i.resource.doc.Document == nil:
		i.findOldServer(ctx, s)
		return
	case len(i.resource.doc.servers) == 0:
		s.Skip("no authorization server is named")
		return
	}
	raw := i.resource.doc.servers[0]
	issuer, err := url.Parse(raw)
	if err != nil || issuer.RawQuery != "" || issuer.Fragment != "" {
		i.Fail(s, "issuer.url", "the authorization server's URL is not an issuer URL: %s", i.Secrets.Link(raw))
		return
	}
	if why := urls.Misplaced(i.Target, issuer); why != "" {
		i.Fail(s, "issuer.url", "the authorization server has a URL that %s: %s", why, i.Secrets.Link(raw))
		return
	}
	i.issuer = raw
	i.findIssuer(ctx, s, raw, issuer)
}

// findOldServer looks at the origin of the MCP server. Clients of 2025-03-26 do so, and newer
// ones that find no metadata of the resource.
func (i *issuerStage) findOldServer(ctx context.Context, s *report.Step) {
	const then = "; clients then use the MCP server's host as the authorization server (2025-03-26)"
	origin := &url.URL{Scheme: i.Target.Scheme, Host: i.Target.Host}
	for _, p := range issuerPlaces(origin) {
		f := i.Fetch(ctx, s, p.name, p.at)
		if f.Document == nil {
			continue
		}
		if i.judgeIssuer(s, f, urls.Origin(i.Target), p.schema) {
			i.challenge.settleChallenge(report.Warn, then)
			i.resource.settleUnfound(report.Warn, then)
			i.doc.Fetched = f
			i.judgeServer(s, p.schema)
			return
		}
	}
	i.challenge.settleChallenge(report.Fail, notFound)
	i.resource.settleUnfound(report.Fail, "")
	s.Skip("no metadata names an authorization server")
}

// judgeIssuer uses a document at the origin of the MCP server. It returns false if clients
// cannot use the document. Only newer clients compare its issuer with the origin.
func (i *issuerStage) judgeIssuer(s *report.Step, f record.Fetched, origin string, is schema.Schema) bool {
	if f.Without(is, "issuer") != "" || f.Without(is, "authorization_endpoint") != "" || f.Without(is, "token_endpoint") != "" {
		return false
	}
	i.issuer = f.Text("issuer")
	shown := i.Secrets.Link(i.issuer)
	if strings.TrimSuffix(i.issuer, "/") != origin {
		i.Warn(s, "issuer.identical", "the metadata at %s names the issuer %s: clients built with the Go SDK and the TypeScript SDK 2 stop", i.Secrets.Text(urls.WithoutQuery(f.At)), shown)
		return true
	}
	i.Pass(s, "issuer.identical", "the MCP server's host is the authorization server (2025-03-26)")
	return true
}

// findIssuer finds the metadata of an issuer.
func (i *issuerStage) findIssuer(ctx context.Context, s *report.Step, raw string, issuer *url.URL) {
	var first, mismatch *record.Fetched
	var of schema.Schema // the schema of mismatch
	for _, p := range issuerPlaces(issuer) {
		f := i.Fetch(ctx, s, p.name, p.at)
		switch {
		case f.Document == nil:
			if first == nil || first.Absent() && !f.Absent() {
				first = &f
			}
			continue
		case f.Text("issuer") != raw:
			if mismatch == nil {
				mismatch, of = &f, p.schema
			}
			continue
		}
		i.Pass(s, "issuer.identical", "%s: the issuer is %s", p.text, i.Secrets.Link(raw))
		i.judgeSkippedIssuer(s, first)
		i.doc.Fetched = f
		i.judgeServer(s, p.schema)
		return
	}
	switch {
	case mismatch != nil:
		i.judgeMismatch(s, raw, mismatch, of)
	case first != nil && first.Err != nil:
		rule := "issuer.reached"
		if first.Slow {
			rule = "issuer.found"
		}
		i.Fail(s, rule, "the authorization server does not respond: %s %s", i.Secrets.Text(urls.WithoutQuery(first.At)), first.Why)
	case first != nil && first.Rule == rules.Passes:
		i.NoteWith(s, report.Fail, first.Rule, first.Facts, "the metadata of the authorization server, %s, %s", i.Secrets.Text(urls.WithoutQuery(first.At)), first.Why)
	case first != nil:
		i.Fail(s, "issuer.found", "the authorization server has no metadata: %s %s", i.Secrets.Text(urls.WithoutQuery(first.At)), first.Why)
	}
}

// judgeSkippedIssuer checks the first place that failed, if a later one has the document.
// After a status of 4xx all clients try the next place. After anything else each SDK stops,
// at least in some versions.
func (i *issuerStage) judgeSkippedIssuer(s *report.Step, first *record.Fetched) {
	if first == nil || first.Status/100 == 4 || first.Status/100 == 3 {
		return
	}
	rule := "issuer.found"
	if first.Rule == rules.Passes {
		rule = first.Rule
	}
	i.NoteWith(s, report.Fail, rule, first.Facts, "%s %s; clients stop there", i.Secrets.Text(urls.WithoutQuery(first.At)), first.Why)
}

// judgeMismatch records a document with another issuer.
func (i *issuerStage) judgeMismatch(s *report.Step, raw string, f *record.Fetched, is schema.Schema) {
	if what := f.Without(is, "issuer"); what != "" && f.Text("issuer") == "" {
		i.Fail(s, "issuer.members", "%s; expected %s: clients stop", what, i.Secrets.Link(raw))
		return
	}
	stop := "clients stop"
	if strings.TrimSuffix(f.Text("issuer"), "/") == strings.TrimSuffix(raw, "/") {
		stop = "some clients stop"
	}
	i.Fail(s, "issuer.identical", "the authorization server calls itself %s, but the MCP server calls it %s: %s", i.Secrets.Link(f.Text("issuer")), i.Secrets.Link(raw), stop)
}

// judgeServer checks the document.
func (i *issuerStage) judgeServer(s *report.Step, is schema.Schema) {
	d := &i.doc
	i.JudgeLeft(s, d.Fetched, "issuer.redirect")
	i.JudgeType(s, d.Fetched, "issuer.type")
	i.JudgeBrowser(s, d.Fetched, "issuer.browser")
	all := is.Faults(d.Document)
	i.NoteFaults(s, "issuer.members", "the document", schema.Without(all, "issuer", "authorization_endpoint", "token_endpoint"))
	d.authorize = i.endpointURL(s, "authorization_endpoint", all)
	d.token = i.endpointURL(s, "token_endpoint", all)
	d.register = i.endpointURL(s, "registration_endpoint", all)
	d.device = i.endpointURL(s, "device_authorization_endpoint", all)
	i.judgeIss(s)
	d.cimd = d.Truth("client_id_metadata_document_supported")
	i.judgePKCE(s, all)
	i.judgeRegistration(s)
	if types, ok := d.Texts("response_types_supported"); ok && !slices.Contains(types, "code") {
		i.Fail(s, "issuer.endpoints", "response_types_supported does not list code: clients stop")
	}
	if methods, ok := d.Texts("token_endpoint_auth_methods_supported"); ok && len(methods) > 0 && !slices.Contains(methods, "none") && i.secret == "" {
		i.Warn(s, "issuer.public", "all clients need a secret (%s), but most MCP clients have none", i.Secrets.Text(strings.Join(methods, ", ")))
	}
}

// judgeIss checks an authorization endpoint at another origin than the issuer. If the
// metadata does not announce iss, a client cannot distinguish that from a mix-up attack (RFC
// 9700 section 4.4.2), and a widely used one stops.
func (i *issuerStage) judgeIss(s *report.Step) {
	issuer, err := url.Parse(i.issuer)
	at := i.doc.authorize
	if err != nil || at == nil || urls.Origin(at) == urls.Origin(issuer) || i.doc.Truth(issAnnounced) {
		return
	}
	i.Warn(s, "issuer.iss", "authorization_endpoint is at %s, not at the issuer, and the metadata does not announce iss (%s): some clients stop", i.Secrets.Text(urls.Origin(at)), issAnnounced)
}

// issAnnounced is the metadata member that announces iss (RFC 9207 section 3).
const issAnnounced = "authorization_response_iss_parameter_supported"

// endpointURL returns the URL of an endpoint, or nil if clients cannot use it. all are the
// faults of the document. Those of a required endpoint are recorded here.
func (i *issuerStage) endpointURL(s *report.Step, name string, all []schema.Fault) *url.URL {
	for _, f := range all {
		if f.Name == name && f.Required {
			i.Fail(s, "issuer.endpoints", "%s", f.What)
		}
		if f.Name == name {
			return nil
		}
	}
	raw := i.doc.Text(name)
	u, err := url.Parse(raw)
	if err != nil || raw == "" {
		return nil
	}
	switch why := urls.Misplaced(i.doc.At, u); {
	case why != "":
		i.Fail(s, "issuer.endpoints", "%s is a URL that %s: %s", name, why, i.Secrets.Link(raw))
		return nil
	case u.Scheme != "https" && (!urls.Loopback(u) || i.doc.At.Scheme == "https"):
		i.Fail(s, "issuer.https", "%s is not an https URL, so others can read codes and tokens: %s", name, i.Secrets.Link(raw))
		return nil
	}
	return u
}

// judgePKCE checks for S256. Clients must refuse a server that does not name it.
func (i *issuerStage) judgePKCE(s *report.Step, all []schema.Fault) {
	const name = "code_challenge_methods_supported"
	methods, ok := i.doc.Texts(name)
	switch what := schema.FaultOf(all, name); {
	case what != "":
		i.Fail(s, "issuer.pkce", "%s, so clients assume that there is no PKCE, and stop", what)
	case !ok:
		i.Fail(s, "issuer.pkce", "%s is missing, so clients assume that there is no PKCE, and stop", name)
	case !slices.Contains(methods, "S256"):
		i.Fail(s, "issuer.pkce", "%s does not list S256: clients stop", name)
	default:
		i.Pass(s, "issuer.pkce", "PKCE with S256")
	}
}

// judgeRegistration checks how clients can get an ID.
func (i *issuerStage) judgeRegistration(s *report.Step) {
	d := &i.doc
	switch {
	case d.cimd && d.register != nil:
		i.Pass(s, "issuer.registration", "clients register with a metadata document, or dynamically")
	case d.cimd:
		i.Pass(s, "issuer.registration", "clients register with a metadata document; clients from before 2025-11-25 need dynamic registration")
	case d.register != nil:
		i.Pass(s, "issuer.registration", "clients register dynamically (deprecated since 2026-07-28)")
	case i.clientID != "":
		i.Pass(s, "issuer.registration", "the client is registered (--client-id)")
	case d.Document["registration_endpoint"] != nil: // endpointURL or NoteFaults has recorded why it cannot be used
	default:
		i.Fail(s, "issuer.registration", "clients cannot register: the authorization server has neither client ID metadata documents nor registration_endpoint")
	}
}

// callEndpoints checks whether a page may call the token and the registration endpoint.
func (i *issuerStage) callEndpoints(ctx context.Context, s *report.Step) {
	if i.Page == "" || i.doc.token == nil {
		s.Skip("no browser client may connect, or there is no token endpoint")
		return
	}
	h := http.Header{}
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	// The request has no code, so that the answer is an error. A page must be able to
	// read it.
	a := i.Send(ctx, s, probe.Request{Name: "token", Method: http.MethodPost, URL: i.doc.token, Header: h, Body: "grant_type=authorization_code", Origin: i.Page, Secret: true})
	switch {
	case a.Err != nil:
		i.Fail(s, "login.token", "the token endpoint does not respond: %s", a.Error)
	case i.Obstructed(s, i.PageLevel(), "the request of a page to the token endpoint", a):
	case !a.Browser.Allowed:
		i.Note(s, i.PageLevel(), "token.browser", "pages at %s cannot read the token endpoint's response: %s", i.Page, a.Browser.Why)
	default:
		i.Pass(s, "token.browser", "pages can read it")
		i.judgeRefusal(s, a)
	}
	if i.doc.register == nil {
		return
	}
	pre := http.Header{}
	pre.Set("Access-Control-Request-Method", http.MethodPost)
	pre.Set("Access-Control-Request-Headers", "content-type")
	a = i.Send(ctx, s, probe.Request{Name: "registration, preflight", Method: http.MethodOptions, URL: i.doc.register, Header: pre, Origin: i.Page, HeaderOnly: true})
	if i.Obstructed(s, i.PageLevel(), "the preflight of a page at the registration endpoint", a) {
		return
	}
	if a.Err != nil || !a.OK() || probe.WhyUnreadable(i.Page, a.Header) != "" || len(probe.RefusedFields(a.Header, []string{"content-type"})) > 0 {
		i.Note(s, i.PageLevel(), "registration.browser", "pages at %s may not register", i.Page)
		return
	}
	i.Pass(s, "registration.browser", "pages may register")
}

// judgeRefusal checks the error for a request without a code.
func (i *issuerStage) judgeRefusal(s *report.Step, a *probe.Answer) {
	if t := readToken(a); a.OK() && t.refused {
		i.JudgeErrorForm(s, a)
	}
}

// issuerOrigin returns the origin of the authorization server, or "".
func (i *issuerStage) issuerOrigin() string {
	raw := i.issuer
	if raw == "" && len(i.resource.doc.servers) > 0 {
		raw = i.resource.doc.servers[0]
	}
	if u, err := url.Parse(raw); err == nil && u.Host != "" {
		return urls.Origin(u)
	}
	return ""
}

// devices reports whether the metadata announces the device flow.
func (i *issuerStage) devices() bool {
	grants, _ := i.doc.Texts("grant_types_supported")
	return i.doc.device != nil && slices.Contains(grants, deviceGrant)
}

// supportsPKCE reports whether the metadata lists S256.
func (i *issuerStage) supportsPKCE() bool {
	methods, _ := i.doc.Texts("code_challenge_methods_supported")
	return slices.Contains(methods, "S256")
}

// registration lists how clients get an ID.
func (i *issuerStage) registration() []string {
	var ways []string
	if i.doc.cimd {
		ways = append(ways, "metadata documents")
	}
	if i.doc.register != nil {
		ways = append(ways, "dynamic registration")
	}
	if i.clientID != "" {
		ways = append(ways, "client ID")
	}
	return ways
}
