// Package operation finds out what a request asks for: each JSON-RPC message of a body is an
// operation, with its method and the tools, prompts and resources that it names. It refuses
// bodies that two readers may understand in different ways.
package operation

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Target is the kind of thing that a name belongs to.
type Target string

// The targets.
const (
	Tool     Target = "tool"
	Prompt   Target = "prompt"
	Resource Target = "resource"
)

// Name is the name of a tool or prompt, or the URI of a resource, as the client sent it.
type Name struct {
	Target Target
	Text   string
}

// Operation is one message of a client.
type Operation struct {
	Kind   message.Kind
	Method string // empty for a response
	ID     []byte // as it is written; nil without one
	// Names are the tools, prompts and resources that the message names. Each must be allowed.
	Names []Name
	// Arguments is the member `arguments` of tools/call and prompts/get, as it is written.
	// It is nil if there is none.
	Arguments []byte
	// Tasks are the ids of the tasks of the server that the message names.
	Tasks []string
	// MayMakeTask is set if the server may answer a call with a task.
	MayMakeTask bool
}

// IsNotification reports whether the message is one of the notifications of MCP. A request with
// such a method, which has an id, is not: a server may answer it as any other.
func (op Operation) IsNotification() bool {
	return op.Kind == message.Notification && strings.HasPrefix(op.Method, notifications)
}

// notifications is how the methods of all notifications of MCP begin.
const notifications = "notifications/"

// FirstName returns the first name, or the empty text if the message names nothing.
func (op Operation) FirstName() string {
	if len(op.Names) == 0 {
		return ""
	}
	return op.Names[0].Text
}

// Request is the body of one HTTP request. The zero value is a request without a body.
type Request struct {
	Operations []Operation
	Batch      bool
}

// ID returns the id to answer the whole request with, as it is written: that of the only
// message. It is nil for a batch, and for a message without an id.
func (r Request) ID() []byte {
	if r.Batch || len(r.Operations) != 1 || r.Operations[0].Kind != message.Request {
		return nil
	}
	return r.Operations[0].ID
}

const (
	// MaxName bounds a name, a URI or the id of a task, in bytes.
	MaxName = 8 << 10
	// MaxNames bounds the resources that one subscriptions/listen names, and its tasks.
	MaxNames = 256
)

// Reason is the check that a body, or a header field with it, did not pass. The set is closed.
type Reason string

// The reasons.
const (
	NotJSON         Reason = "not_json"
	NotMessage      Reason = "not_json_rpc"     // JSON, but neither a message nor a batch of them
	TooComplex      Reason = "too_complex"      // nested too deeply, or too many messages or members
	DuplicateMember Reason = "duplicate_member" // a name is twice in one object
	DuplicateID     Reason = "duplicate_id"     // two requests of a batch have one id
	SimilarMember   Reason = "similar_member"   // a name equals a known one but for case
	WrongName       Reason = "name"             // a tool, prompt, resource or task is not named as it has to be
	BatchForbidden  Reason = "batch"            // the revision has none
	HeaderMismatch  Reason = "header_mismatch"  // a header field is missing, or differs from the body
	ContentCoding   Reason = "content_coding"
	ContentType     Reason = "content_type" // a media type other than JSON
	Charset         Reason = "charset"
)

// Reasons has all reasons.
var Reasons = []Reason{NotJSON, NotMessage, TooComplex, DuplicateMember, DuplicateID, SimilarMember, WrongName, BatchForbidden, HeaderMismatch, ContentCoding, ContentType, Charset}

// Invalid is the reason why a body, or a header field that repeats it, is refused. The status is
// 400.
type Invalid struct {
	Reason Reason
	Code   int    // of the JSON-RPC error
	ID     []byte // of the message, as it is written; nil for a batch or without one
	Text   string // for the client, and without anything of the body
}

func (e *Invalid) Error() string { return e.Text }

// Parse reads a body.
func Parse(body []byte) (Request, error) {
	all, err := message.ParseAll(body, message.MaxBatch)
	if err != nil {
		code := message.CodeInvalidRequest
		if !jsontext.Valid(body) {
			code = message.CodeParse
		}
		return Request{}, &Invalid{Reason: reasonOf(err), Code: code, Text: "the body " + err.Error()}
	}
	return FromMessages(all, message.IsBatch(body))
}

// reasonOf is the reason for an error of a parser.
func reasonOf(err error) Reason {
	if _, ok := errors.AsType[similarError](err); ok {
		return SimilarMember
	}
	switch {
	case errors.Is(err, message.ErrSyntax):
		return NotJSON
	case errors.Is(err, errDuplicateID):
		return DuplicateID
	case errors.Is(err, message.ErrDuplicate), errors.Is(err, jsontext.ErrDuplicate):
		return DuplicateMember
	case errors.Is(err, message.ErrDepth), errors.Is(err, message.ErrLong), errors.Is(err, message.ErrMembers), errors.Is(err, jsontext.ErrTooMany):
		return TooComplex
	case errors.Is(err, errName), errors.Is(err, errURI), errors.Is(err, errReference), errors.Is(err, errFilter), errors.Is(err, errTask), errors.Is(err, errObject):
		return WrongName
	}
	return NotMessage
}

// FromMessages is [Parse] for a body that is parsed already.
func FromMessages(all []message.Message, batch bool) (Request, error) {
	r := Request{Operations: make([]Operation, 0, len(all)), Batch: batch}
	var ids map[message.Key]bool
	if len(all) > 1 {
		ids = make(map[message.Key]bool, len(all))
	}
	for _, m := range all {
		op, err := read(m)
		if key := message.KeyOf(m.RawID); err == nil && ids != nil && m.Kind == message.Request {
			if ids[key] {
				err = errDuplicateID
			}
			ids[key] = true
		}
		if err != nil {
			invalid := &Invalid{Reason: reasonOf(err), Code: message.CodeInvalidRequest, Text: err.Error()}
			if !batch && m.Kind == message.Request {
				invalid.ID = m.RawID
			}
			return Request{}, invalid
		}
		r.Operations = append(r.Operations, op)
	}
	return r, nil
}

// New returns a request with one operation, for tools that work offline. name may be empty for
// methods that name nothing, and arguments may be nil. The methods of notifications have no id.
func New(method, name string, arguments []byte) (Request, error) {
	params := map[string]any{}
	switch method {
	case "tools/call", "prompts/get":
		params["name"] = name
		if arguments != nil {
			params["arguments"] = json.RawMessage(arguments)
		}
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		params["uri"] = name
	case "subscriptions/listen":
		if name != "" {
			params["notifications"] = map[string]any{"resourceSubscriptions": []string{name}}
		}
	}
	m := map[string]any{"jsonrpc": "2.0", "method": method, "params": params}
	if !strings.HasPrefix(method, notifications) {
		m["id"] = 1
	}
	body, err := message.Encode(m)
	if err != nil {
		return Request{}, err
	}
	return Parse(body)
}
