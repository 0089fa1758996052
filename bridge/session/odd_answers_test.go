package session

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rules A7, D3: an answer goes to whoever asked, once; where it is none, whoever asked
// gets an error; what nobody asked for goes nowhere and harms nothing.
func TestOddAnswersHarmOnlyTheirRequest(t *testing.T) {
	_, url, begin := farm(t, servers.Config{})
	p, s := begin("2025-11-25")
	for name, frames := range map[string][]string{
		"an unknown id":        {`{"jsonrpc":"2.0","id":99,"result":"no"}`},
		"another type":         {`{"jsonrpc":"2.0","id":"1","result":"no"}`},
		"null":                 {`{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"no"}}`},
		"no JSON":              {`{"jsonrpc":"2.0","id":1,"result":"no"`, `no`, ``, "\xff", `{"jsonrpc":"2.0","id":1,"result":"no"} x`},
		"no message":           {`{}`, `null`, `1`, `"x"`, `[]`, `[1]`, `{"id":1,"result":"no"}`, `{"jsonrpc":"1.0","id":1,"result":"no"}`},
		"both":                 {`{"jsonrpc":"2.0","id":1,"result":"no","error":{}}`},
		"neither":              {`{"jsonrpc":"2.0","id":1}`},
		"an id twice":          {`{"jsonrpc":"2.0","id":1,"id":2,"result":"no"}`},
		"an id that is none":   {`{"jsonrpc":"2.0","id":{},"result":"no"}`, `{"jsonrpc":"2.0","id":[1],"result":"no"}`, `{"jsonrpc":"2.0","id":true,"result":"no"}`},
		"too deep":             {`{"jsonrpc":"2.0","id":1,"result":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`},
		"progress of nobody":   {hubtest.ProgressOf("other", 1, 0), `{"jsonrpc":"2.0","method":"notifications/progress"}`, `{"jsonrpc":"2.0","method":"notifications/progress","params":[]}`},
		"a cancel of a client": {`{"jsonrpc":"2.0","id":2,"method":"x"}`},
	} {
		t.Run(name, func(t *testing.T) {
			done := hubtest.Posted(t, url, s.id, hubtest.CallOf("1", "t"))
			<-p.Got
			for _, frame := range frames {
				p.Deliver([]byte(frame))
			}
			p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"yes"}`))
			p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"no"}`))
			want := `{"jsonrpc":"2.0","id":1,"result":"yes"}`
			switch name {
			case "no JSON", "no message", "both", "too deep":
				want = `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,`
			}
			if got := <-done; strings.Count(got, want) != 1 || strings.Count(got, `"id":1`) != 1 || strings.Contains(got, `"no"`) {
				t.Errorf("got %s", got)
			}
		})
	}
	if size, _ := s.kept(); size > 10<<10 {
		t.Errorf("%d bytes are kept", size)
	}
}

// A server of 2025-03-26 may answer with a batch.
func TestServerMayAnswerWithABatch(t *testing.T) {
	_, url, begin := farm(t, servers.Config{})
	p, s := begin("2025-03-26")
	one, two := hubtest.Posted(t, url, s.id, hubtest.CallOf("1", "a")), hubtest.Posted(t, url, s.id, hubtest.CallOf(`"1"`, "b"))
	<-p.Got
	<-p.Got
	p.Deliver([]byte(`[{"jsonrpc":"2.0","id":"1","result":"s"},` + "\r\n" + `{"jsonrpc":"2.0", "id":1,` + "\r" + `"result":"n"}]`))
	if got := <-one; got != `{"jsonrpc":"2.0", "id":1, "result":"n"}` {
		t.Errorf("got %s", got)
	}
	if got := <-two; got != `{"jsonrpc":"2.0","id":"1","result":"s"}` {
		t.Errorf("got %s", got)
	}
}

// A line end between the tokens of a server's message would end an event early.
func TestLineEndsInAMessageEndNoEvent(t *testing.T) {
	_, url, begin := farm(t, servers.Config{})
	p, s := begin("2025-11-25")
	_, next := hubtest.Events(t, "GET", url, s.id, "")
	p.Deliver([]byte("{\"jsonrpc\":\"2.0\",\r\n\r\n\"method\":\"x\",\rdata: \"y\"}")) // no JSON
	p.Deliver([]byte("{\"jsonrpc\":\"2.0\",\r\n\r\n\"method\":\"x\"\r}\n\n"))
	if id, data := next(); id != "0-0" || data != `{"jsonrpc":"2.0",    "method":"x" }  ` {
		t.Errorf("event %s: %q", id, data)
	}
}

// No id, token or text of either side gets into a header or breaks an event, and
// none is written in another way.
func TestNoTextBreaksAHeaderOrAnEvent(t *testing.T) {
	_, url, begin := farm(t, servers.Config{})
	p, s := begin("2025-11-25")
	for _, id := range []string{
		`"\r\nX-Evil: 1"`, `"\r\n\r\nHTTP/1.1 200 OK"`, `"\n\ndata: evil\n\n"`, `"\u000d\u000aX-Evil: 1"`, `"\u0000"`, `"\u2028\u2029"`,
		"\"\u2028\u2029\u0085\"", `"\ud800"`, `"\udc00\ud800"`, `"\ud83d\ude00"`, "\"\U0001f600\"", `"</script>&"`, "\"\u007f\ufeff\"",
	} {
		sent := `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"_meta":{"progressToken":` + id + `}}}`
		progress := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + id + `,"progress":1}}`
		answer := `{"jsonrpc":"2.0","id":` + id + `,"result":` + id + `}`
		go func() {
			if got := <-p.Got; got != sent {
				t.Errorf("the server got %q, want %q", got, sent)
			}
			p.Deliver([]byte(progress))
		}()
		res, next := hubtest.Events(t, "POST", url, s.id, sent)
		if _, data := next(); data != progress {
			t.Errorf("got %q, want %q", data, progress)
		}
		if res2, body := hubtest.ExchangeHub(t, "POST", url, sent, "Mcp-Session-Id", s.id); res2.StatusCode != 400 || !strings.Contains(body, `"id":`+id+`,"error"`) || len(res2.Header) != 3 {
			t.Errorf("a refusal: %v %q", res2.Header, body)
		}
		p.Deliver([]byte(answer))
		if _, data := next(); data != answer {
			t.Errorf("got %q, want %q", data, answer)
		}
		if id, data := next(); data != "" {
			t.Errorf("event %s after the answer: %q", id, data)
		}
		for name := range res.Header {
			if strings.HasPrefix(name, "X-Evil") {
				t.Errorf("a header %s", name)
			}
		}
	}
}

// What a server says before it answers initialize is not lost, and bounded.
func TestWhatAServerSendsBeforeInitializeIsKept(t *testing.T) {
	h := kit.NewHub(servers.Config{Buffer: 10000, Start: func(_ context.Context, _ *http.Request, to upstream.Receiver) (upstream.Peer, error) {
		deliver := hubtest.DeliverTo(to)
		p := &hubtest.Scripted{Got: make(chan string, 1000), Ended: make(chan struct{})}
		go func() {
			<-p.Got
			for n := range 1000 {
				deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d}}`, n)))
			}
			deliver([]byte(hubtest.Initialized))
		}()
		return p, nil
	}})
	defer h.Close()
	w := hubtest.Direct(t.Context(), h, "POST", "", fmt.Sprintf(hubtest.InitializeBody, "2025-11-25"))
	if w.Code != http.StatusOK || w.Body.String() != hubtest.Initialized {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	s := h.sessions.find(w.Header().Get("Mcp-Session-Id"))
	if size, n := s.kept(); size > 10000+100 || size < 5000 || n != 0 {
		t.Errorf("%d bytes are kept on %d streams", size, n)
	}
	s.streams.out.Lock()
	defer s.streams.out.Unlock()
	last := s.streams.general.events[len(s.streams.general.events)-1]
	if !strings.Contains(string(last.Raw), `"n":999`) {
		t.Errorf("the last is %s", last.Raw)
	}
}
