package bodies

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

const most = 1 << 20

// request is a POST whose length is announced, unless chunked is set.
func request(ctx context.Context, body io.Reader, size int, chunked bool) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://h/", body)
	if r.ContentLength = int64(size); chunked {
		r.ContentLength = -1
	}
	return r
}

// G: a body is read whole whatever its length, and takes room as large as it is unless it is small. The
// room is free when the request is over.
func TestBodiesTakeRoom(t *testing.T) {
	for _, size := range []int{0, 1, Small - 1, Small, Small + 1, 2 * Small, 2*Small + 1, 300_000, most - 1, most, most + 1, 3 * most} {
		for _, chunked := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				ctx, end := context.WithCancel(t.Context())
				defer end()
				var room Room
				text := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
				r := request(ctx, io.MultiReader(bytes.NewReader(text)), size, chunked)
				got, err := room.Read(httptest.NewRecorder(), r, most, 4)
				if size > most {
					if !errors.Is(err, record.ErrBodyTooLarge) {
						t.Errorf("%d bytes, chunked %v: got %d bytes, %v", size, chunked, len(got), err)
					}
				} else if err != nil || !bytes.Equal(got, text) {
					t.Errorf("%d bytes, chunked %v: got %d bytes, %v", size, chunked, len(got), err)
				}
				switch used := room.Used(); {
				case size <= Small && used != 0, size > Small && size <= most && used < int64(size), used > most+1 && used > 2*Small,
					!chunked && size > most && used != 0, !chunked && used > int64(size)+Small:
					t.Errorf("%d bytes, chunked %v: %d bytes are taken", size, chunked, used)
				}
				end()
				synctest.Wait()
				if used := room.Used(); used != 0 {
					t.Errorf("%d bytes, chunked %v: %d bytes are taken by nobody", size, chunked, used)
				}
			})
		}
	}
}

// G: all bodies together take no more than the room. Who finds none waits for it, ten seconds at most,
// or until the client is gone. Small bodies are read all the same.
func TestBodiesWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var room Room
		read := func(ctx context.Context, size int) error {
			if ctx == t.Context() { // the request ends with the read
				var end func()
				ctx, end = context.WithCancel(ctx)
				defer end()
			}
			_, err := room.Read(httptest.NewRecorder(), request(ctx, strings.NewReader(strings.Repeat("x", size)), size, false), most, 1)
			return err
		}
		first, end := context.WithCancel(t.Context())
		if err := read(first, most*3/4); err != nil {
			t.Fatal(err)
		}
		if err := read(t.Context(), Small); err != nil {
			t.Errorf("a small body: %v", err)
		}
		start := time.Now()
		if err := read(t.Context(), most/2); !errors.Is(err, ErrNoRoom) || time.Since(start) != 10*time.Second {
			t.Errorf("without room: %v after %v", err, time.Since(start))
		}
		gone, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if err := read(gone, most/2); !errors.Is(err, ErrNoRoom) || time.Since(start) != 11*time.Second {
			t.Errorf("a client that goes: %v after %v", err, time.Since(start))
		}
		done := make(chan error)
		go func() {
			ctx, end := context.WithCancel(t.Context())
			defer end()
			done <- read(ctx, most/2)
		}()
		time.Sleep(5 * time.Second)
		end()
		if err := <-done; err != nil || time.Since(start) != 16*time.Second {
			t.Errorf("with room again: %v after %v", err, time.Since(start))
		}
		synctest.Wait()
		if used := room.Used(); used != 0 {
			t.Errorf("%d bytes are taken by nobody", used)
		}
	})
}

// G: many clients that announce much, send a part and wait hold no more than the room.
func TestStalledBodiesHoldNoMoreThanTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var room Room
		ctx, end := context.WithCancel(t.Context())
		for range 100 {
			body, _ := io.Pipe()
			go func() {
				_, _ = room.Read(httptest.NewRecorder(), request(ctx, io.MultiReader(strings.NewReader(strings.Repeat("x", most/2)), body), most, false), most, 4)
			}()
			defer body.Close()
		}
		time.Sleep(time.Minute)
		if used := room.Used(); used > 4*most || used < 2*most {
			t.Errorf("%d bytes are taken", used)
		}
		end()
	})
}

// pipes is a listener whose connections are pipes, whose deadlines follow the clock of the test.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// G: who takes room has to send at 16 KiB a second, after half a minute. A bound of the operator for
// the whole request comes before that one.
func TestSlowBodies(t *testing.T) {
	for name, tc := range map[string]struct {
		rate    int // bytes a second; 0: none after the start
		bound   time.Duration
		want    error
		earlier time.Duration // the end is before
	}{
		"stalled":                {0, 0, ErrSlow, 50 * time.Second},
		"slow":                   {8 << 10, 0, ErrSlow, 100 * time.Second},
		"fast enough":            {20 << 10, 0, nil, 60 * time.Second},
		"bounded, and not there": {0, 5 * time.Second, nil, 6 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			result, start := make(chan error, 1), time.Now()
			server := &http.Server{ReadTimeout: tc.bound, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var room Room
				_, err := room.Read(w, r, most, 2)
				result <- err
			})}
			listener := make(pipes)
			go func() { _ = server.Serve(listener) }()
			client, conn := net.Pipe()
			listener <- conn
			go func() {
				_, _ = fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", most, strings.Repeat("x", most/4))
				for sent := most / 4; sent < most && tc.rate > 0; sent += tc.rate {
					if _, err := io.WriteString(client, strings.Repeat("x", min(tc.rate, most-sent))); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			err := <-result
			if tc.bound > 0 {
				if err == nil || errors.Is(err, ErrNoRoom) {
					t.Errorf("%s: got %v", name, err)
				}
			} else if !errors.Is(err, tc.want) {
				t.Errorf("%s: got %v, want %v", name, err, tc.want)
			}
			if took := time.Since(start); took > tc.earlier {
				t.Errorf("%s: took %v", name, took)
			}
			_ = client.Close()
			close(listener)
			_ = server.Close()
			time.Sleep(time.Second) // in which net/http waits for the client to close, too
		})
	}
}
