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
// An upstream may answer before it has read the body, a 401 above all, and
// close the connection. http.Transport then sees a write fail and gives up,
// although the answer has arrived or is about to: whether the client gets it
// is a race. While a large body is being sent, a Conn therefore does not
// report that a write failed. It drops what follows, and the truth comes from
// reading: the answer, or the same failure.
type Conn struct {
	net.Conn
	// state is what is known of the request with a large body, if there is
	// one; above its lowest two bits, the number of such requests so far.
	state atomic.Uint64
}

// The states of a Conn.
const (
	idle    uint64 = iota
	armed          // a large body is about to be sent
	sending        // its header is out
	broken         // a write failed since

	stateMask = 3
)

// DialFunc dials, as http.Transport.DialContext.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// WrapDial makes the connections of dial each a Conn.
func WrapDial(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &Conn{Conn: conn}, nil
	}
}

// Write writes to the connection. The first write of a request always says
// what went wrong: then nothing of it was sent, and it may be sent again on
// another connection.
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

// release ends the request of that number, if it is still the last: the
// connection is an ordinary one again, and says that it is broken if it is.
func (c *Conn) release(number uint64) {
	for {
		at := c.state.Load()
		if at/(stateMask+1) != number || c.state.CompareAndSwap(at, number*(stateMask+1)+idle) {
			return
		}
	}
}

// connOf returns the Conn that a request of HTTP/1 is sent on, if it is one.
// A connection of HTTP/2 is shared, and its streams end one by one.
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
