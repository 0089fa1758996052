package hub

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/shared"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// modern is an upstream that speaks only Streamable HTTP of 2026-07-28, and checks each
// request strictly.
type modern struct {
	t  *testing.T
	mu sync.Mutex
	// denied is the Authorization that is refused.
	denied string
	// got are the requests that were let in: their methods and credentials.
	got []string
	// ended are the methods of the requests whose connections ended before they were
	// answered.
	ended []string
	tools string
	// answer answers what the upstream does not itself; it returns false where that is
	// all.
	answer func(w http.ResponseWriter, r *http.Request, m message.Message) (done bool)
}

func (u *modern) note(list *[]string, line string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	*list = append(*list, line)
}

// seen returns what was let in since the last time.
func (u *modern) seen() (got []string) {
	synctest.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	got, u.got = u.got, nil
	return got
}

func (u *modern) deny(authorization string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.denied = authorization
}

func (u *modern) serve(w http.ResponseWriter, r *http.Request) error {
	u.mu.Lock()
	denied := u.denied != "" && r.Header.Get("Authorization") == u.denied
	u.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	m, _ := message.Parse(body)
	switch {
	case denied:
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", resource_metadata="https://h/`+m.Method+`"`)
		hubtest.JSONTo(w, http.StatusUnauthorized, `{"error":"no"}`)
		return nil
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	case r.Header.Get("Mcp-Method") == "":
		hubtest.JSONTo(w, http.StatusBadRequest, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32020,"message":"Mcp-Method is missing"}}`, m.RawID)
		return nil
	case r.Header.Get(mcp.SessionHeader) != "":
		u.t.Errorf("%s has a session", m.Raw)
	}
	u.note(&u.got, strings.TrimSpace(m.Method+" "+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	// The bridge's own reading of the revision judges the request.
	var tools mcp.ToolFields
	u.mu.Lock()
	if u.tools != "" {
		tools.Learn([]byte(`{"result":{"tools":` + u.tools + `}}`))
	}
	u.mu.Unlock()
	if status, answer := shared.Check(r, m, tools); answer != nil {
		hubtest.JSONTo(w, status, "%s", answer)
		return nil
	}
	switch {
	case u.answer != nil && u.answer(w, r, m):
	case m.Method == "server/discover":
		hubtest.JSONTo(w, http.StatusOK, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.RawID, hubtest.DiscoverResult)
	case m.Method == "subscriptions/listen":
		err := hubtest.Until(w, r, fmt.Sprintf(`data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{%q:%s},"notifications":%s}}`+"\n\n",
			mcp.MetaSubscription, m.RawID, message.Get(m.Raw, "params", "notifications")))
		u.note(&u.ended, m.Method)
		return err
	case m.Method == "tools/list":
		hubtest.JSONTo(w, http.StatusOK, `{"jsonrpc":"2.0","id":%s,"result":{"tools":%s}}`, m.RawID, u.tools)
	case m.Method == "tools/call" && message.Text(m.Raw, "params", "name") == "wait":
		err := hubtest.Until(w, r, ": \n\n")
		u.note(&u.ended, m.Method)
		return err
	case m.Method == "tools/call":
		hubtest.JSONTo(w, http.StatusOK, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","content":[]}}`, m.RawID)
	case m.Kind == message.Notification:
		w.WriteHeader(http.StatusAccepted)
	default:
		hubtest.JSONTo(w, http.StatusNotFound, `{"jsonrpc":"2.0","error":{"code":-32601,"message":"unknown"}}`)
	}
	return nil
}

// inFront returns a hub in front of it, with a session of a client that is initialized
// with the token one.
func (u *modern) inFront(capabilities string) (*Hub, string) {
	u.t.Helper()
	b := &hubtest.Staged{Answer: u.serve}
	h := judgedBy(b).NewHub(servers.Config{Remote: true, KeepAlive: time.Hour, Start: upstream.StartHTTP(b, 1<<20)})
	u.t.Cleanup(h.Close)
	w := hubtest.Direct(u.t.Context(), h, "POST", "", hubtest.InitializeOf(capabilities), "Authorization", "Bearer one")
	id := w.Header().Get("Mcp-Session-Id")
	if id == "" || !strings.Contains(w.Body.String(), `"instructions":"ask"`) {
		u.t.Fatalf("initialize: %d %s", w.Code, w.Body)
	}
	w = hubtest.Direct(u.t.Context(), h, "POST", id, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Authorization", "Bearer one")
	if w.Code != http.StatusAccepted {
		u.t.Fatalf("initialized: %d %s", w.Code, w.Body)
	}
	if got, want := u.seen(), []string{"server/discover one", "subscriptions/listen one"}; !slices.Equal(got, want) {
		u.t.Fatalf("got %q, want %q", got, want)
	}
	return h, id
}
