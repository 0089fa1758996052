package authserver

import (
	"slices"
	"strings"
	"sync"
)

// Learned are the paths that a server has led browsers and clients to.
type Learned struct {
	pages   learnedPaths // where it has redirected browsers to
	clients learnedPaths // where clients manage their registrations
}

// learnedPaths is a bounded set of paths.
type learnedPaths struct {
	mu    sync.Mutex
	paths []string // the one used last at the end
	noted int
}

// maxLearned bounds a set of learned paths. The path that was not used for longest is removed
// for a new one; the next login that it belongs to adds it again.
const maxLearned = 64

// use reports whether path is known, and moves it to the end. The set is locked.
func (l *learnedPaths) use(path string) bool {
	path = family(path)
	i := slices.Index(l.paths, path)
	if i < 0 {
		return false
	}
	l.paths = append(append(l.paths[:i], l.paths[i+1:]...), path)
	return true
}

// has reports whether path is known.
func (l *learnedPaths) has(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.use(path)
}

// add adds a path. It returns true if the path is new and should be logged.
func (l *learnedPaths) add(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.use(path) {
		return false
	}
	if len(l.paths) >= maxLearned {
		l.paths = append(l.paths[:0], l.paths[1:]...)
	}
	l.paths = append(l.paths, family(path))
	l.noted++
	return l.noted <= maxLearned
}

// family returns what paths have in common that differ only in the id of a login
// or a client: some servers put one into the last segment.
func family(path string) string {
	path = withoutParameters(path)
	if i := strings.LastIndexByte(path, '/'); i > 0 && isID(path[i+1:]) {
		return path[:i+1] + "*"
	}
	return path
}

// isID reports whether a segment is likely an identifier: long, without punctuation, and with
// digits.
func isID(segment string) bool {
	const short = 16
	digits := 0
	for i := range len(segment) {
		switch c := segment[i]; {
		case '0' <= c && c <= '9':
			digits++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '_', c == '~':
		default:
			return false
		}
	}
	return len(segment) >= short && digits > 0
}

// withoutParameters returns a path without the parameters of its last segment (RFC 3986
// section 3.3). Some servers put the id of a login session there.
func withoutParameters(path string) string {
	if i := strings.IndexByte(path[strings.LastIndexByte(path, '/')+1:], ';'); i >= 0 {
		return path[:strings.LastIndexByte(path, '/')+1+i]
	}
	return path
}
