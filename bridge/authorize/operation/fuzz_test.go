package operation

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// seen is what a server in Go sees in a message: names without regard to case, and the last
// of those that stand twice.
type seen struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

type seenParams struct {
	Name      string          `json:"name"`
	URI       string          `json:"uri"`
	Arguments json.RawMessage `json:"arguments"`
	Ref       struct {
		Type string `json:"type"`
		Name string `json:"name"`
		URI  string `json:"uri"`
	} `json:"ref"`
	Notifications struct {
		Resources []string `json:"resourceSubscriptions"`
		Tasks     []string `json:"taskIds"`
	} `json:"notifications"`
	Task string `json:"taskId"`
	Meta struct {
		Related struct {
			Task string `json:"taskId"`
		} `json:"io.modelcontextprotocol/related-task"`
	} `json:"_meta"`
}

// FuzzParse compares the operations of a body with what encoding/json sees in it: there is no
// call that a server could see and the rules did not.
func FuzzParse(f *testing.F) {
	for _, tc := range parseCases {
		f.Add([]byte(tc.body))
	}
	for _, tc := range invalidCases {
		if len(tc.body) < 1000 {
			f.Add([]byte(tc.body))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Parse(body)
		if err != nil {
			return
		}
		var bodies []seen
		if message.IsBatch(body) {
			err = json.Unmarshal(body, &bodies)
		} else {
			bodies = make([]seen, 1)
			err = json.Unmarshal(body, &bodies[0])
		}
		if err != nil {
			t.Fatalf("%q is accepted, and encoding/json says %v", body, err)
		}
		if r.Batch != message.IsBatch(body) || len(bodies) != len(r.Operations) {
			t.Fatalf("%q: got %d operations, encoding/json sees %d messages", body, len(r.Operations), len(bodies))
		}
		for i, op := range r.Operations {
			compare(t, body, op, bodies[i])
		}
	})
}

// compare compares one operation.
func compare(t *testing.T, body []byte, op Operation, m seen) {
	t.Helper()
	if op.Kind == message.Response {
		if m.Method != "" {
			t.Fatalf("%q: a response calls %q", body, m.Method)
		}
		return
	}
	if op.Method != m.Method || !bytes.Equal(op.ID, m.ID) {
		t.Fatalf("%q: got method %q with id %q, encoding/json sees %q with %q", body, op.Method, op.ID, m.Method, m.ID)
	}
	var p seenParams
	_ = json.Unmarshal(m.Params, &p) // an error leaves what could be read
	var want []string
	switch m.Method {
	case "tools/call", "prompts/get":
		want = []string{p.Name}
		if !bytes.Equal(op.Arguments, message.Line(p.Arguments)) {
			t.Fatalf("%q: got arguments %q, encoding/json sees %q", body, op.Arguments, p.Arguments)
		}
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		want = []string{p.URI}
	case "completion/complete":
		want = []string{p.Ref.Name + p.Ref.URI}
	case "subscriptions/listen":
		want = p.Notifications.Resources
	}
	if len(want) != len(op.Names) {
		t.Fatalf("%q: got %q, encoding/json sees %q", body, op.Names, want)
	}
	for i, name := range op.Names {
		if name.Text != want[i] {
			t.Fatalf("%q: got %q, encoding/json sees %q", body, op.Names, want)
		}
	}
	if op.ID == nil && strings.HasPrefix(m.Method, "notifications/") {
		return
	}
	var tasks []string
	if strings.HasPrefix(m.Method, "tasks/") {
		tasks = append(tasks, p.Task)
	}
	tasks = append(tasks, p.Meta.Related.Task)
	if m.Method == "subscriptions/listen" {
		tasks = append(tasks, p.Notifications.Tasks...)
	}
	named := func(id string) bool { return id == "" }
	if got, want := slices.DeleteFunc(slices.Clone(op.Tasks), named), slices.DeleteFunc(tasks, named); !slices.Equal(got, want) {
		t.Fatalf("%q: got the tasks %q, encoding/json sees %q", body, got, want)
	}
}
