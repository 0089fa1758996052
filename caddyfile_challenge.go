package mcpauthbridge

import (
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/placeholder"
)

var challengeOptions = []blockOption[ChallengeConfig]{
	{name: "mode", example: "relay", read: func(s setting, c *ChallengeConfig) error {
		if !s.NextArg() {
			return s.Errf("%s: needs a value%s", s.label, s.as())
		}
		if err := s.mode(c); err != nil {
			return err
		}
		return s.end()
	}},
	{name: "origins", example: "http://mcp.internal:3000", read: func(s setting, c *ChallengeConfig) error { return s.list(&c.Origins) }},
	{name: "scope", example: "mcp:read mcp:write", read: func(s setting, c *ChallengeConfig) error { return s.words(&c.Scope) }},
	{name: "realm", example: `"MCP"`, read: func(s setting, c *ChallengeConfig) error { return s.one(&c.Realm) }},
}

func readChallenge(dir *directive, s setting) error {
	if dir.h.Challenge == nil {
		dir.h.Challenge = new(ChallengeConfig)
	}
	c := dir.h.Challenge
	if s.NextArg() {
		if err := s.mode(c); err != nil {
			return err
		}
		if s.NextArg() {
			return s.Errf("challenge: takes one mode, remove %q; other options stand in its block", s.Val())
		}
	}
	return readBlock(s.Dispenser, "challenge", challengeOptions, c, func() error {
		known := *c
		known.Origins, known.Scope = placeholder.Written(c.Origins), placeholder.Written(c.Scope)
		return known.check()
	})
}

// mode takes the current token as the mode of the challenge policy.
func (s setting) mode(c *ChallengeConfig) error {
	if c.Mode != "" {
		return s.Errf("challenge mode is given twice, %q and %q; remove one of them", c.Mode, s.Val())
	}
	switch bridge.Mode(s.Val()) {
	case bridge.ModeRewrite, bridge.ModeRelay, bridge.ModeReplace:
		c.Mode = s.Val()
		return nil
	}
	return s.WrapErr(errMode(s.Val()))
}
