package probe

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/content"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

// The revisions of MCP that the doctor uses: the last one with a handshake, and the
// first stateless one.
const (
	HandshakeRevision = "2025-11-25"
	StatelessRevision = "2026-07-28"
)

// The messages that the doctor sends, and their ids, which are in the answers.
const (
	InitializeID = "doctor-initialize"
	DiscoverID   = "doctor-discover"
	ListID       = "doctor-list"
	PingID       = "doctor-ping"
	CallID       = "doctor-call"

	InitializeMessage    = `{"jsonrpc":"2.0","id":"` + InitializeID + `","method":"initialize","params":{"protocolVersion":"` + HandshakeRevision + `","capabilities":{},"clientInfo":{"name":"caddy-mcp-doctor","version":"1"}}}`
	DiscoverMessage      = `{"jsonrpc":"2.0","id":"` + DiscoverID + `","method":"server/discover","params":{` + statelessMeta + `}}`
	InitializedMessage   = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	ListMessage          = `{"jsonrpc":"2.0","id":"` + ListID + `","method":"tools/list","params":{}}`
	StatelessListMessage = `{"jsonrpc":"2.0","id":"` + ListID + `","method":"tools/list","params":{` + statelessMeta + `}}`
	PingMessage          = `{"jsonrpc":"2.0","id":"` + PingID + `","method":"ping"}`

	statelessMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"` + StatelessRevision + `","io.modelcontextprotocol/clientInfo":{"name":"caddy-mcp-doctor","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
)

// ListMessageFrom returns a request for the page of tools that a cursor stands for; the
// first page if it is empty.
func ListMessageFrom(stateless bool, cursor string) string {
	message := ListMessage
	if stateless {
		message = StatelessListMessage
	}
	if cursor == "" {
		return message
	}
	text, err := json.Marshal(cursor)
	if err != nil {
		return message // a string has JSON
	}
	more := `"cursor":` + string(text)
	if stateless {
		more += ","
	}
	return strings.Replace(message, `"params":{`, `"params":{`+more, 1)
}

// CallMessage returns a call of a tool without arguments.
func CallMessage(stateless bool, tool string) string {
	name, err := json.Marshal(tool)
	if err != nil {
		return "" // a string has JSON
	}
	params := `"name":` + string(name) + `,"arguments":{}`
	if stateless {
		params += "," + statelessMeta
	}
	return `{"jsonrpc":"2.0","id":"` + CallID + `","method":"tools/call","params":{` + params + `}}`
}

// Reply is a JSON-RPC response.
type Reply struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      any             `json:"id"`
	Result  json.RawMessage `json:"result"`
	Error   *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// parseReply parses a response. ok is false if raw is something else.
func parseReply(raw []byte) (r Reply, ok bool) {
	if json.Unmarshal(raw, &r) != nil || r.JSONRPC != "2.0" || r.Error == nil && r.Result == nil {
		return Reply{}, false
	}
	return r, true
}

// Responds returns a function for Request.Event: it reports whether an event is the
// response to the request with this id.
func Responds(id string) func(sse.Event) bool {
	return func(e sse.Event) bool {
		r, ok := parseReply(e.Data)
		return ok && (r.ID == id || r.ID == nil)
	}
}

// Reply returns the response in an answer, and whether there is one.
func (a *Answer) Reply() (Reply, bool) {
	if a.IsStream() {
		if !a.Found {
			return Reply{}, false
		}
		return parseReply(a.events[len(a.events)-1].Data)
	}
	return parseReply(content.WithoutMark(a.Body))
}

// refusal matches texts of servers that should have answered 401.
var refusal = regexp.MustCompile(`(?i)\b401\b|unauthori[sz]ed|not authori[sz]ed|authori[sz]ation|unauthenticated|authentication|log ?in first|login required|(missing|invalid|expired|no|access|bearer) token|credentials`)

// WantsLogin reports whether a text says that a login is needed.
func WantsLogin(text string) bool { return refusal.MatchString(safetext.Cut(text, 4<<10)) }

// ServerName returns the name and version of the server in a result of initialize or
// server/discover.
func (r Reply) ServerName() string {
	type info struct{ Name, Version string }
	var result struct {
		ServerInfo info `json:"serverInfo"`
		Meta       struct {
			ServerInfo info `json:"io.modelcontextprotocol/serverInfo"`
		} `json:"_meta"`
	}
	if json.Unmarshal(r.Result, &result) != nil {
		return ""
	}
	if result.ServerInfo.Name == "" {
		result.ServerInfo = result.Meta.ServerInfo
	}
	if result.ServerInfo.Name == "" {
		return ""
	}
	return result.ServerInfo.Name + " " + result.ServerInfo.Version
}

// Tools returns the number of tools in a result of tools/list, and whether there are more.
// ok is false if it is something else.
func (r Reply) Tools() (n int, more, ok bool) {
	var result struct {
		Tools      []json.RawMessage `json:"tools"`
		NextCursor string            `json:"nextCursor"`
	}
	if json.Unmarshal(r.Result, &result) != nil || result.Tools == nil {
		return 0, false, false
	}
	return len(result.Tools), result.NextCursor != "", true
}

// revisionForm matches the name of a revision.
var revisionForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)

// Revision returns the revision that the server chose in its result of initialize.
// The messages of the session name it.
func (r Reply) Revision() string {
	var result struct {
		ProtocolVersion string `json:"protocolVersion"`
	}
	if json.Unmarshal(r.Result, &result) != nil || !revisionForm.MatchString(result.ProtocolVersion) {
		return HandshakeRevision
	}
	return result.ProtocolVersion
}
