// Package mcp has the words of the Model Context Protocol that several packages need: its
// revisions, the names of header fields and of members of _meta, what is particular about
// methods, and error replies over HTTP. It has no state.
package mcp

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// HandshakeRevisions are the revisions that begin with initialize, oldest first.
var HandshakeRevisions = []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"}

// StatelessRevision is the revision whose requests need no session.
const StatelessRevision = "2026-07-28"

// ServedRevisions returns the revisions of Streamable HTTP that are served in front of
// every server, newest first.
func ServedRevisions() []string {
	all := []string{StatelessRevision}
	for _, known := range slices.Backward(HandshakeRevisions[1:]) { // the oldest knows no Streamable HTTP
		all = append(all, known)
	}
	return all
}

// IsRevision reports whether a text has the form of a revision.
func IsRevision(version string) bool {
	if len(version) != len(StatelessRevision) {
		return false
	}
	for i := range len(version) {
		if c := version[i]; c != '-' && (c < '0' || c > '9') || (c == '-') != (StatelessRevision[i] == '-') {
			return false
		}
	}
	return true
}

// ClaimedRevision returns the revision that a message names in _meta. It returns false if
// the message names none, or one with a handshake.
func ClaimedRevision(m message.Message) (version string, ok bool) {
	if m.Kind == message.Response {
		return "", false
	}
	raw := m.Get("params", "_meta", MetaVersion)
	if raw == nil {
		return "", false
	}
	if json.Unmarshal(raw, &version) != nil {
		return "", true // it is malformed, and no revision with a handshake has this member
	}
	return version, version >= StatelessRevision || !slices.Contains(HandshakeRevisions, version)
}

// IsStateless reports whether the messages of a POST are of a revision without a handshake.
// The body decides; if it says nothing, the header field does.
func IsStateless(r *http.Request, all []message.Message) bool {
	for _, m := range all {
		if _, ok := ClaimedRevision(m); ok {
			return true
		}
	}
	return NamesStateless(r.Header) && all[0].Method != "initialize"
}

// NamesStateless reports whether a header names a revision without a handshake.
func NamesStateless(h http.Header) bool {
	lines := h[VersionHeader]
	return len(lines) == 1 && IsRevision(lines[0]) && lines[0] >= StatelessRevision
}
