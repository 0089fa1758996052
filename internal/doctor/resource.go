package doctor

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// resourceDocument is the metadata of the protected resource.
type resourceDocument struct {
	fetched
	resource string
	servers  []string
}

// place is where metadata may stand.
type place struct {
	name string // of the exchange
	text string
	at   *url.URL
}

// resourcePlaces are where clients look, in their order (RFC 9728 section 3.1;
// MCP 2026-07-28 Authorization Server Discovery).
func (w *walk) resourcePlaces() []place {
	var places []place
	if w.challenged.link != nil {
		places = append(places, place{"challenge", "that the challenge names", w.challenged.link})
	}
	add := func(name, text string, at *url.URL) {
		for _, p := range places {
			if p.at.String() == at.String() {
				return
			}
		}
		places = append(places, place{name, text, at})
	}
	add("path", "that is well-known, with the path", wellKnown(w.target, "oauth-protected-resource"))
	add("root", "that is well-known, without a path", wellKnown(&url.URL{Scheme: w.target.Scheme, Host: w.target.Host}, "oauth-protected-resource"))
	return places
}

// findResource looks for the metadata of the protected resource.
func (w *walk) findResource(ctx context.Context, s *Step) {
	if w.refused == nil {
		s.skip("no login is asked for")
		return
	}
	var first *fetched // attempt, which names the cause
	for _, p := range w.resourcePlaces() {
		f := w.fetch(ctx, s, p.name, p.at)
		named := p.at == w.challenged.link
		if f.document == nil {
			if first == nil || first.absent() && !f.absent() {
				first = &f
			}
			if named { // clients do not look further
				w.fail(s, f.rule, "the URL that the challenge names %s: %s", f.why, w.secrets.text(linkOf(p.at)))
			}
			continue
		}
		if !named && !w.challenged.broken() {
			w.judgePassedOver(s, first)
		}
		w.resource = resourceDocument{fetched: f, resource: f.text("resource")}
		w.resource.servers, _ = f.texts("authorization_servers")
		w.pass(s, "metadata.found", "it is at the URL %s", p.text)
		w.judgeResource(s, named, p)
		break
	}
	found := w.resource.document != nil
	w.settleChallenge(found)
	if !found && w.challenged.link == nil && first != nil {
		w.fail(s, first.rule, "none of the well-known URLs has metadata; %s %s", w.secrets.text(linkOf(first.at)), first.why)
	}
}

// broken reports whether the challenge named a URL that was not tried.
func (c challenged) broken() bool { return c.rawLink != "" && c.link == nil }

// judgePassedOver looks at a place that was tried before the one that had the
// document, and did not say plainly that it has none.
func (w *walk) judgePassedOver(s *Step, first *fetched) {
	if first == nil || first.absent() || w.challenged.link != nil {
		return
	}
	w.warn(s, first.rule, "%s %s, where clients look first", w.secrets.text(linkOf(first.at)), first.why)
}

// judgeResource looks into the document.
func (w *walk) judgeResource(s *Step, named bool, p place) {
	w.judgeType(s, w.resource.fetched)
	w.judgeBrowser(s, w.resource.fetched, "metadata.browser")
	w.judgeIdentity(s, named, p)
	if len(w.resource.servers) == 0 {
		w.fail(s, "resource.servers", "authorization_servers is missing or empty, so that clients do not know where to log in")
		return
	}
	w.pass(s, "resource.servers", "authorization server: %s", w.secrets.link(w.resource.servers[0]))
}

// judgeIdentity compares resource with the URL that clients have (RFC 9728
// section 3.3). A parent is what many servers name, and what the TypeScript
// SDK accepts; other clients do not.
func (w *walk) judgeIdentity(s *Step, named bool, p place) {
	resource, want := w.resource.resource, w.target.String()
	shown := w.secrets.link(resource)
	switch {
	case resource == "":
		w.fail(s, "resource.identical", "resource is missing")
	case resource == want || resource == originOf(w.target) && strings.Trim(w.target.Path, "/") == "":
		w.pass(s, "resource.identical", "resource is the URL of the server")
	case !named && p.name == "root" && strings.TrimSuffix(resource, "/") == originOf(w.target):
		w.warn(s, "resource.identical", "resource is %s, which is wider than the URL of the server", shown)
	case strings.TrimSuffix(resource, "/") == strings.TrimSuffix(want, "/"):
		w.fail(s, "resource.identical", "resource is %s, and differs from %s by the final slash: clients that compare exactly stop", shown, w.report.URL)
	case within(resource, w.target):
		w.warn(s, "resource.identical", "resource is %s, which is wider than the URL of the server: some clients stop", shown)
	default:
		w.fail(s, "resource.identical", "resource is %s, but clients are at %s, and stop", shown, w.report.URL)
	}
}

// within reports whether a resource is a parent of a URL at the same origin.
func within(resource string, target *url.URL) bool {
	u, err := url.Parse(resource)
	if err != nil || originOf(u) != originOf(target) || u.RawQuery != "" {
		return false
	}
	return strings.HasPrefix(strings.TrimSuffix(target.Path, "/")+"/", strings.TrimSuffix(u.Path, "/")+"/")
}

// statusText is a status as people know it.
func statusText(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}
