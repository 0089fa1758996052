package operation

import (
	"bytes"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Members of `_meta` about tasks (MCP specification 2025-11-25, "Tasks"; the extension
// io.modelcontextprotocol/tasks of 2026-07-28).
const (
	metaRelatedTask  = "io.modelcontextprotocol/related-task"
	metaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	tasksExtension   = "io.modelcontextprotocol/tasks"
)

// readTasks reads which tasks of the server a message names, and whether its answer may be a
// task. What a client answers or notifies is about tasks of the client as well, whose ids are its
// own; a server finds none of its tasks by it.
func (op *Operation) readTasks(m message.Message) error {
	if op.IsNotification() || !mentionsTask(m.Raw) {
		return nil
	}
	if strings.HasPrefix(m.Method, "tasks/") {
		if id := m.Get("params", "taskId"); id != nil {
			if err := op.task(id); err != nil {
				return err
			}
		}
	}
	if related := m.Get("params", "_meta", metaRelatedTask); len(related) > 0 && related[0] == '{' {
		values, err := object(related, "params._meta."+metaRelatedTask, "taskId")
		if err != nil {
			return err
		}
		if id := values["taskId"]; id != nil {
			if err := op.task(id); err != nil {
				return err
			}
		}
	}
	op.MayMakeTask = m.Method == "tools/call" &&
		(m.Get("params", "task") != nil || m.Get("params", "_meta", metaCapabilities, "extensions", tasksExtension) != nil)
	return nil
}

// mentionsTask reports whether a message may have a member whose name is about tasks. Most
// messages have none.
func mentionsTask(raw []byte) bool {
	return bytes.Contains(raw, []byte("task")) || bytes.Contains(raw, []byte(`\u`))
}

// task adds the id of a task, which must be a string.
func (op *Operation) task(value []byte) error {
	id, ok := str(value)
	if !ok || len(id) > MaxName {
		return errTask
	}
	op.Tasks = append(op.Tasks, id)
	return nil
}
