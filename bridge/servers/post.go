package servers

import (
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/notes"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

// ReadPost reads the messages of a POST, whose body is bounded by [Bounds.Message]. batch is true
// if they are in an array. If ok is false, ReadPost has answered the request with an error.
func (v *Servers) ReadPost(w http.ResponseWriter, r *http.Request) (all []message.Message, batch, ok bool) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || mediaType != "application/json" {
		mcp.Refuse(w, http.StatusUnsupportedMediaType, nil, message.CodeInvalidRequest, "the body has to be application/json")
		return nil, false, false
	}
	body, err := readUpTo(r, v.Bounds().Message)
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

// readUpTo reads a body of at most most bytes. The error for a larger body is
// record.ErrBodyTooLarge; it is not read if its Content-Length is too large.
func readUpTo(r *http.Request, most int) ([]byte, error) {
	if r.ContentLength > int64(most) {
		return nil, record.ErrBodyTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(most)+1))
	if len(body) > most {
		err = record.ErrBodyTooLarge
	}
	return body, err
}
