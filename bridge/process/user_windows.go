package process

// MaySwitchUser reports whether this program may start others as another user.
func MaySwitchUser() bool { return false }

// IsSelf reports whether a user is the one that this program runs as.
func (c *Credential) IsSelf() bool { return false }

// Blocks returns what keeps the user from a path; it is not looked for here.
func (c *Credential) Blocks(string) string { return "" }
