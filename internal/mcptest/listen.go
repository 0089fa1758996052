package mcptest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// ListenRaw serves each connection with a function, and closes it after. A whole answer has to
// say that ("Connection: close") if the request does not, or the proxy may send its next request on
// a connection that is about to close, and get no answer: the test fails whenever neither says it,
// not only when it is unlucky.
func ListenRaw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var reusable string
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		defer mu.Unlock()
		if reusable != "" {
			t.Errorf("the upstream closes after an answer that does not say so: %q", reusable)
		}
	})
	go func() {
		for {
			accepted, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				conn := &rawConn{Conn: accepted}
				defer func() { _ = conn.Close() }()
				serve(conn)
				if conn.reusable() {
					mu.Lock()
					defer mu.Unlock()
					reusable = conn.answered.String()
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// rawConn remembers how what has been read and what has been written begins.
type rawConn struct {
	net.Conn
	asked, answered bytes.Buffer
}

func (c *rawConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	remember(&c.asked, p[:n])
	return n, err
}

func (c *rawConn) Write(p []byte) (int, error) {
	remember(&c.answered, p)
	return c.Conn.Write(p)
}

func remember(begin *bytes.Buffer, p []byte) {
	if begin.Len() < 64<<10 {
		begin.Write(p)
	}
}

// reusable reports whether what has been written ends with a whole answer after which the client
// may use the connection again.
func (c *rawConn) reusable() bool {
	if r, err := http.ReadRequest(bufio.NewReader(&c.asked)); err != nil || r.Close {
		return false
	}
	r := bufio.NewReader(bytes.NewReader(c.answered.Bytes()))
	for {
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode == http.StatusSwitchingProtocols {
			return false
		}
		_, err = io.Copy(io.Discard, res.Body)
		if res.StatusCode >= 200 {
			return err == nil && !res.Close && (res.ContentLength >= 0 || len(res.TransferEncoding) > 0)
		}
	}
}

// ListenUnix serves a handler on a unix socket, and returns its path.
func ListenUnix(t *testing.T, h http.Handler) string {
	t.Helper()
	path := t.TempDir() + "/s"
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return path
}

type Endless struct{}

func (Endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
