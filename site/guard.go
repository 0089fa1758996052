package site

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/table"
)

// This file decides which guards stand in front of an endpoint or of the status page, and which of
// the paths they cover. Everything that depends on it asks here.

// coverage has the result of all trials for a handler: which requests arrive, and past which
// guards. The zero value is for a handler that no request reaches.
type coverage struct {
	handler *Handler
	asked   []tried
	// paths are those of the handler, as clients write them.
	paths  []string
	behind []guard // guards behind the handler, which are asked about nothing
	lost   []guard // guards of behind that may stand there only because of the order of directives
	gaveUp bool
}

// tried is one request, and each way on which it may arrive.
type tried struct {
	method, host, path string // the path as it is sent
	later              string // that of its ways
	ways               []way
	refused            caddyhttp.MiddlewareHandler // by a route behind the handler
}

// share is how many of the ways of a request have something.
type share uint8

const (
	never share = iota
	sometimes
	always
)

// meets returns the share of its ways on which a request meets a guard of a kind.
func (t *tried) meets(kind guardKind) share {
	return t.share(func(w *way) bool {
		return slices.ContainsFunc(w.met, func(g guard) bool { return g.kind == kind })
	})
}

func (t *tried) share(has func(*way) bool) share {
	n := 0
	for i := range t.ways {
		if has(&t.ways[i]) {
			n++
		}
	}
	switch n {
	case 0:
		return never
	case len(t.ways):
		return always
	}
	return sometimes
}

// keepsField returns the share of its ways on which a header field has a value of the
// configuration, and never one of the client.
func (t *tried) keepsField(name string) share {
	return t.share(func(w *way) bool {
		return slices.ContainsFunc(w.own, func(pattern string) bool { return matchesField(pattern, name) })
	})
}

// matchesField compares the name of a header field with one that `header` sets or
// deletes, which may begin or end with `*`.
func matchesField(pattern, name string) bool {
	pattern, name = strings.ToLower(pattern), strings.ToLower(name)
	inner := strings.Trim(pattern, "*")
	switch begins, ends := strings.HasPrefix(pattern, "*"), strings.HasSuffix(pattern, "*"); {
	case begins && ends:
		return strings.Contains(name, inner)
	case begins:
		return strings.HasSuffix(name, inner)
	case ends:
		return strings.HasPrefix(name, inner)
	}
	return pattern == name
}

// guarded reports whether every request that arrives meets a login, or meets one under a condition
// that the trials cannot decide.
func (c *coverage) guarded() bool {
	return len(c.asked) > 0 && !slices.ContainsFunc(c.asked, func(t tried) bool {
		return t.meets(asksLogin) == never && t.meets(mayAskLogin) == never && t.meets(turnsAway) == never
	})
}

// authenticated reports whether some request that arrives meets a login.
func (c *coverage) authenticated() bool {
	return slices.ContainsFunc(c.asked, func(t tried) bool { return t.meets(asksLogin) != never || t.meets(mayAskLogin) != never })
}

// gap returns a request that meets a guard of a kind, at least on some ways, and another that
// arrives without it. acrossHosts allows two requests for different hosts.
func (c *coverage) gap(kind guardKind, acrossHosts bool) (with, without *tried) {
	return c.gapOf(acrossHosts, func(t *tried) share { return t.meets(kind) })
}

func (c *coverage) gapOf(acrossHosts bool, of func(*tried) share) (with, without *tried) {
	for i := range c.asked {
		a := &c.asked[i]
		if of(a) == never {
			continue
		}
		for j := range c.asked {
			b := &c.asked[j]
			if (acrossHosts || a.host == b.host) && of(b) == never {
				return a, b
			}
		}
	}
	return nil, nil
}

// unlike returns a request that meets a guard of a kind, and one that like accepts and that
// arrives without that guard and without a login.
func (c *coverage) unlike(kind guardKind, like func(with, without *tried) bool) (with, without *tried) {
	for i := range c.asked {
		a := &c.asked[i]
		if a.meets(kind) == never {
			continue
		}
		for j := range c.asked {
			if b := &c.asked[j]; like(a, b) && b.meets(kind) == never && b.meets(asksLogin) == never {
				return a, b
			}
		}
	}
	return nil, nil
}

// fieldGap returns a header field that an authentication service sets for one request, while
// another request arrives with the client's own value.
func (c *coverage) fieldGap() (name string, with, without *tried) {
	for i := range c.asked {
		for _, w := range c.asked[i].ways {
			for _, name := range w.claims {
				if with, without := c.gapOf(false, func(t *tried) share { return t.keepsField(name) }); with != nil {
					return name, with, without
				}
			}
		}
	}
	return "", nil, nil
}

// undecided returns the names of matchers because of which the trials cannot say whether a login
// is asked for. Matchers for the address of the client are left out, because no request can choose
// its address.
func (c *coverage) undecided() (names []string) {
	for i := range c.asked {
		if c.asked[i].meets(asksLogin) != sometimes {
			continue
		}
		for _, w := range c.asked[i].ways {
			for _, name := range w.unsure {
				if name != "remote_ip" && name != "client_ip" && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// check refuses a guard that covers only a part of the paths, and warns of matchers that the
// trials cannot decide.
func (c *coverage) check() (Warning, error) {
	name := c.name()
	if err := c.errLost(); err != nil {
		return Warning{}, err
	}
	if with, without := c.gap(asksLogin, c.handler.RunsProgram); with != nil {
		return Warning{}, c.errGap(with, without, asksLogin)
	}
	if field, with, without := c.fieldGap(); with != nil {
		return Warning{}, fmt.Errorf("%s: %s is taken from the answer of forward_auth at %s, but from the client at %s, which is answered too; %s",
			name, field, with.request(without), without.request(with), c.cure(with, without, "forward_auth"))
	}
	if with, without := c.gap(turnsAway, true); with != nil && c.handler.RunsProgram && c.gapMatters(asksLogin) {
		return Warning{}, c.errGap(with, without, turnsAway)
	}
	if with, without := c.gap(mayAskLogin, false); with != nil && c.gapMatters(asksLogin) {
		return Warning{Message: "guard may not cover every path of the endpoint", Endpoint: name, Path: without.path, Advice: c.cure(with, without, guardDirective(with, mayAskLogin))}, nil
	}
	if with, without := c.unlike(turnsAway, func(a, b *tried) bool { return a.method == b.method && a.host == b.host && a.later == b.later }); with != nil {
		return Warning{
			Message: "guard may not cover every path of the endpoint", Endpoint: name, Path: without.path,
			Advice: fmt.Sprintf("%s is for %s, but not for %s, which is answered too: its matcher needs `path %s`", guardName(with, turnsAway), with.path, without.path, matcherFor(c.paths)),
		}, nil
	}
	if with, without := c.unlike(asksLogin, func(_, b *tried) bool { return b.host == anyHost }); with != nil {
		return Warning{
			Message: "guard covers only some hosts of the endpoint", Endpoint: name, Path: without.path,
			Advice: guardName(with, asksLogin) + " is asked for " + with.host + ", and the site answers every Host that a client may write: leave the matcher of hosts out, or give the site its hosts",
		}, nil
	}
	if names := c.undecided(); len(names) > 0 {
		return Warning{
			Message: "whether a login is required depends on the request", Endpoint: name, Path: c.asked[0].path,
			Advice: "the matcher of the guard has " + strings.Join(names, ", ") + ": make sure that no client can choose to be let through",
		}, nil
	}
	if len(c.behind) > 0 && !c.guarded() {
		return Warning{
			Message: "guard is behind the endpoint", Endpoint: name, Path: c.paths[0],
			Advice: guardName(&tried{ways: []way{{met: c.behind}}}, asksLogin) + " is not asked, because the endpoint answers before it: if it is meant for the endpoint, put it in front",
		}, nil
	}
	if c.handler.TakesUser && !c.gaveUp && !c.authenticated() {
		return Warning{
			Message: "no handler in front authenticates a user", Endpoint: name, Path: c.paths[0],
			Advice: "`caddy_user` accepts the user of a handler in front of the endpoint: write `" + strings.TrimSpace("basic_auth "+matcherFor(c.paths)) + "` or another login there, or remove `caddy_user`",
		}, nil
	}
	if c.gaveUp {
		return Warning{
			Message: "too many routes to tell whether a guard covers it", Endpoint: name,
			Advice: "put the endpoint and its guard into one handle block",
		}, nil
	}
	return Warning{}, nil
}

// gapMatters reports whether some request arrives that meets no guard of a kind.
func (c *coverage) gapMatters(kind guardKind) bool {
	return slices.ContainsFunc(c.asked, func(t tried) bool { return t.meets(kind) == never })
}

func (c *coverage) name() string {
	if c.handler.Role == Endpoint {
		return fmt.Sprintf("endpoint %q", c.handler.PublicPath())
	}
	return "status page"
}

func (c *coverage) errGap(with, without *tried, kind guardKind) error {
	return fmt.Errorf("%s: %s guards %s, but not %s, which is answered too; %s",
		c.name(), guardName(with, kind), with.request(without), without.request(with), c.cure(with, without, guardDirective(with, kind)))
}

// request describes a request in an error, by the part in which it differs from another.
func (t *tried) request(other *tried) string {
	s := t.path
	if t.method != other.method {
		s = t.method + " " + s
	}
	if t.host != other.host {
		s += " of " + t.host
	}
	if t.later != other.later && t.later != "" {
		s += " " + t.later
	}
	return s
}

// cure returns the line to write. It begins with the directive of the guard, if that is known.
func (c *coverage) cure(with, without *tried, directive string) string {
	matcher := matcherFor(c.paths)
	var line string
	switch several := strings.Contains(matcher, " "); {
	case directive == "" && matcher == "":
		line = "write its directive for all paths,"
	case directive == "" && several:
		line = fmt.Sprintf("write `@mcp path %s`, and `@mcp` after its directive", matcher)
	case directive == "":
		line = fmt.Sprintf("write `%s` after its directive", matcher)
	case several:
		line = fmt.Sprintf("write `@mcp path %s` and `%s @mcp`", matcher, directive)
	default:
		line = "write `" + strings.TrimSpace(directive+" "+matcher) + "`"
	}
	switch {
	case with.path != without.path:
		return line
	case with.later != without.later:
		return "put the guard there, too, or take the endpoint out of it"
	case with.method != without.method:
		return line + " without a matcher of methods but `not method OPTIONS`"
	}
	return line + " without a matcher of hosts"
}

// matcherFor returns the shortest path matcher that covers paths, of which the first is the
// endpoint's own. It is empty if a guard must cover all paths.
func matcherFor(paths []string) string {
	if len(paths) == 0 || paths[0] == "/" {
		return ""
	}
	matcher := paths[0] + "*"
	for _, p := range paths {
		if !strings.HasPrefix(p, paths[0]) {
			matcher += " " + p
		}
	}
	return matcher
}

// directives has the directives that set up a guard, by the name of the authentication provider or
// of the handler.
var directives = map[string]string{
	"http_basic":    "basic_auth",
	"authorizer":    "authorize",    // of caddy-security
	"authenticator": "authenticate", // of caddy-security
}

// first is the first guard of a kind that a request meets.
func (t *tried) first(kind guardKind) (guard, bool) {
	for _, w := range t.ways {
		for _, g := range w.met {
			if g.kind == kind {
				return g, true
			}
		}
	}
	return guard{}, false
}

// guardDirective returns the directive of the guard of a kind that a request meets. It is empty if
// the directive is not known: a plugin may give its directive any name.
func guardDirective(t *tried, kind guardKind) string {
	g, _ := t.first(kind)
	directive, _ := g.setUpBy()
	return directive
}

// guardName names the guard of a kind that a request meets, in a sentence.
func guardName(t *tried, kind guardKind) string {
	g, ok := t.first(kind)
	if !ok {
		return "the guard"
	}
	directive, plugin := g.setUpBy()
	if directive == "" {
		return "the login of `" + plugin + "`"
	}
	return directive
}

// setUpBy returns the directive of a guard. If that is not known, it returns the name of its
// plugin in JSON.
func (g guard) setUpBy() (directive, plugin string) {
	switch h := g.handler.(type) {
	case nil:
		return "", ""
	case *caddyauth.Authentication:
		names := slices.Sorted(maps.Keys(h.Providers))
		for _, name := range names {
			if directive = directives[name]; directive != "" {
				return directive, name
			}
		}
		return "", strings.Join(names, ", ")
	case *caddyhttp.StaticResponse:
		if h.Abort {
			return "abort", ""
		}
		return "respond", ""
	case *caddyhttp.StaticError:
		return "error", ""
	}
	if g.kind == mayAskLogin {
		name := strings.TrimPrefix(caddy.GetModuleID(g.handler), "http.handlers.")
		return directives[name], name
	}
	return "forward_auth", ""
}

// asksForCertificate reports whether every connection to a place has to show a
// client certificate that is verified.
func asksForCertificate(p *Place) bool {
	policies := p.Server.TLSConnPolicies
	if len(policies) == 0 {
		return false
	}
	config := policies.TLSConfig(caddy.Context{}) // which leaves the TLS app alone
	names := SortedKeys(p.Hosts)
	if len(names) == 0 {
		names = []string{""}
	}
	for _, name := range names {
		hello := &tls.ClientHelloInfo{ServerName: strings.Replace(name, "*", "x", 1)}
		found, err := config.GetConfigForClient(hello)
		if err != nil {
			continue // no connection
		}
		if i := slices.IndexFunc(policies, func(policy *caddytls.ConnectionPolicy) bool { return policy.TLSConfig == found }); i < 0 || !verifiesClient(policies[i]) {
			return false
		}
	}
	return true
}

// verifiesClient reports whether a policy accepts only clients whose certificate it has verified.
func verifiesClient(policy *caddytls.ConnectionPolicy) bool {
	auth := policy.ClientAuthentication
	if auth == nil {
		return false
	}
	switch auth.Mode {
	case "require_and_verify":
		return true
	case "":
		return auth.Active()
	}
	return false // asks, and takes any or none
}

// refuses returns the handler of a route that refuses every request; nil for any other route.
func refuses(route *caddyhttp.Route) caddyhttp.MiddlewareHandler {
	for _, handler := range route.Handlers {
		switch h := handler.(type) {
		case *caddyhttp.StaticResponse:
			if h.Abort || isRefusal(h.StatusCode.Int()) {
				return h
			}
		case *caddyhttp.StaticError:
			if isRefusal(h.StatusCode.Int()) {
				return h
			}
		case *caddyhttp.Subroute:
			routes := table.Expand(h.Routes)
			for i := range routes {
				if found := refuses(&routes[i]); found != nil && len(routes[i].MatcherSets) == 0 {
					return found
				}
			}
		}
	}
	return nil
}

func isRefusal(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusProxyAuthRequired:
		return true
	}
	return false
}

// soundsLikeLogin reports whether the name of a plugin's handler suggests that it asks for a
// login.
func soundsLikeLogin(handler caddyhttp.MiddlewareHandler) bool {
	if isCaddys(handler) {
		return false
	}
	name := strings.TrimPrefix(caddy.GetModuleID(handler), "http.handlers.")
	if strings.HasPrefix(name, "mcp_auth_bridge") {
		return false
	}
	for _, word := range []string{"auth", "jwt", "oidc", "saml", "login", "security"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
