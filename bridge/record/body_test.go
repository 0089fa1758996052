package record

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// streamed returns the record of a request over HTTP/1 whose body streams.
func streamed(t *testing.T, ctx context.Context, body io.Reader, length int64) (*Record, *http.Request) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://x/", body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = length
	rec := new(Record)
	if err := rec.Hold(nil, r, 0, 0); err != nil {
		t.Fatal(err)
	}
	if rec.body == nil {
		t.Fatal("the body was held")
	}
	return rec, r
}

// taken is a body that its server takes away, as net/http does when an answer
// begins.
type taken struct {
	io.Reader
	gone bool
}

func (b *taken) Read(p []byte) (int, error) {
	if b.gone {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.Reader.Read(p)
}

// Rule D1: an upstream that answers before it has read the body still gets
// the rest of it, although the server has taken it away.
func TestRestOfTheBodyIsKept(t *testing.T) {
	for _, announced := range []bool{true, false} {
		text := strings.Repeat("0123456789", 20<<10)
		src := &taken{Reader: strings.NewReader(text)}
		length := int64(len(text))
		if !announced {
			length = -1
		}
		rec, r := streamed(t, t.Context(), src, length)
		begin := make([]byte, 1000)
		if _, err := io.ReadFull(r.Body, begin); err != nil {
			t.Fatal(err)
		}
		rec.body.Ask()
		rec.body.Answered()
		src.gone = true
		rest, err := io.ReadAll(r.Body)
		if got := string(begin) + string(rest); err != nil || got != text {
			t.Errorf("announced %v: got %d bytes, %v, want %d", announced, len(got), err, len(text))
		}
	}
}

// A rest that is too long to keep is cut: what was read is passed on, then the
// body waits for the end of the request instead of breaking the connection.
func TestLongRestWaitsForTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		src := &taken{Reader: bytes.NewReader(make([]byte, 1<<20))}
		rec, r := streamed(t, ctx, src, 1<<20)
		rec.body.Ask()
		rec.body.Answered()
		src.gone = true
		if _, err := io.ReadFull(r.Body, make([]byte, maxRest)); err != nil {
			t.Errorf("the rest that was kept: %v", err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, r.Body)
			ended <- err
		}()
		synctest.Wait()
		select {
		case err := <-ended:
			t.Errorf("the body ended with %v before the request", err)
		default:
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the request", err)
		}
	})
}

// HTTP/2 leaves the body alone, and so does the bridge.
func TestRestStaysOnHTTP2(t *testing.T) {
	src := strings.NewReader(strings.Repeat("x", 1000))
	rec, r := streamed(t, t.Context(), src, 1000)
	rec.body.http1 = false // what Hold finds for ProtoMajor 2
	rec.body.Ask()
	rec.body.Answered()
	if src.Len() != 1000 {
		t.Errorf("%d bytes were read ahead", 1000-src.Len())
	}
	if got, err := io.ReadAll(r.Body); len(got) != 1000 || err != nil {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// The limit counts what is read ahead.
func TestRestIsLimited(t *testing.T) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/", strings.NewReader(strings.Repeat("x", 5000)))
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = -1
	rec := new(Record)
	if err := rec.Hold(nil, r, 100, 1000); err != nil {
		t.Fatal(err)
	}
	rec.body.Ask()
	rec.body.Answered()
	_, err = io.ReadAll(r.Body)
	if !errors.Is(err, ErrBodyTooLarge) || !rec.TooLarge() {
		t.Errorf("got %v", err)
	}
}

// careless is the body of a proxy that counts what it reads, and looks at the count when it is
// closed.
type careless struct {
	io.ReadCloser
	read int
}

func (b *careless) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += n
	return n, err
}

func (b *careless) Close() error {
	if b.read == 0 {
		return nil
	}
	return b.ReadCloser.Close()
}

// A transport may close a body while it reads it. The race detector sees it if that reaches the
// body of a proxy.
func TestBodyIsClosedWhileItIsRead(t *testing.T) {
	text := strings.Repeat("0123456789", 1000)
	rec, r := streamed(t, t.Context(), strings.NewReader(text), int64(len(text)))
	r.Body = &careless{ReadCloser: r.Body}
	read := make(chan error)
	_, err := rec.RoundTrip(r, func(req *http.Request) (*http.Response, error) {
		go func() {
			_, err := io.ReadAll(req.Body)
			read <- err
		}()
		return respond(http.StatusUnauthorized), req.Body.Close()
	}, nil)
	if err := errors.Join(err, <-read); err != nil {
		t.Error(err)
	}
}
