package session

// keeps is what a session has in memory: what it keeps and what is being written.
func (s *session) keeps() int {
	size, _ := s.kept()
	s.streams.out.Lock()
	defer s.streams.out.Unlock()
	return size + s.streams.writing
}

// writing is how much of that is being written.
func (s *session) writing() int {
	s.streams.out.Lock()
	defer s.streams.out.Unlock()
	return s.streams.writing
}
