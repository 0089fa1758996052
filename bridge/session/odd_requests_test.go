package session

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule D6: only an id that was given is resumed from.
func TestMadeUpEventIDsAreRefused(t *testing.T) {
	_, url, begin := farm(t, servers.Config{})
	p, s := begin("2025-11-25")
	for n := range 3 {
		p.Deliver([]byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"x","params":{"n":%d}}`, n)))
	}
	for _, id := range []string{
		"0", "-", "0-", "-0", "0-3", "0-9223372036854775807", "0-9223372036854775808", "9223372036854775807-0", "0--1", "-1-0", "-0-0",
		"0-1-2", "+0-0", "0-+1", "00-0", "0-01", " 0-0x", "0x0-0", "0-0,0-1", "1-0", "2--1", "1--1", "0-1e0", strings.Repeat("0", 5000) + "-0", "\u0660-0",
	} {
		if res, body := hubtest.ExchangeHub(t, "GET", url, "", "Mcp-Session-Id", s.id, "Last-Event-ID", id); res.StatusCode != 400 || !strings.Contains(body, `"error"`) {
			t.Errorf("%.40q: got %d %s", id, res.StatusCode, body)
		}
	}
	_, next := hubtest.Events(t, "GET", url, s.id, "", "Last-Event-ID", "0-1")
	if id, data := next(); id != "0-2" || !strings.Contains(data, `"n":2`) {
		t.Errorf("event %s: %s", id, data)
	}
}

// The next request on a connection waits for the first one's answer, and nothing
// waits forever for a client that has gone.
func TestPipelinedRequestWaitsForTheFirst(t *testing.T) {
	_, url, begin := farm(t, servers.Config{KeepAlive: 10 * time.Millisecond})
	p, s := begin("2025-11-25")
	request := func(body, more string) string {
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nMcp-Session-Id: %s\r\n%sContent-Length: %d\r\n\r\n%s", strings.TrimPrefix(url, "http://"), s.id, more, len(body), body)
	}
	go func() {
		<-p.Got
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"one"}`))
		<-p.Got
		p.Deliver([]byte(`{"jsonrpc":"2.0","id":2,"result":"two"}`))
	}()
	got := hubtest.Raw(t, url, request(hubtest.CallOf("1", "a"), "")+request(hubtest.CallOf("2", "b"), "Connection: close\r\n"))
	if one, two := strings.Index(got, `"one"`), strings.Index(got, `"two"`); one < 0 || two < one {
		t.Errorf("got %s", got)
	}
	// A client that pipelines and goes: net/http does not see it leave, only the
	// comments find out.
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request(hubtest.CallOf("3", "a"), "")+request(hubtest.CallOf("4", "b"), "")); err != nil {
		t.Fatal(err)
	}
	<-p.Got
	_ = conn.Close()
	hubtest.Eventually(t, "a request is still under way", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.active == 0
	})
}

// A batch of 2025-03-26 with everything that may be in one.
func TestBatchMayHaveEverything(t *testing.T) {
	_, url, begin := farm(t, servers.Config{})
	p, s := begin("2025-03-26")
	parts := []string{
		hubtest.CallOf("1", "a"), `{"jsonrpc":"2.0","method":"x"}`, `{"jsonrpc":"2.0","id":"s1","result":{}}`,
		hubtest.CallOf(`"1"`, "b"), `{"jsonrpc":"2.0","id":"s2","error":{"code":1,"message":"m"}}`, hubtest.CallOf("2", "c"),
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`,
	}
	done := hubtest.Posted(t, url, s.id, " [\r\n"+strings.Join(parts, " ,\n")+"] ")
	for _, want := range parts {
		if got := <-p.Got; got != want {
			t.Errorf("the server got %s, want %s", got, want)
		}
	}
	p.Deliver([]byte(hubtest.ProgressOf("b", 1, 0)))
	p.Deliver([]byte(`{"jsonrpc":"2.0","id":"1","result":"s"}`))
	p.Deliver([]byte(hubtest.ProgressOf("a", 1, 0)))
	p.Deliver([]byte(`{"jsonrpc":"2.0","id":1,"result":"n"}`))
	body := <-done
	for _, want := range []string{hubtest.ProgressOf("b", 1, 0), `{"jsonrpc":"2.0","id":"1","result":"s"}`, hubtest.ProgressOf("a", 1, 0), `{"jsonrpc":"2.0","id":1,"result":"n"}`} {
		if strings.Count(body, "data: "+want+"\n\n") != 1 {
			t.Errorf("%s is not there once in %s", want, body)
		}
	}
	if res, body := hubtest.ExchangeHub(t, "POST", url, "["+parts[1]+","+parts[2]+"]", "Mcp-Session-Id", s.id); res.StatusCode != 202 || body != "" {
		t.Errorf("without requests: %d %s", res.StatusCode, body)
	}
	if res, _ := hubtest.ExchangeHub(t, "POST", url, "["+parts[1]+",1]", "Mcp-Session-Id", s.id); res.StatusCode != 400 {
		t.Errorf("with what is no message: %d", res.StatusCode)
	}
	var many []string
	for n := range servers.MaxPending + 1 {
		many = append(many, hubtest.CallOf(fmt.Sprint(n), "t"))
	}
	if res, _ := hubtest.ExchangeHub(t, "POST", url, "["+strings.Join(many, ",")+"]", "Mcp-Session-Id", s.id); res.StatusCode != 400 {
		t.Errorf("too many: %d", res.StatusCode)
	}
}

// Rule G: a batch of very many messages, none of which is a request, is refused
// before any of it is sent on.
func TestHugeBatchIsRefusedBeforeItIsSent(t *testing.T) {
	_, url, begin := farm(t, servers.Config{})
	p, s := begin("2025-03-26")
	batch := func(n int) string {
		return "[" + strings.Repeat(`{"jsonrpc":"2.0","method":"x"},`, n-1) + `{"jsonrpc":"2.0","method":"x"}]`
	}
	for _, n := range []int{message.MaxBatch + 1, 100_000} {
		if res, body := hubtest.ExchangeHub(t, "POST", url, batch(n), "Mcp-Session-Id", s.id); res.StatusCode != 400 || !strings.Contains(body, `"error"`) {
			t.Errorf("%d messages: got %d %s", n, res.StatusCode, body)
		}
	}
	if len(p.Got) != 0 {
		t.Errorf("the server got %d messages", len(p.Got))
	}
	if res, body := hubtest.ExchangeHub(t, "POST", url, batch(message.MaxBatch), "Mcp-Session-Id", s.id); res.StatusCode != 202 || len(p.Got) != message.MaxBatch {
		t.Errorf("got %d %s, the server %d messages", res.StatusCode, body, len(p.Got))
	}
}
