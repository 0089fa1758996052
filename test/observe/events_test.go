package observe_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

func init() { caddy.RegisterModule(subscriber{}) }

// subscriber is an event handler that hands events to the test.
type subscriber struct{}

// received are the events that came, and slow is what the handler waits for before it
// takes one; nil: nothing.
var (
	received chan caddy.Event
	slow     atomic.Pointer[chan struct{}]
)

func (subscriber) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_subscriber", New: func() caddy.Module { return new(subscriber) }}
}

func (subscriber) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (subscriber) Handle(_ context.Context, e caddy.Event) error {
	if wait := slow.Load(); wait != nil {
		<-*wait
	}
	received <- e
	return nil
}

// subscribed is a Caddyfile with an endpoint whose events a handler subscribes to.
func subscribed(t *testing.T, port int, directive string) string {
	t.Helper()
	received = make(chan caddy.Event, 10_000)
	slow.Store(nil)
	return fmt.Sprintf(`{
	auto_https off
	events {
		on mcp_challenge test_subscriber
		on mcp_denied test_subscriber
		on mcp_session_end test_subscriber
		on mcp_upstream_down test_subscriber
		on mcp_upstream_up test_subscriber
	}
}
http://127.0.0.1:%d {
	bind 127.0.0.1
	%s
}`, port, directive)
}

// nextEvent returns the next event, which has to be of a name.
func nextEvent(t *testing.T, name string) map[string]any {
	t.Helper()
	select {
	case e := <-received:
		if e.Name() != name || e.Origin().CaddyModule().ID != "http.handlers.mcp_auth_bridge" {
			t.Fatalf("event %s of %v, want %s", e.Name(), e.Origin(), name)
		}
		return e.Data
	case <-time.After(20 * time.Second):
		t.Fatalf("after 20 s there is no event %s", name)
		return nil
	}
}

// F1: each challenge is an event, which says what became of it.
func TestEventOfChallenge(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, subscribed(t, port, "mcp_auth_bridge "+up.URL))
	ask(t, "http://"+testcaddy.Addr(port)+"/mcp?answer=401-expired", mcptest.Initialize, nil)
	want := map[string]any{
		"endpoint": "/mcp", "status": 401, "given": 401, "scheme": "bearer", "error": "invalid_token", "action": "rewritten", "reason": "",
	}
	if got := nextEvent(t, "mcp_challenge"); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	ask(t, "http://"+testcaddy.Addr(port)+"/mcp?answer=500", mcptest.Initialize, nil)
	if len(received) > 0 {
		t.Errorf("an answer without a challenge is the event %v", <-received)
	}
}

// E9: a request that is denied is an event, which says by which rule and what it needed.
func TestEventOfDenial(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	const key = "0123456789abcdef0123456789abcdef"
	testcaddy.Run(t, subscribed(t, port, "mcp_auth_bridge "+up.URL+" {\n\t\tauthorize {\n\t\t\tkey script "+key+" read\n\t\t\tscope read\n\t\t\ttools write_* {\n\t\t\t\tscope write\n\t\t\t}\n\t\t}\n\t}"))
	url := "http://" + testcaddy.Addr(port) + "/mcp"
	call := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write_file","arguments":{"text":"sesame"}}}`
	ask(t, url, call, nil)
	want := map[string]any{
		"endpoint": "/mcp", "status": 401, "check": "credentials", "reason": "no_credentials", "user": "", "client": "", "method": "", "name": "", "rule": "", "needed": "",
	}
	if got := nextEvent(t, "mcp_denied"); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	ask(t, url, call, map[string]string{"Authorization": "Bearer " + key})
	want = map[string]any{
		"endpoint": "/mcp", "status": 403, "check": "rules", "reason": "scope", "user": "key#script", "client": "", "method": "tools/call", "name": "write_file",
		"rule": "tools write_*", "needed": "read write",
	}
	if got := nextEvent(t, "mcp_denied"); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The end of a session is an event, with its hash and why it ended.
func TestEventOfSessionEnd(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, subscribed(t, port, "mcp_auth_bridge {\n"+mcptest.PairUpstreams["stdio"](t)+"\n}"))
	base := "http://" + testcaddy.Addr(port) + "/mcp"
	res, _ := ask(t, base, mcptest.Initialize, map[string]string{"Content-Type": "application/json"})
	id := res.Header.Get("Mcp-Session-Id")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, base, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Mcp-Session-Id", id)
	if res, err = mcptest.HTTPClient(t).Do(req); err != nil || res.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE: %v, %v", res, err)
	}
	_ = res.Body.Close()
	got := nextEvent(t, "mcp_session_end")
	age, ok := got["age"].(float64)
	session, _ := got["session"].(string)
	if got["endpoint"] != "/mcp" || got["why"] != "client" || got["transport"] != "http" || !ok || age < 0 || len(session) != 16 || strings.Contains(id, session) {
		t.Errorf("the end of session %s is %v", id, got)
	}
}

// An upstream that gives no answer is an event, once, and so is the one that does
// again.
func TestEventsOfUpstream(t *testing.T) {
	address, port := testcaddy.Addr(testcaddy.FreePort(t)), testcaddy.FreePort(t)
	testcaddy.Run(t, subscribed(t, port, "mcp_auth_bridge "+address))
	for range 3 {
		if res, _ := ask(t, "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize, nil); res.StatusCode != http.StatusBadGateway {
			t.Fatal(res.Status)
		}
	}
	want := map[string]any{"endpoint": "/mcp", "upstream": address, "why": "refused"}
	if got := nextEvent(t, "mcp_upstream_down"); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	again, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	_ = up.Listener.Close()
	up.Listener = again
	up.Start()
	t.Cleanup(up.Close)
	ask(t, "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize, nil)
	if got := nextEvent(t, "mcp_upstream_up"); got["upstream"] != address || got["endpoint"] != "/mcp" {
		t.Errorf("got %v", got)
	}
	if len(received) > 0 {
		t.Errorf("there is one event more: %v", <-received)
	}
}

// A program that ends soon after each start is an upstream that is down.
func TestEventOfProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, subscribed(t, port, fmt.Sprintf("mcp_auth_bridge {\n\tstdio %q -test.list=^$\n}", self)))
	for range 3 {
		ask(t, "http://"+testcaddy.Addr(port)+"/mcp", mcptest.Initialize, map[string]string{"Content-Type": "application/json"})
	}
	want := map[string]any{"endpoint": "/mcp", "upstream": self, "why": "ends_early"}
	if got := nextEvent(t, "mcp_upstream_down"); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A subscriber that does not come back holds up no request, and no reload; what is too
// much for it is dropped, and said once.
func TestSlowSubscriberDelaysNoRequest(t *testing.T) {
	up := mcptest.NewAnswers(t)
	port := testcaddy.FreePort(t)
	site := subscribed(t, port, "mcp_auth_bridge "+up.URL)
	stuck := make(chan struct{})
	slow.Store(&stuck)
	in := testcaddy.Run(t, site)
	const requests = 1500
	for range requests {
		if res, _ := ask(t, "http://"+testcaddy.Addr(port)+"/mcp?answer=401", mcptest.Initialize, nil); res.StatusCode != http.StatusUnauthorized {
			t.Fatal(res.Status)
		}
	}
	dropped := slices.DeleteFunc(testcaddy.Logs(), func(line string) bool { return !strings.Contains(line, "events are dropped") })
	if len(dropped) != 1 {
		t.Errorf("the log says %d times that events are dropped", len(dropped))
	}
	in.Load(site + "\n# changed")
	slow.Store(nil)
	close(stuck)
	nextEvent(t, "mcp_challenge") // the one that the handler was stuck at
	mcptest.AfterReload(t, func() error {
		res, err := mcptest.NewClient(t).Do(mcptest.NewRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp?answer=403", mcptest.Initialize))
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	})
	if got := nextEvent(t, "mcp_challenge"); got["status"] != 403 {
		t.Errorf("after the reload the next event is %v", got)
	}
}
