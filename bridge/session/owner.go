package session

import (
	"net/http"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
)

// owns reports whether a request is from the owner of a session. If not, it must get the same
// answer as for an unknown session id.
func (t *Table) owns(s *session, r *http.Request) bool {
	owner := t.servers.OwnerOf(r)
	if s.owner.Owns(owner, t.servers.Config.Remote) {
		return true
	}
	if s.owner.OwnsButForFields(owner, t.servers.Config.Remote) {
		t.servers.Config.Observer.Warned("refused a session to a request with other headers", shownFields(s.fields.Differ(identity.FieldsOf(r))))
	}
	return false
}

// Sender returns what is known of who sends a POST of Streamable HTTP before its body is read.
func (t *Table) Sender(r *http.Request) servers.Sender {
	ids := r.Header[mcp.SessionHeader]
	switch {
	case len(ids) == 1 && t.isMember(ids[0], r, false):
		return servers.Member
	case len(ids) == 0 || mcp.NamesStateless(r.Header):
		return servers.Stranger
	}
	return servers.Lost
}

// isMember reports whether a request may use the session with that id.
func (t *Table) isMember(id string, r *http.Request, legacy bool) bool {
	s := t.find(id)
	return s != nil && s.legacy == legacy && s.owner.Owns(t.servers.OwnerOf(r), t.servers.Config.Remote)
}

// Bounds of the names of header fields in a log message, because clients choose them: how many,
// and the bytes of each.
const maxShownFields, maxShownField = 3, 40

func shownFields(names []string) string {
	shown := make([]string, 0, maxShownFields)
	for _, name := range names[:min(len(names), maxShownFields)] {
		shown = append(shown, name[:min(len(name), maxShownField)])
	}
	return strings.Join(shown, ", ")
}
