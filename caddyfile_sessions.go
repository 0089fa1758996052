package mcpauthbridge

var sessionsOptions = []blockOption[SessionsConfig]{
	{name: "max", example: "100", read: func(s setting, c *SessionsConfig) error { return s.count(&c.Max) }},
	{name: "idle_timeout", example: "30m", read: func(s setting, c *SessionsConfig) error { return s.duration(&c.IdleTimeout, false) }},
	{name: "max_lifetime", example: "24h", read: func(s setting, c *SessionsConfig) error { return s.duration(&c.MaxLifetime, false) }},
	{name: "max_buffer", example: "4MiB", read: func(s setting, c *SessionsConfig) error { return s.size(&c.MaxBuffer, false) }},
	{name: "keepalive_interval", example: "15s", read: func(s setting, c *SessionsConfig) error { return s.duration(&c.KeepaliveInterval, false) }},
	{name: "unmatched_timeout", example: "30s", read: func(s setting, c *SessionsConfig) error { return s.duration(&c.UnmatchedTimeout, false) }},
	{name: "min_rate", example: "16KiB", read: func(s setting, c *SessionsConfig) error { return s.size(&c.MinRate, false) }},
}

func readSessions(dir *directive, s setting) error {
	c := new(SessionsConfig)
	dir.h.Sessions = c
	if err := s.onlyBlock(namesOf(sessionsOptions)); err != nil {
		return err
	}
	return readBlock(s.Dispenser, "sessions", sessionsOptions, c, nil)
}
