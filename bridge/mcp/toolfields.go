package mcp

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const (
	// maxTools bounds the tools of a server whose fields are remembered.
	maxTools = 4096
	// MaxParamDepth bounds how deep an argument may lie that a field repeats.
	MaxParamDepth = 16
)

// ToolField is a header field that repeats an argument of a tool (MCP specification
// 2026-07-28, "Custom Headers from Tool Parameters").
type ToolField struct {
	Name string // canonical
	Path []string
}

// ToolFields has the header fields of tools, by the tool's name.
type ToolFields map[string][]ToolField

// Learn takes the header fields of the tools that an answer to tools/list has.
func (t *ToolFields) Learn(raw []byte) {
	if len(*t) == 0 && !bytes.Contains(raw, []byte("x-mcp-header")) {
		return
	}
	var answer struct {
		Result struct {
			Tools []struct {
				Name        string          `json:"name"`
				InputSchema json.RawMessage `json:"inputSchema"`
			} `json:"tools"`
		} `json:"result"`
	}
	if json.Unmarshal(raw, &answer) != nil {
		return
	}
	for _, tool := range answer.Result.Tools {
		fields := fieldsOf(tool.InputSchema, nil)
		if len(fields) == 0 {
			delete(*t, tool.Name)
		} else if len(*t) < maxTools {
			if *t == nil {
				*t = make(ToolFields)
			}
			(*t)[tool.Name] = fields
		}
	}
}

// fieldsOf returns the header fields that a schema names, at properties that only
// `properties` lead to.
func fieldsOf(raw json.RawMessage, path []string) (fields []ToolField) {
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if len(path) >= MaxParamDepth || json.Unmarshal(raw, &schema) != nil {
		return nil
	}
	for name, property := range schema.Properties {
		at := append(path[:len(path):len(path)], name)
		var field struct {
			Name string `json:"x-mcp-header"`
		}
		if json.Unmarshal(property, &field) == nil && field.Name != "" {
			fields = append(fields, ToolField{http.CanonicalHeaderKey("Mcp-Param-" + field.Name), at})
		}
		fields = append(fields, fieldsOf(property, at)...)
	}
	return fields
}

// Headers returns the header fields of a message over HTTP (MCP specification 2026-07-28,
// "Request Metadata").
func (t ToolFields) Headers(m message.Message) http.Header {
	h := http.Header{VersionHeader: {StatelessRevision}, MethodHeader: {m.Method}}
	source, ok := NameSource(m.Method)
	if !ok {
		return h
	}
	name := m.Text("params", source)
	if m.Get("params", source) != nil {
		h[NameHeader] = []string{EncodeField(name)}
	}
	if m.Method != "tools/call" {
		return h
	}
	for _, field := range t[name] {
		value := m.Get(append([]string{"params", "arguments"}, field.Path...)...)
		if text, ok := headerText(value); ok {
			h[field.Name] = []string{EncodeField(text)}
		}
	}
	return h
}

// headerText returns an argument as text for a header field. It returns false if arguments
// of its type have no field.
func headerText(value []byte) (text string, ok bool) {
	if len(value) == 0 {
		return "", false
	}
	switch c := value[0]; {
	case c == '"':
		return text, json.Unmarshal(value, &text) == nil
	case c == 't' || c == 'f':
		return string(value), true
	case c == '-' || '0' <= c && c <= '9':
		return string(message.KeyOf(value))[1:], true // 42.0 is 42
	}
	return "", false
}
