package bridge

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// say takes a message of the client's to a stateless server, or does what such a
// server does not know.
func (f *facade) say(from *http.Request, m message.Message) error {
	switch m.Kind {
	case message.Response:
		return f.given(from, m)
	case message.Notification:
		return f.tell(from, m)
	}
	switch m.Method {
	case "ping":
		return f.acknowledge(from, m)
	case "logging/setLevel":
		return f.setLevel(from, m)
	case "resources/subscribe":
		return f.subscribe(from, m)
	case "resources/unsubscribe":
		return f.unsubscribe(from, m)
	case "initialize":
		return f.refuse(from, m, message.CodeInvalidRequest, "the session is initialized already")
	case "server/discover", "subscriptions/listen":
		return f.refuse(from, m, message.CodeMethodNotFound, "method "+strconv.Quote(m.Method)+" is not of this protocol version")
	}
	if encodeField(m.Method) != m.Method {
		return f.refuse(from, m, message.CodeMethodNotFound, "there is no such method")
	}
	return f.relay(from, m)
}

// acknowledge answers a request that the server does not get with an empty result.
func (f *facade) acknowledge(from *http.Request, m message.Message) error {
	if err := f.Check(from); err != nil {
		return err
	}
	f.reply(m, message.Result(m.RawID, []byte("{}")))
	return nil
}

// refuse answers a request that the server does not get with an error.
func (f *facade) refuse(from *http.Request, m message.Message, code int, text string) error {
	if err := f.Check(from); err != nil {
		return err
	}
	f.reply(m, message.Error(m.RawID, code, text))
	return nil
}

// setLevel notes which log messages the client wants: each request says so from now on
// (MCP specification 2026-07-28, "Per-request log level").
func (f *facade) setLevel(from *http.Request, m message.Message) error {
	level := message.Text(m.Raw, "params", "level")
	switch {
	case !f.server.has("logging"):
		return f.refuse(from, m, message.CodeMethodNotFound, "the server logs nothing")
	case levelOf(level) == len(logLevels):
		return f.refuse(from, m, message.CodeInvalidParams, "there is no such level")
	}
	if err := f.Check(from); err != nil {
		return err
	}
	f.mu.Lock()
	f.client.logLevel = level
	f.mu.Unlock()
	f.reply(m, message.Result(m.RawID, []byte("{}")))
	return nil
}

// tell takes a notification of the client's.
func (f *facade) tell(from *http.Request, m message.Message) error {
	switch m.Method {
	case "notifications/initialized":
		return f.ready(from)
	case "notifications/cancelled":
		if err := f.Check(from); err != nil {
			return err
		}
		f.mu.Lock()
		e := f.relayed[m.Cancels]
		f.mu.Unlock()
		if e != nil {
			f.settle(e)
			f.giveUp(e, m.Raw)
		}
		return nil
	case "notifications/roots/list_changed", "notifications/progress":
		return f.Check(from)
	}
	if encodeField(m.Method) != m.Method {
		return f.Check(from)
	}
	var fields http.Header
	if f.poster != nil {
		fields = toolFields(nil).repeat(m.Method, m.Raw)
	}
	return f.post(from, m.Raw, fields)
}

// hear takes a message of a stateless server's to the client. Requests are not among
// what such a server may say.
func (f *facade) hear(m message.Message) {
	switch m.Kind {
	case message.Response:
		f.mu.Lock()
		e := f.errands[m.ID]
		delete(f.errands, m.ID)
		f.mu.Unlock()
		if e != nil {
			e.then(m)
		}
	case message.Notification:
		f.notified(m)
	}
}

// notified takes a notification of the server's. What belongs to a request that the
// client does not wait for, or to an older subscription, is dropped.
func (f *facade) notified(m message.Message) {
	id := message.Get(m.Raw, "params", "_meta", metaSubscription)
	switch {
	case m.Method == "notifications/progress":
		f.mu.Lock()
		e := f.errands[m.Progress]
		f.mu.Unlock()
		if e == nil {
			return
		}
		m.Raw = message.Set(m.Raw, e.token, "params", "progressToken")
		m.Progress = message.KeyOf(e.token)
	case m.Method == "notifications/subscriptions/acknowledged":
		f.agreed(message.KeyOf(id), message.Get(m.Raw, "params", "notifications"))
		return
	case m.Method == "notifications/cancelled":
		f.hear(message.Message{Kind: message.Response, ID: f.listening(m.Cancels)})
		return
	case id != nil || concernsServer(m.Method):
		if !f.follows(message.KeyOf(id), m) {
			return
		}
		m.Raw = message.Remove(m.Raw, "params", "_meta", metaSubscription)
		if string(message.Get(m.Raw, "params", "_meta")) == "{}" {
			m.Raw = message.Remove(m.Raw, "params", "_meta")
		}
	}
	f.session.hand(m, "", nil)
}

// missesFields reports whether the server misses fields that repeat the arguments of a
// tool.
func missesFields(e *errand, m message.Message) bool {
	return e.method == "tools/call" && string(message.Get(m.Raw, "error", "code")) == strconv.Itoa(message.CodeHeaderMismatch)
}

// relearn asks for the tools, to know which fields they have (MCP specification
// 2026-07-28, "Client Behavior").
func (f *facade) relearn(from *http.Request) error {
	params := []byte("{}")
	for range maxPages {
		answer, err := f.ask(from, "tools/list", params, askWithin)
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.fields.learn(answer.Raw)
		f.mu.Unlock()
		cursor := message.Get(answer.Raw, "result", "nextCursor")
		if len(cursor) == 0 || cursor[0] != '"' {
			break
		}
		params = message.Set(params, cursor, "cursor")
	}
	return nil
}

// maxPages bounds the pages of a list of tools that is asked for.
const maxPages = 64

// repeat returns the fields that go with a message over HTTP (MCP specification
// 2026-07-28, "Request Metadata").
func (t toolFields) repeat(method string, raw []byte) http.Header {
	h := http.Header{"Mcp-Protocol-Version": {statelessVersion}, "Mcp-Method": {method}}
	source, ok := nameSources[method]
	if !ok {
		return h
	}
	name := message.Text(raw, "params", source)
	if message.Get(raw, "params", source) != nil {
		h["Mcp-Name"] = []string{encodeField(name)}
	}
	if method != "tools/call" {
		return h
	}
	for _, field := range t[name] {
		value := message.Get(raw, append([]string{"params", "arguments"}, field.path...)...)
		if text, ok := fieldText(value); ok {
			h[field.name] = []string{encodeField(text)}
		}
	}
	return h
}

// fieldText is what a field says of an argument. It returns false where there is no
// field of it.
func fieldText(value []byte) (text string, ok bool) {
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
