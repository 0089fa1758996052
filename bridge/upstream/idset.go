package upstream

import (
	"slices"
	"strconv"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// idSet is a set of ids of requests. Clients count their requests, so numbers that follow one
// another are kept as one range: a map of as many ids takes over a KiB, for each session.
type idSet struct {
	ranges []idRange // in order, with a gap between any two
	others map[message.Key]struct{}
	size   int
}

// idRange is all numbers from first to last.
type idRange struct{ first, last uint64 }

// has reports whether an id is in the set.
func (s *idSet) has(id message.Key) bool {
	if n, ok := counted(id); ok {
		_, in := s.find(n)
		return in
	}
	_, in := s.others[id]
	return in
}

// add adds an id, which may be in the set.
func (s *idSet) add(id message.Key) {
	n, ok := counted(id)
	if !ok {
		if s.others == nil {
			s.others = make(map[message.Key]struct{})
		}
		before := len(s.others)
		s.others[id] = struct{}{}
		s.size += len(s.others) - before
		return
	}
	i, in := s.find(n)
	if in {
		return
	}
	s.size++
	follows := i > 0 && s.ranges[i-1].last+1 == n
	leads := i < len(s.ranges) && s.ranges[i].first-1 == n
	switch {
	case follows && leads:
		s.ranges[i-1].last = s.ranges[i].last
		s.ranges = slices.Delete(s.ranges, i, i+1)
	case follows:
		s.ranges[i-1].last = n
	case leads:
		s.ranges[i].first = n
	default:
		s.ranges = slices.Insert(s.ranges, i, idRange{n, n})
	}
}

// find returns the place of the first range that does not end before n, and whether n is in it.
func (s *idSet) find(n uint64) (int, bool) {
	i, _ := slices.BinarySearchFunc(s.ranges, n, func(r idRange, n uint64) int {
		if r.last < n {
			return -1
		}
		return 1
	})
	return i, i < len(s.ranges) && s.ranges[i].first <= n
}

// counted returns the number of an id that is one as counters write it: a whole number without a
// sign or zeros before it.
func counted(id message.Key) (uint64, bool) {
	const most = 18 // digits, so that each number has another one after it
	if len(id) < 2 || len(id) > 1+most || id[0] != 'n' || id[1] == '0' {
		return 0, false
	}
	for _, c := range id[1:] {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(string(id[1:]), 10, 64)
	return n, err == nil
}
