package message

import (
	"errors"
	"testing"
)

// inStep checks that a message's fields are those of its text.
func inStep(t *testing.T, what string, m Message) {
	t.Helper()
	want, err := Parse(m.Raw)
	if err != nil {
		t.Errorf("%s: %s: %v", what, m.Raw, err)
		return
	}
	if g, w := show(m), show(want); g != w || string(m.RawProgress) != string(want.RawProgress) {
		t.Errorf("%s: %s\ngot  %s\nwant %s", what, m.Raw, g, w)
	}
}

func TestAComposedMessageEqualsItsParsedText(t *testing.T) {
	for what, m := range map[string]Message{
		"request":                     NewRequest([]byte(`1.0`), "tools/list", nil),
		"request with params":         NewRequest([]byte(`"a"`), "tools/call", []byte(`{"name":"x","_meta":{"progressToken":"t"}}`)),
		"initialize":                  NewRequest([]byte(`0`), "initialize", []byte(`{"protocolVersion":"2025-06-18"}`)),
		"method with quotes":          NewRequest([]byte(`0`), `a"b`, nil),
		"notification":                NewNotification("notifications/initialized", nil),
		"progress":                    NewNotification("notifications/progress", []byte(`{"progressToken":7,"progress":1}`)),
		"cancelled":                   NewNotification("notifications/cancelled", []byte(`{"requestId":7.0}`)),
		"result":                      NewResult([]byte(`1`), []byte(`{}`)),
		"result of initialize":        NewResult([]byte(`1`), []byte(`{"protocolVersion":"2025-06-18"}`)),
		"result that is no object":    NewResult([]byte(`"x"`), []byte(`3`)),
		"error":                       NewError([]byte(`2`), CodeInternal, `no "luck"`),
		"error to what was not read":  NewError(nil, CodeParse, "is not JSON"),
		"error to what had a null id": NewError([]byte("null"), CodeParse, "is not JSON"),
	} {
		inStep(t, what, m)
	}
}

var editCases = []string{
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":5,"a":1}}}`,
	`{"jsonrpc":"2.0","id":"1","method":"tools/call"}`,
	`{"jsonrpc":"2.0","id":"1","method":"tools/call","params":[1]}`,
	`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","_meta":{"progressToken":true}}}`,
	`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}`,
	`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3,"reason":"x"}}`,
	`{"jsonrpc":"2.0","method":"notifications/x","params":{"requestId":3,"progressToken":3,"_meta":{"progressToken":3}}}`,
	`{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","a":{}}}`,
	`{"jsonrpc":"2.0","id":1,"result":[]}`,
	`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","protocolVersion":"x"}}`,
}

// After an edit, the fields of a message are those of its text. It need not be parsed again.
func TestAnEditedMessageEqualsItsParsedText(t *testing.T) {
	paths := [][]string{
		{"id"},
		{"x"},
		{"params"},
		{"params", "x"},
		{"params", "_meta"},
		{"params", "_meta", "x"},
		{"params", "_meta", "progressToken"},
		{"params", "_meta", "progressToken", "x"},
		{"params", "progressToken"},
		{"params", "requestId"},
		{"params", "protocolVersion"},
		{"result", "x"},
		{"result", "protocolVersion"},
		{"result", "protocolVersion", "x"},
	}
	values := []string{`1`, `"a"`, `{}`, `{"progressToken":8}`, `{"progressToken":8,"requestId":9,"protocolVersion":"z"}`, `{"_meta":{"progressToken":"u"}}`, `[]`, `2.50`}
	for _, text := range editCases {
		m, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			// A result has to stay one, and an id an id.
			if m.Kind == Response != (path[0] == "result") && path[0] != "id" && path[0] != "x" || path[0] == "result" && m.Failed {
				continue
			}
			for _, value := range values {
				if path[0] == "id" && (m.Kind == Notification || KeyOf([]byte(value)) == "") {
					continue
				}
				inStep(t, "set", m.Set([]byte(value), path...))
				inStep(t, "replace", m.Replace([]byte(value), path...))
			}
			if path[0] != "id" {
				inStep(t, "remove", m.Remove(path...))
			}
		}
		inStep(t, "token", m.WithProgress([]byte(`"other"`)))
		if m.Kind != Notification {
			inStep(t, "id", m.WithID([]byte("77")))
		}
		if string(m.Raw) != text {
			t.Errorf("%s: was written to: %s", text, m.Raw)
		}
	}
}

func TestWithProgress(t *testing.T) {
	for text, want := range map[string]string{
		editCases[0]: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":9,"a":1}}}`,
		editCases[1]: editCases[1],
		editCases[4]: `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":9,"progress":1}}`,
	} {
		m, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(m.WithProgress([]byte("9")).Raw); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestMessagesAndBatchesAreParsed(t *testing.T) {
	for text, want := range map[string]struct {
		messages int
		err      error
	}{
		`{"jsonrpc":"2.0","id":1,"method":"x"}`:                                        {1, nil},
		"\r\n{\"jsonrpc\":\"2.0\",\n\"id\":1,\"method\":\"x\"}\n":                      {1, nil},
		` [{"jsonrpc":"2.0","id":1,"method":"x"},{"jsonrpc":"2.0","id":2,"result":1}]`: {2, nil},
		`[{"jsonrpc":"2.0","id":1,"method":"x"},1]`:                                    {0, ErrShape},
		`[{"jsonrpc":"2.0","id":1,"method":"x"}`:                                       {0, ErrSyntax},
		`[]`:                                                                           {0, ErrEmpty},
		`[1,2,3,4]`:                                                                    {0, ErrLong},
		`{"jsonrpc":"2.0","id":1,"id":1,"method":"x"}`:                                 {0, ErrDuplicate},
		``:  {0, ErrSyntax},
		`1`: {0, ErrShape},
	} {
		all, err := ParseAll([]byte(text), 3)
		if len(all) != want.messages || !errors.Is(err, want.err) {
			t.Errorf("%q: got %d messages, %v, want %d, %v", text, len(all), err, want.messages, want.err)
		}
		for _, m := range all {
			if string(Line(m.Raw)) != string(m.Raw) {
				t.Errorf("%q: got a message with line ends: %q", text, m.Raw)
			}
			inStep(t, "parsed", m)
		}
	}
}

// One message is parsed once, alone and in a batch.
func TestEachParseIsCounted(t *testing.T) {
	n := 0
	OnParse = func([]byte) { n++ }
	defer func() { OnParse = nil }()
	for text, want := range map[string]int{
		`{"jsonrpc":"2.0","id":1,"method":"x"}`:                                       1,
		`[{"jsonrpc":"2.0","id":1,"method":"x"},{"jsonrpc":"2.0","id":2,"result":1}]`: 2,
		`no`: 0,
	} {
		n = 0
		_, _ = ParseAll([]byte(text), 3)
		if n != want {
			t.Errorf("%s: parsed %d times, want %d", text, n, want)
		}
	}
}
