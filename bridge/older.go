package bridge

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// older makes an answer one of the revisions with a handshake. Members that they do not
// know stay: their schemas allow any in results. What they know but with another type
// goes.
func (f *facade) older(method string, raw []byte) []byte {
	switch method {
	case "tools/call":
		// Until 2025-11-25 it is an object.
		if value := message.Get(raw, "result", "structuredContent"); value != nil && value[0] != '{' {
			raw = message.Remove(raw, "result", "structuredContent")
		}
	case "tools/list":
		if f.poster != nil {
			f.mu.Lock()
			f.fields.learn(raw)
			f.mu.Unlock()
		}
		raw = f.olderTools(raw)
	}
	return raw
}

// olderTools takes out of a list what cannot be used: results that are no objects, and
// over HTTP tools whose fields are not as they have to be (MCP specification
// 2026-07-28, "Custom Headers from Tool Parameters").
func (f *facade) olderTools(raw []byte) []byte {
	if !bytes.Contains(raw, []byte("outputSchema")) && !bytes.Contains(raw, []byte(headerKeyword)) {
		return raw
	}
	tools, err := message.Batch(message.Get(raw, "result", "tools"))
	if err != nil {
		return raw
	}
	kept := tools[:0]
	for _, tool := range tools {
		if f.poster != nil && !hasSoundFields(message.Get(tool, "inputSchema")) {
			f.session.hub.cfg.Warn("tool is left out of the list, because its x-mcp-header is not as it has to be", message.Text(tool, "name"))
			continue
		}
		if message.Get(tool, "outputSchema") != nil && message.Text(tool, "outputSchema", "type") != "object" {
			tool = message.Remove(tool, "outputSchema")
		}
		kept = append(kept, tool)
	}
	list := append(append([]byte("["), bytes.Join(kept, []byte(","))...), ']')
	return message.Set(raw, list, "result", "tools")
}

// headerKeyword is the keyword of a schema that names a field.
const headerKeyword = "x-mcp-header"

// hasSoundFields reports whether the fields that a schema names can be sent: on
// properties with a type that is text, that are reached by `properties` alone, each by
// another name.
func hasSoundFields(schema []byte) bool {
	if !bytes.Contains(schema, []byte(headerKeyword)) {
		return true
	}
	return soundFields(schema, 0, 0, make(map[string]bool))
}

// soundFields looks at a part of a schema, which is level deep in it. depth counts the
// properties that it is reached by; less than none: it is reached otherwise.
func soundFields(raw []byte, level, depth int, names map[string]bool) bool {
	if level > 4*maxParamDepth {
		return false
	}
	var schema map[string]json.RawMessage
	if json.Unmarshal(raw, &schema) != nil {
		var all []json.RawMessage
		if json.Unmarshal(raw, &all) != nil {
			return true
		}
		for _, one := range all {
			if !soundFields(one, level+1, -1, names) {
				return false
			}
		}
		return true
	}
	for key, value := range schema {
		switch key {
		case headerKeyword:
			if depth <= 0 || depth > maxParamDepth || !soundField(value, schema["type"], names) {
				return false
			}
		case "properties":
			var properties map[string]json.RawMessage
			if json.Unmarshal(value, &properties) != nil {
				continue
			}
			deeper := depth + 1
			if depth < 0 {
				deeper = -1
			}
			for _, property := range properties {
				if !soundFields(property, level+1, deeper, names) {
					return false
				}
			}
		case "default", "const", "enum", "examples": // these are values
		default:
			if !soundFields(value, level+1, -1, names) {
				return false
			}
		}
	}
	return true
}

// soundField reports whether a field can be sent, and has a name of its own.
func soundField(rawName, rawType []byte, names map[string]bool) bool {
	var name, kind string
	if json.Unmarshal(rawName, &name) != nil || json.Unmarshal(rawType, &kind) != nil {
		return false
	}
	token := name != "" && strings.IndexFunc(name, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", c))
	}) < 0
	lower := strings.ToLower(name)
	fresh := !names[lower]
	names[lower] = true
	return token && fresh && (kind == "string" || kind == "integer" || kind == "boolean")
}
