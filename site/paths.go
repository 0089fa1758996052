package site

import (
	"net/url"
	"runtime"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// pathEnds are how a path begins and ends that a pattern lets through, in lower case and
// cleaned.
type pathEnds struct{ first, last string }

// pathHeads are how the paths begin and end that the matchers of routes let through, by
// the first of the matcher sets. A site with a thousand endpoints has a thousand routes, which
// a trial for each endpoint passes by: their matchers need not be asked each time.
type pathHeads map[*caddyhttp.MatcherSet][]pathEnds

// of returns what is so of a route; nil where that cannot be told.
func (p pathHeads) of(route *caddyhttp.Route) []pathEnds {
	if p == nil || len(route.MatcherSets) == 0 {
		return nil
	}
	key := &route.MatcherSets[0]
	heads, known := p[key]
	if !known {
		heads = headsOf(route.MatcherSets)
		p[key] = heads
	}
	return heads
}

func headsOf(sets caddyhttp.MatcherSets) (heads []pathEnds) {
	for _, set := range sets {
		paths := matcherIn[caddyhttp.MatchPath](set)
		if len(paths) == 0 {
			return nil
		}
		for _, pattern := range paths {
			var ends pathEnds
			if last, ok := strings.CutPrefix(pattern, "*"); ok {
				ends.last = last
			} else {
				ends.first = strings.TrimSuffix(pattern, "*")
			}
			if text := ends.first + ends.last; strings.ContainsAny(text, "*?[]\\{}%") || strings.Contains(text, "//") {
				return nil
			}
			heads = append(heads, ends)
		}
	}
	return heads
}

// cleaned is a path as path matchers compare it.
type cleaned struct {
	of   *url.URL
	path string
}

// passesBy reports whether the path of a request alone says that a route is not for it.
func (t *trial) passesBy(route *caddyhttp.Route, w way) bool {
	heads := t.heads.of(route)
	if heads == nil || runtime.GOOS == "windows" { // where paths are compared otherwise
		return false
	}
	if t.cleaned.of != w.url {
		t.cleaned = cleaned{w.url, caddyhttp.CleanPath(strings.ToLower(w.url.Path), true)}
	}
	for _, ends := range heads {
		if strings.HasPrefix(t.cleaned.path, ends.first) && strings.HasSuffix(t.cleaned.path, ends.last) {
			return false
		}
	}
	return true
}
