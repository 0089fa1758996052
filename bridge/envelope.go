package bridge

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// statelessVersion is the revision whose requests each stand for themselves.
const statelessVersion = "2026-07-28"

// Members of _meta (MCP specification 2026-07-28, "_meta").
const (
	metaVersion      = "io.modelcontextprotocol/protocolVersion"
	metaClient       = "io.modelcontextprotocol/clientInfo"
	metaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	metaLogLevel     = "io.modelcontextprotocol/logLevel"
	metaServer       = "io.modelcontextprotocol/serverInfo"
	metaSubscription = "io.modelcontextprotocol/subscriptionId"
)

// envelope is what a stateless request says of itself and of its client.
type envelope struct {
	m            message.Message
	capabilities []byte // as written
	client       []byte // as written; nil: it does not say
	logLevel     string // empty: no log messages are wanted
}

// meta adds to a _meta what every request of a stateless client has in it.
func (e *envelope) meta(raw []byte) []byte {
	raw = message.Set(raw, []byte(`"`+statelessVersion+`"`), metaVersion)
	raw = message.Set(raw, e.capabilities, metaCapabilities)
	if e.client != nil {
		raw = message.Set(raw, e.client, metaClient)
	}
	return raw
}

// params are those of a request of the bridge's own to a stateless server.
func (e *envelope) params() []byte {
	return message.Set([]byte("{}"), e.meta([]byte("{}")), "_meta")
}

// seal makes a request of a client with a handshake one of a stateless client's. One
// that has no object for params stays as it is.
func (e *envelope) seal(raw []byte) []byte {
	meta := message.Get(raw, "params", "_meta")
	if meta == nil {
		meta = []byte("{}")
	}
	meta = e.meta(meta)
	if e.logLevel != "" {
		meta = message.Set(meta, []byte(strconv.Quote(e.logLevel)), metaLogLevel)
	}
	return message.Set(raw, meta, "params", "_meta")
}

// rejection is the answer to a request that is not what the revision wants.
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
	writeJSON(w, e.status, message.ErrorData(id, e.code, e.text, e.data))
}

// claims reports whether a message carries the version of a revision without a
// handshake, and which.
func claims(m message.Message) (version string, ok bool) {
	if m.Kind == message.Response {
		return "", false
	}
	raw := message.Get(m.Raw, "params", "_meta", metaVersion)
	if raw == nil {
		return "", false
	}
	if json.Unmarshal(raw, &version) != nil {
		return "", true // it is malformed, and no handshake has it
	}
	return version, version >= statelessVersion || !slices.Contains(handshakeVersions, version)
}

// isStateless reports whether a POST is of a revision without a handshake: what the
// body says counts, and where it says nothing the field.
func isStateless(r *http.Request, all []message.Message) bool {
	for _, m := range all {
		if _, ok := claims(m); ok {
			return true
		}
	}
	lines := r.Header["Mcp-Protocol-Version"]
	return len(lines) == 1 && isDate(lines[0]) && lines[0] >= statelessVersion && all[0].Method != "initialize"
}

// isDate reports whether a version looks like a revision.
func isDate(version string) bool {
	if len(version) != len(statelessVersion) {
		return false
	}
	for i := range len(version) {
		if c := version[i]; c != '-' && (c < '0' || c > '9') || (c == '-') != (statelessVersion[i] == '-') {
			return false
		}
	}
	return true
}

// openEnvelope checks a stateless POST against its fields (MCP specification
// 2026-07-28, "Server Validation").
func openEnvelope(r *http.Request, all []message.Message, batch bool) (*envelope, *rejection) {
	m := all[0]
	switch {
	case batch:
		return nil, &rejection{status: http.StatusBadRequest, code: message.CodeInvalidRequest, text: "this protocol version has no batches"}
	case m.Kind == message.Response:
		return nil, &rejection{status: http.StatusBadRequest, code: message.CodeInvalidRequest, text: "this protocol version has no responses of clients"}
	}
	version, claimed := claims(m)
	lines := r.Header["Mcp-Protocol-Version"]
	switch {
	case len(lines) > 1:
		return nil, mismatch("MCP-Protocol-Version is given more than once")
	case claimed && len(lines) == 1 && lines[0] != version:
		return nil, mismatch("MCP-Protocol-Version is not what " + metaVersion + " says")
	case m.Kind == message.Notification:
		return &envelope{m: m}, nil // what its fields have to be is not defined
	case len(lines) == 0:
		return nil, mismatch("MCP-Protocol-Version is missing")
	case !claimed:
		return nil, invalid("params._meta lacks " + metaVersion)
	case version != statelessVersion:
		return nil, unsupported(version)
	}
	e := &envelope{
		m:            m,
		capabilities: message.Get(m.Raw, "params", "_meta", metaCapabilities),
		client:       message.Get(m.Raw, "params", "_meta", metaClient),
		logLevel:     message.Text(m.Raw, "params", "_meta", metaLogLevel),
	}
	switch {
	case e.capabilities == nil || e.capabilities[0] != '{':
		return nil, invalid("params._meta lacks " + metaCapabilities)
	case e.client != nil && e.client[0] != '{':
		return nil, invalid("params._meta has no object " + metaClient)
	}
	return e, checkFields(r, m)
}

// unsupported says which revisions are served (MCP specification 2026-07-28,
// "Protocol Version Negotiation").
func unsupported(version string) *rejection {
	data, _ := json.Marshal(map[string]any{"supported": servedVersions(), "requested": version}) // it does not fail
	return &rejection{status: http.StatusBadRequest, code: message.CodeUnsupportedVersion, text: "unsupported protocol version", data: data}
}

// servedVersions are the revisions that are served in front of messages, newest first:
// those with a handshake have sessions.
func servedVersions() []string {
	all := []string{statelessVersion}
	for _, known := range slices.Backward(handshakeVersions[1:]) { // the oldest knows no Streamable HTTP
		all = append(all, known)
	}
	return all
}

// nameSources says which member of params the field Mcp-Name repeats.
var nameSources = map[string]string{
	"tools/call": "name", "prompts/get": "name", "resources/read": "uri",
	"tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId",
}

// checkFields compares Mcp-Method and Mcp-Name with the body.
func checkFields(r *http.Request, m message.Message) *rejection {
	methods := r.Header["Mcp-Method"]
	switch {
	case len(methods) == 0:
		return mismatch("Mcp-Method is missing")
	case len(methods) > 1 || methods[0] != m.Method:
		return mismatch("Mcp-Method is not the method of the body")
	}
	source, ok := nameSources[m.Method]
	if !ok {
		return nil
	}
	var name *string
	if raw := message.Get(m.Raw, "params", source); raw != nil && raw[0] == '"' {
		name = new(string)
		_ = json.Unmarshal(raw, name)
	}
	names := r.Header["Mcp-Name"]
	switch {
	case len(names) == 0 && name == nil:
		return nil
	case len(names) == 0:
		return mismatch("Mcp-Name is missing")
	}
	decoded, ok := decodeField(names[0])
	switch {
	case len(names) > 1 || !ok:
		return mismatch("Mcp-Name is malformed")
	case name != nil && decoded != *name:
		return mismatch("Mcp-Name is not what params." + source + " says")
	}
	return nil
}

// The marks of a field's value that is Base64 (MCP specification 2026-07-28, "Value
// Encoding").
const encodedPrefix, encodedSuffix = "=?base64?", "?="

// decodeField returns what the value of Mcp-Name or Mcp-Param-* stands for.
func decodeField(value string) (string, bool) {
	value = strings.Trim(value, " \t")
	inner, ok := strings.CutPrefix(value, encodedPrefix)
	if ok {
		inner, ok = strings.CutSuffix(inner, encodedSuffix)
	}
	if !ok {
		for i := range len(value) {
			if c := value[i]; c != '\t' && (c < ' ' || c > '~') {
				return "", false
			}
		}
		return value, true
	}
	decoded, err := base64.StdEncoding.DecodeString(inner)
	return string(decoded), err == nil
}

// encodeField writes a value for Mcp-Name or Mcp-Param-*.
func encodeField(value string) string {
	plain := value == strings.Trim(value, " \t") && !(strings.HasPrefix(value, encodedPrefix) && strings.HasSuffix(value, encodedSuffix))
	for i := range len(value) {
		plain = plain && (value[i] == '\t' || value[i] >= ' ' && value[i] <= '~')
	}
	if plain {
		return value
	}
	return encodedPrefix + base64.StdEncoding.EncodeToString([]byte(value)) + encodedSuffix
}

// errorStatus is the status of an answer that is JSON: that of an error of a server
// which does not know the method, or wants another envelope (MCP specification
// 2026-07-28, "Protocol Version Header"). Other errors are the payload.
func errorStatus(raw []byte) int {
	var code int
	if json.Unmarshal(message.Get(raw, "error", "code"), &code) != nil {
		return http.StatusOK
	}
	switch code {
	case message.CodeMethodNotFound:
		return http.StatusNotFound
	case message.CodeHeaderMismatch, message.CodeMissingCapability, message.CodeUnsupportedVersion:
		return http.StatusBadRequest
	}
	return http.StatusOK
}
