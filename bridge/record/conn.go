package record

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync/atomic"
)

// Conn is a connection to an upstream on which a request with a large body
// cannot lose its answer.
//
// An upstream may answer before it has read the body, with a 401 for example, and
// close the connection. http.Transport then sees a failed write and gives up, although
// the answer has arrived or is about to arrive: whether the client gets it is a race.
// While a large body is being sent, a Conn therefore does not report a failed write. It
// drops the rest, and reading returns the answer or the same failure.
type Conn struct {
	net.Conn
	// state has one of the states below in its lowest two bits. The other bits count
	// the requests with large bodies.
	state atomic.Uint64
}

// The states of a Conn.
const (
	idle    uint64 = iota
	armed          // a large body is about to be sent
	sending        // its header was sent
	broken         // a write has failed

	stateMask = 3
)

// DialFunc dials, as http.Transport.DialContext.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// WrapDial returns a DialFunc that makes each connection of dial a Conn.
func WrapDial(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &Conn{Conn: conn}, nil
	}
}

// Write writes to the connection. The first write of a request always returns its
// error: nothing of the request was sent, so it may be sent on another connection.
func (c *Conn) Write(p []byte) (int, error) {
	at := c.state.Load()
	state := at & stateMask
	if state == broken {
		return len(p), nil
	}
	n, err := c.Conn.Write(p)
	switch {
	case err == nil && state == armed:
		c.state.CompareAndSwap(at, at-armed+sending)
	case err != nil && state == sending && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded):
		if c.state.CompareAndSwap(at, at-sending+broken) {
			return len(p), nil
		}
	}
	return n, err
}

// arm begins a request with a large body and returns its number.
func (c *Conn) arm() uint64 {
	for {
		at := c.state.Load()
		number := at/(stateMask+1) + 1
		if c.state.CompareAndSwap(at, number*(stateMask+1)+armed) {
			return number
		}
	}
}

// release ends the request of that number, if it is still the last one. From then on
// writes return their errors again.
func (c *Conn) release(number uint64) {
	for {
		at := c.state.Load()
		if at/(stateMask+1) != number || c.state.CompareAndSwap(at, number*(stateMask+1)+idle) {
			return
		}
	}
}

// connOf returns the Conn that an HTTP/1 request is sent on, if it is one. An HTTP/2
// connection is shared, and its streams end separately.
func connOf(conn net.Conn) *Conn {
	if t, ok := conn.(*tls.Conn); ok {
		if t.ConnectionState().NegotiatedProtocol == "h2" {
			return nil
		}
		conn = t.NetConn()
	}
	c, _ := conn.(*Conn)
	return c
}

// guarded sends a request with a large body.
func guarded(req *http.Request, rt RoundTripFunc) (*http.Response, error) {
	var end atomic.Pointer[func()]
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if c := connOf(info.Conn); c != nil {
			number := c.arm()
			release := func() { c.release(number) }
			end.Store(&release)
		}
	}})
	res, err := rt(req.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if release := end.Load(); release != nil && res.StatusCode != http.StatusSwitchingProtocols {
		res.Body = &releasing{ReadCloser: res.Body, release: *release}
	}
	return res, nil
}

// releasing releases the connection once the answer was read.
type releasing struct {
	io.ReadCloser
	release func()
}

// Close implements io.Closer.
func (r *releasing) Close() error {
	r.release()
	return r.ReadCloser.Close()
}
