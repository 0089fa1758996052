package mcp

import (
	"encoding/json"
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// The functions of this file compare header fields with the body that they repeat (MCP
// specification 2026-07-28, "Server Validation"). Each returns what is wrong as a text for
// an error with [message.CodeHeaderMismatch], or the empty text.

// VersionMismatch compares MCP-Protocol-Version with the revision in a message. The field may be
// missing.
func VersionMismatch(h http.Header, m message.Message) string {
	lines := h[VersionHeader]
	if len(lines) > 1 {
		return "MCP-Protocol-Version is given more than once"
	}
	if version, claimed := ClaimedRevision(m); claimed && len(lines) == 1 && lines[0] != version {
		return "MCP-Protocol-Version is not what " + MetaVersion + " says"
	}
	return ""
}

// FieldMismatch compares Mcp-Method and Mcp-Name with a stateless request.
func FieldMismatch(h http.Header, m message.Message) string {
	methods := h[MethodHeader]
	switch {
	case len(methods) == 0:
		return "Mcp-Method is missing"
	case len(methods) > 1 || methods[0] != m.Method:
		return "Mcp-Method is not the method of the body"
	}
	source, ok := NameSource(m.Method)
	if !ok {
		return ""
	}
	var name *string
	if raw := m.Get("params", source); raw != nil && raw[0] == '"' {
		name = new(string)
		_ = json.Unmarshal(raw, name)
	}
	names := h[NameHeader]
	switch {
	case len(names) == 0 && name == nil:
		return ""
	case len(names) == 0:
		return "Mcp-Name is missing"
	}
	decoded, ok := DecodeField(names[0])
	switch {
	case len(names) > 1 || !ok:
		return "Mcp-Name is malformed"
	case name != nil && decoded != *name:
		return "Mcp-Name is not what params." + source + " says"
	}
	return ""
}

// ParamMismatch compares Mcp-Param-* of a tools/call with its arguments. fields are those of
// the tool.
func ParamMismatch(h http.Header, m message.Message, fields []ToolField) string {
	for _, f := range fields {
		value := m.Get(append([]string{"params", "arguments"}, f.Path...)...)
		lines := h[f.Name]
		if value == nil || string(value) == "null" {
			if len(lines) > 0 {
				return f.Name + " repeats an argument that is not there"
			}
			continue
		}
		if len(lines) == 0 {
			return f.Name + " is missing"
		}
		text, ok := DecodeField(lines[0])
		if !ok || len(lines) > 1 {
			return f.Name + " is malformed"
		}
		if !repeats(text, value) {
			return f.Name + " is not what its argument says"
		}
	}
	return ""
}

// repeats reports whether the text of a field stands for a value. Numbers are compared as numbers.
// A value that is not a text, a number or a truth value is left to the server.
func repeats(text string, value []byte) bool {
	switch c := value[0]; {
	case c == '"':
		var s string
		return json.Unmarshal(value, &s) == nil && s == text
	case c == 't' || c == 'f':
		return text == string(value)
	case c == '-' || '0' <= c && c <= '9':
		return json.Valid([]byte(text)) && message.KeyOf([]byte(text)) == message.KeyOf(value)
	}
	return true
}
