// Package notes has what logs and traces may say of one request.
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

// Bounds of what is shown of a request, in bytes.
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

// Notes are what is known of one request of a client, in a form that logs and traces
// may have: no text of a client's is in them unbounded, and no id of a session as it
// is. Empty is what is not known.
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

// Of returns what the fields of a request say (MCP specification 2026-07-28,
// "Request Headers"). Its body is not looked at.
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

// ShownMethod returns a method as it may be shown: what is too long, or has what no
// method has, is none.
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

// ShownName returns the name of a tool or prompt as it may be shown: it is cut, and has
// a question mark for all that is no letter, digit, space or one of "-_./:".
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

// With has a message bridge write into notes what it reads of the request whose
// context this is.
func With(ctx context.Context, notes *Notes) context.Context {
	return context.WithValue(ctx, notesKey{}, notes)
}

// NoteMessages writes down what the messages of a POST say: of several, the first
// counts.
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

// Read returns the notes with a method and a name that were read in the body, in place of what
// the fields say.
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
