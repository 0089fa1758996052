package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/content"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/sse"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// Answer is the answer to a request.
type Answer struct {
	*report.Exchange
	Header http.Header
	Body   []byte
	events []sse.Event
	// Found is true if the event that Request.Event waits for came.
	Found bool
	// Slow is true if the time was over before everything was read.
	Slow bool
	// Large is true if the body is larger than MaxBody.
	Large bool
	// Broken is the error that ended reading the body.
	Broken error
	// Err is the reason why there is no answer; nil if there is one.
	Err error
}

// MediaType returns the media type in lower case, without parameters.
func (a *Answer) MediaType() string {
	t, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil {
		t, _, _ = strings.Cut(a.Header.Get("Content-Type"), ";")
	}
	return strings.ToLower(strings.TrimSpace(t))
}

func (a *Answer) IsJSON() bool {
	t := a.MediaType()
	return t == "application/json" || strings.HasSuffix(t, "+json")
}

func (a *Answer) IsHTML() bool   { return a.MediaType() == "text/html" }
func (a *Answer) IsStream() bool { return a.MediaType() == "text/event-stream" }
func (a *Answer) OK() bool       { return a.Status/100 == 2 }
func (a *Answer) Redirect() bool { return a.Status/100 == 3 && a.Header.Get("Location") != "" }

// FromCaddy reports whether the answer came through a Caddy, or is from one.
func (a *Answer) FromCaddy() bool {
	return strings.Contains(strings.Join(a.Header.Values("Via"), ","), "Caddy") || strings.EqualFold(a.Header.Get("Server"), "Caddy")
}

// read reads an event stream up to the event that is waited for, and any other body
// up to its end.
func (a *Answer) read(coded io.Reader, r Request) {
	body, err := content.NewReader(a.Header, coded)
	switch {
	case err != nil:
		a.Broken = err
		return
	case a.IsStream():
		a.readEvents(body, r)
		return
	}
	raw, err := io.ReadAll(io.LimitReader(body, MaxBody+1))
	a.Large, a.Broken = len(raw) > MaxBody, err
	a.Whole = err == nil && !a.Large
	a.Body = raw[:min(len(raw), MaxBody)]
	a.Size = len(a.Body)
}

// errEnough ends reading an event stream.
var errEnough = errors.New("enough")

func (a *Answer) readEvents(body io.Reader, r Request) {
	parser := &sse.Parser{Limit: MaxBody, Each: func(e sse.Event) error {
		a.events = append(a.events, e)
		if a.Found = r.Event == nil || r.Event(e); a.Found || len(a.events) == maxEvents {
			return errEnough
		}
		return nil
	}}
	n, err := io.Copy(parser, io.LimitReader(body, MaxBody))
	for _, e := range a.events {
		n = max(n, int64(len(e.Data)))
	}
	a.Size, a.Whole = int(n), err == nil
}

// fail records why there is no answer.
func (a *Answer) fail(p *Prober, err error) {
	var wrapped *url.Error
	if errors.As(err, &wrapped) { // its text has the URL with the query
		a.Slow = wrapped.Timeout()
		err = wrapped.Err
	}
	a.Err = err
	a.Error = p.secrets.Text(err.Error())
	if a.Slow {
		a.Error = "no response in time"
	}
}

// Undecodable returns why the content coding could not be decoded, or "".
func (a *Answer) Undecodable() string {
	var coding *content.CodingError
	switch {
	case errors.As(a.Broken, &coding):
		return "comes in the content coding " + coding.Coding + ", which was not asked for"
	case a.Broken != nil && !errors.Is(a.Broken, io.ErrUnexpectedEOF) && len(content.Codings(a.Header)) > 0:
		return "is not in the content coding that it names"
	}
	return ""
}

// Object parses the body as a JSON object. Like clients, it does not look at the media
// type. If the body is not an object, why says what it is.
func (a *Answer) Object() (document map[string]json.RawMessage, why string) {
	body := content.WithoutMark(a.Body)
	if json.Unmarshal(body, &document) == nil && document != nil {
		return document, ""
	}
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return nil, "is empty"
	case json.Valid(body):
		return nil, "is JSON, but not an object"
	case a.IsJSON():
		return nil, "is sent as JSON, but is not valid JSON"
	}
	return nil, "is not a JSON object but " + report.OrWord(a.MediaType(), "a body without Content-Type")
}

// Description returns error_description, if the answer is an error in the form of
// OAuth (RFC 6749 section 5.2).
func (a *Answer) Description() string {
	if a.Err != nil || a.OK() {
		return ""
	}
	document, _ := a.Object()
	return TextOf(document, "error_description")
}

// IsOwn reports whether the answer is the one that mcp_auth_bridge sends if it has no
// metadata.
func (a *Answer) IsOwn() bool { return metadata.IsFailure(a.Description()) }

// HasNoLogin reports whether the answer says that the server has no login by intention.
func (a *Answer) HasNoLogin() bool {
	return a.Status == http.StatusNotFound && strings.HasPrefix(a.Description(), metadata.NoLogin)
}

// TextOf returns a member that is a string, or "".
func TextOf(document map[string]json.RawMessage, name string) string {
	var s string
	_ = json.Unmarshal(document[name], &s) // else it is empty
	return s
}
