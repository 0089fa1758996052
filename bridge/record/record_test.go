package record

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
)

func request(t *testing.T, body io.Reader, length int64) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/mcp", body)
	r.ContentLength = length
	return r
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestHold(t *testing.T) {
	const limit, maxBytes = 8, 16
	for _, tc := range []struct {
		name       string
		body       string
		length     int64 // -1: not announced
		repeatable bool
		err        error
	}{
		{"none", "", 0, true, nil},
		{"small", "12345678", 8, true, nil},
		{"small, length unknown", "12345678", -1, true, nil},
		{"large", "123456789", 9, false, nil},
		{"large, length unknown", "123456789", -1, false, nil},
		{"at the bound", "1234567890123456", 16, false, nil},
		{"over the bound", "12345678901234567", 17, false, ErrBodyTooLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var rec Record
			r := request(t, io.NopCloser(iotest.OneByteReader(strings.NewReader(tc.body))), tc.length)
			if tc.length == 0 {
				r.Body = http.NoBody
			}
			err := rec.Hold(nil, r, limit, maxBytes)
			if !errors.Is(err, tc.err) {
				t.Fatalf("got error %v, want %v", err, tc.err)
			}
			if err != nil {
				return
			}
			if rec.Repeatable() != tc.repeatable {
				t.Errorf("got repeatable %v, want %v", rec.Repeatable(), tc.repeatable)
			}
			if got := readAll(t, r.Body); got != tc.body {
				t.Errorf("got body %q, want %q", got, tc.body)
			}
			if tc.repeatable && r.ContentLength != int64(len(tc.body)) {
				t.Errorf("got length %d, want %d", r.ContentLength, len(tc.body))
			}
		})
	}
}

// Rule A7: a body without an announced length is bounded while it is passed on.
func TestBodyBound(t *testing.T) {
	var rec Record
	r := request(t, io.NopCloser(strings.NewReader(strings.Repeat("x", 100))), -1)
	if err := rec.Hold(nil, r, 8, 50); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, r.Body)
	if !errors.Is(err, ErrBodyTooLarge) || n > 50 || !rec.TooLarge() {
		t.Errorf("read %d bytes, error %v, too large %v", n, err, rec.TooLarge())
	}
}

// Rule D1: once the announced length was read, the body of a request is not
// touched again: a server may have closed it.
func TestBodyRemembersItsEnd(t *testing.T) {
	src := &strictBody{r: strings.NewReader("123456789"), left: 9}
	var rec Record
	r := request(t, nil, 9)
	r.Body = src
	if err := rec.Hold(nil, r, 4, 0); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, r.Body); got != "123456789" {
		t.Errorf("got %q", got)
	}
	if src.late {
		t.Error("the body was read after its end")
	}
}

// strictBody notes a read past the announced length, as a closed body would
// fail it.
type strictBody struct {
	r    io.Reader
	left int
	late bool
}

func (s *strictBody) Read(p []byte) (int, error) {
	if s.left == 0 {
		s.late = true
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := s.r.Read(p[:min(len(p), 4)])
	s.left -= n
	return n, err
}

func (s *strictBody) Close() error { return nil }

type hooks struct {
	redo func(*Record, *http.Response) bool
	edit func(*Record, *http.Response)
}

func (h hooks) Redo(r *Record, res *http.Response) bool { return h.redo != nil && h.redo(r, res) }

func (h hooks) Inform(http.Header) {}

func (h hooks) Edit(r *Record, res *http.Response) {
	if h.edit != nil {
		h.edit(r, res)
	}
}

func respond(status int, challenge ...string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Www-Authenticate": challenge}, Body: io.NopCloser(strings.NewReader("x"))}
}

// Rules A9, A10: an answer is discarded once, the held body is sent again, and
// the record is that of the last answer.
func TestRedoSendsTheBodyAgain(t *testing.T) {
	rec := Record{Path: "/a"}
	r := request(t, strings.NewReader("body"), 4)
	if err := rec.Hold(nil, r, 10, 0); err != nil {
		t.Fatal(err)
	}
	again := hooks{redo: func(rec *Record, _ *http.Response) bool { rec.Path = "/a/"; return true }}
	var seen []string
	res, err := rec.RoundTrip(r, func(req *http.Request) (*http.Response, error) {
		seen = append(seen, req.URL.Path+" "+readAll(t, req.Body))
		if len(seen) == 1 {
			return respond(307, "first"), nil
		}
		return respond(401, "second"), nil
	}, again)
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[0] != "/a body" || seen[1] != "/a/ body" {
		t.Errorf("upstream saw %q", seen)
	}
	if res.StatusCode != 401 || rec.Status != 401 || len(rec.Challenge) != 1 || rec.Challenge[0] != "second" {
		t.Errorf("got %d, record %d %q", res.StatusCode, rec.Status, rec.Challenge)
	}
}

// Rule A8: a request whose body is gone is not sent again.
func TestNoRedoOfAStreamedBody(t *testing.T) {
	rec := Record{Path: "/a"}
	r := request(t, strings.NewReader("body"), 4)
	if err := rec.Hold(nil, r, 2, 0); err != nil {
		t.Fatal(err)
	}
	again := hooks{redo: func(*Record, *http.Response) bool { t.Error("asked for a redo"); return true }}
	times := 0
	if _, err := rec.RoundTrip(r, func(*http.Request) (*http.Response, error) { times++; return respond(307), nil }, again); err != nil {
		t.Fatal(err)
	}
	if times != 1 {
		t.Errorf("sent %d times", times)
	}
}

// A retry of the proxy starts with an empty record.
func TestRecordIsResetByEachAttempt(t *testing.T) {
	var rec Record
	r := request(t, http.NoBody, 0)
	if _, err := rec.RoundTrip(r, func(*http.Request) (*http.Response, error) { return respond(401, "x"), nil }, nil); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("refused")
	if _, err := rec.RoundTrip(r, func(*http.Request) (*http.Response, error) { return nil, failed }, nil); !errors.Is(err, failed) {
		t.Fatalf("got %v", err)
	}
	if rec.Status != 0 || rec.Challenge != nil {
		t.Errorf("record keeps %d %q of the attempt before", rec.Status, rec.Challenge)
	}
}

func FuzzHold(f *testing.F) {
	f.Add([]byte("hello"), int64(3), int64(4), true)
	f.Add([]byte(""), int64(0), int64(0), false)
	f.Fuzz(func(t *testing.T, body []byte, limit, maxBytes int64, announced bool) {
		if limit < 0 || limit > 1<<20 || maxBytes < 0 {
			return
		}
		length := int64(-1)
		if announced {
			length = int64(len(body))
		}
		var rec Record
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.ContentLength = length
		err := rec.Hold(nil, r, limit, maxBytes)
		got, readErr := io.ReadAll(r.Body)
		over := maxBytes > 0 && int64(len(body)) > maxBytes
		if err == nil && readErr == nil {
			if over {
				t.Errorf("%d bytes passed a bound of %d", len(body), maxBytes)
			}
			if !bytes.Equal(got, body) {
				t.Errorf("got %q, want %q", got, body)
			}
		} else if !over {
			t.Errorf("%d bytes within the bound %d: %v, %v", len(body), maxBytes, err, readErr)
		}
	})
}

// shortWriter writes less than it is given, and says nothing of it.
type shortWriter struct{ *httptest.ResponseRecorder }

func (w shortWriter) Write(p []byte) (int, error) { return w.ResponseRecorder.Write(p[:len(p)/2]) }

// A1: an answer of which a writer has dropped a part is not complete, also if the writer returns
// no error.
func TestShortWriteBreaksTheAnswer(t *testing.T) {
	rec := new(Record)
	w := rec.Relay(shortWriter{httptest.NewRecorder()})
	res, err := rec.RoundTrip(request(t, nil, 0), func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("hello"))}, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write([]byte("hello")); n != 5 || err != nil {
		t.Errorf("the proxy sees %d, %v", n, err)
	}
	if left, err := rec.Broken(); !left || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %v, %v", left, err)
	}
	if n, err := res.Body.Read(make([]byte, 5)); n != 0 || err != io.EOF {
		t.Errorf("the body goes on: %d, %v", n, err)
	}
}
