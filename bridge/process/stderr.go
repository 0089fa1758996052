package process

import (
	"bytes"
	"sync"
	"time"
)

// Bounds of the lines of stderr that are passed on.
const (
	maxStderrLine = 4 << 10 // bytes
	stderrBurst   = 50      // lines at once
	stderrRate    = 10      // lines a second after that
	maxStderrWait = 64      // lines that wait for a slow function
)

// stderrLines cuts stderr into lines, and passes on as many as the bounds allow. If a program
// writes too much, only the ends of its lines are looked for.
type stderrLines struct {
	call  func(line []byte, dropped int)
	spawn func(func())

	line []byte // the line being read, cut

	dropped int // lines since the last one that was passed on
	tokens  float64
	filled  time.Time

	mu      sync.Mutex
	waiting []stderrLine
	calling bool
}

// stderrLine is a call that is to be made.
type stderrLine struct {
	line    []byte
	dropped int
}

// write takes the next bytes of stderr.
func (s *stderrLines) write(chunk []byte) {
	for len(chunk) > 0 {
		part, rest, whole := bytes.Cut(chunk, newline)
		chunk = rest
		if len(s.line) == 0 && whole {
			s.add(part)
			continue
		}
		s.line = append(s.line, part[:min(len(part), maxStderrLine-len(s.line))]...)
		if whole {
			s.add(s.line)
			s.line = s.line[:0]
		}
	}
}

// end takes the end of stderr.
func (s *stderrLines) end() {
	s.add(s.line)
	if s.dropped > 0 {
		s.push(nil)
	}
}

// add passes a line on, or counts it as dropped.
func (s *stderrLines) add(line []byte) {
	line = bytes.TrimRight(line[:min(len(line), maxStderrLine)], "\r")
	if len(line) == 0 {
		return
	}
	if !s.allowed(time.Now()) || !s.push(line) {
		s.dropped++
	}
}

// allowed takes a token from the bucket, if there is one.
func (s *stderrLines) allowed(now time.Time) bool {
	if s.filled.IsZero() {
		s.tokens = stderrBurst
	} else {
		s.tokens = min(stderrBurst, s.tokens+now.Sub(s.filled).Seconds()*stderrRate)
	}
	s.filled = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// push queues a call, unless too many wait. A goroutine that makes the calls runs while there
// are some.
func (s *stderrLines) push(line []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line != nil && len(s.waiting) >= maxStderrWait {
		return false
	}
	s.waiting = append(s.waiting, stderrLine{bytes.Clone(line), s.dropped})
	s.dropped = 0
	if !s.calling {
		s.calling = true
		s.spawn(s.makeCalls)
	}
	return true
}

// makeCalls makes the queued calls.
func (s *stderrLines) makeCalls() {
	for {
		s.mu.Lock()
		if len(s.waiting) == 0 {
			s.calling = false
			s.waiting = nil
			s.mu.Unlock()
			return
		}
		next := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.mu.Unlock()
		s.call(next.line, next.dropped)
	}
}
