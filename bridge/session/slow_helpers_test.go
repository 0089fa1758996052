package session

// keeps is what a session has in memory: what it keeps and what is being written.
func (s *session) keeps() int {
	size, _ := s.kept()
	s.out.Lock()
	defer s.out.Unlock()
	return size + s.held
}

// writing is how much of that is being written.
func (s *session) writing() int {
	s.out.Lock()
	defer s.out.Unlock()
	return s.held
}
