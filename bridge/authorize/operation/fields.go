package operation

import (
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Tools remembers which arguments of tools are repeated in Mcp-Param-* fields, from the lists
// of tools that have crossed. The zero value is ready.
type Tools struct {
	mu     sync.Mutex
	fields mcp.ToolFields // bounded by itself
}

// Learn takes the fields from an answer to tools/list.
func (t *Tools) Learn(answer []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fields.Learn(answer)
}

// of returns the fields of a tool.
func (t *Tools) of(tool string) []mcp.ToolField {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fields[tool]
}

// CheckFields compares the header fields of a stateless request (MCP specification
// 2026-07-28) with its messages. Requests of other revisions have nothing to compare. r.Body
// is not read. The messages are not empty.
func (t *Tools) CheckFields(r *http.Request, all []message.Message, batch bool) error {
	if !mcp.IsStateless(r, all) {
		return nil
	}
	m := all[0]
	if batch {
		return &Invalid{Reason: BatchForbidden, Code: message.CodeInvalidRequest, Text: "this protocol version has no batches"}
	}
	refuse := func(text string) error {
		e := &Invalid{Reason: HeaderMismatch, Code: message.CodeHeaderMismatch, Text: "header mismatch: " + text}
		if m.Kind == message.Request {
			e.ID = m.RawID
		}
		return e
	}
	if text := mcp.VersionMismatch(r.Header, m); text != "" {
		return refuse(text)
	}
	if m.Kind != message.Request {
		return nil // what its fields have to be is not defined
	}
	if len(r.Header[mcp.VersionHeader]) == 0 {
		return refuse("MCP-Protocol-Version is missing")
	}
	if text := mcp.FieldMismatch(r.Header, m); text != "" {
		return refuse(text)
	}
	if m.Method == "tools/call" {
		if text := mcp.ParamMismatch(r.Header, m, t.of(m.Text("params", "name"))); text != "" {
			return refuse(text)
		}
	}
	return nil
}

// CheckCoding refuses a body that the MCP server may read as another text than the edge: a body
// that is announced as compressed, or in a character set other than UTF-8. Body parsers of Node.js
// know UTF-7, for example, in which text within a string of JSON can be the end of that string.
// all are the messages of the body, read as UTF-8. There is at least one.
func CheckCoding(h http.Header, all []message.Message, batch bool) error {
	reason, text := ContentCoding, "the body is compressed: send it without Content-Encoding"
	if isIdentity(h["Content-Encoding"]) {
		if reason = typeProblem(h["Content-Type"]); reason == "" {
			return nil
		}
		text = "the body is not said to be JSON in UTF-8: send one `Content-Type: application/json`"
	}
	e := &Invalid{Reason: reason, Code: message.CodeInvalidRequest, Text: text}
	if !batch && all[0].Kind == message.Request {
		e.ID = all[0].RawID
	}
	return e
}

// isIdentity reports whether the lines of Content-Encoding name no coding.
func isIdentity(lines []string) bool {
	for _, line := range lines {
		if line = strings.TrimSpace(line); line != "" && !strings.EqualFold(line, "identity") {
			return false
		}
	}
	return true
}

// typeProblem returns why a server may read a body of this media type otherwise than as JSON in
// UTF-8; "" if none does. A form or XML may say something else than the same text as JSON. A type
// that is missing, or plain text, leads to JSON or to nothing.
func typeProblem(lines []string) Reason {
	if len(lines) == 0 || len(lines) == 1 && (lines[0] == "" || lines[0] == "application/json") {
		return ""
	}
	if len(lines) > 1 {
		return Charset
	}
	kind, params, err := mime.ParseMediaType(lines[0]) // which refuses a parameter that is there twice
	if err != nil || !plainParams(lines[0], len(params)) {
		return Charset
	}
	charset, named := params["charset"]
	switch {
	case named && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "utf8"):
		return Charset
	case kind != "application/json" && kind != "text/plain" && !strings.HasSuffix(kind, "+json"):
		return ContentType
	}
	return ""
}

// plainParams reports whether a media type, in which Go has found n parameters, has the same for every
// other parser. Some join a charset that is in parts or encoded (`charset*0*`, RFC 2231), and some cut
// a quoted string at a semicolon or a comma.
func plainParams(line string, n int) bool {
	return !strings.ContainsAny(line, "*\\',") && strings.Count(strings.TrimRight(line, "; \t"), ";") == n
}
