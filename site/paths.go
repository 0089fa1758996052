package site

import (
	"net/url"
	"runtime"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// pathEnds are how a path begins and ends that a pattern lets through, in lower case and
// cleaned.
type pathEnds struct{ first, last string }

// listIndex finds the routes of a list that a path may be for. A site with a thousand endpoints
// has a thousand routes, which a trial for each endpoint passes by: their matchers need not be
// asked each time. Each list of numbers is in order.
type listIndex struct {
	exact map[string][]int   // by whole paths
	below map[string][]int   // by prefixes that end with a slash
	ends  map[pathEnds][]int // by patterns of other kinds; many routes have the same few
	all   []int              // routes that may be for any path
}

// indexes are the indexes of lists by the last of their routes.
type indexes map[*caddyhttp.Route]*listIndex

// minIndexed is the length of lists that get an index.
const minIndexed = 16

// of returns the index of a list that routes are the end of; nil if it gets none.
func (in indexes) of(routes caddyhttp.RouteList) *listIndex {
	if len(routes) == 0 {
		return nil
	}
	last := &routes[len(routes)-1]
	index, known := in[last]
	if !known && len(routes) >= minIndexed && runtime.GOOS != "windows" { // where paths are compared otherwise
		index = newListIndex(routes)
		in[last] = index
	}
	return index
}

// newListIndex numbers the routes from the end of the list, because trials look up the rest of a
// list.
func newListIndex(routes caddyhttp.RouteList) *listIndex {
	index := &listIndex{exact: make(map[string][]int), below: make(map[string][]int), ends: make(map[pathEnds][]int)}
	for i := range slices.Backward(routes) {
		n := len(routes) - i
		patterns, ok := patternsOf(routes[i].MatcherSets)
		if !ok {
			index.all = append(index.all, n)
			continue
		}
		for _, pattern := range patterns {
			first, isPrefix := strings.CutSuffix(pattern, "*")
			last, isSuffix := strings.CutPrefix(pattern, "*")
			switch {
			case isSuffix:
				enter(index.ends, pathEnds{last: last}, n)
			case !isPrefix:
				enter(index.exact, pattern, n)
			case strings.HasSuffix(first, "/"):
				enter(index.below, first, n)
			default:
				enter(index.ends, pathEnds{first: first}, n)
			}
		}
	}
	return index
}

func enter[K comparable](in map[K][]int, key K, n int) {
	if list := in[key]; len(list) == 0 || list[len(list)-1] != n {
		in[key] = append(list, n)
	}
}

// patternsOf returns the path patterns of routes. ok is false if a request with another path may
// match, too.
func patternsOf(sets caddyhttp.MatcherSets) (all []string, ok bool) {
	for _, set := range sets {
		paths := matcherIn[caddyhttp.MatchPath](set)
		if len(paths) == 0 {
			return nil, false
		}
		for _, pattern := range paths {
			text, isSuffix := strings.CutPrefix(pattern, "*")
			if !isSuffix {
				text = strings.TrimSuffix(pattern, "*")
			}
			if strings.ContainsAny(text, "*?[]\\{}%") || strings.Contains(text, "//") {
				return nil, false
			}
			all = append(all, pattern)
		}
	}
	return all, len(all) > 0
}

// mayMatch returns lists of the routes that may match a path, as path matchers compare it.
func (index *listIndex) mayMatch(path string) (lists [][]int) {
	add := func(list []int) {
		if len(list) > 0 {
			lists = append(lists, list)
		}
	}
	add(index.all)
	add(index.exact[path])
	for i := range len(path) {
		if path[i] == '/' {
			add(index.below[path[:i+1]])
		}
	}
	for ends, list := range index.ends {
		if strings.HasPrefix(path, ends.first) && strings.HasSuffix(path, ends.last) {
			add(list)
		}
	}
	return lists
}

// candidates are the routes of a list that a path may be for.
type candidates struct {
	index *listIndex
	url   *url.URL
	lists [][]int
}

// skip leaves out the routes at the start of a list that cannot match the path of a request.
func (t *trial) skip(routes caddyhttp.RouteList, w way) caddyhttp.RouteList {
	index := t.indexes.of(routes)
	if index == nil {
		return routes
	}
	if c := &t.candidates; c.index != index || c.url != w.url {
		*c = candidates{index, w.url, index.mayMatch(caddyhttp.CleanPath(strings.ToLower(w.url.Path), true))}
	}
	next := 0 // the greatest number that is left
	for _, list := range t.candidates.lists {
		i, found := slices.BinarySearch(list, len(routes))
		if found {
			return routes
		}
		if i > 0 {
			next = max(next, list[i-1])
		}
	}
	return routes[len(routes)-next:]
}
