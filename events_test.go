package mcpauthbridge_test

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

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

func init() { caddy.RegisterModule(subscriber{}) }

// subscriber is an event handler that hands events to the test.
type subscriber struct{}

// heard are the events that came, and slow is what the handler waits for before it
// takes one; nil: nothing.
var (
	heard chan caddy.Event
	slow  atomic.Pointer[chan struct{}]
)

func (subscriber) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_subscriber", New: func() caddy.Module { return new(subscriber) }}
}

func (subscriber) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (subscriber) Handle(_ context.Context, e caddy.Event) error {
	if wait := slow.Load(); wait != nil {
		<-*wait
	}
	heard <- e
	return nil
}

// subscribed is a Caddyfile with an endpoint whose events a handler subscribes to.
func subscribed(t *testing.T, port int, directive string) string {
	t.Helper()
	heard = make(chan caddy.Event, 10_000)
	slow.Store(nil)
	return fmt.Sprintf(`{
	auto_https off
	events {
		on mcp_challenge test_subscriber
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

// hear returns the next event, which has to be of a name.
func hear(t *testing.T, name string) map[string]any {
	t.Helper()
	select {
	case e := <-heard:
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
	up := newAnswers(t)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, subscribed(t, port, "mcp_auth_bridge "+up.URL))
	ask(t, "http://"+testcaddy.Addr(port)+"/mcp?answer=401-expired", initReq, nil)
	want := map[string]any{
		"endpoint": "/mcp", "status": 401, "given": 401, "scheme": "bearer", "error": "invalid_token", "action": "rewritten", "reason": "",
	}
	if got := hear(t, "mcp_challenge"); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	ask(t, "http://"+testcaddy.Addr(port)+"/mcp?answer=500", initReq, nil)
	if len(heard) > 0 {
		t.Errorf("an answer without a challenge is the event %v", <-heard)
	}
}

// The end of a session is an event, with its hash and why it ended.
func TestEventOfSessionEnd(t *testing.T) {
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, subscribed(t, port, "mcp_auth_bridge {\n"+pairUpstreams["stdio"](t)+"\n}"))
	base := "http://" + testcaddy.Addr(port) + "/mcp"
	res, _ := ask(t, base, initReq, map[string]string{"Content-Type": "application/json"})
	id := res.Header.Get("Mcp-Session-Id")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, base, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Mcp-Session-Id", id)
	if res, err = client(t).Do(req); err != nil || res.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE: %v, %v", res, err)
	}
	_ = res.Body.Close()
	got := hear(t, "mcp_session_end")
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
		if res, _ := ask(t, "http://"+testcaddy.Addr(port)+"/mcp", initReq, nil); res.StatusCode != http.StatusBadGateway {
			t.Fatal(res.Status)
		}
	}
	want := map[string]any{"endpoint": "/mcp", "upstream": address, "why": "refused"}
	if got := hear(t, "mcp_upstream_down"); !maps.Equal(got, want) {
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
	ask(t, "http://"+testcaddy.Addr(port)+"/mcp", initReq, nil)
	if got := hear(t, "mcp_upstream_up"); got["upstream"] != address || got["endpoint"] != "/mcp" {
		t.Errorf("got %v", got)
	}
	if len(heard) > 0 {
		t.Errorf("there is one event more: %v", <-heard)
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
		ask(t, "http://"+testcaddy.Addr(port)+"/mcp", initReq, map[string]string{"Content-Type": "application/json"})
	}
	want := map[string]any{"endpoint": "/mcp", "upstream": self, "why": "ends_early"}
	if got := hear(t, "mcp_upstream_down"); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A subscriber that does not come back holds up no request, and no reload; what is too
// much for it is dropped, and said once.
func TestEventsSlowSubscriber(t *testing.T) {
	up := newAnswers(t)
	port := testcaddy.FreePort(t)
	site := subscribed(t, port, "mcp_auth_bridge "+up.URL)
	stuck := make(chan struct{})
	slow.Store(&stuck)
	in := testcaddy.Run(t, site)
	const requests = 1500
	for range requests {
		if res, _ := ask(t, "http://"+testcaddy.Addr(port)+"/mcp?answer=401", initReq, nil); res.StatusCode != http.StatusUnauthorized {
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
	hear(t, "mcp_challenge") // the one that the handler was stuck at
	justReloaded(t, func() error {
		res, err := newClient(t).Do(newRequest(t, http.MethodPost, "http://"+testcaddy.Addr(port)+"/mcp?answer=403", initReq))
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	})
	if got := hear(t, "mcp_challenge"); got["status"] != 403 {
		t.Errorf("after the reload the next event is %v", got)
	}
}
