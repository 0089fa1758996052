package bridge

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const (
	// maxTools bounds the tools of a server whose fields are remembered.
	maxTools = 4096
	// maxParamDepth bounds how deep an argument may lie that a field repeats.
	maxParamDepth = 16
)

// paramField is a field that repeats an argument of a tool (MCP specification
// 2026-07-28, "Custom Headers from Tool Parameters").
type paramField struct {
	name string // canonical
	path []string
}

// toolFields are the fields of tools, by the tool's name.
type toolFields map[string][]paramField

// learn remembers which fields the tools have that an answer to tools/list names.
func (t *toolFields) learn(raw []byte) {
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
				*t = make(toolFields)
			}
			(*t)[tool.Name] = fields
		}
	}
}

// fieldsOf returns the fields that a schema names, at properties that can be reached
// from its root.
func fieldsOf(raw json.RawMessage, path []string) (fields []paramField) {
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if len(path) >= maxParamDepth || json.Unmarshal(raw, &schema) != nil {
		return nil
	}
	for name, property := range schema.Properties {
		at := append(path[:len(path):len(path)], name)
		var field struct {
			Name string `json:"x-mcp-header"`
		}
		if json.Unmarshal(property, &field) == nil && field.Name != "" {
			fields = append(fields, paramField{http.CanonicalHeaderKey("Mcp-Param-" + field.Name), at})
		}
		fields = append(fields, fieldsOf(property, at)...)
	}
	return fields
}

// checkParams compares the fields of a tools/call with the arguments that they
// repeat, as far as it is known which there are.
func (c *conversation) checkParams(r *http.Request, e *envelope) *rejection {
	if e.m.Method != "tools/call" {
		return nil
	}
	c.mu.Lock()
	fields := c.fields[nameOf(e.m)]
	c.mu.Unlock()
	for _, f := range fields {
		value := message.Get(e.m.Raw, append([]string{"params", "arguments"}, f.path...)...)
		lines := r.Header[f.name]
		if value == nil || string(value) == "null" {
			if len(lines) > 0 {
				return mismatch(f.name + " repeats an argument that is not there")
			}
			continue
		}
		if len(lines) == 0 {
			return mismatch(f.name + " is missing")
		}
		text, ok := decodeField(lines[0])
		if !ok || len(lines) > 1 {
			return mismatch(f.name + " is malformed")
		}
		if !repeats(text, value) {
			return mismatch(f.name + " is not what its argument says")
		}
	}
	return nil
}

// repeats reports whether a field's text stands for a value. Numbers are compared as
// such; what is neither text, number nor truth value is the server's business.
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
