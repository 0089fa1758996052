package doctor

import (
	"encoding/json"
	"regexp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
)

// The revisions that are spoken: the last one with a handshake, and the first
// one without.
const (
	legacyRevision = "2025-11-25"
	modernRevision = "2026-07-28"
)

// The messages that are sent. Their ids are those that answers are told by.
const (
	initializeID = "doctor-initialize"
	discoverID   = "doctor-discover"
	listID       = "doctor-list"
	pingID       = "doctor-ping"

	initializeMessage  = `{"jsonrpc":"2.0","id":"` + initializeID + `","method":"initialize","params":{"protocolVersion":"` + legacyRevision + `","capabilities":{},"clientInfo":{"name":"caddy-mcp-doctor","version":"1"}}}`
	discoverMessage    = `{"jsonrpc":"2.0","id":"` + discoverID + `","method":"server/discover","params":{` + modernMeta + `}}`
	initializedMessage = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	listMessage        = `{"jsonrpc":"2.0","id":"` + listID + `","method":"tools/list","params":{}}`
	modernListMessage  = `{"jsonrpc":"2.0","id":"` + listID + `","method":"tools/list","params":{` + modernMeta + `}}`
	pingMessage        = `{"jsonrpc":"2.0","id":"` + pingID + `","method":"ping"}`

	modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"` + modernRevision + `","io.modelcontextprotocol/clientInfo":{"name":"caddy-mcp-doctor","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
)

// reply is a JSON-RPC response.
type reply struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      any             `json:"id"`
	Result  json.RawMessage `json:"result"`
	Error   *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// parseReply reads a response; ok is false where it is none.
func parseReply(raw []byte) (r reply, ok bool) {
	if json.Unmarshal(raw, &r) != nil || r.JSONRPC != "2.0" || r.Error == nil && r.Result == nil {
		return reply{}, false
	}
	return r, true
}

// responds returns what ends the wait for the response to a request.
func responds(id string) func(sse.Event) bool {
	return func(e sse.Event) bool {
		r, ok := parseReply(e.Data)
		return ok && (r.ID == id || r.ID == nil)
	}
}

// reply returns the response that an answer holds.
func (a *answer) reply() (reply, bool) {
	if a.isStream() {
		if !a.found {
			return reply{}, false
		}
		return parseReply(a.events[len(a.events)-1].Data)
	}
	return parseReply(a.body)
}

// refusal matches what servers write where they mean 401.
var refusal = regexp.MustCompile(`(?i)\b401\b|unauthori[sz]ed|not authori[sz]ed|authori[sz]ation|unauthenticated|authentication|log ?in first|login required|(missing|invalid|expired|no|access|bearer) token|credentials`)

// refuses reports whether a text says that a login is wanted.
func refuses(text string) bool { return refusal.MatchString(cut(text, 4<<10)) }

// serverName returns what a result of initialize or server/discover calls its
// server.
func (r reply) serverName() string {
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

// revisionForm is that of a revision's name.
var revisionForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)

// revision returns the revision that a result of initialize chose, which the
// messages after it name.
func (r reply) revision() string {
	var result struct {
		ProtocolVersion string `json:"protocolVersion"`
	}
	if json.Unmarshal(r.Result, &result) != nil || !revisionForm.MatchString(result.ProtocolVersion) {
		return legacyRevision
	}
	return result.ProtocolVersion
}
