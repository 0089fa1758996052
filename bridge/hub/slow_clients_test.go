package hub

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/ratewriter"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/hubtest"
)

// D6, G: whatever a client is answered with that it does not read is held for so long and
// no longer: the answer to initialize, what a server is, errors and refusals of it as well.
func TestAnyAnswerThatIsNotReadEnds(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	serve := func(says func(p *hubtest.FleetServer, m message.Message), body string, header ...string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			a := &hubtest.Fleet{EndsIn: func() time.Duration { return 0 }, Answers: says}
			h := kit.NewHub(servers.Config{Start: a.Start})
			defer h.Close()
			r := httptest.NewRequest(http.MethodPost, "http://h/", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			for i := 0; i+1 < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			h.ServeHTTP(w, r)
		}
	}
	talkative := func(p *hubtest.FleetServer, m message.Message) {
		if m.Method == "initialize" {
			p.Answer(m, hubtest.InitializeResult[:len(hubtest.InitializeResult)-1]+`,"x":"`+big+`"}`)
			return
		}
		hubtest.Legacy(p, m)
	}
	discover := []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "server/discover"}
	instructs := func(p *hubtest.FleetServer, m message.Message) {
		if m.Method == "initialize" {
			p.Answer(m, strings.Replace(hubtest.InitializeResult, `"ask"`, `"`+big+`"`, 1))
			return
		}
		hubtest.Legacy(p, m)
	}
	refuses := func(p *hubtest.FleetServer, m message.Message) {
		if m.Method == "initialize" {
			p.Deliver(message.Error(m.RawID, message.CodeInternal, big))
			return
		}
		hubtest.Legacy(p, m)
	}
	for name, answer := range map[string]func(w http.ResponseWriter){
		"initialize": serve(talkative, hubtest.InitializeOf(`{}`)),
		"what it is": serve(instructs, hubtest.Ask("1", "server/discover", ""), discover...),
		"an error":   serve(refuses, hubtest.Ask("1", "tools/list", ""), hubtest.AsStateless...),
		"a refusal of it": func(w http.ResponseWriter) {
			(&upstream.Refusal{Status: 403, Header: http.Header{}, Body: []byte(big)}).Write(w, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := hubtest.NewStuckWriter(1000)
				over := make(chan time.Duration, 1)
				go func() {
					begun := time.Now()
					answer(w)
					over <- time.Since(begun)
				}()
				select {
				case took := <-over:
					if took < servers.DefaultStall || took > 2*servers.DefaultStall {
						t.Errorf("it took %s", took)
					}
				case <-time.After(time.Hour):
					t.Error("it is held for an hour")
					w.Once.Do(func() { close(w.Cut) })
					<-over
				}
			})
		})
	}
}

// D6, G: a client that reads slowly, and reads, is left alone, as long as it keeps up with
// the least rate. One that accepts a part now and then, always before it is taken for
// stuck, is cut off in time: its answer would be held for hours.
func TestSlowReaderHasToKeepTheLeastRate(t *testing.T) {
	const size = 3 << 20
	for name, tc := range map[string]struct {
		rate  int           // that is configured; 0: the default
		every time.Duration // the client accepts a part
		stays bool
	}{
		"at the least rate":                   {0, 4 * time.Second, true},
		"just below it":                       {0, 5 * time.Second, false},
		"a part before each stall":            {0, servers.DefaultStall - time.Second, false},
		"slower than another rate":            {64 << 10, 2 * time.Second, false},
		"faster than a rate that is less":     {2 << 10, 20 * time.Second, true},
		"at its stall, and faster than such":  {1 << 10, servers.DefaultStall + time.Second, false},
		"at once":                             {0, time.Millisecond, true},
		"a part each second with a high rate": {64 << 10, time.Second, true},
	} {
		for _, kind := range []string{"a session", "a shared server"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cfg := servers.Config{Buffer: size, MinRate: tc.rate, Lifetime: 100 * time.Hour, Idle: 100 * time.Hour}
					big := `{"jsonrpc":"2.0","id":1,"result":"` + strings.Repeat("y", size) + `"}`
					var h *Hub
					var r *http.Request
					if kind == "a session" {
						var p *hubtest.Scripted
						var id string
						h, p, id = kit.DirectHub(t, cfg)
						go func() {
							<-p.Got
							p.Deliver([]byte(big))
						}()
						r = hubtest.Request(t.Context(), "POST", id, hubtest.CallOf("1", "t"))
					} else {
						var started <-chan *hubtest.Program
						h, started = kit.Programs(t, hubtest.Stateless, cfg)
						go func() {
							p := <-started
							m := <-p.Got
							for m.Method != "tools/list" {
								p.Got <- m
								time.Sleep(time.Millisecond)
								m = <-p.Got
							}
							p.Deliver([]byte(strings.Replace(big, `"id":1`, `"id":`+string(m.RawID), 1)))
						}()
						r = hubtest.Request(t.Context(), "POST", "", hubtest.Ask("1", "tools/list", ""))
						r.Header.Del("Mcp-Session-Id")
						r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
						r.Header.Set("Mcp-Method", "tools/list")
					}
					defer h.Close()
					w := hubtest.NewStuckWriter(ratewriter.PartSize)
					ctx, stop := context.WithCancel(t.Context())
					var reads sync.WaitGroup
					defer reads.Wait()
					defer stop()
					reads.Go(func() {
						for ctx.Err() == nil {
							time.Sleep(tc.every)
							w.Mu.Lock()
							w.Left += ratewriter.PartSize
							w.Mu.Unlock()
						}
					})
					begun := time.Now()
					h.ServeHTTP(hubtest.SlowWriter{StuckWriter: w}, r)
					took := time.Since(begun)
					if got := w.Body.String(); (got == big) != tc.stays {
						t.Errorf("after %s it has %d bytes of %d", took, len(got), len(big))
					}
					rate := tc.rate
					if rate == 0 {
						rate = servers.DefaultMinRate
					}
					if most := servers.DefaultStall + size/time.Duration(rate)*time.Second + 2*time.Second; took > most {
						t.Errorf("it took %s, want %s at most", took, most)
					}
				})
			})
		}
	}
}
