package mcp

import (
	"encoding/base64"
	"strings"
)

// Header fields, by their canonical names (MCP specification, "Streamable HTTP").
const (
	// SessionHeader names the session (2025-03-26 to 2025-11-25, "Session Management").
	SessionHeader = "Mcp-Session-Id"
	// VersionHeader names the revision (since 2025-06-18, "Protocol Version Header").
	VersionHeader = "Mcp-Protocol-Version"
	// MethodHeader and NameHeader repeat parts of a message (since 2026-07-28, "Request
	// Metadata").
	MethodHeader = "Mcp-Method"
	NameHeader   = "Mcp-Name"
)

// Members of _meta (MCP specification 2026-07-28, "_meta").
const (
	MetaVersion      = "io.modelcontextprotocol/protocolVersion"
	MetaClient       = "io.modelcontextprotocol/clientInfo"
	MetaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	MetaLogLevel     = "io.modelcontextprotocol/logLevel"
	MetaServer       = "io.modelcontextprotocol/serverInfo"
	MetaSubscription = "io.modelcontextprotocol/subscriptionId"
)

// A value of a header field that is Base64 stands between these (MCP specification
// 2026-07-28, "Value Encoding").
const encodedPrefix, encodedSuffix = "=?base64?", "?="

// DecodeField decodes the value of Mcp-Name or Mcp-Param-*. It returns false if the value is
// malformed.
func DecodeField(value string) (string, bool) {
	value = strings.Trim(value, " \t")
	inner, ok := strings.CutPrefix(value, encodedPrefix)
	if ok {
		inner, ok = strings.CutSuffix(inner, encodedSuffix)
	}
	if !ok {
		for i := range len(value) {
			if c := value[i]; c != '\t' && (c < ' ' || c > '~') {
				return "", false
			}
		}
		return value, true
	}
	decoded, err := base64.StdEncoding.DecodeString(inner)
	return string(decoded), err == nil
}

// EncodeField encodes a value for Mcp-Name or Mcp-Param-*. Values that need no encoding stay
// as they are.
func EncodeField(value string) string {
	plain := value == strings.Trim(value, " \t") && !(strings.HasPrefix(value, encodedPrefix) && strings.HasSuffix(value, encodedSuffix))
	for i := range len(value) {
		plain = plain && (value[i] == '\t' || value[i] >= ' ' && value[i] <= '~')
	}
	if plain {
		return value
	}
	return encodedPrefix + base64.StdEncoding.EncodeToString([]byte(value)) + encodedSuffix
}
