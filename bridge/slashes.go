package bridge

import (
	"net/http"
	"sync/atomic"
)

// slashes remembers the methods for which the upstream wants its path with the other ending (with
// or without a final slash), as its last redirect said. Each method has its own memory: a server
// that serves files beside its messages redirects GET to a directory, and accepts POST without a
// redirect.
type slashes struct {
	post, get, del atomic.Bool
	// message is the escaped message path that the upstream wanted with the other ending.
	message atomic.Pointer[string]
}

// of returns the memory for one method. It is nil for methods whose requests are redirected
// each time.
func (s *slashes) of(method string) *atomic.Bool {
	switch method {
	case http.MethodPost:
		return &s.post
	case http.MethodGet:
		return &s.get
	case http.MethodDelete:
		return &s.del
	}
	return nil
}

// messageTo returns the escaped message path to post to, with the ending that the upstream
// wants.
func (s *slashes) messageTo(path string) string {
	if moved := s.message.Load(); moved != nil && *moved == path {
		return ToggleSlash(path)
	}
	return path
}

// learnMessage notes that the upstream wants an escaped message path with the other ending.
func (s *slashes) learnMessage(path string) {
	if last := s.message.Load(); last != nil && ToggleSlash(*last) == path {
		s.message.Store(nil)
		return
	}
	s.message.Store(&path)
}

// learn notes whether the upstream wants its path with the other ending.
func (s *slashes) learn(method string, other bool) {
	if wants := s.of(method); wants != nil {
		wants.Store(other)
	}
}

// apply returns the path with the ending that the upstream has asked for.
func (s *slashes) apply(method, path string) string {
	if wants := s.of(method); wants != nil && wants.Load() {
		return ToggleSlash(path)
	}
	return path
}

// ToggleSlash returns the other slash form of a path.
func ToggleSlash(path string) string {
	if len(path) > 1 && path[len(path)-1] == '/' {
		return path[:len(path)-1]
	}
	if path == "" || path == "/" {
		return path
	}
	return path + "/"
}
