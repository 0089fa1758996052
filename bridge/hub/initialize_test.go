package hub

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/translate"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// Rule A1: a refusal of any request that initialize leads to is the answer to initialize,
// and nothing is left of the session.
func TestInitializeIsRefusedWithTheServersStatus(t *testing.T) {
	for _, refused := range []string{"initialize", "server/discover"} {
		t.Run(refused, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &modern{t: t}
				h := kit.NewHub(servers.Config{Remote: true, Start: upstream.StartHTTP(&hubtest.Staged{Answer: func(w http.ResponseWriter, r *http.Request) error {
					body, _ := io.ReadAll(r.Body)
					if bytes.Contains(body, []byte(`"`+refused+`"`)) {
						w.Header().Set("WWW-Authenticate", "Bearer")
						w.WriteHeader(http.StatusForbidden)
						return nil
					}
					r.Body = io.NopCloser(bytes.NewReader(body))
					return u.serve(w, r)
				}}, 1<<20)})
				w := hubtest.Direct(t.Context(), h, "POST", "", hubtest.InitializeOf(`{}`))
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

// Rule A1: the same if initialize is refused in a stream, and server/discover after that.
func TestInitializeThatIsRefusedInAStreamIsRefusedWithItsStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := kit.NewHub(servers.Config{Remote: true, Start: upstream.StartHTTP(&hubtest.Staged{Answer: func(w http.ResponseWriter, r *http.Request) error {
			body, _ := io.ReadAll(r.Body)
			switch {
			case r.Method == http.MethodGet:
				w.WriteHeader(http.StatusMethodNotAllowed)
			case bytes.Contains(body, []byte("initialize")):
				_ = hubtest.StreamTo(w, ": \n\n", nil)
				time.Sleep(time.Second)
				_, err := fmt.Fprintf(w, "data: "+hubtest.RefusesInitialize+"\n\n", `"i"`)
				return err
			default:
				w.Header().Set("WWW-Authenticate", "Bearer")
				w.WriteHeader(http.StatusUnauthorized)
			}
			return nil
		}}, 1<<20)})
		w := hubtest.Direct(t.Context(), h, "POST", "", hubtest.InitializeOf(`{}`))
		if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Bearer" || w.Header().Get("Mcp-Session-Id") != "" {
			t.Errorf("got %d %q %s", w.Code, w.Header(), w.Body)
		}
		synctest.Wait()
		if n := h.Len(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

// A client gets the error of a server that refuses initialize and does not know
// server/discover.
func TestServerOverHTTPThatRefusesDiscoverTooIsHeard(t *testing.T) {
	for _, status := range []int{400, 404, 405, 500, 503} {
		h := kit.NewHub(servers.Config{Remote: true, Start: upstream.StartHTTP(&hubtest.Staged{Answer: func(w http.ResponseWriter, r *http.Request) error {
			body, _ := io.ReadAll(r.Body)
			if r.Method == http.MethodGet {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return nil
			}
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, "%t", bytes.Contains(body, []byte("initialize")))
			return nil
		}}, 1<<20)})
		if w := hubtest.Direct(t.Context(), h, "POST", "", hubtest.InitializeOf(`{}`)); w.Code != status || w.Body.String() != "true" {
			t.Errorf("got %d %s, want %d", w.Code, w.Body, status)
		}
		h.Close()
	}
}

// Rule D3: if the server refuses initialize, the client's initialize is answered from
// server/discover. The initialize of the next client is not sent.
func TestInitializeIsAnsweredFromDiscover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.ProgramsOf(t)
		for i, version := range []string{"2025-06-18", "2025-03-26", "2023-01-01"} {
			c := hubtest.Post(t, h, "", strings.Replace(hubtest.InitializeOf(`{}`), "2025-11-25", version, 1))
			p := <-started
			if i == 0 {
				if m := p.Next(t, "initialize"); message.Get(m.Raw, "params", "_meta") != nil {
					t.Errorf("initialize is not as the client has it: %s", m.Raw)
				}
				p.Emit(hubtest.RefusesInitialize, `"i"`)
			}
			m := p.Next(t, "server/discover")
			want := `{"` + mcp.MetaClient + `":{"name":"c","version":"2"},"` + mcp.MetaCapabilities + `":{},"` + mcp.MetaVersion + `":"2026-07-28"}`
			if got := string(message.Get(m.Raw, "params", "_meta")); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			p.Answer(m, hubtest.DiscoverResult)
			if i == 2 {
				version = "2025-11-25"
			}
			c.Wants(t, 200, `{"jsonrpc":"2.0","id":"i","result":{"instructions":"ask","protocolVersion":"`+version+`","capabilities":`+hubtest.AllCapabilities+`,"serverInfo":{"name":"s","version":"1"}}}`)
		}
	})
}

// Rule D3: a server that answers initialize gets no request of the bridge, whatever it
// answers to other requests.
func TestServerThatTakesInitializeIsAskedNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, started := kit.ProgramsOf(t)
		c := hubtest.Post(t, h, "", hubtest.InitializeOf(`{}`))
		p := <-started
		p.Answer(p.Next(t, "initialize"), hubtest.InitializeResult)
		synctest.Wait()
		id := c.Header().Get("Mcp-Session-Id")
		for _, body := range []string{
			`{"jsonrpc":"2.0","method":"notifications/initialized"}`, `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`,
			`{"jsonrpc":"2.0","id":"i","method":"resources/subscribe","params":{"uri":"a:"}}`,
		} {
			c := hubtest.Post(t, h, id, body)
			var m message.Message
			if m = <-p.Got; string(m.Raw) != body {
				t.Errorf("got  %s\nwant %s", m.Raw, body)
			}
			if m.ID != "" {
				p.Emit(hubtest.RefusesInitialize, m.RawID)
				c.Wants(t, 200, fmt.Sprintf(hubtest.RefusesInitialize, m.RawID))
			}
		}
		p.GotNothing(t)
	})
}

// Rule D3: if a server refuses initialize and is not stateless, the client gets its error.
// The client does not wait for a server that does not answer server/discover.
func TestInitializeIsRefusedInTheServersOwnWords(t *testing.T) {
	for name, discovered := range map[string]func(p *hubtest.Program, m message.Message){
		"error":           func(p *hubtest.Program, m message.Message) { p.Emit(hubtest.RefusesInitialize, m.RawID) },
		"another version": func(p *hubtest.Program, m message.Message) { p.Answer(m, `{"supportedVersions":["2027-01-01"]}`) },
		"no object":       func(p *hubtest.Program, m message.Message) { p.Answer(m, `[]`) },
		"silence":         func(*hubtest.Program, message.Message) { time.Sleep(translate.AskWithin) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, started := kit.ProgramsOf(t)
				c := hubtest.Post(t, h, "", hubtest.InitializeOf(`{}`))
				p := <-started
				p.Next(t, "initialize")
				p.Emit(hubtest.RefusesInitialize, `"i"`)
				discovered(p, p.Next(t, "server/discover"))
				c.Wants(t, 200, fmt.Sprintf(hubtest.RefusesInitialize, `"i"`))
				if c.Header().Get("Mcp-Session-Id") != "" {
					t.Error("there is a session")
				}
			})
		})
	}
}

// Rule D3: a server that refuses initialize may be replaced by one that does not. The next
// client finds that out.
func TestServerThatWasReplacedIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var known *translate.ServerRevision
		h, started := hubtest.Kit[*Hub]{New: func(cfg servers.Config, revision *translate.ServerRevision, wrap hubtest.Wrap) *Hub {
			known = revision
			return kit.New(cfg, revision, wrap)
		}}.ProgramsOf(t)
		known.SetRefusesInitialize(true)
		for i := range 2 {
			c := hubtest.Post(t, h, "", hubtest.InitializeOf(`{}`))
			p := <-started
			if i == 0 {
				p.Emit(hubtest.RefusesInitialize, p.Next(t, "server/discover").RawID)
			}
			p.Next(t, "initialize")
			p.Emit(`{"jsonrpc":"2.0","id":"i","result":%s}`, hubtest.InitializeResult)
			synctest.Wait()
			if c.Header().Get("Mcp-Session-Id") == "" {
				t.Errorf("got %d %s", c.Code, c.Body)
			}
		}
	})
}
