package operation

import (
	"net/http"
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Tools remembers which arguments of tools are repeated in Mcp-Param-* fields, from the lists
// of tools that have crossed. The zero value is ready.
type Tools struct {
	mu     sync.Mutex
	fields mcp.ToolFields // bounded by itself
}

// Learn takes the fields from an answer to tools/list.
func (t *Tools) Learn(answer message.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fields.Learn(answer.Raw)
}

// of returns the fields of a tool.
func (t *Tools) of(tool string) []mcp.ToolField {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fields[tool]
}

// CheckFields compares the header fields of a stateless request (MCP specification
// 2026-07-28) with its messages. Requests of other revisions have nothing to compare. r.Body
// is not read. The messages are not empty.
func (t *Tools) CheckFields(r *http.Request, all []message.Message, batch bool) error {
	if !mcp.IsStateless(r, all) {
		return nil
	}
	m := all[0]
	if batch {
		return &Invalid{Code: message.CodeInvalidRequest, Text: "this protocol version has no batches"}
	}
	refuse := func(text string) error {
		e := &Invalid{Code: message.CodeHeaderMismatch, Text: "header mismatch: " + text}
		if m.Kind == message.Request {
			e.ID = m.RawID
		}
		return e
	}
	if text := mcp.VersionMismatch(r.Header, m); text != "" {
		return refuse(text)
	}
	if m.Kind != message.Request {
		return nil // what its fields have to be is not defined
	}
	if len(r.Header[mcp.VersionHeader]) == 0 {
		return refuse("MCP-Protocol-Version is missing")
	}
	if text := mcp.FieldMismatch(r.Header, m); text != "" {
		return refuse(text)
	}
	if m.Method == "tools/call" {
		if text := mcp.ParamMismatch(r.Header, m, t.of(m.Text("params", "name"))); text != "" {
			return refuse(text)
		}
	}
	return nil
}
