package mcpauthbridge

import "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"

// The parts of the configuration decode themselves, so that a member of JSON that there is
// not has an error which names the right one.

// UnmarshalJSON implements json.Unmarshaler.
func (h *Handler) UnmarshalJSON(data []byte) error {
	type plain Handler
	return suggest.Decode(data, (*plain)(h), "mcp_auth_bridge", nil)
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *App) UnmarshalJSON(data []byte) error {
	type plain App
	return suggest.Decode(data, (*plain)(a), "mcp_auth_bridge", nil)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *ChallengeConfig) UnmarshalJSON(data []byte) error {
	type plain ChallengeConfig
	return suggest.Decode(data, (*plain)(c), "challenge", nil)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *CORSConfig) UnmarshalJSON(data []byte) error {
	type plain CORSConfig
	return suggest.Decode(data, (*plain)(c), "cors", nil)
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *MetadataConfig) UnmarshalJSON(data []byte) error {
	type plain MetadataConfig
	return suggest.Decode(data, (*plain)(m), "metadata", nil)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *AuthorizationServerConfig) UnmarshalJSON(data []byte) error {
	type plain AuthorizationServerConfig
	return suggest.Decode(data, (*plain)(c), "authorization_server", nil)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *LegacySSEConfig) UnmarshalJSON(data []byte) error {
	type plain LegacySSEConfig
	return suggest.Decode(data, (*plain)(c), "legacy_sse", nil)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *SessionsConfig) UnmarshalJSON(data []byte) error {
	type plain SessionsConfig
	return suggest.Decode(data, (*plain)(c), "sessions", renamed["sessions"])
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *Limits) UnmarshalJSON(data []byte) error {
	type plain Limits
	return suggest.Decode(data, (*plain)(l), "limits", renamed["limits"])
}
