package mcpauthbridge

import (
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/placeholder"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

// topOption is an option of mcp_auth_bridge itself.
type topOption struct {
	name    string
	example string // its values, for errors
	read    func(dir *directive, s setting) error
	repeats bool // it may stand more than once
	// needsMore is set if the option needs a value or a block.
	needsMore bool
}

// options has the options of mcp_auth_bridge. Any other option belongs to reverse_proxy.
var options []topOption

func init() { // since the options name each other in errors
	options = []topOption{
		{name: "endpoint", example: "/mcp", read: readEndpoint},
		{name: "names", example: "github files", read: readNames, repeats: true},
		{name: "to", example: "localhost:3000", read: readTo, repeats: true},
		{name: "forwarding", example: "auto", read: readForwarding},
		{name: "upstream_path", example: "/api/mcp", read: readUpstreamPath},
		{name: "public_url", example: "https://mcp.example.com/mcp", read: readPublicURL},
		{name: "hosts", example: "mcp.example.com", read: readHosts, repeats: true},
		{name: "root_metadata", read: readRootMetadata},
		{name: "challenge", example: "relay", read: readChallenge, repeats: true, needsMore: true},
		{name: "cors", example: "off", read: readCORS, needsMore: true},
		{name: "metadata", example: "off", read: readMetadata, needsMore: true},
		{name: "authorization_server", example: "bridge", read: readAuthorizationServer},
		{name: "authorize", read: readAuthorize},
		{name: "message_path", example: "/messages", read: readMessagePath},
		{name: "stdio", example: "npx -y <package>", read: readStdio},
		{name: "legacy_sse", read: readLegacySSE},
		{name: "sessions", read: readSessions, needsMore: true},
		{name: "limits", read: readLimits, needsMore: true},
	}
}

func readEndpoint(dir *directive, s setting) error {
	var path string
	if err := s.one(&path); err != nil {
		return err
	}
	if dir.h.Endpoint != "" {
		return s.Errf("endpoint: %q contradicts %q on the directive's line; give one of them", path, dir.h.Endpoint)
	}
	if err := checkEndpoint(path); err != nil {
		return s.WrapErr(err)
	}
	dir.h.Endpoint = path
	return nil
}

func readTo(dir *directive, s setting) error { return s.many(&dir.addresses) }

func readUpstreamPath(dir *directive, s setting) error {
	if err := s.one(&dir.path); err != nil {
		return err
	}
	return placed(s.Dispenser, upstreams.CheckPath("upstream_path", dir.path))
}

func readMessagePath(dir *directive, s setting) error {
	if err := s.one(&dir.messagePath); err != nil {
		return err
	}
	return placed(s.Dispenser, upstreams.CheckPath("message_path", dir.messagePath))
}

func readPublicURL(dir *directive, s setting) error {
	if err := s.one(&dir.h.PublicURL); err != nil {
		return err
	}
	if placeholder.In(dir.h.PublicURL) {
		return nil // it is known when the configuration is loaded
	}
	_, _, err := parsePublicURL(dir.h.PublicURL)
	return placed(s.Dispenser, err)
}

func readHosts(dir *directive, s setting) error {
	if err := s.list(&dir.h.Hosts); err != nil {
		return err
	}
	_, err := compileHosts(placeholder.Written(dir.h.Hosts))
	return placed(s.Dispenser, err)
}

func readRootMetadata(dir *directive, s setting) error {
	dir.h.RootMetadata = new(bool)
	return s.flag(dir.h.RootMetadata)
}

func readLegacySSE(dir *directive, s setting) error {
	c := new(LegacySSEConfig)
	values := s.RemainingArgs()
	if len(values) == 1 {
		switch values[0] {
		case "off":
			return nil
		case "on":
			values = nil
		}
	}
	if len(values) > 2 {
		return s.Errf("legacy_sse: takes the path of the event stream and that of messages, remove %q", values[2])
	}
	for i, to := range []*string{&c.Path, &c.MessagePath} {
		if i == len(values) {
			break
		}
		if err := checkPath("legacy_sse", values[i]); err != nil {
			return s.WrapErr(err)
		}
		*to = values[i]
	}
	dir.h.LegacySSE = c
	return nil
}
