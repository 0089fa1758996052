package session

import (
	"net/http"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
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
