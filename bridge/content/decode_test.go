package content

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func packGzip(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.Bytes()
}

func packZlib(s string) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.Bytes()
}

func packFlate(s string) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.DefaultCompression)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.Bytes()
}

// decodeCases seed the fuzzing as well.
var decodeCases = []struct {
	name   string
	coding []string
	body   []byte
	want   string
	err    error
}{
	{"none", nil, []byte("text"), "text", nil},
	{"identity", []string{"Identity"}, []byte("text"), "text", nil},
	{"gzip", []string{"gzip"}, packGzip("text"), "text", nil},
	{"GZIP with spaces", []string{" GZip "}, packGzip("text"), "text", nil},
	{"x-gzip", []string{"x-gzip"}, packGzip("text"), "text", nil},
	{"two members", []string{"gzip"}, append(packGzip("te"), packGzip("xt")...), "text", nil},
	{"zlib", []string{"deflate"}, packZlib("text"), "text", nil},
	{"raw deflate", []string{"deflate"}, packFlate("text"), "text", nil},
	{"identity and gzip", []string{"identity, gzip", ""}, packGzip("text"), "text", nil},
	{"gzip over zlib", []string{"deflate, gzip"}, packGzip(string(packZlib("text"))), "text", nil},
	{"gzip over zlib in two lines", []string{"deflate", "gzip"}, packGzip(string(packZlib("text"))), "text", nil},
	{"empty", []string{"gzip"}, nil, "", nil},
	{"as long as may be", []string{"gzip"}, packGzip(strings.Repeat("a", 1000)), strings.Repeat("a", 1000), nil},

	{"too long", nil, bytes.Repeat([]byte("a"), 1001), "", ErrTooLarge},
	{"too long once decoded", []string{"gzip"}, packGzip(strings.Repeat("a", 1001)), "", ErrTooLarge},
	{"a hundred MiB of blanks", []string{"gzip"}, packGzip(strings.Repeat(" ", 100<<20)), "", ErrTooLarge},
	{"not gzip", []string{"gzip"}, []byte("text that is not packed"), "", ErrBroken},
	{"cut off", []string{"gzip"}, packGzip("text that is long enough")[:20], "", ErrBroken},
	{"wrong checksum", []string{"gzip"}, append(packGzip("text")[:len(packGzip("text"))-8], 0, 0, 0, 0, 4, 0, 0, 0), "", ErrBroken},
	{"brotli", []string{"br"}, []byte("x"), "", new(CodingError)},
	{"two gzip and one more", []string{"gzip, gzip, gzip"}, packGzip("x"), "", new(CodingError)},
}

// C2: what is read has the codings that HTTP libraries undo, bounded once it is decoded.
func TestDecode(t *testing.T) {
	const limit = 1000
	for _, tc := range decodeCases {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Decode(http.Header{"Content-Encoding": tc.coding}, tc.body, limit)
			if string(got) != tc.want {
				t.Errorf("got %q; want %q", got, tc.want)
			}
			var coding *CodingError
			switch {
			case errors.As(tc.err, &coding):
				if !errors.As(err, &coding) {
					t.Errorf("got error %v; want one of the coding", err)
				}
			case !errors.Is(err, tc.err):
				t.Errorf("got error %v; want %v", err, tc.err)
			}
		})
	}
}

// F1: a coding that anyone may have written stands in an error bounded and quoted.
func TestCodingError(t *testing.T) {
	for _, coding := range []string{"br", strings.Repeat("x", 1<<16), "a\x1b[31mb"} {
		_, err := NewReader(http.Header{"Content-Encoding": {coding}}, nil)
		if err == nil || len(err.Error()) > 200 || strings.ContainsRune(err.Error(), '\x1b') {
			t.Errorf("%.40q: got error %.300v; want a short one without control characters", coding, err)
		}
	}
}

func TestWithoutMark(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "{}": "{}", "\xef\xbb\xbf{}": "{}", "\xef\xbb\xbf": "", "\xef\xbb": "\xef\xbb", "\xef\xbb\xbf\xef\xbb\xbf{}": "\xef\xbb\xbf{}",
	} {
		if got := string(WithoutMark([]byte(in))); got != want {
			t.Errorf("%q: got %q; want %q", in, got, want)
		}
	}
}

// What comes piece by piece is decoded piece by piece: a stream of events does not wait
// for its end.
func TestReaderStreams(t *testing.T) {
	pr, pw := io.Pipe()
	defer pr.Close()
	r, err := NewReader(http.Header{"Content-Encoding": {"gzip"}}, pr)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(pw)
	go func() {
		_, _ = io.WriteString(z, "data: 1\n\n")
		_ = z.Flush() // and nothing more
	}()
	got := make([]byte, 9)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "data: 1\n\n" {
		t.Errorf("got %q, %v; want the first event", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, tc := range decodeCases {
		if len(tc.body) < 4<<10 {
			f.Add(strings.Join(tc.coding, ","), tc.body)
		}
	}
	f.Fuzz(func(t *testing.T, coding string, body []byte) {
		const limit = 1 << 12
		got, err := Decode(http.Header{"Content-Encoding": {coding}}, body, limit)
		if len(got) > limit {
			t.Errorf("%d bytes; want %d at most", len(got), limit)
		}
		if err != nil && got != nil {
			t.Errorf("got %q with error %v", got, err)
		}
		if err == nil && len(Codings(http.Header{"Content-Encoding": {coding}})) == 0 && !bytes.Equal(got, body) {
			t.Errorf("got %q; want the body %q", got, body)
		}
	})
}
