package servers

import (
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/bodies"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/notes"
)

// Sender is what is known of who sends a POST before its body is read.
type Sender uint8

// The senders.
const (
	// Member has a session.
	Member Sender = iota
	// Stranger may begin a session, or needs none.
	Stranger
	// Lost names a session that it does not have, and needs one.
	Lost
)

// ReadPost reads the messages of a POST, whose body is bounded by [Bounds.Message]. A body that is
// not small ([bodies.Small]) takes room; from is called only then, to find out whose. batch is true if
// the messages are in an array.
//
// If ok is false, ReadPost has answered the request with an error. If all is empty, the sender is
// [Lost], nothing of the body was kept, and the caller has to answer.
func (v *Servers) ReadPost(w http.ResponseWriter, r *http.Request, from func() Sender) (all []message.Message, batch, ok bool) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || mediaType != "application/json" {
		mcp.Refuse(w, http.StatusUnsupportedMediaType, nil, message.CodeInvalidRequest, "the body has to be application/json")
		return nil, false, false
	}
	body, rest, err := bodies.Begin(r, v.Bounds().Message)
	if rest {
		most, room, times := v.Bounds().Message, &v.room, bodies.TimesKnown
		switch from() {
		case Lost: // some clients read no answer before they have sent everything
			_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, int64(most)))
			return nil, false, true
		case Stranger:
			room, times = &bodies.Strangers, bodies.TimesStrangers
		}
		if body, err = room.Finish(w, r, body, most, times); errors.Is(err, bodies.ErrNoRoom) {
			v.Config.Observer.Warned("large bodies take all the room; clients are told to come back", "bodies")
		}
	}
	if err != nil {
		mcp.RefuseBody(w, err)
		return nil, false, false
	}
	all, err = message.ParseAll(body, message.MaxBatch)
	if err != nil {
		code := message.CodeInvalidRequest
		if errors.Is(err, message.ErrSyntax) {
			code = message.CodeParse
		}
		mcp.Refuse(w, http.StatusBadRequest, nil, code, "the body "+err.Error())
		return nil, false, false
	}
	notes.NoteMessages(r, all)
	return all, message.IsBatch(body), true
}
