package doctor

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// serverDocument is the metadata of an authorization server.
type serverDocument struct {
	fetched
	authorize, token, register *url.URL
	cimd                       bool // client ID metadata documents
}

// issuerPlaces are where clients look for the metadata of an issuer, in their
// order (MCP 2026-07-28 Authorization Server Discovery).
func issuerPlaces(issuer *url.URL) []place {
	if strings.Trim(issuer.Path, "/") == "" {
		return []place{
			{"oauth", "RFC 8414", wellKnown(issuer, "oauth-authorization-server")},
			{"openid", "OpenID Connect", wellKnown(issuer, "openid-configuration")},
		}
	}
	appended := *issuer
	appended.RawQuery, appended.Fragment = "", ""
	return []place{
		{"oauth", "RFC 8414, path inserted", wellKnown(issuer, "oauth-authorization-server")},
		{"openid", "OpenID Connect, path inserted", wellKnown(issuer, "openid-configuration")},
		{"openid-appended", "OpenID Connect, path appended", appended.JoinPath(".well-known", "openid-configuration")},
	}
}

// findServer looks for the metadata of the first authorization server; clients
// of before 2025-06-18 look at the server's own origin.
func (w *walk) findServer(ctx context.Context, s *Step) {
	switch {
	case w.refused == nil:
		s.skip("no login is asked for")
		return
	case w.resource.document == nil:
		w.findOldServer(ctx, s)
		return
	case len(w.resource.servers) == 0:
		s.skip("no authorization server is named")
		return
	}
	raw := w.resource.servers[0]
	issuer, err := url.Parse(raw)
	if err != nil || issuer.RawQuery != "" || issuer.Fragment != "" {
		w.fail(s, "issuer.url", "the authorization server is no issuer URL: %s", w.secrets.link(raw))
		return
	}
	if why := misplaced(w.target, issuer); why != "" {
		w.fail(s, "issuer.url", "the authorization server %s, where clients cannot go: %s", why, w.secrets.link(raw))
		return
	}
	w.issuer = raw
	w.findIssuer(ctx, s, raw, issuer)
}

// findOldServer looks where clients of 2025-03-26 look.
func (w *walk) findOldServer(ctx context.Context, s *Step) {
	at := wellKnown(&url.URL{Scheme: w.target.Scheme, Host: w.target.Host}, "oauth-authorization-server")
	if f := w.fetch(ctx, s, "2025-03-26", at); f.document != nil {
		w.warn(s, "issuer.found", "only clients of 2025-03-26 find the authorization server, at %s", w.secrets.text(linkOf(at)))
		return
	}
	s.skip("no metadata names an authorization server")
}

// findIssuer gets the metadata of an issuer.
func (w *walk) findIssuer(ctx context.Context, s *Step, raw string, issuer *url.URL) {
	var first, mismatch *fetched
	for _, p := range issuerPlaces(issuer) {
		f := w.fetch(ctx, s, p.name, p.at)
		switch {
		case f.document == nil:
			if first == nil || first.absent() && !f.absent() {
				first = &f
			}
			continue
		case f.text("issuer") != raw:
			if mismatch == nil {
				mismatch = &f
			}
			continue
		}
		w.pass(s, "issuer.identical", "%s: the issuer is %s", p.text, w.secrets.link(raw))
		w.server.fetched = f
		w.judgeServer(s)
		return
	}
	switch {
	case mismatch != nil:
		w.fail(s, "issuer.identical", "the metadata says that its issuer is %s, but it was asked for %s: clients stop", orWord(w.secrets.link(mismatch.text("issuer")), "nothing"), w.secrets.link(raw))
	case first != nil:
		w.fail(s, "issuer.found", "the authorization server has no metadata; %s %s", w.secrets.text(linkOf(first.at)), first.why)
	}
}

// judgeServer looks into the document.
func (w *walk) judgeServer(s *Step) {
	d := &w.server
	w.judgeType(s, d.fetched)
	w.judgeBrowser(s, d.fetched, "issuer.browser")
	d.authorize = w.endpoint(s, "authorization_endpoint", true)
	d.token = w.endpoint(s, "token_endpoint", true)
	d.register = w.endpoint(s, "registration_endpoint", false)
	d.cimd = d.truth("client_id_metadata_document_supported")
	w.judgePKCE(s)
	w.judgeRegistration(s)
	if methods, ok := d.texts("token_endpoint_auth_methods_supported"); ok && !slices.Contains(methods, "none") && w.opts.ClientSecret == "" {
		w.warn(s, "issuer.public", "it wants every client to have a secret (%s); most MCP clients have none", w.secrets.text(strings.Join(methods, ", ")))
	}
}

// endpoint reads the URL of an endpoint.
func (w *walk) endpoint(s *Step, name string, required bool) *url.URL {
	raw := w.server.text(name)
	if raw == "" {
		if required {
			w.fail(s, "issuer.endpoints", "%s is missing", name)
		}
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		w.fail(s, "issuer.endpoints", "%s is no URL: %s", name, w.secrets.link(raw))
		return nil
	}
	switch why := misplaced(w.server.at, u); {
	case why != "":
		w.fail(s, "issuer.endpoints", "%s %s, where clients cannot go: %s", name, why, w.secrets.link(raw))
		return nil
	case u.Scheme != "https" && (!loopback(u) || w.server.at.Scheme == "https"):
		w.fail(s, "issuer.https", "%s is no https URL, and codes and tokens would be readable on the way: %s", name, w.secrets.link(raw))
		return nil
	}
	return u
}

// judgePKCE looks for S256. Clients must refuse a server that does not name it.
func (w *walk) judgePKCE(s *Step) {
	methods, ok := w.server.texts("code_challenge_methods_supported")
	switch {
	case !ok:
		w.fail(s, "issuer.pkce", "code_challenge_methods_supported is missing, which says that there is no PKCE: clients stop")
	case !slices.Contains(methods, "S256"):
		w.fail(s, "issuer.pkce", "code_challenge_methods_supported has no S256: clients stop")
	default:
		w.pass(s, "issuer.pkce", "PKCE with S256")
	}
}

// judgeRegistration looks at how a client gets its ID.
func (w *walk) judgeRegistration(s *Step) {
	d := &w.server
	switch {
	case d.cimd && d.register != nil:
		w.pass(s, "issuer.registration", "clients register by a metadata document, or dynamically")
	case d.cimd:
		w.pass(s, "issuer.registration", "clients register by a metadata document; clients from before 2025-11-25 know only dynamic registration")
	case d.register != nil:
		w.pass(s, "issuer.registration", "clients register dynamically (deprecated since 2026-07-28)")
	case w.opts.ClientID != "":
		w.pass(s, "issuer.registration", "the client is registered (--client-id)")
	default:
		w.fail(s, "issuer.registration", "there is no way to register: no client ID metadata documents, no registration_endpoint; only clients that are given an ID get in")
	}
}

// callEndpoints asks as a page does whether it may use the endpoints that
// scripts call.
func (w *walk) callEndpoints(ctx context.Context, s *Step) {
	if w.page == "" || w.server.token == nil {
		s.skip("there is no page, or no token endpoint")
		return
	}
	h := http.Header{}
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	// It is no grant: all that comes back is an error that a page has to be
	// able to read.
	a := w.send(ctx, s, request{name: "token", method: http.MethodPost, url: w.server.token, header: h, body: "grant_type=authorization_code", origin: w.page, secret: true})
	switch {
	case a.err != nil:
		w.fail(s, "login.token", "the token endpoint has no answer: %s", a.Error)
	case !a.Browser.Allowed:
		w.note(s, w.pageLevel(), "token.browser", "a page at %s cannot read the answer of the token endpoint: %s", w.page, a.Browser.Why)
	default:
		w.pass(s, "token.browser", "a page reads the answer")
	}
	if w.server.register == nil {
		return
	}
	pre := http.Header{}
	pre.Set("Access-Control-Request-Method", http.MethodPost)
	pre.Set("Access-Control-Request-Headers", "content-type")
	a = w.send(ctx, s, request{name: "registration, preflight", method: http.MethodOptions, url: w.server.register, header: pre, origin: w.page, headerOnly: true})
	if a.err != nil || !a.ok() || shared(w.page, a.header) != "" || len(refusedFields(a.header, []string{"content-type"})) > 0 {
		w.note(s, w.pageLevel(), "registration.browser", "a page at %s may not register a client", w.page)
		return
	}
	w.pass(s, "registration.browser", "a page may register a client")
}
