package mcpauthbridge

import (
	"encoding/json"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// options are the directive's own; what is not among them is reverse_proxy's.
var options map[string]func(*directive, *caddyfile.Dispenser) error

func init() {
	options = map[string]func(*directive, *caddyfile.Dispenser) error{
		"endpoint":      parseEndpoint,
		"to":            parseTo,
		"upstream_path": parseUpstreamPath,
		"public_url":    parsePublicURLOption,
		"hosts":         parseHosts,
		"root_metadata": parseRootMetadata,
		"challenge":     parseChallenge,
		"cors":          parseCORS,
		"metadata":      parseMetadata,
		"message_path":  parseMessagePath,

		"authorization_server": parseAuthorizationServer,
		"stdio":                parseStdio,
		"sessions":             parseSessions,
		"legacy_sse":           parseLegacySSE,
		"limits":               parseLimits,
	}
}

// oneArg reads the one argument of an option.
func oneArg(d *caddyfile.Dispenser, to *string) error {
	if !d.Args(to) || d.NextArg() {
		return d.ArgErr()
	}
	return noBlock(d)
}

// noBlock refuses a block where an option has none.
func noBlock(d *caddyfile.Dispenser) error {
	name := d.Val()
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("%q takes no block", name)
	}
	return nil
}

// manyArgs reads one or more arguments of an option.
func manyArgs(d *caddyfile.Dispenser, to *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*to = append(*to, args...)
	return nil
}

// flag reads an option without an argument.
func flag(d *caddyfile.Dispenser, to *bool) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	*to = true
	return nil
}

// duration reads a positive duration.
func duration(d *caddyfile.Dispenser, name string, to *caddy.Duration) error {
	var val string
	if err := oneArg(d, &val); err != nil {
		return err
	}
	parsed, err := caddy.ParseDuration(val)
	if err != nil || parsed <= 0 {
		return d.Errf("%s: %q is no positive duration, such as 30s or 10m", name, val)
	}
	*to = caddy.Duration(parsed)
	return nil
}

// block calls one for each option of the block of the current option; an
// option other than a repeatable one stands once.
func block(d *caddyfile.Dispenser, name string, repeat map[string]bool, one func(option string) (known bool, err error)) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] && !repeat[option] {
			return d.Errf("%s %s is given twice", name, option)
		}
		seen[option] = true
		known, err := one(option)
		if err != nil {
			return err
		}
		if !known {
			return d.Errf("unrecognized option %q of %s", option, name)
		}
	}
	return nil
}

func parseEndpoint(dir *directive, d *caddyfile.Dispenser) error {
	var path string
	if err := oneArg(d, &path); err != nil {
		return err
	}
	if dir.h.Endpoint != "" {
		return d.Errf("endpoint: %q contradicts %q on the directive's line; give one of them", path, dir.h.Endpoint)
	}
	if err := checkEndpoint(path); err != nil {
		return d.WrapErr(err)
	}
	dir.h.Endpoint = path
	return nil
}

func parseTo(dir *directive, d *caddyfile.Dispenser) error {
	return manyArgs(d, &dir.addresses)
}

func parseUpstreamPath(dir *directive, d *caddyfile.Dispenser) error {
	if err := oneArg(d, &dir.path); err != nil {
		return err
	}
	if err := checkUpstreamPath("upstream_path", dir.path); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func parseMessagePath(dir *directive, d *caddyfile.Dispenser) error {
	if err := oneArg(d, &dir.messagePath); err != nil {
		return err
	}
	if err := checkUpstreamPath("message_path", dir.messagePath); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func parsePublicURLOption(dir *directive, d *caddyfile.Dispenser) error {
	if err := oneArg(d, &dir.h.PublicURL); err != nil {
		return err
	}
	if _, _, err := parsePublicURL(dir.h.PublicURL); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func parseHosts(dir *directive, d *caddyfile.Dispenser) error {
	if err := manyArgs(d, &dir.h.Hosts); err != nil {
		return err
	}
	_, err := compileHosts(dir.h.Hosts)
	return placed(d, err)
}

func parseRootMetadata(dir *directive, d *caddyfile.Dispenser) error {
	return flag(d, &dir.h.RootMetadata)
}

func parseChallenge(dir *directive, d *caddyfile.Dispenser) error {
	if dir.h.Challenge == nil {
		dir.h.Challenge = new(ChallengeConfig)
	}
	c := dir.h.Challenge
	if d.NextArg() {
		if err := setMode(d, c); err != nil {
			return err
		}
		if d.NextArg() {
			return d.ArgErr()
		}
	}
	return block(d, "challenge", nil, checked(d, c.check, func(option string) (bool, error) {
		switch option {
		case "mode":
			if !d.NextArg() {
				return true, d.ArgErr()
			}
			if err := setMode(d, c); err != nil {
				return true, err
			}
			if d.NextArg() {
				return true, d.ArgErr()
			}
			return true, nil
		case "origins":
			return true, manyArgs(d, &c.Origins)
		case "scope":
			return true, manyArgs(d, &c.Scope)
		case "realm":
			return true, oneArg(d, &c.Realm)
		}
		return false, nil
	}))
}

// checked reads options with one and checks after each what was read so far, so
// that an error has its line.
func checked(d *caddyfile.Dispenser, check func() error, one func(option string) (bool, error)) func(option string) (bool, error) {
	return func(option string) (known bool, err error) {
		if known, err = one(option); known && err == nil {
			err = placed(d, check())
		}
		return known, err
	}
}

func setMode(d *caddyfile.Dispenser, c *ChallengeConfig) error {
	if c.Mode != "" {
		return d.Errf("challenge mode is given twice: %q and %q", c.Mode, d.Val())
	}
	switch bridge.Mode(d.Val()) {
	case bridge.ModeRewrite, bridge.ModeRelay, bridge.ModeReplace:
		c.Mode = d.Val()
		return nil
	}
	return d.Errf("challenge mode: %q is none of rewrite, relay, replace", d.Val())
}

func parseCORS(dir *directive, d *caddyfile.Dispenser) error {
	c := new(CORSConfig)
	dir.h.CORS = c
	if d.NextArg() {
		if d.Val() != "off" {
			return d.Errf("cors: %q is not `off`; origins stand in a block, as allow_origins", d.Val())
		}
		c.Off = true
		if d.NextArg() {
			return d.ArgErr()
		}
		return noBlock(d)
	}
	check := func() error {
		_, err := c.policy()
		return err
	}
	return block(d, "cors", nil, checked(d, check, func(option string) (bool, error) {
		switch option {
		case "allow_origins":
			return true, manyArgs(d, &c.AllowOrigins)
		case "allow_headers":
			return true, manyArgs(d, &c.AllowHeaders)
		case "expose_headers":
			return true, manyArgs(d, &c.ExposeHeaders)
		case "max_age":
			return true, duration(d, "cors max_age", &c.MaxAge)
		case "private_network":
			return true, flag(d, &c.PrivateNetwork)
		}
		return false, nil
	}))
}

func parseMetadata(dir *directive, d *caddyfile.Dispenser) error {
	m := new(MetadataConfig)
	dir.h.Metadata = m
	if d.NextArg() {
		if d.Val() != "off" {
			return d.Errf("metadata: %q is not `off`; options stand in a block", d.Val())
		}
		m.Off = true
		if d.NextArg() {
			return d.ArgErr()
		}
		return noBlock(d)
	}
	check := func() error {
		_, err := metadata.New(m.document())
		return err
	}
	return block(d, "metadata", map[string]bool{"set": true}, checked(d, check, func(option string) (bool, error) {
		switch option {
		case "authorization_servers":
			return true, manyArgs(d, &m.AuthorizationServers)
		case "scopes_supported":
			return true, manyArgs(d, &m.ScopesSupported)
		case "resource_name":
			return true, oneArg(d, &m.ResourceName)
		case "set":
			return true, parseMember(d, m)
		case "keep_resource":
			return true, flag(d, &m.KeepResource)
		case "ttl":
			return true, duration(d, "metadata ttl", &m.TTL)
		}
		return false, nil
	}))
}

func parseAuthorizationServer(dir *directive, d *caddyfile.Dispenser) error {
	c := new(AuthorizationServerConfig)
	dir.h.AuthorizationServer = c
	if !d.NextArg() {
		return d.Err("authorization_server: say what to do with it, `authorization_server bridge`")
	}
	if d.Val() != "bridge" {
		return d.Errf("authorization_server: %q is not `bridge`; servers elsewhere are named with metadata authorization_servers", d.Val())
	}
	c.Mode = "bridge"
	if d.NextArg() {
		return d.ArgErr()
	}
	return block(d, "authorization_server", nil, func(option string) (bool, error) {
		if option == "only_listed" {
			return true, flag(d, &c.OnlyListed)
		}
		if option != "paths" {
			return false, nil
		}
		if err := manyArgs(d, &c.Paths); err != nil {
			return true, err
		}
		if _, err := serverPaths(c.Paths); err != nil {
			return true, d.WrapErr(err)
		}
		return true, nil
	})
}

func parseStdio(dir *directive, d *caddyfile.Dispenser) error {
	u := new(StdioUpstream)
	dir.stdio = u
	if err := manyArgs(d, &u.Command); err != nil {
		return d.Err("stdio: names no program")
	}
	return block(d, "stdio", map[string]bool{"env": true}, func(option string) (bool, error) {
		switch option {
		case "env":
			return true, manyArgs(d, &u.Env)
		case "dir":
			return true, oneArg(d, &u.Dir)
		case "user":
			return true, oneArg(d, &u.User)
		case "allow_unauthenticated":
			return true, flag(d, &u.AllowUnauthenticated)
		}
		return false, nil
	})
}

func parseLegacySSE(dir *directive, d *caddyfile.Dispenser) error {
	c := new(LegacySSEConfig)
	dir.h.LegacySSE = c
	for _, to := range []*string{&c.Path, &c.MessagePath} {
		if !d.NextArg() {
			break
		}
		if err := checkPath("legacy_sse", d.Val()); err != nil {
			return d.WrapErr(err)
		}
		*to = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

func parseSessions(dir *directive, d *caddyfile.Dispenser) error {
	c := new(SessionsConfig)
	dir.h.Sessions = c
	if d.NextArg() {
		return d.ArgErr()
	}
	return block(d, "sessions", nil, func(option string) (bool, error) {
		switch option {
		case "max":
			return true, positive(d, "sessions max", &c.Max)
		case "idle":
			return true, duration(d, "sessions idle", &c.Idle)
		case "lifetime":
			return true, duration(d, "sessions lifetime", &c.Lifetime)
		case "buffer":
			return true, bytesOf(d, "sessions buffer", &c.Buffer)
		case "keep_alive":
			return true, duration(d, "sessions keep_alive", &c.KeepAlive)
		}
		return false, nil
	})
}

func parseMember(d *caddyfile.Dispenser, m *MetadataConfig) error {
	var name, value string
	if !d.Args(&name, &value) || d.NextArg() {
		return d.ArgErr()
	}
	if !json.Valid([]byte(value)) {
		return d.Errf("metadata set %s: %q is no JSON value; a text needs its quotes, as in `\"text\"`", name, value)
	}
	m.Set = append(m.Set, MetadataMember{Name: name, Value: json.RawMessage(value)})
	return nil
}

func parseLimits(dir *directive, d *caddyfile.Dispenser) error {
	l := new(Limits)
	dir.h.Limits = l
	if d.NextArg() {
		return d.ArgErr()
	}
	return block(d, "limits", nil, func(option string) (bool, error) {
		switch option {
		case "request_body":
			return true, size(d, option, true, &l.RequestBody)
		case "held_body":
			return true, size(d, option, false, &l.HeldBody)
		case "response_header":
			return true, limitDuration(d, option, true, &l.ResponseHeader)
		case "response_header_size":
			return true, size(d, option, false, &l.ResponseHeaderSize)
		case "challenge_wait":
			return true, limitDuration(d, option, false, &l.ChallengeWait)
		case "metadata_timeout":
			return true, limitDuration(d, option, false, &l.MetadataTimeout)
		case "metadata_size":
			return true, size(d, option, false, &l.MetadataSize)
		case "metadata_entries":
			return true, count(d, option, &l.MetadataEntries)
		case "message":
			return true, size(d, option, false, &l.Message)
		case "form":
			return true, size(d, option, false, &l.Form)
		case "endpoint_event":
			var n int64
			err := size(d, option, false, &n)
			l.EndpointEvent = int(n)
			return true, err
		}
		return false, nil
	})
}

// size reads a number of bytes such as 64KiB; `off` means no limit.
func size(d *caddyfile.Dispenser, name string, off bool, to *int64) error {
	var val string
	if err := oneArg(d, &val); err != nil {
		return err
	}
	if off && val == "off" {
		*to = -1
		return nil
	}
	return parseBytes(d, "limits "+name, val, to)
}

// bytesOf reads a number of bytes such as 64KiB.
func bytesOf(d *caddyfile.Dispenser, name string, to *int64) error {
	var val string
	if err := oneArg(d, &val); err != nil {
		return err
	}
	return parseBytes(d, name, val, to)
}

func parseBytes(d *caddyfile.Dispenser, name, val string, to *int64) error {
	n, err := humanize.ParseBytes(val)
	if err != nil || n == 0 || n > 1<<40 {
		return d.Errf("%s: %q is no size, such as 64KiB or 16MiB", name, val)
	}
	*to = int64(n)
	return nil
}

func limitDuration(d *caddyfile.Dispenser, name string, off bool, to *caddy.Duration) error {
	var val string
	if err := oneArg(d, &val); err != nil {
		return err
	}
	if off && val == "off" {
		*to = -1
		return nil
	}
	parsed, err := caddy.ParseDuration(val)
	if err != nil || parsed <= 0 {
		return d.Errf("limits %s: %q is no positive duration, such as 30s or 10m", name, val)
	}
	*to = caddy.Duration(parsed)
	return nil
}

func count(d *caddyfile.Dispenser, name string, to *int) error {
	return positive(d, "limits "+name, to)
}

func positive(d *caddyfile.Dispenser, name string, to *int) error {
	var val string
	if err := oneArg(d, &val); err != nil {
		return err
	}
	n, err := strconv.Atoi(val)
	if err != nil || n <= 0 {
		return d.Errf("%s: %q is no positive number", name, val)
	}
	*to = n
	return nil
}
