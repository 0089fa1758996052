package site

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// A trial follows one request through the routes of a server as Caddy would, with Caddy's own
// matchers and rewrites. It finds out what the request meets before an endpoint answers it.
// Nothing is sent and no handler runs.
//
// Method, host and path of the request are known, and nothing else. If a matcher depends on
// something else, the trial goes both ways: with and without the route. So one request may arrive
// several times.
type trial struct {
	*hostRoutes
	r          *http.Request // its URL and method are set before each use
	repl       *caddy.Replacer
	left       int // steps
	candidates candidates
	gaveUp     bool // there are more ways than it has looked at
	// discovery is set for a request for metadata. It ends at the first endpoint or handler of
	// metadata.
	discovery bool
	// rewrites is set if the trial looks for a directive that changes the path of the request.
	// rewritten is that directive. The trial then assumes that no file exists but the one that
	// `try_files` falls back to.
	rewrites  bool
	rewritten string
	// arrived is called for each way to a handler of this plugin that answers. An endpoint in
	// middleware mode has answered only at the end of the way, because the handlers after it count
	// too.
	arrived func(handler *Handler, w way)
	// of is the handler that behind, lost and refused are about.
	of *Handler
	// behind has the guards behind that handler. They are asked about nothing, because the handler
	// answers first.
	behind []guard
	// lost has the guards of behind that may stand there only because of the order of directives.
	lost []guard
	// refused is the handler of a route behind that handler which refuses the present request,
	// whoever sends it.
	refused caddyhttp.MiddlewareHandler
}

// What may have happened before the routes of a way.
const (
	afterError  = "after an error"
	afterAnswer = "after an answer"
)

// maxTrialSteps bounds how many routes a trial looks at on all its ways.
const maxTrialSteps = 20_000

// way is what one request has met so far.
type way struct {
	method string
	url    *url.URL
	groups []string // satisfied route groups
	inside invocations
	met    []guard
	unsure []string // matchers that only a real request decides, of routes with an endpoint or a guard
	own    []string // header fields that the configuration has set or deleted
	claims []string // fields of own that are set from a proxy's answer
	passed []*Handler
	later  string // "after an error", "after an answer": such a way is always there
	tries  bool   // in a route of `try_files`
	before int    // how many of met stood before the handler that a request for metadata arrived at
	over   bool   // an endpoint has answered: the way goes on only to find guards behind it
	// level is the number of handlers with routes that the way is inside of. answered is the level
	// of the endpoint that has answered.
	level, answered int
	by              *Handler // that has answered
	lost            []guard  // met behind the endpoint, inside a block that the way has not left
	// asking is the proxy whose answer is being handled. If a route of handle_response answers, the
	// proxy was not a question about the request, such as that of forward_auth.
	asking caddyhttp.MiddlewareHandler
}

// guard is a handler that keeps some requests from the handlers after it.
type guard struct {
	handler caddyhttp.MiddlewareHandler
	kind    guardKind
}

type guardKind uint8

const (
	// asksLogin lets only those pass who have a login.
	asksLogin guardKind = iota
	// mayAskLogin is the handler of a plugin whose name suggests that it asks for a login.
	mayAskLogin
	// turnsAway refuses, in a route that depends on more than method, host and path.
	turnsAway
)

// then continues a way.
type then func(w way)

// newTrial returns a trial of requests for a host.
func newTrial(routes *hostRoutes, arrived func(*Handler, way)) *trial {
	repl := caddy.NewReplacer()
	return &trial{hostRoutes: routes, r: newTrialRequest(routes.server, routes.host, repl), repl: repl, arrived: arrived}
}

func newTrialRequest(server *caddyhttp.Server, host string, repl *caddy.Replacer) *http.Request {
	r := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: "/"}, Host: host, Header: make(http.Header),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "192.0.2.1:1024", Body: http.NoBody,
	}
	return caddyhttp.PrepareRequest(r, repl, discard{}, server)
}

// discard is the response writer of a trial.
type discard struct{}

func (discard) Header() http.Header         { return make(http.Header) }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// follow follows a request from the server's first route on, and through its error routes. Guards
// that were met before an error do not count there, because a guard that refuses leads to the
// error routes.
func (t *trial) follow(method string, u *url.URL) {
	t.left, t.refused = maxTrialSteps, nil
	begin := way{method: method, url: u}
	t.run(t.routes, begin, t.ended)
	begin.later = afterError
	t.run(t.errors, begin, t.ended)
}

// ended notes the end of a way, whether a handler has answered or not.
func (t *trial) ended(w way) {
	if w.over || len(w.passed) == 0 {
		return
	}
	if w.asking != nil {
		w.met = slices.DeleteFunc(slices.Clone(w.met), func(g guard) bool { return g.handler == w.asking })
	}
	for _, h := range w.passed {
		t.arrived(h, w)
	}
}

// at returns the request for the matchers, in the form that it has on a way.
func (t *trial) at(w way) *http.Request {
	if t.r.Method != w.method || t.r.URL != w.url {
		t.r.Method, t.r.URL, t.r.RequestURI = w.method, w.url, w.url.RequestURI()
	}
	return t.r
}

func (t *trial) run(routes caddyhttp.RouteList, w way, next then) {
	if routes = t.skip(routes, w); len(routes) == 0 {
		next(w)
		return
	}
	t.route(&routes[0], w, func(w way) { t.run(routes[1:], w, next) })
}

func (t *trial) route(route *caddyhttp.Route, w way, next then) {
	if route.Group != "" && slices.Contains(w.groups, route.Group) {
		next(w)
		return
	}
	matched, undecided := matchesAny(route.MatcherSets, t.at(w))
	if t.left--; t.left < 0 {
		t.gaveUp = true
		return
	}
	if matched == no {
		next(w)
		return
	}
	tries := t.rewrites && matched == unsure && triesFiles(route)
	if tries {
		matched = yes
	}
	if w.over {
		w = t.refusedBehind(route, w, matched)
	}
	inside := w
	inside.tries = tries
	if route.Group != "" {
		inside.groups = append(slices.Clip(w.groups), route.Group)
	}
	after := next
	if route.Terminal {
		after = t.ended
	}
	if matched == unsure {
		outside := w
		if t.has(route, t.isEndpointOrGuard) {
			inside.unsure = append(slices.Clip(w.unsure), undecided)
			outside.unsure = inside.unsure
		}
		if h := refuses(route); h != nil && !w.over {
			outside.met = append(slices.Clip(w.met), guard{h, turnsAway})
		}
		next(outside)
		if route.Group == "" && !route.Terminal && !t.matters(route) {
			return
		}
	}
	t.handlers(route.Handlers, inside, after)
}

func (t *trial) handlers(handlers []caddyhttp.MiddlewareHandler, w way, next then) {
	if len(handlers) == 0 {
		next(w)
		return
	}
	t.handler(handlers[0], w, func(w way) { t.handlers(handlers[1:], w, next) })
}

// handler follows a request through one handler.
func (t *trial) handler(handler caddyhttp.MiddlewareHandler, w way, next then) {
	if w.over {
		t.look(handler, w, next)
		return
	}
	if own := t.describe(handler); own != nil {
		t.own(own, w, next)
		return
	}
	switch h := handler.(type) {
	case *rewrite.Rewrite:
		u := *w.url
		w.url = &u // the other ways keep theirs
		r := t.at(w)
		before := r.URL.Path
		h.Rewrite(r, t.repl)
		if t.rewrites {
			t.noteRewrite(h, before, r.URL.Path, w.tries)
		}
		w.method, w.url = r.Method, r.URL
	case *headers.Handler:
		if h.Request != nil {
			names := slices.Clone(h.Request.Delete)
			for name := range h.Request.Set {
				names = append(names, name)
			}
			w.own = append(slices.Clip(w.own), names...)
			if w.asking != nil {
				w.claims = append(slices.Clip(w.claims), names...)
			}
		}
	case *caddyauth.Authentication:
		w.met = append(slices.Clip(w.met), guard{h, asksLogin})
	case *reverseproxy.Handler:
		t.proxy(h, h.HandleResponse, w, next)
		return
	case *intercept.Intercept:
		for _, in := range t.nestedIn(h) {
			after := w
			after.later = afterAnswer
			t.run(in.routes, after, t.ended)
		}
	case *caddyhttp.StaticResponse:
		if h.Abort || h.StatusCode.Int() != http.StatusEarlyHints {
			return // the answer is in the configuration and needs no guard
		}
	case *caddyhttp.StaticError:
		return
	case reverseproxy.CopyResponseHandler, *reverseproxy.CopyResponseHandler:
		t.ended(w)
		return
	case *fileserver.FileServer:
		if !h.PassThru {
			t.ended(w)
			return
		}
	default:
		t.other(handler, w, next)
		return
	}
	next(w)
}

// own follows a request through a handler of this plugin.
func (t *trial) own(h *Handler, w way, next then) {
	if t.discovery && h.Role != StatusPage {
		w.before = len(w.met)
		t.arrived(h, w)
		return
	}
	switch h.Role {
	case Endpoint:
		t.endpoint(h, w, next)
	case StatusPage:
		t.arrived(h, w)
		t.ended(w)
		next(w.answer(h))
	default:
		next(w)
	}
}

// endpoint ends the way at an endpoint that answers, or goes on in middleware mode.
func (t *trial) endpoint(h *Handler, w way, next then) {
	if !h.answers(w.url.Path) {
		next(w)
		return
	}
	if h.Middleware {
		w.passed = append(slices.Clip(w.passed), h)
		next(w)
		return
	}
	t.arrived(h, w)
	t.ended(w)
	if h.Proxy != nil && len(h.Proxy.HandleResponse) > 0 {
		t.proxy(h.Module, h.Proxy.HandleResponse, w, next)
	}
	next(w.answer(h))
}

// proxy follows a request to a proxy. The request goes on only if a handle_response of the proxy
// lets it. If that is for answers of 2xx alone, the proxy asks for a login, as forward_auth does.
func (t *trial) proxy(h caddyhttp.MiddlewareHandler, handlers []caddyhttp.ResponseHandler, w way, next then) {
	in := w
	in.asking = h
	lax := false // lets others through than those with an answer of 2xx
	for _, on := range handlers {
		if on.StatusCode == "" && !onlySuccess(on.Match) {
			t.run(on.Routes, in, func(way) { lax = true })
		}
	}
	asks := false
	for _, on := range handlers {
		if on.StatusCode == "" { // else the answer goes to the client
			in := in
			good := !lax && onlySuccess(on.Match)
			if good {
				in.met = append(slices.Clip(w.met), guard{h, asksLogin})
			}
			t.run(on.Routes, in, func(in way) {
				in.asking = w.asking
				asks = asks || good
				next(in)
			})
		}
		if on.Match == nil {
			return // the handlers behind it are for no answer
		}
	}
	if !asks {
		t.ended(w) // the answer of its upstream
	}
}

// onlySuccess reports whether a response matcher lets answers of 2xx through and
// no others.
func onlySuccess(m *caddyhttp.ResponseMatcher) bool {
	if m == nil || len(m.StatusCode) == 0 {
		return false
	}
	for _, status := range m.StatusCode {
		if status != 2 && status/100 != 2 {
			return false
		}
	}
	return true
}

// other follows a request through any other handler: one that holds routes, or one that does not
// matter to a trial.
func (t *trial) other(handler caddyhttp.MiddlewareHandler, w way, next then) {
	if soundsLikeLogin(handler) {
		w.met = append(slices.Clip(w.met), guard{handler, mayAskLogin})
	}
	invoked, ok := w.inside.enter(handler)
	if !ok {
		return
	}
	goesOn := true
	for _, in := range t.nestedIn(handler) {
		inside := w
		inside.inside, inside.level = invoked, w.level+1
		if in.when == onError {
			inside.later = afterError
		}
		t.run(in.routes, inside, func(inside way) {
			inside.inside, inside.level = w.inside, w.level
			next(inside)
		})
		goesOn = goesOn && in.when != inPlace
	}
	if goesOn {
		next(w)
	}
}

// matters reports whether a route makes a difference to a trial: it has an endpoint, a guard, a
// rewrite, or an end.
func (t *trial) matters(route *caddyhttp.Route) bool {
	return t.has(route, func(handler caddyhttp.MiddlewareHandler) bool {
		switch h := handler.(type) {
		case *rewrite.Rewrite, *reverseproxy.Handler:
			return true
		case *fileserver.FileServer:
			return !h.PassThru
		}
		return t.isEndpointOrGuard(handler)
	})
}

// isEndpointOrGuard reports whether a login may depend on a handler, because the handler
// asks for a login or answers without one.
func (t *trial) isEndpointOrGuard(handler caddyhttp.MiddlewareHandler) bool {
	if own := t.describe(handler); own != nil {
		return own.Role != Metadata
	}
	switch h := handler.(type) {
	case *caddyauth.Authentication:
		return true
	case *reverseproxy.Handler:
		return len(h.HandleResponse) > 0
	}
	return soundsLikeLogin(handler)
}

// has reports whether a route, or one that stands inside it, has a handler.
func (t *trial) has(route *caddyhttp.Route, is func(caddyhttp.MiddlewareHandler) bool) bool {
	left := maxNesting * maxNesting // named routes can invoke each other
	var within func(route *caddyhttp.Route) bool
	within = func(route *caddyhttp.Route) bool {
		if left--; left < 0 {
			return true
		}
		for _, handler := range route.Handlers {
			if is(handler) {
				return true
			}
			for _, in := range t.nestedIn(handler) {
				for i := range in.routes {
					if within(&in.routes[i]) {
						return true
					}
				}
			}
		}
		return false
	}
	return within(route)
}
