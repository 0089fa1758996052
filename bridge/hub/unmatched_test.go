package hub

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D5c: what a server sends for initialize and is no proper answer to it, the first
// thing that it was asked, is that answer all the same, or ends the wait for it at once.
func TestOddAnswerToInitializeEndsTheWait(t *testing.T) {
	for name, tc := range map[string]struct {
		frame string
		ok    bool // the client has a session
		told  string
	}{
		"a byte order mark":    {"\ufeff" + `{"jsonrpc":"2.0","id":"i",` + hubtest.InitResult + `}`, true, "byte_order_mark/repaired"},
		"a spinner":            {"\x1b[?25l- resolving\r\x1b[K" + `{"jsonrpc":"2.0","id":"i",` + hubtest.InitResult + `}`, true, "terminal_output/repaired"},
		"a note beside it":     {`{"jsonrpc":"2.0","method":"notifications/x"}{"jsonrpc":"2.0","id":"i",` + hubtest.InitResult + `}`, false, "several_messages/failed"},
		"id 0":                 {`{"jsonrpc":"2.0","id":0,` + hubtest.InitResult + `}`, true, "/answered"},
		"id null":              {`{"jsonrpc":"2.0","id":null,` + hubtest.InitResult + `}`, true, "/answered"},
		"an empty id":          {`{"jsonrpc":"2.0","id":"",` + hubtest.InitResult + `}`, true, "/answered"},
		"no id":                {`{"jsonrpc":"2.0",` + hubtest.InitResult + `}`, false, "no_json_rpc/failed"},
		"an id of objects":     {`{"jsonrpc":"2.0","id":{},` + hubtest.InitResult + `}`, false, "no_json_rpc/failed"},
		"text behind":          {`{"jsonrpc":"2.0","id":"i",` + hubtest.InitResult + `} ok`, false, "no_json_rpc/failed"},
		"no version":           {`{"id":"i",` + hubtest.InitResult + `}`, false, "no_json_rpc/failed"},
		"no JSON":              {`{"jsonrpc":"2.0","id":"i","result":NaN}`, false, "no_json_rpc/failed"},
		"no UTF-8":             {`{"jsonrpc":"2.0","id":"i","result":"` + "\xff" + `"}`, false, "no_json_rpc/failed"},
		"too long":             {string(message.Cut([]byte(`{"jsonrpc":"2.0","id":"i","result":"x`), []byte(`x"}`))), false, "too_long/failed"},
		"an error without one": {`{"jsonrpc":"2.0","error":{"code":-32700,"message":"parse"}}`, false, "no_json_rpc/failed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, told := kit.RawServer(t, servers.Config{})
				defer h.Close()
				begin := hubtest.StartPost(t, h, "", fmt.Sprintf(hubtest.InitializeBody, "2025-11-25"))
				p.Deliver([]byte("Server runs on stdio"))
				if got := begin.Body(); got != "" {
					t.Fatalf("a banner answers with %s", got)
				}
				began := time.Now()
				p.Deliver([]byte(tc.frame))
				got := begin.Body()
				if took := time.Since(began); took > 0 || !strings.Contains(got, `"id":"i"`) || strings.Contains(got, `"result"`) != tc.ok || (begin.Got.Header().Get("Mcp-Session-Id") != "") != tc.ok {
					t.Errorf("after %s the client has %s", took, got)
				}
				if all := told.Took(); !slices.Equal(all, []string{"text/dropped", tc.told}) {
					t.Errorf("the operator is told %q, want %s", all, tc.told)
				}
			})
		})
	}
}

// Rule D5c: a line that may be the answer to a request, and may be caused by something
// else, is handed to nobody; only time ends the wait, and a proper answer that comes
// before counts.
func TestLineThatMayBeAnAnswerIsLeftToTime(t *testing.T) {
	const call7 = `{"jsonrpc":"2.0","id":7,"method":"x"}`
	for name, frame := range map[string]string{
		"id 0, after a message without one": `{"jsonrpc":"2.0","id":0,"result":"of whom?"}`,
		"id null":                           `{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"of whom?"}}`,
		"an id of its own":                  `{"jsonrpc":"2.0","id":99,"result":"of whom?"}`,
		"the id of an older request":        `{"jsonrpc":"2.0","id":"i","result":"of whom?"}`,
		"no id":                             `{"jsonrpc":"2.0","result":"of whom?"}`,
		"a log that quotes its answer":      `DEBUG {"jsonrpc":"2.0","id":7,"result":"of whom?"}`,
		"an answer in its request":          `{"jsonrpc":"2.0","id":7,"method":"x","params":{"a":"` + strings.Repeat("x", 5000) + `"},"result":"of whom?"}`,
		"an error in its request":           `{"method":"x","error":{"code":1,"message":"of whom?"},"id":7,"jsonrpc":"2.0"}`,
		"an answer over lines":              `  "jsonrpc": "2.0",`,
		"two threads":                       `{"jsonrpc":"2.0","id":7,{"jsonrpc":"2.0","id":8,"result":"of whom?"}"result":1}`,
		"UTF-16":                            "{\x00\"\x00j\x00s\x00o\x00n\x00r\x00p\x00c\x00\"\x00:\x00",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p, told, id := kit.Begun(t, servers.Config{})
				defer h.Close()
				call := hubtest.StartPost(t, h, id, call7)
				p.Deliver([]byte(frame))
				time.Sleep(upstream.DefaultUnmatched - time.Second)
				if got := call.Body(); strings.Contains(got, `"id":7`) || strings.Contains(got, "whom") {
					t.Fatalf("before the time the client has %s", got)
				}
				time.Sleep(2 * time.Second)
				if got := call.Body(); !strings.Contains(got, `"id":7,"error":{"code":-32603`) || strings.Contains(got, "whom") || !strings.Contains(got, "no other came") {
					t.Errorf("after the time the client has %s", got)
				}
				if all := told.Took(); len(all) != 1 || !strings.HasSuffix(all[0], "/waits") {
					t.Errorf("the operator is told %q", all)
				}
				// A second one, and the proper answer before the time.
				call = hubtest.StartPost(t, h, id, strings.Replace(call7, "7", "70", 1))
				p.Deliver([]byte(strings.Replace(frame, "7", "70", 1)))
				time.Sleep(time.Second)
				p.Deliver([]byte(`{"jsonrpc":"2.0","id":70,"result":"proper"}`))
				if got := call.Body(); !strings.Contains(got, `"id":70,"result":"proper"`) {
					t.Errorf("the client has %s", got)
				}
				// And one that the server still speaks of.
				call = hubtest.StartPost(t, h, id, `{"jsonrpc":"2.0","id":71,"method":"x","params":{"_meta":{"progressToken":71}}}`)
				p.Deliver([]byte(strings.Replace(frame, "7", "71", 1)))
				p.Deliver([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":71,"progress":1}}`))
				time.Sleep(2 * upstream.DefaultUnmatched)
				p.Deliver([]byte(`{"jsonrpc":"2.0","id":71,"result":"late"}`))
				if got := call.Body(); !strings.Contains(got, `"id":71,"result":"late"`) {
					t.Errorf("the client has %s", got)
				}
			})
		})
	}
}

// Rule D5c: noise is nobody's answer, however long a request takes.
func TestNoiseEndsNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, _, id := kit.Begun(t, servers.Config{})
		defer h.Close()
		call := hubtest.StartPost(t, h, id, `{"jsonrpc":"2.0","id":7,"method":"x"}`)
		for _, noise := range []string{
			"[INFO] working", "{", `  "status": 200,`, "}", `{"status":200}`, "[1,2]", "Content-Length: 12", "null", "7",
			`{"jsonrpc":"2.0","id":7,"method":"x","result":null,"error":null}`, `{"jsonrpc":"2.0","id":6,"method":"x","result":{}}`, `{"jsonrpc":"2.0","method":"x","result":{}}`,
			`DEBUG got {"jsonrpc":"2.0","id":7,"method":"x"}`, `DEBUG sent {"jsonrpc":"2.0","id":6,"result":{}}`,
		} {
			p.Deliver([]byte(noise))
		}
		time.Sleep(10 * upstream.DefaultUnmatched)
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":7,"result":"in the end"}`))
		if got := call.Body(); !strings.Contains(got, `"result":"in the end"`) {
			t.Errorf("the client has %s", got)
		}
	})
}

// Rule D5c: an answer whose id is of another type is the only request's, but a proper one
// that comes within a moment counts.
func TestSimilarIDIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, _, id := kit.Begun(t, servers.Config{})
		defer h.Close()
		call := hubtest.StartPost(t, h, id, `{"jsonrpc":"2.0","id":1,"method":"x"}`)
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":"1","result":"no"}`))
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"yes"}`))
		if got := call.Body(); !strings.Contains(got, `"id":1,"result":"yes"`) {
			t.Errorf("the client has %q", got)
		}
		time.Sleep(2 * hubtest.UnmatchedHold)
		for n, wait := range []time.Duration{hubtest.UnmatchedHold, 0} { // from then on the server is known
			call = hubtest.StartPost(t, h, id, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"x"}`, n+2))
			p.Deliver(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":"%d","result":"changed"}`, n+2))
			if got := call.Body(); wait > 0 && got != "" {
				t.Errorf("at once the client has %q", got)
			}
			time.Sleep(wait)
			if got := call.Body(); !strings.Contains(got, fmt.Sprintf(`"id":%d,"result":"changed"`, n+2)) {
				t.Errorf("after %s the client has %q", wait, got)
			}
		}
		// It cannot be handed on: it fails after a moment.
		call = hubtest.StartPost(t, h, id, `{"jsonrpc":"2.0","id":9,"method":"x"}`)
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":"9","result":NaN}`))
		time.Sleep(2 * hubtest.UnmatchedSoon)
		if got := call.Body(); !strings.Contains(got, `"id":9,"error"`) {
			t.Errorf("the client has %q", got)
		}
	})
}

// Rule D5c: of several answers on one line each fails the request that waits for it.
func TestSeveralAnswersOnALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, _, id := kit.Begun(t, servers.Config{})
		defer h.Close()
		one, two := hubtest.StartPost(t, h, id, `{"jsonrpc":"2.0","id":1,"method":"x"}`), hubtest.StartPost(t, h, id, `{"jsonrpc":"2.0","id":2,"method":"x"}`)
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}{"jsonrpc":"2.0","id":2,"result":{}}`))
		for n, call := range []*hubtest.Waiting{one, two} {
			if got := call.Body(); !strings.Contains(got, fmt.Sprintf(`"id":%d,"error"`, n+1)) || !strings.Contains(got, "several messages on one line") {
				t.Errorf("the client has %q", got)
			}
		}
	})
}

// Rule D5c: a server that is known to change ids is not waited for as long; of two requests
// none gets what may be the other's.
func TestServerThatChangesIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, told := kit.RawServer(t, servers.Config{})
		defer h.Close()
		begin := hubtest.StartPost(t, h, "", strings.Replace(fmt.Sprintf(hubtest.InitializeBody, "2025-11-25"), `"i"`, `"1"`, 1))
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,` + hubtest.InitResult + `}`))
		if got := begin.Body(); !strings.Contains(got, `"id":"1","result"`) {
			t.Fatalf("the client has %s", got)
		}
		id := begin.Got.Header().Get("Mcp-Session-Id")
		hubtest.StartPost(t, h, id, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
		one := hubtest.StartPost(t, h, id, `{"jsonrpc":"2.0","id":"2","method":"x"}`)
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":2,"result":"two"}`))
		if got := one.Body(); !strings.Contains(got, `"id":"2","result":"two"`) {
			t.Errorf("the client has %s", got)
		}
		one, two := hubtest.StartPost(t, h, id, `{"jsonrpc":"2.0","id":"3","method":"x"}`), hubtest.StartPost(t, h, id, `{"jsonrpc":"2.0","id":"4","method":"x"}`)
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":4,"result":"of whom?"}`))
		if one.Body() != "" || two.Body() != "" {
			t.Errorf("the clients have %q and %q", one.Body(), two.Body())
		}
		time.Sleep(hubtest.UnmatchedSoon + time.Second)
		for n, call := range []*hubtest.Waiting{one, two} {
			if got := call.Body(); !strings.Contains(got, fmt.Sprintf(`"id":"%d","error"`, n+3)) || !strings.Contains(got, "another id (4) than it was asked with") {
				t.Errorf("the client has %q", got)
			}
		}
		if got, want := told.Took(), []string{"/answered", "/answered", "/waits"}; !slices.Equal(got, want) {
			t.Errorf("the operator is told %q, want %q", got, want)
		}
	})
}

// Rule D5c: a server that frames its messages by Content-Length cannot be spoken to: what
// waits fails at once, it is ended, its session is gone, and it is not started in a loop.
func TestServerThatFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p, told := kit.RawServer(t, servers.Config{})
		defer h.Close()
		for range freeStarts {
			p.Ended, p.Once = make(chan struct{}), sync.Once{}
			begin := hubtest.StartPost(t, h, "", fmt.Sprintf(hubtest.InitializeBody, "2025-11-25"))
			p.Deliver([]byte("Content-Length: 99\r\n\r\n" + `{"jsonrpc":"2.0","id":"i",` + hubtest.InitResult + `}`))
			got := begin.Body()
			if begin.Got.Code != http.StatusBadGateway || !strings.Contains(got, `"id":"i","error"`) || !strings.Contains(got, "Content-Length") {
				t.Errorf("got %d %s", begin.Got.Code, got)
			}
			select {
			case <-p.Ended:
			default:
				t.Error("the server was not ended")
			}
			if h.Len() != 0 {
				t.Errorf("%d sessions are left", h.Len())
			}
			if all := told.Took(); !slices.Equal(all, []string{"content_length/ended"}) {
				t.Errorf("the operator is told %q", all)
			}
		}
		if got := hubtest.Direct(t.Context(), h, "POST", "", fmt.Sprintf(hubtest.InitializeBody, "2025-11-25")); got.Code != http.StatusServiceUnavailable || got.Header().Get("Retry-After") == "" {
			t.Errorf("the next: got %d %s", got.Code, got.Body)
		}
	})
}
