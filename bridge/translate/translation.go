package translate

import (
	"net/http"
	"strconv"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// translation carries messages between one client with a handshake and a stateless server.
type translation struct {
	// server is what the server has answered to server/discover. It is set before the first
	// message is translated, and does not change after that.
	server        Server
	requests      requests
	inputs        inputRounds
	subscriptions subscriptions
}

func newTranslation(peer upstream.Peer, deliver upstream.Deliver, warn func(msg, cause string)) *translation {
	n := new(translation)
	stateless, _ := peer.(upstream.Poster)
	n.requests = requests{peer: peer, stateless: stateless, deliver: deliver, inputs: &n.inputs, warn: warn}
	n.inputs = inputRounds{requests: &n.requests}
	n.subscriptions = subscriptions{requests: &n.requests, server: &n.server}
	return n
}

// fromClient takes a message of the client. It sends the message on, or does what the server
// has no method for.
func (n *translation) fromClient(from *http.Request, m message.Message) error {
	switch m.Kind {
	case message.Response:
		return n.inputs.fromClient(from, m)
	case message.Notification:
		return n.notificationFromClient(from, m)
	}
	switch m.Method {
	case "ping":
		return n.requests.replyEmpty(from, m)
	case "logging/setLevel":
		return n.setLevel(from, m)
	case "resources/subscribe":
		return n.subscriptions.subscribe(from, m)
	case "resources/unsubscribe":
		return n.subscriptions.unsubscribe(from, m)
	case "initialize":
		return n.requests.replyError(from, m, message.CodeInvalidRequest, "the session is initialized already")
	case "server/discover", "subscriptions/listen":
		return n.requests.replyError(from, m, message.CodeMethodNotFound, "method "+strconv.Quote(m.Method)+" is not of this protocol version")
	}
	if mcp.EncodeField(m.Method) != m.Method {
		return n.requests.replyError(from, m, message.CodeMethodNotFound, "method not found")
	}
	return n.requests.relay(from, m)
}

// setLevel keeps the log level that the client asks for. Each request carries it from now on
// (MCP specification 2026-07-28, "Per-request log level").
func (n *translation) setLevel(from *http.Request, m message.Message) error {
	level := m.Text("params", "level")
	switch {
	case !n.server.Has("logging"):
		return n.requests.replyError(from, m, message.CodeMethodNotFound, "the server logs nothing")
	case mcp.LevelOf(level) == mcp.UnknownLevel:
		return n.requests.replyError(from, m, message.CodeInvalidParams, "unknown log level")
	}
	if err := n.requests.check(from); err != nil {
		return err
	}
	n.requests.setLogLevel(level)
	n.requests.reply(message.NewResult(m.RawID, []byte("{}")))
	return nil
}

// notificationFromClient takes a notification of the client.
func (n *translation) notificationFromClient(from *http.Request, m message.Message) error {
	switch m.Method {
	case "notifications/initialized":
		return n.subscriptions.clientInitialized(from)
	case "notifications/cancelled":
		if err := n.requests.check(from); err != nil {
			return err
		}
		n.requests.cancel(m)
		return nil
	case "notifications/roots/list_changed", "notifications/progress":
		return n.requests.check(from)
	}
	if mcp.EncodeField(m.Method) != m.Method {
		return n.requests.check(from)
	}
	return n.requests.notify(from, m)
}

// fromServer takes a message of the server. A stateless server sends no requests.
func (n *translation) fromServer(m message.Message) {
	switch m.Kind {
	case message.Response:
		n.requests.answered(m)
	case message.Notification:
		n.notificationFromServer(m)
	}
}

// notificationFromServer takes a notification of the server. It drops the ones that belong
// to a request that the client does not wait for, or to an earlier subscription.
func (n *translation) notificationFromServer(m message.Message) {
	id := m.Get("params", "_meta", mcp.MetaSubscription)
	switch {
	case m.Method == "notifications/progress":
		token, ok := n.requests.progressToken(m.Progress)
		if !ok {
			return
		}
		m = m.WithProgress(token)
	case m.Method == "notifications/subscriptions/acknowledged":
		n.subscriptions.acknowledged(message.KeyOf(id), m.Get("params", "notifications"))
		return
	case m.Method == "notifications/cancelled":
		if n.subscriptions.has(m.Cancels) {
			n.requests.answered(message.Message{Kind: message.Response, ID: m.Cancels})
		}
		return
	case id != nil || mcp.ConcernsServer(m.Method):
		if !n.subscriptions.wants(message.KeyOf(id), m) {
			return
		}
		m = m.Remove("params", "_meta", mcp.MetaSubscription)
		if string(m.Get("params", "_meta")) == "{}" {
			m = m.Remove("params", "_meta")
		}
	}
	n.requests.deliver(m, "", nil)
}
