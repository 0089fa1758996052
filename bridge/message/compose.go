package message

import (
	"bytes"
	"encoding/json"
)

// NewRequest returns a request. id and params are JSON; without params there is no such
// member. What the bridge writes itself need not be parsed.
func NewRequest(id []byte, method string, params []byte) Message {
	m := Message{Kind: Request, Method: method, ID: KeyOf(id), RawID: id}
	m.Raw = compose(id, method, params)
	m.reread("params")
	return m
}

// NewNotification returns a notification. params is JSON; without params there is no such
// member.
func NewNotification(method string, params []byte) Message {
	m := Message{Kind: Notification, Method: method}
	m.Raw = compose(nil, method, params)
	m.reread("params")
	return m
}

// compose writes a request, or without an id a notification.
func compose(id []byte, method string, params []byte) []byte {
	var b bytes.Buffer
	b.WriteString(`{"jsonrpc":"2.0",`)
	if id != nil {
		b.WriteString(`"id":`)
		b.Write(id)
		b.WriteByte(',')
	}
	b.WriteString(`"method":`)
	b.Write(quote(method))
	if params != nil {
		b.WriteString(`,"params":`)
		b.Write(params)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// NewResult returns a response with a result, which is JSON.
func NewResult(id, result []byte) Message {
	return Message{Raw: Result(id, result), Kind: Response, ID: KeyOf(id), RawID: id, Version: versionOf(result)}
}

// NewError returns an error response. id is as it was written; an empty id becomes null.
func NewError(id []byte, code int, text string) Message {
	if len(id) == 0 {
		id = []byte("null")
	}
	return Message{Raw: Error(id, code, text), Kind: Response, ID: KeyOf(id), RawID: id, Failed: true}
}

// Get returns the value of the member at path, as it is written; nil if there is none.
func (m Message) Get(path ...string) []byte { return Get(m.Raw, path...) }

// Text returns the string at path; the empty string if there is none.
func (m Message) Text(path ...string) string { return Text(m.Raw, path...) }

// Set returns the message with value as the member at path (see the function [Set]). The
// member must not be one that makes the message another kind of message.
func (m Message) Set(value []byte, path ...string) Message {
	m.Raw = Set(m.Raw, value, path...)
	m.reread(path...)
	return m
}

// Replace is [Message.Set] if the member is there. If it is missing, the message stays as it
// is.
func (m Message) Replace(value []byte, path ...string) Message {
	if m.Get(path...) == nil {
		return m
	}
	return m.Set(value, path...)
}

// Remove returns the message without the member at path.
func (m Message) Remove(path ...string) Message {
	m.Raw = Remove(m.Raw, path...)
	m.reread(path...)
	return m
}

// WithID returns the message with another id, which is JSON.
func (m Message) WithID(id []byte) Message { return m.Set(id, "id") }

// WithProgress returns a request that asks for progress, or a notifications/progress, with
// another token, which is JSON. A message without a token stays as it is.
func (m Message) WithProgress(token []byte) Message {
	if m.Progress == "" {
		return m
	}
	if m.Kind == Request {
		return m.Set(token, "params", "_meta", "progressToken")
	}
	return m.Set(token, "params", "progressToken")
}

// WithRaw returns the message with another text, which has the same id, method and
// references.
func (m Message) WithRaw(raw []byte) Message {
	m.Raw = raw
	return m
}

// reread reads the fields again that a change of the member at path may have changed.
func (m *Message) reread(path ...string) {
	switch path[0] {
	case "id":
		m.RawID = Get(m.Raw, "id")
		m.ID = KeyOf(m.RawID)
	case "result":
		if m.Kind == Response && touches(path, "protocolVersion") {
			m.Version = versionOf(Get(m.Raw, "result"))
		}
	case "params":
		m.rereadParams(path)
	}
}

func (m *Message) rereadParams(path []string) {
	switch {
	case m.Kind == Request && touches(path, "_meta", "progressToken"):
		m.readProgress(Get(m.Raw, "params", "_meta", "progressToken"))
	case m.Method == "notifications/progress" && touches(path, "progressToken"):
		m.readProgress(Get(m.Raw, "params", "progressToken"))
	case m.Method == "notifications/cancelled" && touches(path, "requestId"):
		m.Cancels = KeyOf(Get(m.Raw, "params", "requestId"))
	}
	if m.Method == "initialize" && touches(path, "protocolVersion") {
		m.Version = versionOf(Get(m.Raw, "params"))
	}
}

// touches reports whether a change at path may change the member at below, a path that
// starts below the first name of path.
func touches(path []string, below ...string) bool {
	for i, name := range path[1:] {
		if i >= len(below) {
			return true
		}
		if name != below[i] {
			return false
		}
	}
	return true
}

// Encode writes JSON without changing text that is JSON already.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}
