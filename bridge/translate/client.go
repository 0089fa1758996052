package translate

import (
	"strconv"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Client is what a request to a stateless server has about its client (MCP specification
// 2026-07-28, "_meta").
type Client struct {
	Capabilities []byte // as written
	Info         []byte // as written; nil if the client has not said it
	LogLevel     string // empty if no log messages are wanted
}

// Meta adds to the object _meta what every request to a stateless server has in it.
func (c *Client) Meta(raw []byte) []byte {
	raw = message.Set(raw, []byte(`"`+mcp.StatelessRevision+`"`), mcp.MetaVersion)
	raw = message.Set(raw, c.Capabilities, mcp.MetaCapabilities)
	if c.Info != nil {
		raw = message.Set(raw, c.Info, mcp.MetaClient)
	}
	return raw
}

// Params returns the params of a request of the bridge to a stateless server.
func (c *Client) Params() []byte {
	return message.Set([]byte("{}"), c.Meta([]byte("{}")), "_meta")
}

// Seal gives a request of a client with a handshake the _meta of a stateless client. A
// request whose params are not an object stays as it is.
func (c *Client) Seal(m message.Message) message.Message {
	meta := m.Get("params", "_meta")
	if meta == nil {
		meta = []byte("{}")
	}
	meta = c.Meta(meta)
	if c.LogLevel != "" {
		meta = message.Set(meta, []byte(strconv.Quote(c.LogLevel)), mcp.MetaLogLevel)
	}
	return m.Set(meta, "params", "_meta")
}
