package lists

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// policy compiles rules in which each name says what it needs.
func policy(t testing.TB, change func(*rules.Config)) *rules.Policy {
	t.Helper()
	c := rules.Config{Rules: []rules.Rule{
		{Tools: []string{"write_*"}, Prompts: []string{"write_*"}, Resources: []string{"w:*"}, Scopes: []string{"write"}},
		{Tools: []string{"secret_*"}, Prompts: []string{"secret_*"}, Resources: []string{"s:*"}, Deny: true},
		{Tools: []string{"admin_*"}, When: `"admin" in principal.claims.groups`},
		{Tools: []string{"path_*"}, When: `arguments.path.startsWith("/pub/")`},
		{Tools: []string{"guard_*"}, When: `arguments.path == "/"`, Deny: true},
	}}
	if change != nil {
		change(&c)
	}
	p, err := rules.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// filter filters the answer with the id 1 to a method.
func filter(p *rules.Policy, who *principal.Principal, method, text string) (string, Report, error) {
	a := Answers{Policy: p, Who: who, Asked: map[message.Key]string{message.KeyOf([]byte("1")): method}}
	changed, report, err := a.Filter([]byte(text))
	return string(changed), report, err
}

const all = `{"jsonrpc":"2.0","id":1,"result":{"x":1,"tools": [ {"name":"read"} , {"title":"T","name":"write_a","z":1.0},
 {"name":"secret_a"},{"name":"admin_a"} ,{"name":"path_a"},{"name":"guard_a"} ],"nextCursor":"c" ,"_meta":{"a":[ 1 ]}}}`

// Rule E5: lists show what the same rules let the principal use; order, cursors and unknown
// members stay byte for byte.
func TestFilter(t *testing.T) {
	hide := func(c *rules.Config) { c.Lists = "hide" }
	admin := &principal.Principal{Claims: map[string]any{"groups": []any{"admin"}}}
	guest := &principal.Principal{Claims: map[string]any{"groups": []any{"guest"}}}
	nobody := &principal.Principal{}
	writer := &principal.Principal{Scopes: principal.Scopes{"write"}}
	for _, tc := range []struct {
		name, method, in, want string
		who                    *principal.Principal
		change                 func(*rules.Config)
		report                 Report
	}{
		{"show leaves what a scope opens", "tools/list", all, `{"jsonrpc":"2.0","id":1,"result":{"x":1,"tools": [ {"name":"read"} , {"title":"T","name":"write_a","z":1.0} ,{"name":"path_a"},{"name":"guard_a"} ],"nextCursor":"c" ,"_meta":{"a":[ 1 ]}}}`, guest, nil, Report{6, 2, 0}},
		{"hide drops it", "tools/list", all, `{"jsonrpc":"2.0","id":1,"result":{"x":1,"tools": [ {"name":"read"} ,{"name":"path_a"},{"name":"guard_a"} ],"nextCursor":"c" ,"_meta":{"a":[ 1 ]}}}`, guest, hide, Report{6, 3, 0}},
		{"hide shows what the scope opens", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"write_a"}]}}`, "", writer, hide, Report{1, 0, 0}},
		{"an expression that holds", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"admin_a"}]}}`, "", admin, hide, Report{1, 0, 0}},
		{"an expression that errs", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"admin_a"},{"name":"read"}]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"read"}]}}`, nobody, nil, Report{2, 1, 1}},
		{"first dropped", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[ {"name":"secret_a"} , {"name":"a"} ]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[ {"name":"a"} ]}}`, nobody, nil, Report{2, 1, 0}},
		{"last dropped", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"} , {"name":"secret_a"} ]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"} ]}}`, nobody, nil, Report{2, 1, 0}},
		{"all dropped", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"secret_a"},{"name":"secret_b"}]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}`, nobody, nil, Report{2, 2, 0}},
		{"empty", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[ ]}}`, "", nobody, nil, Report{}},
		{"default deny", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},{"name":"write_a"}]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"write_a"}]}}`, nobody, func(c *rules.Config) { c.Default = "deny" }, Report{2, 1, 0}},
		{"look-alike", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"Secret_a"},{"name":"ｓecret_a"}]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}`, nobody, nil, Report{2, 2, 0}},
		{"prompts", "prompts/list", `{"jsonrpc":"2.0","id":1,"result":{"prompts":[{"name":"secret_a"},{"name":"a"}]}}`, `{"jsonrpc":"2.0","id":1,"result":{"prompts":[{"name":"a"}]}}`, nobody, nil, Report{2, 1, 0}},
		{"resources", "resources/list", `{"jsonrpc":"2.0","id":1,"result":{"resources":[{"uri":"s:a","name":"a"},{"uri":"S:a","name":"a"},{"uri":"x:a","name":"secret_a"}]}}`, `{"jsonrpc":"2.0","id":1,"result":{"resources":[{"uri":"x:a","name":"secret_a"}]}}`, nobody, nil, Report{3, 2, 0}},
		{"templates", "resources/templates/list", `{"jsonrpc":"2.0","id":1,"result":{"resourceTemplates":[{"uriTemplate":"s:{a}","name":"a"},{"uriTemplate":"x:{a}","name":"b"}]}}`, `{"jsonrpc":"2.0","id":1,"result":{"resourceTemplates":[{"uriTemplate":"x:{a}","name":"b"}]}}`, nobody, nil, Report{2, 1, 0}},
		{"cacheScope", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"ttlMs":5,"cacheScope":"public"}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"ttlMs":5,"cacheScope":"private"}}`, nobody, nil, Report{}},
		{"cacheScope of another type", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"cacheScope":null}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"cacheScope":"private"}}`, nobody, nil, Report{}},
		{"cacheScope is missing", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"ttlMs":5}}`, `{"jsonrpc":"2.0","id":1,"result":{"cacheScope":"private","tools":[],"ttlMs":5}}`, nobody, nil, Report{}},
		{"error", "tools/list", `{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"tools"}}`, "", nobody, nil, Report{}},
		{"with line ends", "tools/list", "{\"jsonrpc\":\"2.0\",\r\n\"id\":1,\n\"result\":{\"tools\":[\n{\"name\":\"a\"},\n{\"name\":\"secret_a\"}]}}", "{\"jsonrpc\":\"2.0\",\r\n\"id\":1,\n\"result\":{\"tools\":[\n{\"name\":\"a\"}]}}", nobody, nil, Report{2, 1, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, report, err := filter(policy(t, tc.change), tc.who, tc.method, tc.in)
			if tc.want == "" {
				tc.want = tc.in
			}
			if err != nil || got != tc.want || report != tc.report {
				t.Errorf("got  %s, %+v, %v\nwant %s, %+v", got, report, err, tc.want, tc.report)
			}
		})
	}
}

// Rule E5: a list that cannot be parsed is not passed on.
func TestFilterRefuses(t *testing.T) {
	for _, text := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{}}`,
		`{"jsonrpc":"2.0","id":1,"result":[]}`,
		`{"jsonrpc":"2.0","id":1,"result":null}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":{}}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":null}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[1]}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"title":"a"}]}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":1}]}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","name":"b"}]}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","Name":"b"}]}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[],"tools":[{"name":"secret_a"}]}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[],"Tools":[{"name":"secret_a"}]}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[],"CacheScope":"public"}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[]},"Result":{"tools":[{"name":"secret_a"}]}}`,
	} {
		if got, _, err := filter(policy(t, nil), &principal.Principal{}, "tools/list", text); !errors.Is(err, ErrList) || got != "" {
			t.Errorf("%s: got %s, %v", text, got, err)
		}
	}
	for _, l := range lists {
		if !IsList(l.method) {
			t.Errorf("%s is no list", l.method)
		}
	}
	if IsList("tools/call") {
		t.Error("tools/call is a list")
	}
}

// FuzzFilter checks a filtered list with encoding/json: nothing that is denied is in it, all
// that is allowed stays, in its order, and all other members stay.
func FuzzFilter(f *testing.F) {
	f.Add(`{"tools":[{"name":"read"},{"name":"secret_a"},{"name":"write_a"}],"nextCursor":"c"}`)
	f.Add(`{"cacheScope":"public" , "tools" : [ {"name":"secret_a" } , {"name":"a"}]}`)
	f.Add(`{"ttlMs":1,"tools":[{"n\u0061me":"\u0073ecret_a"}]}`)
	f.Add(`{"tools":[{"name":"SECRET_A"},{"name":"secret%5Fa"}],"Tools":[]}`)
	f.Fuzz(func(t *testing.T, result string) {
		p, who := policy(t, nil), &principal.Principal{}
		raw := `{"jsonrpc":"2.0","id":1,"result":` + result + `}`
		got, _, err := filter(p, who, "tools/list", raw)
		m, parseErr := message.Parse([]byte(raw))
		if err != nil {
			return
		}
		if _, err := message.Parse([]byte(got)); err != nil || parseErr != nil {
			t.Fatalf("%s becomes %s: %v, %v", raw, got, parseErr, err)
		}
		if m.Kind != message.Response {
			return
		}
		type page struct {
			Result map[string]json.RawMessage `json:"result"`
		}
		var was, is page
		if json.Unmarshal(m.Raw, &was) != nil || json.Unmarshal([]byte(got), &is) != nil {
			t.Fatalf("%s becomes %s", m.Raw, got)
		}
		var want, kept []json.RawMessage
		_ = json.Unmarshal(was.Result["tools"], &want)
		_ = json.Unmarshal(is.Result["tools"], &kept)
		for _, tool := range want {
			var item struct {
				Name string `json:"name"`
			}
			_ = json.Unmarshal(tool, &item)
			d := p.Decide(who, operation.Request{Operations: []operation.Operation{{
				Kind: message.Request, Method: "tools/call", Names: []operation.Name{{Target: operation.Tool, Text: item.Name}},
			}}})
			present := len(kept) > 0 && bytes.Equal(kept[0], tool)
			if shown := d.Allowed || d.Fixable() || d.Rule == "tools path_*" || d.Rule == "tools guard_*"; shown != present {
				t.Fatalf("%s becomes %s: %q shown %v, want %v", m.Raw, got, item.Name, present, shown)
			}
			if present {
				kept = kept[1:]
			}
		}
		delete(was.Result, "tools")
		delete(is.Result, "tools")
		if scope, ok := is.Result["cacheScope"]; ok && string(scope) != `"private"` {
			t.Fatalf("%s becomes %s", m.Raw, got)
		}
		delete(was.Result, "cacheScope")
		delete(is.Result, "cacheScope")
		for name, value := range was.Result {
			if !bytes.Equal(is.Result[name], value) {
				t.Fatalf("%s becomes %s", m.Raw, got)
			}
		}
		if len(kept) > 0 || len(is.Result) != len(was.Result) {
			t.Fatalf("%s becomes %s", m.Raw, got)
		}
	})
}

// FuzzScan compares what one pass finds of a message with what the parser of all messages does,
// and its lists with encoding/json.
func FuzzScan(f *testing.F) {
	for _, text := range []string{
		all, ` {"jsonrpc":"2.0","id":null,"error":{}} `, `{"jsonrpc":"2.0","method":"a"}`, `{"jsonrpc":"2.0","id":1,"Result":[],"error":1}`, `[1]`, `{}`, `{"id":1}{}`,
		`{"jsonrpc":"2.0","id":{},"result":1}`, `{"jsonrpc":"2.0","id":1,"result":{"prompts":[{"name":"a"},{"name":"\u0062"}],"resources":[{"uri":"x"}],"tools":1}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":"a"}}`, `{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"\u0061","status":"working"}}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"},1]}}`, `{"jsonrpc":"2.0","id":1,"result":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s scan
		response, err := s.message([]byte(text))
		m, want := message.Parse([]byte(text))
		if (err == nil) != (want == nil) || err == nil && response != (m.Kind == message.Response) {
			t.Fatalf("%q: got %t, %v; want %v, %v", text, response, err, m.Kind, want)
		}
		if err != nil || !response {
			return
		}
		if string(s.id) != string(m.RawID) || s.failed != m.Failed || s.similar != (m.Lookalike != nil) {
			t.Fatalf("%q: got %+v, want %+v", text, s, m)
		}
		if result := m.Get("result"); len(result) > 0 && result[0] == '{' && s.err == nil {
			members := make(map[string]any)
			if err := json.Unmarshal(result, &members); err != nil {
				return // a number that is too large
			}
			want, ok := "", false
			inner, _ := members["task"].(map[string]any)
			if members["resultType"] == "task" {
				want, ok = members["taskId"].(string)
			} else if status, _ := inner["status"].(string); status != "" {
				want, ok = inner["taskId"].(string)
			}
			if got, found := s.task.made(); got != want || found != ok {
				t.Fatalf("%q: got the task %q, %t; want %q, %t", text, got, found, want, ok)
			}
		}
		for i, l := range lists {
			value := m.Get("result", l.items)
			if found := s.lists[i]; found.isArray != (len(value) > 0 && value[0] == '[') || found.isArray && text[found.at.Start:found.at.End] != string(value) {
				t.Fatalf("%q: got %+v, want %s", text, found, value)
			}
			var items []map[string]any
			if s.lists[i].isArray && s.lists[i].err == nil {
				if err := json.Unmarshal(value, &items); err != nil || len(items) != len(s.lists[i].items) {
					t.Fatalf("%q: got %d items, want %d (%v)", text, len(s.lists[i].items), len(items), err)
				}
				for n, it := range s.lists[i].items {
					if name := string(s.lists[i].names[it.name.Start:it.name.End]); name != items[n][l.name] {
						t.Fatalf("%q: got %q, want %q", text, name, items[n][l.name])
					}
				}
			}
		}
	})
}

// Rule E5: an answer whose id is not that of the request is filtered by the members that its
// result has; messages that are no answer, and answers without a list, stay.
func TestFilterOfOtherMessages(t *testing.T) {
	for in, want := range map[string]string{
		`{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"secret_a"}],"prompts":[{"name":"a"},{"name":"secret_b"}]}}`: `{"jsonrpc":"2.0","id":2,"result":{"tools":[],"prompts":[{"name":"a"}]}}`,
		`{"result":{"prompts":[{"name":"secret_a"},{"name":"b"}],"ttlMs":1},"id":"x","jsonrpc":"2.0"}`:                   `{"result":{"cacheScope":"private","prompts":[{"name":"b"}],"ttlMs":1},"id":"x","jsonrpc":"2.0"}`,
		`{"jsonrpc":"2.0","id":2,"result":{"tools":1}}`:                                                                  "",
		`{"jsonrpc":"2.0","id":2,"result":{"a":1,"a":2}}`:                                                                "",
		`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`:                                                                 "",
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"tools":[]}}`:                                       "",
	} {
		got, _, err := filter(policy(t, nil), &principal.Principal{}, "tools/list", in)
		if want == "" {
			want = in
		}
		if err != nil || got != want {
			t.Errorf("%s\ngot  %s, %v\nwant %s", in, got, err, want)
		}
	}
}

// Rule E7: an answer gives a task only where the protocol has one made.
func TestTasksOfAnswers(t *testing.T) {
	for in, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"a","status":"working"}}}`:                                           "a",
		`{"jsonrpc":"2.0","id":1,"result":{"task":{"status":"working","ttl":{"taskId":"b"},"t\u0061skId":"\u0061"},"_meta":{}}}`: "a",
		`{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":"a","status":"working"}}`:                                "a",
		`{"jsonrpc":"2.0","id":3,"result":{"taskId":"a","resultType":"task"}}`:                                                   "", // that of another method
		`{"jsonrpc":"2.0","id":4,"result":{"taskId":"a","resultType":"task"}}`:                                                   "a on streams alone",
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[],"resultType":"task","taskId":"a"}}`:                                        "a",
		// Answers about tasks, and what a tool may repeat of its arguments.
		`{"jsonrpc":"2.0","id":1,"result":{"taskId":"a","status":"working"}}`:                                                                 "",
		`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","taskId":"a","status":"completed","result":{"taskId":"b"}}}`:               "",
		`{"jsonrpc":"2.0","id":1,"result":{"tasks":[{"taskId":"a","status":"working"}]}}`:                                                     "",
		`{"jsonrpc":"2.0","id":1,"result":{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"a"}}}}`:                    "",
		`{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"resultType":"task","taskId":"a","task":{"taskId":"a","status":"working"}}}}`: "",
		`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"{\"resultType\":\"task\",\"taskId\":\"a\"}"}]}}`:                 "",
		`{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"a"}}}`:                                                                           "",
		`{"jsonrpc":"2.0","id":1,"result":{"task":"a"}}`:                                                                                      "",
		`{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":1,"status":"working"}}}`:                                                          "",
		`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","task":{"taskId":"a","status":"working"}}}`:                                  "",
		`{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"a","status":"working"}}`:                                  "",
		`{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"task":{"taskId":"a","status":"working"}}}`:                          "",
	} {
		want, alone := strings.CutSuffix(want, " on streams alone")
		for _, stream := range []bool{false, true} {
			var got []string
			a := Answers{
				Policy: policy(t, nil), Who: &principal.Principal{}, Asked: map[message.Key]string{message.KeyOf([]byte("1")): "tools/call", message.KeyOf([]byte("3")): "tools/list"},
				Stream: stream, Task: func(id string) { got = append(got, id) },
			}
			changed, _, err := a.Filter([]byte(in))
			if listed := strings.Contains(in, `"id":3`); (err == nil) == listed || err == nil && string(changed) != in {
				t.Errorf("%s becomes %s, %v", in, changed, err)
			}
			if strings.Join(got, " ") != want && (stream || !alone) || !stream && alone && len(got) > 0 {
				t.Errorf("%s gives %q, want %q", in, got, want)
			}
		}
	}
}
