package operation

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// show prints a request.
func show(r Request) string {
	var all []string
	for _, op := range r.Operations {
		s := op.Method
		if op.Kind == message.Response {
			s = "response"
		}
		if op.ID != nil {
			s += " #" + string(op.ID)
		}
		for _, n := range op.Names {
			s += fmt.Sprintf(" %s=%s", n.Target, n.Text)
		}
		for _, id := range op.Tasks {
			s += " task=" + id
		}
		if op.MayMakeTask {
			s += " makes a task"
		}
		if op.Arguments != nil {
			s += " " + string(op.Arguments)
		}
		all = append(all, s)
	}
	return strings.Join(all, "; ")
}

// call returns a request as text.
func call(method, params string) string {
	return `{"jsonrpc":"2.0","id":7,"method":"` + method + `","params":` + params + `}`
}

var parseCases = []struct{ name, body, want string }{
	{"tool", call("tools/call", `{"name":"write_file","arguments":{"path":"/x"}}`), `tools/call #7 tool=write_file {"path":"/x"}`},
	{"tool without arguments", call("tools/call", `{"name":"a"}`), `tools/call #7 tool=a`},
	{"tool in a task", call("tools/call", `{"name":"a","task":{"ttl":1}}`), `tools/call #7 tool=a makes a task`},
	{"tool called in a notification", `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}`, `tools/call tool=a`},
	{"escaped name", call("tools/call", `{"n\u0061me":"\u0061b"}`), `tools/call #7 tool=ab`},
	{"name with an encoded slash", call("tools/call", `{"name":"a%2Fb"}`), `tools/call #7 tool=a%2Fb`},
	{"full-width name", call("tools/call", `{"name":"ｄelete"}`), `tools/call #7 tool=ｄelete`},
	{"prompt", call("prompts/get", `{"name":"p","arguments":{"a":"b"}}`), `prompts/get #7 prompt=p {"a":"b"}`},
	{"read", call("resources/read", `{"uri":"file:///a/../b"}`), `resources/read #7 resource=file:///a/../b`},
	{"subscribe", call("resources/subscribe", `{"uri":"x:a"}`), `resources/subscribe #7 resource=x:a`},
	{"unsubscribe", call("resources/unsubscribe", `{"uri":"x:a"}`), `resources/unsubscribe #7 resource=x:a`},
	{"listen", call("subscriptions/listen", `{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:a","x:b"]}}`), `subscriptions/listen #7 resource=x:a resource=x:b`},
	{"listen to lists", call("subscriptions/listen", `{"notifications":{"toolsListChanged":true}}`), `subscriptions/listen #7`},
	{"listen to nothing", call("subscriptions/listen", `{"notifications":{"resourceSubscriptions":[]}}`), `subscriptions/listen #7`},
	{"listen without a filter", call("subscriptions/listen", `{}`), `subscriptions/listen #7`},
	{"complete a prompt", call("completion/complete", `{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"b"}}`), `completion/complete #7 prompt=p`},
	{"complete a resource", call("completion/complete", `{"ref":{"type":"ref/resource","uri":"x:{a}"},"argument":{"name":"a","value":"b"}}`), `completion/complete #7 resource=x:{a}`},
	{"lists", call("tools/list", `{"cursor":"c"}`), `tools/list #7`},
	{"task", call("tasks/result", `{"taskId":"t"}`), `tasks/result #7 task=t`},
	{"task, escaped", call("tasks/get", `{"\u0074askId":"\u0074"}`), `tasks/get #7 task=t`},
	{"task in a notification", `{"jsonrpc":"2.0","method":"tasks/cancel","params":{"taskId":"t"}}`, `tasks/cancel task=t`},
	{"task of another method", call("x/y", `{"taskId":"t"}`), `x/y #7`},
	{"tasks", call("tasks/list", `{}`), `tasks/list #7`},
	{"tool that may make a task", call("tools/call", `{"name":"a","_meta":{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}}`), `tools/call #7 tool=a makes a task`},
	{"tool that mentions a task", call("tools/call", `{"name":"task","arguments":{"task":1,"taskId":"t"}}`), `tools/call #7 tool=task {"task":1,"taskId":"t"}`},
	{"related to a task", call("ping", `{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}`), `ping #7 task=t`},
	{"notification about a task of the client", `{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"t","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}}`, `notifications/tasks/status`},
	{"request that is called a notification", call("notifications/tasks/status", `{"taskId":"t","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}`), `notifications/tasks/status #7 task=t`},
	{"response about a task", `{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}}`, `response #1`},
	{"listen to tasks", call("subscriptions/listen", `{"notifications":{"taskIds":["t","u"],"resourceSubscriptions":["x:a"]}}`), `subscriptions/listen #7 resource=x:a task=t task=u`},
	{"logging", call("logging/setLevel", `{"level":"debug"}`), `logging/setLevel #7`},
	{"initialize", call("initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}`), `initialize #7`},
	{"unknown method", call("x/y", `{"name":"n"}`), `x/y #7`},
	{"without params", `{"jsonrpc":"2.0","id":"s","method":"ping"}`, `ping #"s"`},
	{"notification", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, `notifications/initialized`},
	{"result of the client", `{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}`, `response #1`},
	{"error of the client", `{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}`, `response #1`},
	{"batch", `[` + call("tools/call", `{"name":"a"}`) + `,{"jsonrpc":"2.0","method":"notifications/initialized"},` + strings.Replace(call("prompts/get", `{"name":"b"}`), "7", "8", 1) + `]`, `tools/call #7 tool=a; notifications/initialized; prompts/get #8 prompt=b`},
	{"other objects have what members they like", call("tools/call", `{"name":"a","arguments":{"Name":"b","Path":1,"path":2}}`), `tools/call #7 tool=a {"Name":"b","Path":1,"path":2}`},
}

// Rule E3: every message of a body is an operation, in both eras, with what it names.
func TestParse(t *testing.T) {
	for _, tc := range parseCases {
		t.Run(tc.name, func(t *testing.T) {
			r, err := Parse([]byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if got := show(r); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

var invalidCases = []struct {
	name, body string
	reason     Reason
	code       int
	id         string
}{
	{"no JSON", `{"jsonrpc"`, NotJSON, message.CodeParse, ""},
	{"nothing", ``, NotJSON, message.CodeParse, ""},
	{"not UTF-8", call("ping", "{\"a\":\"\xff\"}"), NotJSON, message.CodeParse, ""},
	{"two values", call("ping", `{}`) + call("ping", `{}`), NotJSON, message.CodeParse, ""},
	{"no message", `{}`, NotMessage, message.CodeInvalidRequest, ""},
	{"text", `"x"`, NotMessage, message.CodeInvalidRequest, ""},
	{"empty batch", `[]`, NotMessage, message.CodeInvalidRequest, ""},
	{"batch in a batch", `[[` + call("tools/call", `{"name":"a"}`) + `]]`, NotMessage, message.CodeInvalidRequest, ""},
	{"batch of too many", `[` + strings.Repeat(`1,`, message.MaxBatch) + `1]`, TooComplex, message.CodeInvalidRequest, ""},
	{"null id", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, NotMessage, message.CodeInvalidRequest, ""},
	{"method twice", `{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call"}`, DuplicateMember, message.CodeInvalidRequest, ""},
	{"method twice, escaped", `{"jsonrpc":"2.0","id":7,"method":"ping","m\u0065thod":"tools/call"}`, DuplicateMember, message.CodeInvalidRequest, ""},
	{"params twice", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a"},"params":{"name":"b"}}`, DuplicateMember, message.CodeInvalidRequest, ""},
	{"Method beside method", `{"jsonrpc":"2.0","id":7,"method":"ping","Method":"tools/call"}`, SimilarMember, message.CodeInvalidRequest, "7"},
	{"Params alone", `{"jsonrpc":"2.0","id":7,"method":"tools/call","Params":{"name":"b"}}`, SimilarMember, message.CodeInvalidRequest, "7"},
	{"name twice", call("tools/call", `{"name":"a","name":"b"}`), DuplicateMember, message.CodeInvalidRequest, ""},
	{"Tools/Call", call("Tools/Call", `{"name":"a"}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"a method with spaces", call(" tools/call\\n", `{"name":"a"}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"a method with a zero byte", call("tools/call\\u0000x", `{"name":"a"}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"logging/setlevel", call("logging/setlevel", `{}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"a notification in another case", `{"jsonrpc":"2.0","method":"TOOLS/CALL","params":{"name":"a"}}`, SimilarMember, message.CodeInvalidRequest, ""},
	{"Name beside name", call("tools/call", `{"name":"a","Name":"b"}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"Name alone", call("tools/call", `{"Name":"b"}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"name with a zero byte", call("tools/call", `{"name":"a","name\u0000":"b"}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"arguments twice", call("tools/call", `{"name":"a","arguments":{},"arguments":{"x":1}}`), DuplicateMember, message.CodeInvalidRequest, ""},
	{"Arguments beside arguments", call("tools/call", `{"name":"a","arguments":{},"argument\u017f":{"x":1}}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"argument twice", call("tools/call", `{"name":"a","arguments":{"x":1,"x":2}}`), DuplicateMember, message.CodeInvalidRequest, "7"},
	{"deep argument twice", call("tools/call", `{"name":"a","arguments":{"y":[{"x":1,"\u0078":2}]}}`), DuplicateMember, message.CodeInvalidRequest, "7"},
	{"member of _meta twice", call("tools/call", `{"name":"a","_meta":{"a":1,"a":2}}`), DuplicateMember, message.CodeInvalidRequest, ""},
	{"duplicate in a response", `{"jsonrpc":"2.0","id":1,"result":{"a":{"b":1,"b":2}}}`, DuplicateMember, message.CodeInvalidRequest, ""},
	{"number as a task", call("tasks/get", `{"taskId":7}`), WrongName, message.CodeInvalidRequest, "7"},
	{"null as a task", call("tasks/cancel", `{"taskId":null}`), WrongName, message.CodeInvalidRequest, "7"},
	{"task with a long id", call("tasks/get", `{"taskId":"`+strings.Repeat("t", MaxName+1)+`"}`), WrongName, message.CodeInvalidRequest, "7"},
	{"TaskId beside taskId", call("tasks/get", `{"taskId":"a","TaskId":"b"}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"related to a number", call("ping", `{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":7}}}`), WrongName, message.CodeInvalidRequest, "7"},
	{"related to a TaskId", call("ping", `{"_meta":{"io.modelcontextprotocol/related-task":{"TaskId":"a"}}}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"listen to a number", call("subscriptions/listen", `{"notifications":{"taskIds":[7]}}`), WrongName, message.CodeInvalidRequest, "7"},
	{"listen to TaskIds", call("subscriptions/listen", `{"notifications":{"TaskIds":["a"]}}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"no name", call("tools/call", `{}`), WrongName, message.CodeInvalidRequest, "7"},
	{"empty name", call("tools/call", `{"name":""}`), WrongName, message.CodeInvalidRequest, "7"},
	{"null name", call("tools/call", `{"name":null}`), WrongName, message.CodeInvalidRequest, "7"},
	{"name in a list", call("tools/call", `{"name":["a"]}`), WrongName, message.CodeInvalidRequest, "7"},
	{"params as a list", call("tools/call", `["a"]`), WrongName, message.CodeInvalidRequest, "7"},
	{"long name", call("tools/call", `{"name":"`+strings.Repeat("a", MaxName+1)+`"}`), WrongName, message.CodeInvalidRequest, "7"},
	{"no uri", call("resources/read", `{"name":"a"}`), WrongName, message.CodeInvalidRequest, "7"},
	{"no ref", call("completion/complete", `{}`), WrongName, message.CodeInvalidRequest, "7"},
	{"ref of a tool", call("completion/complete", `{"ref":{"type":"ref/tool","name":"a"}}`), WrongName, message.CodeInvalidRequest, "7"},
	{"ref of two", call("completion/complete", `{"ref":{"type":"ref/prompt","name":"a","uri":"b"}}`), WrongName, message.CodeInvalidRequest, "7"},
	{"ref with Uri", call("completion/complete", `{"ref":{"type":"ref/resource","uri":"a","Uri":"b"}}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"filter in a list", call("subscriptions/listen", `{"notifications":[]}`), WrongName, message.CodeInvalidRequest, "7"},
	{"filter with another case", call("subscriptions/listen", `{"notifications":{"ResourceSubscriptions":["x:a"]}}`), SimilarMember, message.CodeInvalidRequest, "7"},
	{"filter of numbers", call("subscriptions/listen", `{"notifications":{"resourceSubscriptions":[1]}}`), WrongName, message.CodeInvalidRequest, "7"},
	{"filter of one text", call("subscriptions/listen", `{"notifications":{"resourceSubscriptions":"x:a"}}`), WrongName, message.CodeInvalidRequest, "7"},
	{"filter of too many", call("subscriptions/listen", `{"notifications":{"resourceSubscriptions":[`+strings.Repeat(`"x:a",`, MaxNames)+`"x:a"]}}`), WrongName, message.CodeInvalidRequest, "7"},
	{"one of a batch", `[` + call("ping", `{}`) + `,` + call("tools/call", `{"name":"a","Name":"b"}`) + `]`, SimilarMember, message.CodeInvalidRequest, ""},
	{"too deep", call("ping", strings.Repeat(`{"a":`, 600)+`1`+strings.Repeat(`}`, 600)), TooComplex, message.CodeInvalidRequest, ""},
}

// Rules E2, E3: what does not parse, or what two readers may understand in different ways, is
// refused, with the id of the request where it can be known, and with a reason of the closed set
// (E9).
func TestParseRefuses(t *testing.T) {
	for _, tc := range invalidCases {
		t.Run(tc.name, func(t *testing.T) {
			r, err := Parse([]byte(tc.body))
			var invalid *Invalid
			if !errors.As(err, &invalid) {
				t.Fatalf("got %s and error %v, want an Invalid", show(r), err)
			}
			if invalid.Reason != tc.reason || invalid.Code != tc.code || string(invalid.ID) != tc.id || invalid.Text == "" {
				t.Errorf("got %s, %d, id %q, %q; want %s, %d, id %q", invalid.Reason, invalid.Code, invalid.ID, invalid.Text, tc.reason, tc.code, tc.id)
			}
		})
	}
}

// Rule E2: an answer has the id of the request, and for a batch none.
func TestID(t *testing.T) {
	for body, want := range map[string]string{
		call("ping", `{}`):                                       "7",
		`[` + call("ping", `{}`) + `]`:                           "",
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`: "",
		`{"jsonrpc":"2.0","id":1,"result":{}}`:                   "",
	} {
		r, err := Parse([]byte(body))
		if err != nil || string(r.ID()) != want {
			t.Errorf("%s: got id %q, %v; want %q", body, r.ID(), err, want)
		}
	}
	if (Request{}).ID() != nil {
		t.Error("a request without a body has an id")
	}
}

func TestNew(t *testing.T) {
	for want, args := range map[string][]string{
		`tools/call #1 tool=a {"x":1}`:         {"tools/call", "a", `{"x":1}`},
		`prompts/get #1 prompt=<p>`:            {"prompts/get", "<p>"},
		`resources/read #1 resource=x:a`:       {"resources/read", "x:a"},
		`subscriptions/listen #1 resource=x:a`: {"subscriptions/listen", "x:a"},
		`tools/list #1`:                        {"tools/list", ""},
	} {
		var arguments []byte
		if len(args) > 2 {
			arguments = []byte(args[2])
		}
		r, err := New(args[0], args[1], arguments)
		if err != nil || show(r) != want {
			t.Errorf("%q: got %s, %v; want %s", args, show(r), err, want)
		}
	}
	if _, err := New("tools/call", "", nil); err == nil {
		t.Error("a call of no tool is an operation")
	}
	if _, err := New("tools/call", "a", []byte("{")); err == nil {
		t.Error("arguments that are no JSON are accepted")
	}
}
