package operation

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// source is the member of params that has the name in a request.
type source struct {
	member string
	target Target
}

// sources are the methods that name one thing (MCP specification 2024-11-05 to 2026-07-28).
var sources = map[string]source{
	"tools/call":            {"name", Tool},
	"prompts/get":           {"name", Prompt},
	"resources/read":        {"uri", Resource},
	"resources/subscribe":   {"uri", Resource},
	"resources/unsubscribe": {"uri", Resource},
}

// Errors of a message that is no operation. Their texts say it to the client.
var (
	errName        = errors.New("params has no name of at most 8 KiB as a string")
	errURI         = errors.New("params has no uri of at most 8 KiB as a string")
	errReference   = errors.New("params.ref must have the type ref/prompt with a name, or ref/resource with a uri")
	errObject      = errors.New("is not an object") // behind the place
	errFilter      = errors.New("params.notifications must be an object, with at most 256 URIs as strings in resourceSubscriptions, and at most 256 ids as strings in taskIds")
	errDuplicateID = errors.New("two requests of the batch have the same id")
	errTask        = errors.New("a taskId must be a string of at most 8 KiB")
)

// similarError is the name of a member of a body that differs from a known one only in case.
type similarError string

func (e similarError) Error() string { return "the body has " + string(e) }

// read returns the operation of a message.
func read(m message.Message) (Operation, error) {
	if m.Lookalike != nil {
		return Operation{}, similarError(m.Lookalike.String())
	}
	if err := jsontext.Unique(m.Raw); err != nil {
		return Operation{}, fmt.Errorf("the body %w", err)
	}
	op := Operation{Kind: m.Kind, Method: m.Method, ID: m.RawID}
	if m.Kind == message.Response {
		op.Method = ""
		return op, nil
	}
	if one, ok := similarMethod(m.Method); ok {
		return op, similarError(fmt.Sprintf("a method that equals %q but for case or spaces", one))
	}
	err := op.readTasks(m)
	if err != nil {
		return op, err
	}
	switch m.Method {
	case "completion/complete":
		err = op.readReference(m.Get("params", "ref"))
	case "subscriptions/listen":
		err = op.readFilter(m.Get("params", "notifications"))
	default:
		from, ok := sources[m.Method]
		if !ok {
			return op, nil
		}
		err = op.name(from.target, m.Get("params", from.member))
		if from.target != Resource {
			op.Arguments = m.Get("params", "arguments")
		}
	}
	return op, err
}

// similarMethod returns the method of the specification that a method equals but for case or
// spaces around it. It returns false if there is none, or if it is that very method.
func similarMethod(method string) (string, bool) {
	if slices.Contains(mcp.Methods, method) {
		return "", false
	}
	trimmed := strings.TrimSpace(method)
	if slices.Contains(mcp.Methods, trimmed) {
		return trimmed, true
	}
	return message.LooksLike([]byte(trimmed), mcp.Methods...)
}

// name adds a name, which must be a string.
func (op *Operation) name(target Target, value []byte) error {
	text, ok := str(value)
	if !ok || text == "" || len(text) > MaxName {
		if target == Resource {
			return errURI
		}
		return errName
	}
	op.Names = append(op.Names, Name{target, text})
	return nil
}

// readReference reads what a completion/complete completes.
func (op *Operation) readReference(ref []byte) error {
	values, err := object(ref, "params.ref", "type", "name", "uri")
	if err != nil {
		return err
	}
	kind, _ := str(values["type"])
	switch {
	case kind == "ref/prompt" && values["uri"] == nil && op.name(Prompt, values["name"]) == nil:
		return nil
	case kind == "ref/resource" && values["name"] == nil && op.name(Resource, values["uri"]) == nil:
		return nil
	}
	return errReference
}

// readFilter reads the resources that a subscriptions/listen names.
func (op *Operation) readFilter(filter []byte) error {
	if filter == nil {
		return nil
	}
	values, err := object(filter, "params.notifications", "toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions", "taskIds")
	if err != nil {
		return err
	}
	uris, err := listed(values["resourceSubscriptions"])
	if err != nil {
		return err
	}
	ids, err := listed(values["taskIds"])
	if err != nil {
		return err
	}
	for _, uri := range uris {
		if op.name(Resource, uri) != nil {
			return errFilter
		}
	}
	for _, id := range ids {
		if op.task(id) != nil {
			return errFilter
		}
	}
	return nil
}

// listed returns the elements of a list of a filter, which may be missing.
func listed(list []byte) ([][]byte, error) {
	if list == nil || string(list) == "null" {
		return nil, nil
	}
	all, err := message.Elements(list, MaxNames)
	if err != nil && !errors.Is(err, message.ErrEmpty) {
		return nil, errFilter
	}
	return all, nil
}

// object returns the values of an object's known members. It returns an error if a name
// equals a known one but for case.
func object(raw []byte, where string, known ...string) (map[string][]byte, error) {
	values := make(map[string][]byte, len(known))
	if len(raw) == 0 || raw[0] != '{' {
		return nil, fmt.Errorf("%s %w", where, errObject)
	}
	err := message.Members(raw, func(name, value []byte) error {
		if slices.Contains(known, string(name)) {
			values[string(name)] = value
		} else if one, ok := message.LooksLike(name, known...); ok {
			return similarError(fmt.Sprintf("a member of %s that equals %q but for case", where, one))
		}
		return nil
	})
	return values, err
}

// str decodes a JSON string.
func str(value []byte) (text string, ok bool) {
	if len(value) == 0 || value[0] != '"' {
		return "", false
	}
	return jsontext.Decode(value), true
}
