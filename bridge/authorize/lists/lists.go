// Package lists removes from lists of tools, prompts and resources what the rules do not let a
// principal use. Every other byte of a list stays. In the same pass it finds the tasks that
// answers give to a principal.
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

// ErrList means that different clients may read the list in an answer in different ways. The
// answer must not be passed on. The text of an error that wraps ErrList repeats nothing of the
// list.
var ErrList = errors.New("the list of the server cannot be parsed")

// list is a method that lists something: which member of its result has the items, and which
// member of an item has the name.
type list struct {
	method, items, name string
	target              operation.Target
}

// lists are the lists that are filtered.
var lists = [...]list{
	{"tools/list", "tools", "name", operation.Tool},
	{"prompts/list", "prompts", "name", operation.Prompt},
	{"resources/list", "resources", "uri", operation.Resource},
	{"resources/templates/list", "resourceTemplates", "uriTemplate", operation.Resource},
}

// indexOf returns the place of a method in lists, or -1.
func indexOf(method string) int {
	for i := range lists {
		if lists[i].method == method {
			return i
		}
	}
	return -1
}

// Words returns the names of the lists in JSON, with their quotes. Each message that has a list has
// one of them, unless a server writes it with escapes, which none is known to do.
func Words() []string {
	words := make([]string, len(lists))
	for i, l := range lists {
		words[i] = `"` + l.items + `"`
	}
	return words
}

// TaskWord is a name, with its quotes, that each message has that gives a task to a client.
const TaskWord = `"taskId"`

// makesTask is the method whose answer may be a task.
const makesTask = "tools/call"

// IsList reports whether the answers to a method have to be filtered.
func IsList(method string) bool { return indexOf(method) >= 0 }

// Answers filters the answers to one request. The HTTP answer that carries them has to be
// `Cache-Control: no-store`.
type Answers struct {
	Policy *rules.Policy
	Who    *principal.Principal
	// Asked has the methods of the messages in the request whose answers are lists or may be tasks.
	// Every answer is filtered by the members of its result: the stream of a GET has the answers to
	// other requests, and a server that is sent an id twice may answer both requests on one stream.
	// An answer to a method that lists something has to have that list.
	Asked map[message.Key]string
	// Learn may be nil. It is given each answer with a list of tools, as the server sent it.
	Learn func(raw []byte)
	// Task may be nil. It is given the id of each task that the server has made for a call.
	Task func(id string)
	// Stream is set if the answers may be those to other requests, as on the stream of a GET.
	Stream bool
}

// Report counts what [Answers.Filter] did.
type Report struct {
	Items  int
	Hidden int
	// Errors are items that are hidden because an expression could not be evaluated.
	Errors int
}

// Filter returns a message of the server in the form that the principal may see. It returns raw
// itself if the message has no list, or if nothing in it changes.
func (a *Answers) Filter(raw []byte) (changed []byte, report Report, err error) {
	var s scan
	switch response, err := s.message(raw); {
	case err != nil:
		return nil, report, err
	case !response:
		return raw, report, nil
	}
	method, asked := a.Asked[message.KeyOf(s.id)]
	if id, ok := s.task.made(); ok && a.Task != nil && (method == makesTask || a.Stream && !asked) {
		a.Task(id)
	}
	wanted := indexOf(method)
	if s.failed && !s.similar {
		wanted = -1
	}
	var edits []jsontext.Edit
	for i := range lists {
		if err == nil && (i == wanted || s.lists[i].isArray) {
			edits, err = a.list(&s, i, wanted, edits, &report)
		}
	}
	switch {
	case err != nil:
		return nil, report, err
	case len(edits) == 0:
		return raw, report, nil
	}
	return jsontext.Apply(raw, jsontext.Span{Start: 0, End: len(raw)}, edits), report, nil
}

// list adds the edits for one list. wanted is the place of the list that was asked for, or -1.
func (a *Answers) list(s *scan, i, wanted int, edits []jsontext.Edit, report *Report) ([]jsontext.Edit, error) {
	l, f := lists[i], &s.lists[i]
	switch {
	case s.similar || s.similarResult || f.similar:
		return nil, fmt.Errorf("%w: a member equals a known one but for case", ErrList)
	case s.err != nil:
		return nil, s.err
	case f.err != nil:
		return nil, f.err
	case !f.isArray:
		return nil, fmt.Errorf("%w: result.%s is not an array", ErrList, l.items)
	}
	if l.target == operation.Tool && a.Learn != nil && (i == wanted || a.Stream) {
		a.Learn(s.raw)
	}
	viewer, names := a.Policy.Viewer(a.Who), string(f.names)
	kept := 0
	for n, it := range f.items {
		report.Items++
		shown, reason := viewer.Shows(operation.Name{Target: l.target, Text: names[it.name.Start:it.name.End]})
		if shown {
			if kept++; kept == 1 && n > 0 { // what was before goes, with the comma behind it
				comma := jsontext.SkipSpace(s.raw, f.items[n-1].at.End)
				edits = append(edits, jsontext.Edit{Span: jsontext.Span{Start: f.at.Start + 1, End: comma + 1}})
			}
			continue
		}
		report.Hidden++
		if reason == rules.ExpressionError {
			report.Errors++
		}
		if kept == 0 {
			continue
		}
		before := f.items[n-1].at.End
		if last := len(edits) - 1; last >= 0 && edits[last].End == before { // it was hidden, too
			edits[last].End = it.at.End
		} else {
			edits = append(edits, jsontext.Edit{Span: jsontext.Span{Start: before, End: it.at.End}})
		}
	}
	if kept == 0 && len(f.items) > 0 {
		edits = append(edits, jsontext.Edit{Span: jsontext.Span{Start: f.at.Start + 1, End: f.at.End - 1}})
	}
	return s.private(edits), nil
}

// private adds the edit that makes a result one for this principal alone.
func (s *scan) private(edits []jsontext.Edit) []jsontext.Edit {
	const private = `"private"`
	scope := s.raw[s.scope.Start:s.scope.End]
	switch {
	case s.scopeDone || string(scope) == private || len(scope) == 0 && !s.ttl:
		return edits
	case len(scope) > 0:
		edits = append(edits, jsontext.Edit{Span: s.scope, Text: []byte(private)})
	default: // as the first member; the list is behind it
		edits = append(edits, jsontext.Edit{Span: jsontext.Span{Start: s.result + 1, End: s.result + 1}, Text: []byte(`"cacheScope":` + private + `,`)})
	}
	s.scopeDone = true
	return edits
}

// decode returns the value of a JSON string.
func decode(quoted []byte) (text string, ok bool) {
	if len(quoted) == 0 || quoted[0] != '"' {
		return "", false
	}
	return text, json.Unmarshal(quoted, &text) == nil
}
