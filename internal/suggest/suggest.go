// Package suggest finds out which name was meant where another one is written.
package suggest

import (
	"slices"
	"strings"
)

// maxName bounds the names that are compared, in bytes. A longer name is not a typing error.
const maxName = 64

// Nearest returns the first of the names that is most similar to a name, by its letters, or
// because each word of one is a word of the other. It returns "" if none is similar.
func Nearest(name string, among []string) string {
	name = normal(name)
	if name == "" || len(name) > maxName {
		return ""
	}
	if near := nearest(name, among, max(1, len(name)/5)); near != "" {
		return near
	}
	words := strings.Split(name, "_")
	for _, other := range among {
		if others := strings.Split(normal(other), "_"); containsAll(others, words) || len(others) > 1 && containsAll(words, others) {
			return other
		}
	}
	return nearest(name, among, 1+len(name)/4)
}

// nearest returns the first of the names with the least distance to a name. It returns "" if all
// distances are greater than most.
func nearest(name string, among []string, most int) (best string) {
	for _, other := range among {
		if d := distance(name, normal(other)); d < most || d == most && best == "" {
			best, most = other, d
		}
	}
	return best
}

func normal(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "-", "_")
}

// containsAll reports whether all words are among others, in the singular or the plural.
func containsAll(others, words []string) bool {
	for _, word := range words {
		if !slices.ContainsFunc(others, func(other string) bool {
			return strings.TrimSuffix(other, "s") == strings.TrimSuffix(word, "s")
		}) {
			return false
		}
	}
	return true
}

// distance returns how many letters have to be added, removed, replaced, or exchanged with
// the next one to make b of a.
func distance(a, b string) int {
	if len(b) > maxName {
		return maxName
	}
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			now[j] = min(change, last[j]+1, now[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}

// WithoutCommas returns the values of a list as they belong in a Caddyfile.
func WithoutCommas(values []string) string {
	return strings.Join(strings.FieldsFunc(strings.Join(values, " "), func(r rune) bool { return r == ',' || r == ' ' }), " ")
}
