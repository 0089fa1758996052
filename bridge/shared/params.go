package shared

import (
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// checkParams checks the header fields of a tools/call that repeat arguments of the tool. It knows
// those of tools that the server has listed.
func (c *server) checkParams(r *http.Request, e *envelope) *rejection {
	if e.m.Method != "tools/call" {
		return nil
	}
	c.out.Lock()
	fields := c.fields[nameOf(e.m)]
	c.out.Unlock()
	if text := mcp.ParamMismatch(r.Header, e.m, fields); text != "" {
		return mismatch(text)
	}
	return nil
}

// Check checks a stateless request as one to a shared server is checked: its header fields must
// agree with its body. tools has the header fields that repeat arguments of tools. Check returns
// the error that answers the request, with its HTTP status; nil if the request is correct.
func Check(r *http.Request, m message.Message, tools mcp.ToolFields) (status int, answer []byte) {
	_, rejected := openEnvelope(r, []message.Message{m}, false)
	if rejected == nil && m.Method == "tools/call" {
		if text := mcp.ParamMismatch(r.Header, m, tools[nameOf(m)]); text != "" {
			rejected = mismatch(text)
		}
	}
	if rejected == nil {
		return 0, nil
	}
	return rejected.status, message.ErrorData(m.RawID, rejected.code, rejected.text, rejected.data)
}
