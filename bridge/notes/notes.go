// Package notes has the facts about one request that logs and traces may show.
package notes

import (
	"context"
	"net/http"
	"strings"
	"unicode"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
)

// Bounds of the texts of a request that are shown, in bytes.
const (
	maxShownMethod = 64
	maxShownName   = 128
)

// Eras of the protocol, as logs and traces name them.
const (
	// EraStateless is a request that stands for itself (MCP specification
	// 2026-07-28).
	EraStateless = "stateless"
	// EraHandshake is Streamable HTTP that begins with initialize (MCP
	// specification 2025-03-26 to 2025-11-25).
	EraHandshake = "handshake"
	// EraSSE is HTTP+SSE (MCP specification 2024-11-05).
	EraSSE = "sse"
)

// Notes are the facts about one request of a client in a form that logs and traces may show: texts
// of the client are bounded, and session ids are hashed. A fact that is not known is empty.
type Notes struct {
	// Method is the MCP method.
	Method string
	// Name is the tool or prompt.
	Name string
	// Session is the [safetext.HashID] of the session.
	Session string
	// Era is one of the eras.
	Era string
	// Version is the revision of the protocol that the request names.
	Version string
}

// Of returns the notes that the header fields of a request give (MCP specification 2026-07-28,
// "Request Headers"). The body is not read.
func Of(r *http.Request) Notes {
	n := Notes{Era: EraHandshake, Version: versionField(r)}
	if n.Version >= mcp.StatelessRevision {
		n.Era = EraStateless
	}
	if lines := r.Header[mcp.MethodHeader]; len(lines) == 1 {
		n.Method = ShownMethod(lines[0])
	}
	if names := r.Header[mcp.NameHeader]; len(names) == 1 && isNamed(n.Method) {
		if name, ok := mcp.DecodeField(names[0]); ok {
			n.Name = ShownName(name)
		}
	}
	if ids := r.Header[mcp.SessionHeader]; len(ids) == 1 {
		n.Session = safetext.HashID(ids[0])
	}
	return n
}

// versionField is the revision that MCP-Protocol-Version names.
func versionField(r *http.Request) string {
	if lines := r.Header[mcp.VersionHeader]; len(lines) == 1 && mcp.IsRevision(lines[0]) {
		return lines[0]
	}
	return ""
}

// isNamed reports whether a method is about a tool or prompt. A resource is an address,
// which may have anything in it.
func isNamed(method string) bool { return method == "tools/call" || method == "prompts/get" }

// ShownMethod returns a method as it may be shown. It returns "" for a text that is too long, or
// that has characters which no method has.
func ShownMethod(method string) string {
	if len(method) > maxShownMethod {
		return ""
	}
	for i := range len(method) {
		switch c := method[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("/_-.$", c) >= 0:
		default:
			return ""
		}
	}
	return method
}

// ShownName returns the name of a tool or prompt as it may be shown: cut, and with a question mark
// for each character other than letters, digits, the space and "-_./:".
func ShownName(name string) string {
	name = safetext.Name(name)
	if len(name) > maxShownName {
		name = name[:maxShownName]
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsLetter(c) || unicode.IsDigit(c) || unicode.IsMark(c) || strings.ContainsRune("-_./: ", c) {
			return c
		}
		return '?' // what is no UTF-8 as well
	}, name)
}

type notesKey struct{}

// With returns a context with notes. A message bridge writes into the notes what it reads in the
// body of the request.
func With(ctx context.Context, notes *Notes) context.Context {
	return context.WithValue(ctx, notesKey{}, notes)
}

// NoteMessages notes the messages of a POST. If there are several, the first one counts.
func NoteMessages(r *http.Request, all []message.Message) {
	n, _ := r.Context().Value(notesKey{}).(*Notes)
	if n == nil {
		return
	}
	m := all[0]
	n.Method, n.Name = shown(m)
	if mcp.IsStateless(r, all) {
		n.Era = EraStateless
	}
	if n.Version == "" && mcp.IsRevision(m.Version) {
		n.Version = m.Version
	}
}

// MethodBatch is shown as the method of a request with several messages.
const MethodBatch = "batch"

// Read returns the notes with a method and a name that were read in the body. They take the place
// of those in the header fields.
func (n Notes) Read(method, name string) Notes {
	n.Method, n.Name = ShownMethod(method), ""
	if isNamed(method) {
		n.Name = ShownName(name)
	}
	return n
}

// NoteSession writes down which session a request belongs to.
func NoteSession(r *http.Request, id string) {
	if n, _ := r.Context().Value(notesKey{}).(*Notes); n != nil {
		n.Session = safetext.HashID(id)
	}
}

// OfMessage returns what is known of a message that the bridge sends to a server.
func OfMessage(m message.Message) (n Notes) {
	n.Method, n.Name = shown(m)
	return n
}

// shown returns method and name of a message as they may be shown.
func shown(m message.Message) (method, name string) {
	if isNamed(m.Method) {
		name = message.Text(m.Raw, "params", "name")
	}
	n := Notes{}.Read(m.Method, name)
	return n.Method, n.Name
}
