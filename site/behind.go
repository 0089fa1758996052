package site

import (
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Guards behind an endpoint are not asked about its requests. A Caddyfile sorts directives, and
// mcp_auth_bridge comes before handle, handle_path, route, abort, error and respond. A guard in
// one of these looks as if it covered the endpoint, so it is refused. A login on its own is not:
// directives of logins sort before the endpoint, so a login behind it was written there on
// purpose, inside `route`.

// answer returns the way after a handler that answers.
func (w way) answer(by *Handler) way {
	w.over, w.by, w.answered, w.lost = true, by, w.level, nil
	return w
}

// sorted reports whether a guard at this point of the way may be behind the endpoint only because
// of the order of directives. That is so in the endpoint's own list of routes, and in blocks of
// that list.
func (w *way) sorted() bool { return w.level >= w.answered }

// refusedBehind notes that a route behind the endpoint may refuse requests.
func (t *trial) refusedBehind(route *caddyhttp.Route, w way, matched verdict) way {
	h := refuses(route)
	if h == nil || len(route.MatcherSets) == 0 || !w.sorted() || w.by != t.of {
		return w
	}
	switch {
	case w.level > w.answered:
		w.lost = append(slices.Clip(w.lost), guard{h, turnsAway})
	case matched == yes:
		t.refused = h
	default:
		t.lost = append(t.lost, guard{h, turnsAway})
	}
	return w
}

// look finds guards that stand behind the endpoint that has answered.
func (t *trial) look(handler caddyhttp.MiddlewareHandler, w way, next then) {
	if own := t.describe(handler); own != nil {
		if own.Role == Metadata {
			next(w)
		}
		return
	}
	met := guard{handler, asksLogin}
	switch h := handler.(type) {
	case *caddyauth.Authentication:
	case *reverseproxy.Handler:
		if !slices.ContainsFunc(h.HandleResponse, func(on caddyhttp.ResponseHandler) bool { return onlySuccess(on.Match) }) {
			return // requests for the endpoint get no further
		}
	case *caddyhttp.StaticResponse, *caddyhttp.StaticError:
		return
	case *fileserver.FileServer:
		if !h.PassThru {
			return
		}
		next(w)
		return
	default:
		if !soundsLikeLogin(handler) {
			t.lookInside(handler, w, next)
			return
		}
		met.kind = mayAskLogin
	}
	switch {
	case w.by != t.of:
	case w.level > w.answered:
		w.lost = append(slices.Clip(w.lost), met)
		next(w)
	case w.sorted() && met.kind == mayAskLogin: // the place of a plugin's directive in the order is not known
		t.lost = append(t.lost, met)
	default:
		t.behind = append(t.behind, met)
	}
}

// lookInside looks into the routes of a handler behind the endpoint. What guards them was
// in front of the endpoint only if a request gets out of them again.
func (t *trial) lookInside(handler caddyhttp.MiddlewareHandler, w way, next then) {
	for _, in := range t.nestedIn(handler) {
		if in.when != inPlace {
			continue
		}
		invoked, ok := w.inside.enter(handler)
		if !ok {
			return
		}
		inside := w
		inside.inside, inside.level = invoked, w.level+1
		t.run(in.routes, inside, func(inside way) {
			inside.inside, inside.level = w.inside, w.level
			if inside.level == inside.answered {
				t.lost = append(t.lost, inside.lost...)
				inside.lost = nil
			}
			next(inside)
		})
		return
	}
	next(w)
}

// errLost returns an error for a guard behind the handler that looks as if it covered the handler;
// nil if there is none.
func (c *coverage) errLost() error {
	for _, t := range c.asked {
		if t.refused == nil {
			continue
		}
		// A route that refuses all requests is the answer for the rest of the site.
		if slices.ContainsFunc(c.asked, func(other tried) bool { return other.refused == nil && other.host == t.host }) {
			c.lost = append(c.lost, guard{t.refused, turnsAway})
			break
		}
	}
	if len(c.lost) == 0 {
		return nil
	}
	name := guardName(&tried{ways: []way{{met: c.lost[:1]}}}, c.lost[0].kind)
	cure := ""
	if matcher := matcherFor(c.paths); matcher != "" {
		cure = fmt.Sprintf("; if it is not meant for the endpoint, add `not path %s` to its matcher", matcher)
	}
	return fmt.Errorf("%s: %s looks as if it guarded %s, but stands behind it and is not asked: mcp_auth_bridge comes before handle, route, abort, error and respond; "+
		"put %s in front, both inside one `route` block%s", c.name(), name, c.paths[0], name, cure)
}
