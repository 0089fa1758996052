package http_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

const (
	pausedLength = 1 << 20   // what the client announces
	pausedAfter  = 100 << 10 // where it waits for the answer
	pausedAnswer = "log in first"
	maxUnread    = 256 << 10 // what net/http's server reads by itself before it answers
	// pausedHang is far more than an answer takes: a client that has got nothing by then
	// would wait for ever.
	pausedHang = 20 * time.Second
)

// paused is a client that waits in the middle of its body until it has the whole answer.
type paused struct {
	protocol string // "h1" or "h2"
	port     int
	header   http.Header
	length   int // that it announces
	after    int // where it waits
}

// body is the body over HTTP/2: it goes on when it is told to.
type body struct {
	sent, length, after int
	goOn                <-chan struct{}
}

func (b *body) Read(p []byte) (int, error) {
	if b.sent == b.length {
		return 0, io.EOF
	}
	if b.sent == b.after {
		<-b.goOn
		b.after = b.length
	}
	n := min(len(p), b.after-b.sent)
	clear(p[:n])
	b.sent += n
	return n, nil
}

// answered posts, and reports why there was no whole answer while the client waited.
func (p paused) answered(t *testing.T, ctx context.Context) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, pausedHang)
	defer cancel()
	var res *http.Response
	var err error
	var conn net.Conn
	if p.protocol == "h2" {
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		defer tr.CloseIdleConnections()
		goOn := make(chan struct{})
		go func() { // the transport waits for the body before it says that the request is over
			<-ctx.Done()
			close(goOn)
		}()
		r, bad := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+testcaddy.Addr(p.port)+"/mcp",
			&body{length: p.length, after: p.after, goOn: goOn})
		if bad != nil {
			t.Fatal(bad)
		}
		r.ContentLength, r.Header = int64(p.length), p.header.Clone()
		res, err = tr.RoundTrip(r)
	} else {
		conn = p.begin(t)
		defer func() { _ = conn.Close() }()
		in := bufio.NewReader(conn)
		for {
			res, err = http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != http.StatusContinue {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	got, err := io.ReadAll(res.Body) // to its end
	if conn != nil {                 // the client goes on
		if _, bad := io.WriteString(conn, strings.Repeat("x", p.length-p.after)); bad == nil {
			_ = conn.(*net.TCPConn).CloseWrite() // the server may keep the connection for another request
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	cancel()
	if err == nil && (string(got) != pausedAnswer || res.StatusCode != http.StatusUnauthorized) {
		err = fmt.Errorf("got %d %q", res.StatusCode, got)
	}
	return err
}

// begin sends the header and the body up to where the client waits, over HTTP/1.1.
func (p paused) begin(t *testing.T) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", testcaddy.Addr(p.port))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(pausedHang))
	var head strings.Builder
	fmt.Fprintf(&head, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", testcaddy.Addr(p.port), p.length)
	_ = p.header.Write(&head)
	head.WriteString("\r\n")
	if _, err := io.WriteString(conn, head.String()+strings.Repeat("x", p.after)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// early answers once it has read what the client sends before it waits, so that whatever
// is in between is waiting for the client. It tells when a request that it does not
// answer has arrived, and when that is over.
func early(arrived, over chan<- struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Hang") != "" {
			_, _ = io.CopyN(io.Discard, r.Body, pausedAfter)
			arrived <- struct{}{}
			_, _ = io.Copy(io.Discard, r.Body)
			over <- struct{}{}
			return
		}
		if r.Header.Get("X-Unread") == "" {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Connection", "close") // or net/http's server panics where the rest is short
			if _, err := io.CopyN(io.Discard, r.Body, pausedAfter); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		if r.Header.Get("X-Chunked") != "" {
			w.WriteHeader(http.StatusUnauthorized)
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, pausedAnswer)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(pausedAnswer)))
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, pausedAnswer)
	})
}

// Rule D1: an answer, and the end of it, never wait for what the client has not sent
// yet. Over HTTP/2 reverse_proxy alone gives as many answers; over HTTP/1.1 its server
// waits for the body before it sends the header of an answer.
func TestAnswerWhileTheClientPauses(t *testing.T) {
	arrived, over := make(chan struct{}, 1), make(chan struct{}, 1)
	up := httptest.NewServer(early(arrived, over))
	t.Cleanup(up.Close)
	warm := testcaddy.FreePort(t)
	t.Run("warm", func(t *testing.T) { testcaddy.Run(t, mcptest.BridgeTo(warm, "127.0.0.1:1", "")) })
	before := goleak.IgnoreCurrent()
	t.Run("run", func(t *testing.T) {
		bridge, middleware, plain := testcaddy.FreePort(t), testcaddy.FreePort(t), testcaddy.FreePort(t)
		testcaddy.Run(t, fmt.Sprintf(`{
	auto_https off
	servers {
		protocols h1 h2c
	}
}
http://127.0.0.1:%d {
	mcp_auth_bridge %s {
		metadata off
	}
}
http://127.0.0.1:%d {
	route {
		mcp_auth_bridge /mcp {
			metadata off
		}
		reverse_proxy %[2]s
	}
}
http://127.0.0.1:%[4]d {
	reverse_proxy %[2]s
}`, bridge, up.URL, middleware, plain))
		fields := map[string]http.Header{
			"plain":        {},
			"chunked":      {"X-Chunked": {"1"}},
			"unread":       {"X-Unread": {"1"}},
			"Expect":       {"Expect": {"100-continue"}},
			"last request": {"Connection": {"close"}},
		}
		for name, header := range fields {
			for _, at := range []struct {
				protocol, name string
				port           int
			}{{"h1", "bridge", bridge}, {"h2", "bridge", bridge}, {"h2", "middleware", middleware}} {
				if at.protocol == "h2" && header.Get("Connection") != "" {
					continue // it has no such field
				}
				t.Run(name+"/"+at.protocol+"/"+at.name, func(t *testing.T) {
					for _, rest := range []int{pausedLength - pausedAfter, 50 << 10} {
						if header.Get("X-Unread") != "" && rest < maxUnread {
							continue // the upstream waits for it
						}
						if err := (paused{at.protocol, at.port, header, pausedAfter + rest, pausedAfter}).answered(t, t.Context()); err != nil {
							t.Errorf("no answer before the client goes on with %d bytes: %v\n%s", rest, err, strings.Join(testcaddy.Logs(), "\n"))
						}
					}
					// A body that is complete and held.
					unread := header.Clone()
					unread.Set("X-Unread", "1")
					if err := (paused{at.protocol, at.port, unread, 10 << 10, 10 << 10}).answered(t, t.Context()); err != nil {
						t.Errorf("no answer to a small body: %v", err)
					}
				})
			}
		}
		t.Run("as many as reverse_proxy", func(t *testing.T) {
			const n = 20
			count := func(port int) (answers int) {
				for range n {
					if (paused{"h2", port, http.Header{}, pausedLength, pausedAfter}).answered(t, t.Context()) == nil {
						answers++
					}
				}
				return answers
			}
			if alone, got := count(plain), count(bridge); alone != n || got != n {
				t.Errorf("of %d clients that pause %d got their answer, with reverse_proxy alone %d", n, got, alone)
			}
		})
		if testcaddy.Logged("panic") {
			t.Error("the server panics")
		}
		t.Run("client leaves", func(t *testing.T) {
			const left = "the upstream still has a request whose client has left"
			p := paused{"h1", bridge, http.Header{"X-Hang": {"1"}}, pausedLength, pausedAfter}
			conn := p.begin(t)
			await(t, arrived, "the upstream has no request")
			_ = conn.Close()
			await(t, over, left)
			ctx, cancel := context.WithCancel(t.Context())
			p.protocol = "h2"
			ended := make(chan error, 1)
			go func() { ended <- p.answered(t, ctx) }()
			await(t, arrived, "the upstream has no request")
			cancel()
			await(t, over, left)
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	})
	up.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	locks := goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh")
	for late := time.Now().Add(pausedHang); ; { // a server lingers before it closes a connection, and Caddy waits for it
		err := goleak.Find(before, locks)
		if err == nil {
			break
		}
		if time.Now().After(late) {
			t.Fatal(err)
		}
	}
}

// await waits for an event, but not for ever.
func await(t *testing.T, event <-chan struct{}, otherwise string) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(pausedHang):
		t.Fatal(otherwise)
	}
}
