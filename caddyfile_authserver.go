package mcpauthbridge

import "strings"

var authorizationServerOptions = []blockOption[AuthorizationServerConfig]{
	{name: "paths", example: "/consent /static/*", read: func(s setting, c *AuthorizationServerConfig) error {
		if err := s.words(&c.Paths); err != nil {
			return err
		}
		_, err := serverPaths(c.Paths)
		return placed(s.Dispenser, err)
	}},
	{name: "only_listed", read: func(s setting, c *AuthorizationServerConfig) error { return s.flag(&c.OnlyListed) }},
}

func readAuthorizationServer(dir *directive, s setting) error {
	const bridged = "`authorization_server bridge` serves one on the upstream's own origin"
	if !s.NextArg() {
		return s.Errf("authorization_server: needs the word bridge: %s", bridged)
	}
	switch value := s.Val(); {
	case value == "off":
		return s.end()
	case strings.Contains(value, "://"):
		return s.Errf("authorization_server: %q is not `bridge`; a server elsewhere stands in the block metadata, as `authorization_servers %[1]s` on a line of its own", value)
	case value != "bridge":
		return s.Errf("authorization_server: %q must be bridge: %s", value, bridged)
	}
	c := &AuthorizationServerConfig{Mode: "bridge"}
	dir.h.AuthorizationServer = c
	if s.NextArg() {
		return s.Errf("authorization_server: takes one word, remove %q; paths stand in its block", s.Val())
	}
	return readBlock(s.Dispenser, "authorization_server", authorizationServerOptions, c, nil)
}
