package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// modern is an upstream that speaks Streamable HTTP of 2026-07-28 alone, and is strict
// about it.
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

// jsonTo answers with JSON.
func jsonTo(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, format, args...)
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
		jsonTo(w, http.StatusUnauthorized, `{"error":"no"}`)
		return nil
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	case r.Header.Get("Mcp-Method") == "":
		jsonTo(w, http.StatusBadRequest, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32020,"message":"Mcp-Method is missing"}}`, m.RawID)
		return nil
	case r.Header.Get(sessionHeader) != "":
		u.t.Errorf("%s has a session", m.Raw)
	}
	u.note(&u.got, strings.TrimSpace(m.Method+" "+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	// The bridge's own reading of the revision judges the request.
	e, rejected := openEnvelope(r, []message.Message{m}, false)
	if rejected == nil && m.Kind == message.Request {
		u.mu.Lock()
		c := new(conversation)
		if u.tools != "" {
			c.fields.learn([]byte(`{"result":{"tools":` + u.tools + `}}`))
		}
		u.mu.Unlock()
		rejected = c.checkParams(r, e)
	}
	if rejected != nil {
		jsonTo(w, rejected.status, "%s", message.ErrorData(m.RawID, rejected.code, rejected.text, rejected.data))
		return nil
	}
	switch {
	case u.answer != nil && u.answer(w, r, m):
	case m.Method == "server/discover":
		jsonTo(w, http.StatusOK, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.RawID, discoverResult)
	case m.Method == "subscriptions/listen":
		err := until(w, r, fmt.Sprintf(`data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{%q:%s},"notifications":%s}}`+"\n\n",
			metaSubscription, m.RawID, message.Get(m.Raw, "params", "notifications")))
		u.note(&u.ended, m.Method)
		return err
	case m.Method == "tools/list":
		jsonTo(w, http.StatusOK, `{"jsonrpc":"2.0","id":%s,"result":{"tools":%s}}`, m.RawID, u.tools)
	case m.Method == "tools/call" && message.Text(m.Raw, "params", "name") == "wait":
		err := until(w, r, ": \n\n")
		u.note(&u.ended, m.Method)
		return err
	case m.Method == "tools/call":
		jsonTo(w, http.StatusOK, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","content":[]}}`, m.RawID)
	case m.Kind == message.Notification:
		w.WriteHeader(http.StatusAccepted)
	default:
		jsonTo(w, http.StatusNotFound, `{"jsonrpc":"2.0","error":{"code":-32601,"message":"unknown"}}`)
	}
	return nil
}

// inFront returns a hub in front of it, with a session of a client that is initialized
// with the token one.
func (u *modern) inFront(capabilities string) (*Hub, string) {
	u.t.Helper()
	b := &staged{answer: u.serve}
	h := NewHub(HubConfig{Remote: true, KeepAlive: time.Hour, Judge: b, Start: StartHTTP(b, 1<<20)})
	u.t.Cleanup(h.Close)
	w := direct(u.t.Context(), h, "POST", "", initializeOf(capabilities), "Authorization", "Bearer one")
	id := w.Header().Get("Mcp-Session-Id")
	if id == "" || !strings.Contains(w.Body.String(), `"instructions":"ask"`) {
		u.t.Fatalf("initialize: %d %s", w.Code, w.Body)
	}
	w = direct(u.t.Context(), h, "POST", id, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Authorization", "Bearer one")
	if w.Code != http.StatusAccepted {
		u.t.Fatalf("initialized: %d %s", w.Code, w.Body)
	}
	if got, want := u.seen(), []string{"server/discover one", "subscriptions/listen one"}; !slices.Equal(got, want) {
		u.t.Fatalf("got %q, want %q", got, want)
	}
	return h, id
}

// Rules A1 and D4: each message of a client is judged by a stateless server with that
// message's own credentials, the ones that it does not get itself as well, and a refusal
// answers the very POST.
func TestFacadeCredentials(t *testing.T) {
	for name, tc := range map[string]struct{ body, asked string }{
		"request":           {`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`, "tools/call"},
		"notification":      {`{"jsonrpc":"2.0","method":"vendor/x"}`, "vendor/x"},
		"ping":              {`{"jsonrpc":"2.0","id":1,"method":"ping"}`, "server/discover"},
		"level":             {`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}`, "server/discover"},
		"no level":          {`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel"}`, "server/discover"},
		"subscribe":         {`{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a:"}}`, "subscriptions/listen"},
		"unsubscribe":       {`{"jsonrpc":"2.0","id":1,"method":"resources/unsubscribe","params":{"uri":"a:"}}`, "server/discover"},
		"cancelled":         {`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`, "server/discover"},
		"roots":             {`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`, "server/discover"},
		"initialized again": {`{"jsonrpc":"2.0","method":"notifications/initialized"}`, "server/discover"},
		"answer":            {`{"jsonrpc":"2.0","id":7,"result":{}}`, "server/discover"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &modern{t: t, tools: `[]`}
				h, id := u.inFront(allDeclared)
				u.deny("Bearer bad")
				w := direct(t.Context(), h, "POST", id, tc.body, "Authorization", "Bearer bad")
				want := `Bearer error="invalid_token", resource_metadata="https://h/` + tc.asked + `"`
				if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != want || w.Body.String() != `{"error":"no"}` {
					t.Errorf("got %d %q %s, want %q", w.Code, w.Header(), w.Body, want)
				}
				w = direct(t.Context(), h, "POST", id, tc.body, "Authorization", "Bearer two")
				if w.Code/100 != 2 {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
				if got := u.seen(); !slices.Equal(got, []string{tc.asked + " two"}) {
					t.Errorf("got %q", got)
				}
				synctest.Wait()
				if errands := len(h.find(id).facade.errands); errands != 1 {
					t.Errorf("%d requests are under way", errands)
				}
			})
		})
	}
}

// Rule A1: initialize is refused by the server that it was for, whichever of its
// questions is; and nothing is left.
func TestFacadeInitializeRefused(t *testing.T) {
	for _, refused := range []string{"initialize", "server/discover"} {
		t.Run(refused, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &modern{t: t}
				h := NewHub(HubConfig{Remote: true, Start: StartHTTP(&staged{answer: func(w http.ResponseWriter, r *http.Request) error {
					body, _ := io.ReadAll(r.Body)
					if bytes.Contains(body, []byte(`"`+refused+`"`)) {
						w.Header().Set("WWW-Authenticate", "Bearer")
						w.WriteHeader(http.StatusForbidden)
						return nil
					}
					r.Body = io.NopCloser(bytes.NewReader(body))
					return u.serve(w, r)
				}}, 1<<20)})
				w := direct(t.Context(), h, "POST", "", initializeOf(`{}`))
				if w.Code != http.StatusForbidden || w.Header().Get("WWW-Authenticate") != "Bearer" || w.Header().Get("Mcp-Session-Id") != "" {
					t.Errorf("got %d %q", w.Code, w.Header())
				}
				synctest.Wait()
				if n := h.Len(); n != 0 {
					t.Errorf("%d sessions are left", n)
				}
			})
		})
	}
}

// Rule A1: so it is where initialize is refused in a stream, and server/discover after
// that.
func TestFacadeInitializeRefusedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(HubConfig{Remote: true, Start: StartHTTP(&staged{answer: func(w http.ResponseWriter, r *http.Request) error {
			body, _ := io.ReadAll(r.Body)
			switch {
			case r.Method == http.MethodGet:
				w.WriteHeader(http.StatusMethodNotAllowed)
			case bytes.Contains(body, []byte("initialize")):
				_ = streamTo(w, ": \n\n", nil)
				time.Sleep(time.Second)
				_, err := fmt.Fprintf(w, "data: "+refusesInitialize+"\n\n", `"i"`)
				return err
			default:
				w.Header().Set("WWW-Authenticate", "Bearer")
				w.WriteHeader(http.StatusUnauthorized)
			}
			return nil
		}}, 1<<20)})
		w := direct(t.Context(), h, "POST", "", initializeOf(`{}`))
		if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Bearer" || w.Header().Get("Mcp-Session-Id") != "" {
			t.Errorf("got %d %q %s", w.Code, w.Header(), w.Body)
		}
		synctest.Wait()
		if n := h.Len(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

// A server that refuses initialize and knows no server/discover has its own words heard.
func TestFacadeNoServer(t *testing.T) {
	for _, status := range []int{400, 404, 405, 500, 503} {
		h := NewHub(HubConfig{Remote: true, Start: StartHTTP(&staged{answer: func(w http.ResponseWriter, r *http.Request) error {
			body, _ := io.ReadAll(r.Body)
			if r.Method == http.MethodGet {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return nil
			}
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, "%t", bytes.Contains(body, []byte("initialize")))
			return nil
		}}, 1<<20)})
		if w := direct(t.Context(), h, "POST", "", initializeOf(`{}`)); w.Code != status || w.Body.String() != "true" {
			t.Errorf("got %d %s, want %d", w.Code, w.Body, status)
		}
		h.Close()
	}
}

// Rule D4: the last answer of a client sends its request again, with the credentials of
// that answer; where those are refused, it may answer again.
func TestRoundsCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &modern{t: t}
		u.answer = func(w http.ResponseWriter, _ *http.Request, m message.Message) bool {
			asks := m.Method == "tools/call" && message.Get(m.Raw, "params", "inputResponses") == nil
			if asks {
				jsonTo(w, http.StatusOK, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"sampling/createMessage","params":{}}}}}`, m.RawID)
			}
			return asks
		}
		h, id := u.inFront(allDeclared)
		c := post(t, h, id, calls)
		ids := idsOf(t, c)
		u.deny("Bearer bad")
		answers := []string{`{"jsonrpc":"2.0","id":` + ids["roots/list"] + `,"result":{"roots":[]}}`, `{"jsonrpc":"2.0","id":` + ids["sampling/createMessage"] + `,"result":{}}`}
		for i, answer := range answers {
			for _, token := range []string{"bad", "two"} {
				w := direct(t.Context(), h, "POST", id, answer, "Authorization", "Bearer "+token)
				if want := map[string]int{"bad": 401, "two": 202}[token]; w.Code != want {
					t.Errorf("%d: got %d %s, want %d", i, w.Code, w.Body, want)
				}
			}
		}
		if got, want := u.seen(), []string{"tools/call", "server/discover two", "tools/call two"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		got := c.messages()
		if len(got) != 3 || got[2] != `{"jsonrpc":"2.0","id":"x","result":{"resultType":"complete","content":[]}}` {
			t.Errorf("got %q", got)
		}
	})
}

// A client that does not come back after its answer was refused gets an error in time.
func TestRoundsRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &modern{t: t}
		u.answer = func(w http.ResponseWriter, _ *http.Request, m message.Message) bool {
			if m.Method == "tools/call" {
				jsonTo(w, http.StatusOK, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}}`, m.RawID)
			}
			return m.Method == "tools/call"
		}
		h, id := u.inFront(allDeclared)
		c := post(t, h, id, calls)
		input := idsOf(t, c)["roots/list"]
		u.deny("Bearer bad")
		if w := direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":`+input+`,"result":{"roots":[]}}`, "Authorization", "Bearer bad"); w.Code != http.StatusUnauthorized {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		<-c.done
		if got := c.messages(); !strings.Contains(got[len(got)-1], `"id":"x","error"`) {
			t.Errorf("got %q", got)
		}
	})
}

// Rule D3: over HTTP a request is taken back by the end of its connection; so is a
// subscription that another one has the place of.
func TestFacadeAbandons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &modern{t: t}
		h, id := u.inFront(`{}`)
		c := post(t, h, id, `{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"wait"}}`)
		post(t, h, id, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}`)
		if got := c.messages(); len(got) != 0 || !c.over() {
			t.Errorf("got %q", got)
		}
		post(t, h, id, `{"jsonrpc":"2.0","id":"s","method":"resources/subscribe","params":{"uri":"a:"}}`).wants(t, 200, `{"jsonrpc":"2.0","id":"s","result":{}}`)
		synctest.Wait()
		if want := []string{"tools/call", "subscriptions/listen"}; !slices.Equal(u.ended, want) {
			t.Errorf("ended are %q, want %q", u.ended, want)
		}
		if got, want := u.seen(), []string{"tools/call", "server/discover", "subscriptions/listen"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		h.Close()
		if want := []string{"tools/call", "subscriptions/listen", "subscriptions/listen"}; !slices.Equal(u.ended, want) {
			t.Errorf("ended are %q, want %q", u.ended, want)
		}
	})
}

// Rule D3: the fields that repeat the arguments of tools are sent, and asked for where
// they are not known yet.
func TestFacadeFields(t *testing.T) {
	const tools = `[{"name":"größe","inputSchema":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"},
		"in":{"type":"object","properties":{"s":{"type":"string","x-mcp-header":"Text"}}},"b":{"type":"boolean","x-mcp-header":"b"},"no":{"type":"string","x-mcp-header":"No"}}}},
		{"name":"bad","inputSchema":{"type":"object","properties":{"n":{"type":"number","x-mcp-header":"N"}}}}]`
	const call = `{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"größe","arguments":{"n":4.20e1,"in":{"s":"ü"},"b":true,"no":null}}}`
	synctest.Test(t, func(t *testing.T) {
		u := &modern{t: t, tools: tools}
		fields := make(http.Header)
		u.answer = func(_ http.ResponseWriter, r *http.Request, m message.Message) bool {
			if m.Method == "tools/call" {
				maps.DeleteFunc(r.Header, func(name string, _ []string) bool { return !strings.HasPrefix(name, "Mcp-") })
				fields = r.Header
			}
			return false
		}
		h, id := u.inFront(`{}`)
		for _, want := range [][]string{{"tools/call", "tools/list", "tools/call"}, {"tools/call"}} {
			post(t, h, id, call).wants(t, 200, `{"jsonrpc":"2.0","id":"x","result":{"resultType":"complete","content":[]}}`)
			if got := u.seen(); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		want := http.Header{
			"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"=?base64?Z3LDtsOfZQ==?="},
			"Mcp-Param-N": {"42"}, "Mcp-Param-Text": {"=?base64?w7w=?="}, "Mcp-Param-B": {"true"},
		}
		if !maps.EqualFunc(fields, want, slices.Equal) {
			t.Errorf("got %q, want %q", fields, want)
		}
		c := post(t, h, id, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		if got := c.Body.String(); !json.Valid([]byte(got)) || !strings.Contains(got, `"größe"`) || strings.Contains(got, `"bad"`) {
			t.Errorf("got %s", got)
		}
		if errands := len(h.find(id).facade.errands); errands != 1 {
			t.Errorf("%d requests are under way", errands)
		}
		// A server that is never content is asked twice.
		u.seen()
		u.answer = func(w http.ResponseWriter, _ *http.Request, m message.Message) bool {
			if m.Method == "tools/call" {
				jsonTo(w, http.StatusBadRequest, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32020,"message":"m"}}`, m.RawID)
			}
			return m.Method == "tools/call"
		}
		post(t, h, id, call).wants(t, 200, `{"jsonrpc":"2.0","id":"x","error":{"code":-32603,"message":"m"}}`)
		if got, want := u.seen(), []string{"tools/call", "tools/list", "tools/call"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// Rule D3: a status that repeats the code of an error is no refusal; what breaks off is
// an error, and is not asked for again.
func TestFacadeStatuses(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(w http.ResponseWriter, id []byte)
		status int
		want   string
	}{
		"no such method": {func(w http.ResponseWriter, id []byte) {
			jsonTo(w, 404, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"m"}}`, id)
		}, 200, `{"jsonrpc":"2.0","id":"x","error":{"code":-32601,"message":"m"}}`},
		"no id": {func(w http.ResponseWriter, _ []byte) {
			jsonTo(w, 400, `{"jsonrpc":"2.0","error":{"code":-32602,"message":"m"}}`)
		}, 200, `{"id":"x","jsonrpc":"2.0","error":{"code":-32602,"message":"m"}}`},
		"no JSON-RPC": {func(w http.ResponseWriter, _ []byte) { jsonTo(w, 400, `{"no":1}`) }, 400, `{"no":1}`},
		"denied": {func(w http.ResponseWriter, id []byte) {
			jsonTo(w, 403, `{"jsonrpc":"2.0","id":%s,"error":{"code":-1,"message":"m"}}`, id)
		}, 403, `{"jsonrpc":"2.0","id":2,"error":{"code":-1,"message":"m"}}`},
		"cut": {
			func(w http.ResponseWriter, _ []byte) { _ = streamTo(w, "id: 1\ndata: {}\n\n", errReset) }, 200,
			`{"jsonrpc":"2.0","id":"x","error":{"code":-32603,"message":"the server's answer broke off"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &modern{t: t}
				b := &staged{answer: u.serve}
				u.answer = func(w http.ResponseWriter, _ *http.Request, m message.Message) bool {
					if m.Method == "vendor/x" {
						tc.answer(w, m.RawID)
					}
					return m.Method == "vendor/x"
				}
				h := NewHub(HubConfig{Remote: true, Start: StartHTTP(b, 1<<20)})
				defer h.Close()
				id := direct(t.Context(), h, "POST", "", initializeOf(`{}`)).Header().Get("Mcp-Session-Id")
				w := direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":"x","method":"vendor/x"}`)
				if w.Code != tc.status || w.Body.String() != tc.want {
					t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tc.status, tc.want)
				}
				if n := b.count("GET 1"); n != 0 {
					t.Error("the answer was resumed")
				}
				if w := direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":"y","method":"ping"}`); w.Code != 200 {
					t.Errorf("the session is over: %d", w.Code)
				}
			})
		})
	}
}

// Rule D4: a subscription that breaks and is refused when it is asked for again ends the
// session; the client's next request is refused as the server refuses it.
func TestListenerRefusedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &modern{t: t}
		broken := make(chan struct{})
		u.answer = func(w http.ResponseWriter, r *http.Request, m message.Message) bool {
			if m.Method != "subscriptions/listen" {
				return false
			}
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(http.StatusOK)
			select {
			case <-broken:
			case <-r.Context().Done():
			}
			return true
		}
		h, id := u.inFront(`{}`)
		u.deny("Bearer one")
		close(broken)
		<-h.find(id).peer.Done()
		synctest.Wait()
		if w := direct(t.Context(), h, "POST", id, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Authorization", "Bearer one"); w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("got %d %q %s", w.Code, w.Header(), w.Body)
		}
		if w := direct(t.Context(), h, "POST", "", initializeOf(`{}`), "Authorization", "Bearer one"); w.Code != http.StatusUnauthorized {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	})
}

// Rules A1 and D3: a client of HTTP+SSE has a stateless server in front of it as it has
// another one, its refusals with the POST.
func TestFacadeOfLegacyClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &modern{t: t, tools: `[]`}
		h := NewHub(HubConfig{Remote: true, Start: StartHTTP(&staged{answer: u.serve}, 1<<20)})
		defer h.Close()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://h/sse", nil)
		stream := &pending{httptest.NewRecorder(), nil, make(chan struct{})}
		go func() {
			defer close(stream.done)
			h.ServeSSE(stream, r, "/m")
		}()
		synctest.Wait()
		_, at, _ := strings.Cut(stream.Body.String(), "data: ")
		at, _, _ = strings.Cut(at, "\n")
		say := func(token, body string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://h"+at, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			h.ServeMessage(w, r)
			return w
		}
		for _, body := range []string{strings.Replace(initializeOf(`{}`), "2025-11-25", "2024-11-05", 1), `{"jsonrpc":"2.0","method":"notifications/initialized"}`, `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`} {
			u.deny("Bearer bad")
			if w := say("bad", body); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if w := say("one", body); w.Code != http.StatusAccepted {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		}
		stream.wants(t, 200,
			`{"jsonrpc":"2.0","id":"i","result":{"instructions":"ask","protocolVersion":"2024-11-05","capabilities":`+allCapabilities+`,"serverInfo":{"name":"s","version":"1"}}}`,
			`{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}`)
		if got, want := u.seen(), []string{"server/discover one", "subscriptions/listen one", "tools/list one"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
