package mcpauthbridge

import (
	"encoding/json"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/placeholder"
)

var metadataOptions = []blockOption[MetadataConfig]{
	{name: "authorization_servers", example: "https://login.example.com", read: func(s setting, m *MetadataConfig) error { return s.words(&m.AuthorizationServers) }},
	{name: "scopes_supported", example: "mcp:read mcp:write", read: func(s setting, m *MetadataConfig) error { return s.words(&m.ScopesSupported) }},
	{name: "resource_name", example: `"Search"`, read: func(s setting, m *MetadataConfig) error { return s.one(&m.ResourceName) }},
	{name: "set", example: "resource_documentation https://example.com/docs", read: readMember, repeats: true},
	{name: "keep_resource", read: func(s setting, m *MetadataConfig) error { return s.flag(&m.KeepResource) }},
	{name: "ttl", example: "10m", read: func(s setting, m *MetadataConfig) error { return s.duration(&m.TTL, false) }},
}

func readMetadata(dir *directive, s setting) error {
	m := new(MetadataConfig)
	dir.h.Metadata = m
	if s.NextArg() {
		if s.Val() != "off" {
			if strings.Contains(s.Val(), "://") {
				return s.Errf("metadata: %q must stand in its block: write `authorization_servers %s` on a line of its own between `metadata {` and `}`", s.Val(), s.Val())
			}
			return s.Errf("metadata: takes `off` or a block, not %q; its options are %s", s.Val(), strings.Join(namesOf(metadataOptions), ", "))
		}
		m.Disabled = true
		return s.end()
	}
	return readBlock(s.Dispenser, "metadata", metadataOptions, m, func() error {
		known := *m
		known.AuthorizationServers, known.ScopesSupported = placeholder.Written(m.AuthorizationServers), placeholder.Written(m.ScopesSupported)
		_, err := metadata.New(known.document())
		return err
	})
}

// readMember reads the name and the value of a member of the document. What is not JSON is a
// text, but for what begins as an object, a list or a quoted text does.
func readMember(s setting, m *MetadataConfig) error {
	var name, value string
	if !s.Args(&name, &value) {
		return s.Errf("%s: needs a name and a value%s", s.label, s.as())
	}
	if s.NextArg() {
		return s.Errf("%s %s: takes one value, remove %q; a text with spaces needs quotes, and a list is JSON: [\"a\", \"b\"] in backticks", s.label, name, s.Val())
	}
	raw := json.RawMessage(value)
	if err := json.Unmarshal([]byte(value), new(any)); err != nil {
		if strings.HasPrefix(value, "{") || strings.HasPrefix(value, "[") || strings.HasPrefix(value, `"`) {
			return s.Errf("%s %s: %q begins like JSON and is not valid (%v); write JSON in backticks, as in `{\"key\":\"value\"}`", s.label, name, value, err)
		}
		if raw, err = json.Marshal(value); err != nil {
			return s.Errf("%s %s: %w", s.label, name, err)
		}
	}
	m.Set = append(m.Set, MetadataMember{Name: name, Value: raw})
	return s.noBlock()
}
