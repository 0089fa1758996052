package servers

import (
	"testing"
	"unsafe"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// A session keeps many events for clients that come back. What is known of a message beside
// its bytes is kept only where a client needs it: for requests of the server, for responses
// to initialize, and for refusals.
func TestAnEventKeepsItsBytesAndLittleElse(t *testing.T) {
	if size := unsafe.Sizeof(Event{}); size > 40 {
		t.Errorf("an event has %d bytes beside those of its message; want 40 at most", size)
	}
	refusal := new(upstream.Refusal)
	for _, tc := range []struct {
		raw   string
		cause *upstream.Refusal
		kept  bool
	}{
		{`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}`, nil, false},
		{`{"jsonrpc":"2.0","id":1,"result":{}}`, nil, false},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}`, nil, false},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}`, refusal, true},
		{`{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}`, nil, true},
		{`{"jsonrpc":"2.0","id":"s","method":"ping"}`, nil, true},
	} {
		m, err := message.Parse([]byte(tc.raw))
		if err != nil {
			t.Fatal(err)
		}
		got := DetailsOf(&m, tc.cause)
		if (got != nil) != tc.kept {
			t.Errorf("%s: details %+v; want some: %v", tc.raw, got, tc.kept)
		}
		e := Event{Raw: m.Raw, More: got}
		if e.Refusal() != tc.cause || got != nil && (string(got.ID) != string(m.RawID) || got.Request != (m.Kind == message.Request) || e.Version() != m.Version) {
			t.Errorf("%s: details %+v", tc.raw, got)
		}
	}
}
