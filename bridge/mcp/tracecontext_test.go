package mcp

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const traceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// A server that gets no fields has the trace in _meta (MCP specification 2026-07-28,
// "OpenTelemetry trace context"), where its client has put none.
func TestCarryTrace(t *testing.T) {
	trace := http.Header{"Traceparent": {traceParent}}
	for name, c := range map[string]struct {
		h           http.Header
		frame, want string
	}{
		"request": {
			trace, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`,
			`{"params":{"_meta":{"traceparent":"` + traceParent + `"}},"jsonrpc":"2.0","id":1,"method":"tools/list"}`,
		},
		"all of it": {
			http.Header{"Traceparent": {traceParent}, "Tracestate": {"a=1", "b=2"}, "Baggage": {"k=v"}},
			`{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":1,"_meta":{"progressToken":2}}}`,
			`{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":1,"_meta":{"baggage":"k=v","tracestate":"a=1,b=2","traceparent":"` + traceParent + `","progressToken":2}}}`,
		},
		"the client's own": {
			trace, `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"traceparent":"mine"}}}`,
			`{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"traceparent":"mine"}}}`,
		},
		"response":   {trace, `{"jsonrpc":"2.0","id":1,"result":{}}`, `{"jsonrpc":"2.0","id":1,"result":{}}`},
		"odd params": {trace, `{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}`, `{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}`},
		"no trace":   {nil, `{"jsonrpc":"2.0","id":1,"method":"x"}`, `{"jsonrpc":"2.0","id":1,"method":"x"}`},
		"malformed":  {http.Header{"Traceparent": {`00-"}`}}, `{"jsonrpc":"2.0","id":1,"method":"x"}`, `{"jsonrpc":"2.0","id":1,"method":"x"}`},
		"two":        {http.Header{"Traceparent": {traceParent, traceParent}}, `{"jsonrpc":"2.0","method":"x"}`, `{"jsonrpc":"2.0","method":"x"}`},
		"state with quote": {
			http.Header{"Traceparent": {traceParent}, "Tracestate": {`a="1`}},
			`{"jsonrpc":"2.0","method":"x"}`,
			`{"params":{"_meta":{"traceparent":"` + traceParent + `"}},"jsonrpc":"2.0","method":"x"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := message.Parse([]byte(c.frame))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(CarryTrace(c.h, m).Raw); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestIsTraceParent(t *testing.T) {
	for value, want := range map[string]bool{
		traceParent:                                               true,
		"01" + traceParent[2:] + "-more":                          true,
		"01" + traceParent[2:]:                                    true,
		"00" + traceParent[2:] + "-more":                          false,
		"01" + traceParent[2:] + "more":                           false,
		"ff" + traceParent[2:]:                                    false,
		strings.ToUpper(traceParent):                              false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": false,
		traceParent[:54]:                                          false,
		"":                                                        false,
	} {
		if got := isTraceParent(value); got != want {
			t.Errorf("isTraceParent(%q) = %v", value, got)
		}
	}
}

func FuzzCarryTrace(f *testing.F) {
	f.Add(traceParent, "a=1", "k=v", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{}}}`)
	f.Add(traceParent, `"`, "\n", `{"jsonrpc":"2.0","method":"x"}`)
	f.Fuzz(func(t *testing.T, parent, state, baggage, frame string) {
		before, err := message.Parse([]byte(frame))
		if err != nil {
			return // it is not a message
		}
		out := CarryTrace(http.Header{"Traceparent": {parent}, "Tracestate": {state}, "Baggage": {baggage}}, before).Raw
		after, err := message.Parse(out)
		if err != nil || !json.Valid(out) {
			t.Fatalf("%q becomes %q: %v", frame, out, err)
		}
		if after.ID != before.ID || after.Method != before.Method || after.Kind != before.Kind || after.Progress != before.Progress {
			t.Errorf("%q becomes %q", frame, out)
		}
	})
}
