package shared

import (
	"encoding/json"
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
)

// maxClientText bounds the capabilities and the clientInfo of a client, in bytes each, because
// they are kept as long as the server.
const maxClientText = 64 << 10

// envelope is a stateless request, with what its _meta says of its client.
type envelope struct {
	translate.Client
	m message.Message
	// owner is the key of the requests that may share a server with this one ([Servers.sharedBy]).
	// from is owner and the address of the client.
	owner, from string
}

// bridgeEnvelope is the envelope of requests that the bridge sends for no particular client.
var bridgeEnvelope = &envelope{Client: translate.Client{Capabilities: []byte("{}")}}

// rejection is the error that answers a request which violates the protocol revision.
type rejection struct {
	status int
	code   int
	text   string
	data   []byte
}

func mismatch(text string) *rejection {
	return &rejection{status: http.StatusBadRequest, code: message.CodeHeaderMismatch, text: "header mismatch: " + text}
}

func invalid(text string) *rejection {
	return &rejection{status: http.StatusBadRequest, code: message.CodeInvalidParams, text: text}
}

func (e *rejection) write(w http.ResponseWriter, id []byte) {
	mcp.WriteJSON(w, e.status, message.ErrorData(id, e.code, e.text, e.data))
}

// openEnvelope checks a stateless POST against its fields (MCP specification
// 2026-07-28, "Server Validation").
func openEnvelope(r *http.Request, all []message.Message, batch bool) (*envelope, *rejection) {
	// A shared server that reads such a message differently from the bridge might take it for
	// another client's request (D5c). This is checked before all else, for each message.
	for _, m := range all {
		if m.Lookalike != nil {
			return nil, &rejection{status: http.StatusBadRequest, code: message.CodeInvalidRequest, text: "the body has " + m.Lookalike.String()}
		}
	}
	m := all[0]
	switch {
	case batch:
		return nil, &rejection{status: http.StatusBadRequest, code: message.CodeInvalidRequest, text: "this protocol version has no batches"}
	case m.Kind == message.Response:
		return nil, &rejection{status: http.StatusBadRequest, code: message.CodeInvalidRequest, text: "this protocol version has no responses of clients"}
	}
	version, claimed := mcp.ClaimedRevision(m)
	lines := r.Header[mcp.VersionHeader]
	switch {
	case mcp.VersionMismatch(r.Header, m) != "":
		return nil, mismatch(mcp.VersionMismatch(r.Header, m))
	case m.Kind == message.Notification:
		return &envelope{m: m}, nil // the specification does not say which header fields it has
	case len(lines) == 0:
		return nil, mismatch("MCP-Protocol-Version is missing")
	case !claimed:
		return nil, invalid("params._meta lacks " + mcp.MetaVersion)
	case version != mcp.StatelessRevision:
		return nil, unsupported(version)
	}
	e := &envelope{
		m: m,
		Client: translate.Client{
			Capabilities: message.Get(m.Raw, "params", "_meta", mcp.MetaCapabilities),
			Info:         message.Get(m.Raw, "params", "_meta", mcp.MetaClient),
			LogLevel:     message.Text(m.Raw, "params", "_meta", mcp.MetaLogLevel),
		},
	}
	switch {
	case len(e.Capabilities) > maxClientText || len(e.Info) > maxClientText:
		return nil, invalid("what params._meta says of the client is too long")
	case e.Capabilities == nil || e.Capabilities[0] != '{':
		return nil, invalid("params._meta lacks " + mcp.MetaCapabilities)
	case e.Info != nil && e.Info[0] != '{':
		return nil, invalid("params._meta has no object " + mcp.MetaClient)
	}
	if text := mcp.FieldMismatch(r.Header, m); text != "" {
		return nil, mismatch(text)
	}
	return e, nil
}

// unsupported is the rejection of a protocol version, with the list of those that are served (MCP
// specification 2026-07-28, "Protocol Version Negotiation").
func unsupported(version string) *rejection {
	data, _ := json.Marshal(map[string]any{"supported": mcp.ServedRevisions(), "requested": version}) // it does not fail
	return &rejection{status: http.StatusBadRequest, code: message.CodeUnsupportedVersion, text: "unsupported protocol version", data: data}
}
