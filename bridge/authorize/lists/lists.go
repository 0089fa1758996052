// Package lists removes from lists of tools, prompts and resources what the rules do not let a
// principal use. Every other byte of a list stays.
package lists

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// maxItems bounds the items of one list.
const maxItems = 100_000

// ErrList means that an answer is no list that all clients read the same way. It must not be
// passed on. The text of an error that wraps it has nothing of the list.
var ErrList = errors.New("the list of the server cannot be parsed")

// list says where an answer has its items, and which member of an item has its name.
type list struct {
	items, name string
	target      operation.Target
}

// lists are the lists that are filtered, by their methods.
var lists = map[string]list{
	"tools/list":               {"tools", "name", operation.Tool},
	"prompts/list":             {"prompts", "name", operation.Prompt},
	"resources/list":           {"resources", "uri", operation.Resource},
	"resources/templates/list": {"resourceTemplates", "uriTemplate", operation.Resource},
}

// IsList reports whether the answers to a method have to be filtered.
func IsList(method string) bool {
	_, ok := lists[method]
	return ok
}

// Report counts what [Filter] did.
type Report struct {
	Items  int
	Hidden int
	// Errors are items that are hidden because an expression could not be evaluated.
	Errors int
}

// Filter returns the answer to a list method as a principal may see it. The answer of a
// method that is no list, and an error, stay as they are. The HTTP answer that carries the
// message has to be `Cache-Control: no-store`.
func Filter(p *rules.Policy, who *principal.Principal, method string, answer message.Message) (message.Message, Report, error) {
	l, ok := lists[method]
	switch {
	case !ok || answer.Kind == message.Response && answer.Failed && answer.Lookalike == nil:
		return answer, Report{}, nil
	case answer.Kind != message.Response || answer.Lookalike != nil:
		return answer, Report{}, ErrList
	}
	found, err := members(answer.Get("result"), l.items, "cacheScope", "ttlMs")
	if err != nil {
		return answer, Report{}, err
	}
	kept, report, err := l.filter(p.Viewer(who), found[l.items])
	if err != nil {
		return answer, report, err
	}
	if report.Hidden > 0 {
		answer = answer.Set(kept, "result", l.items)
	}
	if scope := found["cacheScope"]; string(scope) != `"private"` && (scope != nil || found["ttlMs"] != nil) {
		answer = answer.Set([]byte(`"private"`), "result", "cacheScope")
	}
	return answer, report, nil
}

// filter returns an array without the items that are hidden.
func (l list) filter(viewer *rules.Viewer, raw []byte) (kept []byte, report Report, err error) {
	if len(raw) == 0 || raw[0] != '[' {
		return nil, report, fmt.Errorf("%w: result.%s is not an array", ErrList, l.items)
	}
	kept = make([]byte, 0, len(raw))
	before := 1 // the end of the item before, or of the bracket
	after := 1  // the end of the comma before, or of the bracket
	for i := jsontext.SkipSpace(raw, 1); raw[i] != ']'; {
		if report.Items == maxItems {
			return nil, report, fmt.Errorf("%w: it has more than %d items", ErrList, maxItems)
		}
		end := jsontext.SkipValue(raw, i)
		name, err := l.nameOf(raw[i:end:end])
		if err != nil {
			return nil, report, err
		}
		report.Items++
		shown, reason := viewer.Shows(operation.Name{Target: l.target, Text: name})
		switch {
		case shown && len(kept) == 0:
			kept = append(append(kept, '['), raw[after:end]...)
		case shown:
			kept = append(kept, raw[before:end]...)
		default:
			report.Hidden++
			if reason == rules.ExpressionError {
				report.Errors++
			}
		}
		before = end
		if i = jsontext.SkipSpace(raw, end); raw[i] == ',' {
			after = i + 1
			i = jsontext.SkipSpace(raw, after)
		}
	}
	if len(kept) == 0 {
		return []byte("[]"), report, nil
	}
	return append(kept, raw[before:]...), report, nil
}

// nameOf returns the name of an item.
func (l list) nameOf(item []byte) (string, error) {
	found, err := members(item, l.name)
	if err != nil {
		return "", err
	}
	value := found[l.name]
	var name string
	if len(value) == 0 || value[0] != '"' || json.Unmarshal(value, &name) != nil {
		return "", fmt.Errorf("%w: an item has no %s", ErrList, l.name)
	}
	return name, nil
}

// members returns the values of an object's known members. Members that a client could take
// for each other are an error.
func members(raw []byte, known ...string) (map[string][]byte, error) {
	found := make(map[string][]byte, len(known))
	if len(raw) == 0 || raw[0] != '{' {
		return nil, fmt.Errorf("%w: it has no object where one has to be", ErrList)
	}
	err := message.Members(raw, func(name, value []byte) error {
		for _, one := range known {
			if string(name) == one {
				found[one] = value
				return nil
			}
		}
		if one, ok := message.LooksLike(name, known...); ok {
			return fmt.Errorf("a member equals %q but for case", one)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrList, err)
	}
	return found, nil
}
