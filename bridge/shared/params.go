package shared

import (
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// checkParams compares the fields of a tools/call with the arguments that they
// repeat, as far as it is known which there are.
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

// Check judges a stateless request as one to a shared server is judged: its header fields
// have to be what its body says. tools are the fields that are known to repeat arguments of
// tools. Check returns the error that answers the request, with its status; nil if there is
// none.
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
