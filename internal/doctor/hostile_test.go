package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/doctortest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
)

// raw starts a server that reads a request and then calls write. It returns its URL.
func raw(t testing.TB, write func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer func() { _ = c.Close() }()
				_, _ = c.Read(make([]byte, 4<<10))
				write(c)
			})
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return "http://" + l.Addr().String() + "/mcp"
}

// Rule F3: text of a hostile server cannot control the terminal, wherever the server sends it.
func TestEscapes(t *testing.T) {
	document, err := json.Marshal(doctortest.HostileText)
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]string{
		"fields": "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer error=\"" + strings.ReplaceAll(doctortest.HostileText, "\x00", "") + "\"\r\nServer: \x1b[2Jx\u202ey\r\nConnection: close\r\n\r\n",
		"body":   "HTTP/1.1 500 \x1b[2J\r\nContent-Type: text/\x1b[2J\r\nConnection: close\r\n\r\nlogin required " + doctortest.HostileText,
		"error":  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1,\"message\":" + string(document) + "}}",
		"result": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":\"doctor-initialize\",\"result\":{\"serverInfo\":{\"name\":" + string(document) + "}}}",
		"status": "HTTP/1.1 \x1b[2J\r\n\r\n",
		"type":   "HTTP/1.1 200 OK\r\nContent-Type: \x1b[2J" + "\r\nConnection: close\r\n\r\n",
		"moved":  "HTTP/1.1 307 x\r\nLocation: http://example.com/\x1b[2J\u202e\r\nConnection: close\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			at := raw(t, func(c net.Conn) { _, _ = io.WriteString(c, answer) })
			r, err := Run(t.Context(), Options{URL: at, Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			doctortest.CheckPlain(t, everything(t, r))
		})
	}
	t.Run("documents", func(t *testing.T) {
		s := newSite()
		s.resource["resource"] = mcpURL + doctortest.HostileText
		s.resource["authorization_servers"] = []string{issuerURL, doctortest.HostileText}
		s.server["issuer"] = issuerURL + doctortest.HostileText
		s.start(t)
		r, err := Run(t.Context(), Options{URL: mcpURL, Transport: s.transport()})
		if err != nil {
			t.Fatal(err)
		}
		doctortest.CheckPlain(t, everything(t, r))
	})
}

// Rule G: a header or body without an end, fast or slow, does not prolong the walk or fill
// the memory.
func TestBounds(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for name, write := range map[string]func(net.Conn){
		"endless header": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X-More: "+strings.Repeat("x", 1<<10)+"\r\n"); err != nil {
					return
				}
			}
		},
		"endless body": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 401 No\r\nContent-Type: application/json\r\n\r\n")
			for {
				if _, err := io.WriteString(c, strings.Repeat("x", 1<<10)); err != nil {
					return
				}
			}
		},
		"endless event": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ")
			for {
				if _, err := io.WriteString(c, strings.Repeat("x", 1<<10)); err != nil {
					return
				}
			}
		},
		"endless events": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
			for {
				if _, err := io.WriteString(c, "data: x\n\n"); err != nil {
					return
				}
			}
		},
		"drip": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X"); err != nil {
					return
				}
				time.Sleep(timeout / 10)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			r, err := Run(t.Context(), Options{URL: raw(t, write), Timeout: timeout})
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > walkTimeouts*timeout+5*time.Second {
				t.Errorf("it took %s", took)
			}
			if shown := everything(t, r); len(shown) > 64<<10 {
				t.Errorf("the report has %d bytes", len(shown))
			}
			for _, s := range r.Steps {
				for _, e := range s.Exchanges {
					if e.Size > probe.MaxBody {
						t.Errorf("%d bytes were kept", e.Size)
					}
				}
			}
		})
	}
}

// A walk that runs out of time does not report a healthy server. A walk that is interrupted
// has no report.
func TestCutShort(t *testing.T) {
	s := newSite()
	s.start(t)
	w, err := newWalk(Options{URL: mcpURL, Transport: s.transport(), Timeout: time.Nanosecond}, mcpURL, new(report.Secrets))
	if err != nil {
		t.Fatal(err)
	}
	w.run(t.Context())
	if w.Report.Verdict.State == report.Healthy {
		t.Errorf("got %+v", w.Report.Verdict)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.answer = func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		s.refuse(w, "")
	}
	if r, err := Run(ctx, Options{URL: mcpURL, Transport: s.transport()}); r != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", r, err)
	}
}

// answerSeed is an answer that a server gives to every request.
type answerSeed struct {
	status                int
	challenge, kind, body string
}

var answerSeeds = []answerSeed{
	{401, `Bearer resource_metadata="/x"`, "application/json", `{"resource":1,"authorization_servers":{}}`},
	{200, "", "text/event-stream", "event: endpoint\ndata: http://[::1\n\n"},
	{200, "", "application/json", `{"jsonrpc":"2.0","id":1,"result":{"serverInfo":[]}}`},
	{307, "DPoP a=\"", "text/html", "<"},
}

// header returns the header of the answer.
func (a answerSeed) header(host string) http.Header {
	return http.Header{"Www-Authenticate": {a.challenge}, "Content-Type": {a.kind}, "Location": {"http://" + host + "/" + a.body}}
}

// RoundTrip answers in memory.
func (a answerSeed) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return &http.Response{
		Status: strconv.Itoa(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header(r.Host), Body: io.NopCloser(strings.NewReader(a.body)), ContentLength: int64(len(a.body)), Request: r,
	}, nil
}

// check fails a test if a report is incomplete, or can do something to a terminal.
func (a answerSeed) check(t *testing.T, opts Options) {
	t.Helper()
	r, err := Run(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict.State == "" || r.Verdict.Text == "" {
		t.Errorf("%+v: got %+v", a, r.Verdict)
	}
	for _, verbose := range []bool{false, true} {
		var text strings.Builder
		if err := r.WriteText(&text, report.TextOptions{Verbose: verbose}); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(text.String(), "\n"); !verbose && n >= 15 {
			t.Errorf("%d lines\n%s", n, text.String())
		}
		doctortest.CheckPlain(t, text.String())
	}
}

// FuzzAnswer gives one answer to every request, in memory and without waiting. The URL lacks
// its scheme and its path, so that the search for them is part of it.
func FuzzAnswer(f *testing.F) {
	for _, seed := range answerSeeds {
		f.Add(seed.status, seed.challenge, seed.kind, seed.body, false)
		f.Add(seed.status, seed.challenge, seed.kind, seed.body, true)
	}
	f.Fuzz(func(t *testing.T, status int, challenge, kind, body string, whole bool) {
		if status < 200 || status > 599 {
			return
		}
		answer := answerSeed{status, challenge, kind, body}
		at := "localhost:3000"
		if whole {
			at = "https://mcp.example.com/mcp"
		}
		answer.check(t, Options{URL: at, Transport: answer})
	})
}

// The answers of the fuzz target over a network.
func TestAnswers(t *testing.T) {
	for _, answer := range answerSeeds {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for name, values := range answer.header(r.Host) {
				w.Header()[name] = values
			}
			w.WriteHeader(answer.status)
			_, _ = io.WriteString(w, answer.body)
		}))
		t.Cleanup(server.Close)
		answer.check(t, Options{URL: server.URL + "/mcp", Timeout: 5 * time.Second})
	}
}
