package lists

import "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"

// task is a task that the server has made for a request, as the result describes it. Only such a
// result gives a task to a principal. An answer about a task only repeats the id in its request,
// and a notification may go to all clients.
type task struct {
	// made2025 is the member `task`, an object with the members taskId and status (MCP
	// specification 2025-11-25).
	made2025, status []byte
	// resultType and id are members of the result itself, with the type `task` (the extension
	// io.modelcontextprotocol/tasks of 2026-07-28).
	resultType, id []byte
}

// read reads a member of a result.
func (t *task) read(c *message.Cursor, name []byte) {
	switch string(name) {
	case "resultType":
		t.resultType = c.Skip()
	case "taskId":
		t.id = c.Skip()
	default:
		if c.Next() != '{' {
			c.Skip()
			return
		}
		c.Enter()
		for name, ok := c.Member(); ok; name, ok = c.Member() {
			switch string(name) {
			case "taskId":
				t.made2025 = c.Skip()
			case "status":
				t.status = c.Skip()
			default:
				c.Skip()
			}
		}
	}
}

// made returns the id of the task that the result gives.
func (t *task) made() (id string, ok bool) {
	if t.resultType != nil {
		if kind, _ := decode(t.resultType); kind == "task" {
			return decode(t.id)
		}
	}
	if t.made2025 != nil && t.status != nil {
		if status, ok := decode(t.status); ok && status != "" {
			return decode(t.made2025)
		}
	}
	return "", false
}
