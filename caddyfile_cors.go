package mcpauthbridge

import (
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/placeholder"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
)

var corsOptions = []blockOption[CORSConfig]{
	{name: "allow_origins", example: "https://app.example.com", read: func(s setting, c *CORSConfig) error { return s.list(&c.AllowOrigins) }},
	{name: "allow_headers", example: "X-Api-Key", read: func(s setting, c *CORSConfig) error { return s.list(&c.AllowHeaders) }},
	{name: "expose_headers", example: "X-Request-Id", read: func(s setting, c *CORSConfig) error { return s.list(&c.ExposeHeaders) }},
	{name: "max_age", example: "10m", read: func(s setting, c *CORSConfig) error { return s.duration(&c.MaxAge, false) }},
	{name: "private_network", read: func(s setting, c *CORSConfig) error { return s.flag(&c.PrivateNetwork) }},
}

func readCORS(dir *directive, s setting) error {
	c := new(CORSConfig)
	dir.h.CORS = c
	if s.NextArg() {
		if s.Val() != "off" {
			if values := append([]string{s.Val()}, s.RemainingArgs()...); values[0] == "*" || strings.Contains(values[0], ".") || strings.Contains(values[0], "://") {
				return s.Errf("cors: %q must stand in its block: write `allow_origins %s` on a line of its own between `cors {` and `}`", values[0], suggest.WithoutCommas(values))
			}
			return s.Errf("cors: takes `off` or a block, not %q; its options are %s", s.Val(), strings.Join(namesOf(corsOptions), ", "))
		}
		c.Disabled = true
		return s.end()
	}
	return readBlock(s.Dispenser, "cors", corsOptions, c, func() error {
		known := *c
		known.AllowOrigins, known.AllowHeaders, known.ExposeHeaders = placeholder.Written(c.AllowOrigins), placeholder.Written(c.AllowHeaders), placeholder.Written(c.ExposeHeaders)
		_, err := known.policy()
		return err
	})
}
