package upstream

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// sized is a body that records the size of the largest buffer that it was read into.
type sized struct {
	io.Reader
	asked  []int
	closed bool
}

func (b *sized) Read(p []byte) (int, error) {
	b.asked = append(b.asked, len(p))
	return b.Reader.Read(p)
}

func (b *sized) Close() error {
	b.closed = true
	return nil
}

// proxied answers a capture as reverse_proxy does: header, body, end.
func proxied(w *capture, body io.ReadCloser) error {
	rest := w.Opened(body)
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	_, err := io.Copy(struct{ io.Writer }{w}, rest)
	return errors.Join(err, rest.Close())
}

// A stream arrives complete, however it is cut into pieces. While no events come, its buffer
// is small, also if many came before.
func TestAnIdleStreamHasASmallBuffer(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	for _, want := range []string{"", "data: 1\n\n", "data: " + long + "\n\ndata: 2\n\n"} {
		for name, cut := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader,
			"halves": iotest.HalfReader, "end with data": iotest.DataErrReader,
		} {
			var got bytes.Buffer
			w := newCapture(1<<20, func(int, http.Header) io.Writer { return &got })
			body := &sized{Reader: cut(io.MultiReader(strings.NewReader(want), iotest.OneByteReader(strings.NewReader(": \n\n"))))}
			if err := proxied(w, body); err != nil || got.String() != want+": \n\n" || !body.closed {
				t.Errorf("%s: got %d bytes, %v, closed %v; want %d", name, got.Len(), err, body.closed, len(want)+4)
			}
			if first, last := body.asked[0], body.asked[len(body.asked)-1]; first != leastRead || last != leastRead {
				t.Errorf("%s: it waits with %d bytes first, %d at the end; want %d", name, first, last, leastRead)
			}
		}
	}
}

// A proxy may read from the stream before it passes the header on. Nothing is lost then.
func TestAStreamReadBeforeItsHeaderLosesNothing(t *testing.T) {
	var got bytes.Buffer
	w := newCapture(1<<20, func(int, http.Header) io.Writer { return &got })
	rest := w.Opened(io.NopCloser(strings.NewReader("data: 1\n\ndata: 2\n\n")))
	first := make([]byte, 5)
	if _, err := io.ReadFull(rest, first); err != nil {
		t.Fatal(err)
	}
	w.WriteHeader(http.StatusOK)
	if _, err := io.Copy(w, io.MultiReader(bytes.NewReader(first), rest)); err != nil || got.String() != "data: 1\n\ndata: 2\n\n" {
		t.Errorf("got %q, %v", &got, err)
	}
}

// The stream ends when its consumer returns an error.
func TestAStreamEndsWithItsConsumer(t *testing.T) {
	pr, pw := io.Pipe()
	w := newCapture(1<<20, func(int, http.Header) io.Writer { return failing{} })
	go func() { _, _ = pw.Write([]byte("data: 1\n\n")) }()
	w.Opened(pr)
	w.WriteHeader(http.StatusOK)
	if n, err := w.from.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes are left, %v", n, err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errTooLong }
