package record

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// maxRest bounds, in bytes, the rest of a body that is read into memory if the answer
// comes before the end of the body. net/http's HTTP/1 server itself reads and discards
// as much before it sends the header of the answer.
const maxRest = 256 << 10

// Body passes on a request body that is too large to hold.
//
// It remembers the end of the body: once the announced length or the end was read, it
// does not read from the underlying body again. A server that closes that body early
// then does not break a connection whose request is complete.
//
// A read of the client's body may take as long as the client wants. Only another read
// waits for it; the goroutine that passes the answer on never does.
type Body struct {
	rc    io.ReadCloser
	ctx   context.Context // of the request: it ends with the answer
	limit int64           // 0: none
	http1 bool
	w     http.ResponseWriter // where the answer is written to; nil if not known

	// keep is true if the server closes the body as soon as the answer begins. That
	// would break the connection to the upstream while the answer is read, so Answered
	// first reads the rest into memory. Only the goroutine of the request uses keep.
	keep bool

	read     atomic.Int64 // bytes that the client has sent
	failed   atomic.Bool  // the body ended early, or is over the limit
	tooLarge atomic.Bool
	done     atomic.Bool // the end was read: only head is left

	reading sync.Mutex // one read at a time; it guards what follows
	head    []byte
	left    int64 // announced bytes that were not read yet; -1 if no length was announced
	cut     bool  // the rest was not kept and cannot be read any more
	err     error
}

// Read reads the body. Beyond the limit its error is ErrBodyTooLarge. If the rest was
// cut it waits until the request is over: the upstream has answered and does not need
// the rest.
func (b *Body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b.reading.Lock()
	if len(b.head) > 0 {
		n := copy(p, b.head)
		b.head = b.head[n:]
		var err error
		if b.done.Load() && len(b.head) == 0 {
			err = b.end()
		}
		b.reading.Unlock()
		return n, err
	}
	if b.cut {
		b.reading.Unlock()
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	defer b.reading.Unlock()
	if b.done.Load() {
		return 0, b.end()
	}
	return b.next(p)
}

// end returns the error that Read returns at the end.
func (b *Body) end() error {
	if b.err != nil {
		return b.err
	}
	return io.EOF
}

// next reads from the client.
func (b *Body) next(p []byte) (int, error) {
	n, err := b.rc.Read(p)
	if read := b.read.Add(int64(n)); b.limit > 0 && read > b.limit {
		b.tooLarge.Store(true)
		b.finish(ErrBodyTooLarge)
		return 0, ErrBodyTooLarge
	}
	if b.left > 0 {
		b.left -= int64(n)
		if b.left <= 0 && err == nil {
			err = io.EOF
		}
	}
	if err != nil {
		b.finish(err)
	}
	return n, err
}

// finish notes the end, io.EOF or an error.
func (b *Body) finish(err error) {
	if err != io.EOF {
		b.err = err
		b.failed.Store(true)
	}
	b.done.Store(true)
}

// Ask is called before the request is sent to the upstream. It makes an HTTP/1 server
// keep the body open until the answer is over. By default such a server waits for the
// rest of the body before it sends the header of the answer, and then closes it.
func (b *Body) Ask() {
	if b.http1 {
		b.keep = b.w == nil || http.NewResponseController(b.w).EnableFullDuplex() != nil
	}
}

// Answered is called when the upstream's answer has arrived and before any of it is
// sent to the client. It returns at once: an answer must not wait for the client.
//
// The exception is a server that closes the body. Then Answered reads the rest into
// memory, or cuts it if it is too long. It waits for the client, as such a server
// itself does.
func (b *Body) Answered() {
	if b.keep {
		b.keepRest()
		return
	}
	b.endConnection()
}

// endConnection makes the server close an HTTP/1 connection after the answer if the
// client has not sent the whole body. The connection must not be reused: net/http
// would take the rest for the next request, or panic ("invalid concurrent Body.Read
// call").
func (b *Body) endConnection() {
	if !b.http1 || b.keep || b.done.Load() && !b.failed.Load() {
		return
	}
	b.w.Header()["Connection"] = []string{"close"}
	// A client that is still sending must get the answer before the connection closes.
	// If a body exceeds a limit of MaxBytesReader, the server closes first its own side
	// and the connection a moment later, so such a limit is exceeded here.
	limit := http.MaxBytesReader(serverWriter(b.w), io.NopCloser(strings.NewReader("x")), 0)
	_, _ = limit.Read(make([]byte, 1))
}

// serverWriter returns the response writer of the server, inside those that wrap it.
func serverWriter(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = outer.Unwrap()
	}
}

func (b *Body) keepRest() {
	b.reading.Lock()
	defer b.reading.Unlock()
	rest := b.head
	chunk := make([]byte, 32<<10)
	for !b.done.Load() && len(rest) <= maxRest {
		n, err := b.next(chunk)
		rest = append(rest, chunk[:n]...)
		if err != nil && !errors.Is(err, io.EOF) {
			break
		}
	}
	b.head, b.cut = rest, !b.done.Load()
}

// Close does nothing. The server closes the underlying body when the request is done.
func (b *Body) Close() error { return nil }
