package bridge

import (
	"cmp"
	"slices"
)

// info implements tenant.
func (s *session) info() SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := SessionInfo{
		ID: HashID(s.id), Transport: TransportHTTP, User: s.owner.hash(),
		Begun: s.begun, Used: s.used, Active: s.active, Version: s.version, begun: s.admitted,
	}
	if s.one {
		i.Transport = TransportSSE
	}
	return i
}

// info implements tenant.
func (c *conversation) info() SessionInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	return SessionInfo{
		ID: HashID(c.id), Transport: TransportStateless, User: c.user,
		Begun: c.begun, Used: c.used, Active: c.active, Version: statelessVersion, begun: c.timer != nil,
	}
}

// hash stands for an identity; it is empty for one that nothing says anything of.
func (id identity) hash() string {
	if id == (identity{}) {
		return ""
	}
	return HashID(id.key())
}

// List returns the sessions that have begun, oldest first, and the conversations that
// stateless requests share.
func (h *Hub) List() []SessionInfo {
	h.mu.Lock()
	all := make([]tenant, 0, len(h.tenants))
	for t := range h.tenants {
		all = append(all, t)
	}
	h.mu.Unlock()
	var infos []SessionInfo
	for _, t := range all {
		if s := t.info(); s.begun {
			infos = append(infos, s)
		}
	}
	slices.SortFunc(infos, func(a, b SessionInfo) int {
		return cmp.Or(a.Begun.Compare(b.Begun), cmp.Compare(a.ID, b.ID))
	})
	return infos
}

// EndSession ends the session of that [HashID], in the operator's name. It returns
// false where there is none.
func (h *Hub) EndSession(id string) bool {
	h.mu.Lock()
	all := make([]tenant, 0, len(h.tenants))
	for t := range h.tenants {
		all = append(all, t)
	}
	h.mu.Unlock()
	for _, t := range all {
		if s := t.info(); s.begun && s.ID == id {
			return h.end(t, EndOperator)
		}
	}
	return false
}
