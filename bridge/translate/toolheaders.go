package translate

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// toolHeaders are the header fields that the tools of a server over HTTP require (MCP
// specification 2026-07-28, "Custom Headers from Tool Parameters").
type toolHeaders struct {
	mu     sync.Mutex
	fields mcp.ToolFields
}

// learn takes the fields from an answer to tools/list.
func (h *toolHeaders) learn(m message.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fields.Learn(m.Raw)
}

// headers returns the header fields of a request.
func (h *toolHeaders) headers(m message.Message) http.Header {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fields.Headers(m)
}

// lacksHeaders reports whether the server refuses a tool call because of missing or wrong
// header fields.
func lacksHeaders(u *upstreamRequest, m message.Message) bool {
	return u.method == "tools/call" && string(m.Get("error", "code")) == strconv.Itoa(message.CodeHeaderMismatch)
}

// maxPages bounds the pages of tools/list that fetchToolHeaders reads.
const maxPages = 64

// fetchToolHeaders lists the tools to learn which header fields they require (MCP
// specification 2026-07-28, "Client Behavior").
func (r *requests) fetchToolHeaders(from *http.Request) error {
	params := []byte("{}")
	for range maxPages {
		answer, err := r.ask(from, "tools/list", params, AskWithin)
		if err != nil {
			return err
		}
		r.tools.learn(answer)
		cursor := answer.Get("result", "nextCursor")
		if len(cursor) == 0 || cursor[0] != '"' {
			break
		}
		params = message.Set(params, cursor, "cursor")
	}
	return nil
}

// toolsForClient removes from a list of tools what clients with a handshake cannot use:
// output schemas that are not objects and, over HTTP, tools whose header fields are invalid
// (MCP specification 2026-07-28, "Custom Headers from Tool Parameters").
func (r *requests) toolsForClient(m message.Message) message.Message {
	if !bytes.Contains(m.Raw, []byte("outputSchema")) && !bytes.Contains(m.Raw, []byte(headerKeyword)) {
		return m
	}
	tools, err := message.Elements(m.Get("result", "tools"), len(m.Raw))
	if err != nil {
		return m
	}
	kept := tools[:0]
	for _, tool := range tools {
		if r.stateless != nil && !validToolHeaders(message.Get(tool, "inputSchema")) {
			r.warn("tool is left out of the list, because its x-mcp-header is not as it has to be", message.Text(tool, "name"))
			continue
		}
		if message.Get(tool, "outputSchema") != nil && message.Text(tool, "outputSchema", "type") != "object" {
			tool = message.Remove(tool, "outputSchema")
		}
		kept = append(kept, tool)
	}
	list := append(append([]byte("["), bytes.Join(kept, []byte(","))...), ']')
	return m.Set(list, "result", "tools")
}

// headerKeyword is the keyword of a schema that names a header field.
const headerKeyword = "x-mcp-header"

// validToolHeaders reports whether the header fields that a schema names can be sent: they
// stand at properties of a simple type, which only `properties` lead to, and no two have
// the same name.
func validToolHeaders(schema []byte) bool {
	if !bytes.Contains(schema, []byte(headerKeyword)) {
		return true
	}
	return validHeadersIn(schema, 0, 0, make(map[string]bool))
}

// validHeadersIn checks a part of a schema, which is level deep in it. depth counts the
// properties that lead to it. It is negative if another keyword leads to it.
func validHeadersIn(raw []byte, level, depth int, names map[string]bool) bool {
	if level > 4*mcp.MaxParamDepth {
		return false
	}
	var schema map[string]json.RawMessage
	if json.Unmarshal(raw, &schema) != nil {
		var all []json.RawMessage
		if json.Unmarshal(raw, &all) != nil {
			return true
		}
		for _, one := range all {
			if !validHeadersIn(one, level+1, -1, names) {
				return false
			}
		}
		return true
	}
	for key, value := range schema {
		switch key {
		case headerKeyword:
			if depth <= 0 || depth > mcp.MaxParamDepth || !validHeader(value, schema["type"], names) {
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
				if !validHeadersIn(property, level+1, deeper, names) {
					return false
				}
			}
		case "default", "const", "enum", "examples": // these are values
		default:
			if !validHeadersIn(value, level+1, -1, names) {
				return false
			}
		}
	}
	return true
}

// validHeader reports whether a field's name and type are valid, and no other field has the
// name.
func validHeader(rawName, rawType []byte, names map[string]bool) bool {
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
