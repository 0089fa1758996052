// Package content removes content codings and a byte order mark from a body.
//
// Some servers send content codings although the bridge asks for none. Everything that the
// bridge reads from a server, documents and messages, goes through this package, so that it
// is read as the HTTP libraries of clients read it.
package content

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"
)

// maxCodings bounds how many content codings one body may have.
const maxCodings = 2

// maxCodingName bounds, in bytes, the name of an unknown coding in an error.
const maxCodingName = 32

// ErrTooLarge says that a body is longer than the limit once it is decoded.
var ErrTooLarge = errors.New("is larger than the limit once it is decoded")

// ErrBroken says that a body is not in the coding that it claims.
var ErrBroken = errors.New("is not in the content coding that it claims")

// CodingError says that a body has a content coding that cannot be undone.
type CodingError struct{ Coding string }

// Error implements error.
func (e *CodingError) Error() string {
	return fmt.Sprintf("has the content coding %s, which the bridge cannot read", e.Coding)
}

// byteOrderMark begins a text in UTF-8 that some editors and libraries write (RFC
// 3629 section 6). Readers of browsers, Node and Python drop it.
const byteOrderMark = "\xef\xbb\xbf"

// WithoutMark returns text without a byte order mark at its beginning.
func WithoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte(byteOrderMark)) }

// Legible returns JSON as the decoders of clients read it, whatever charset its media type
// names: bytes that are not UTF-8 become U+FFFD (Encoding standard, UTF-8 decode). If the
// result is not JSON, text is returned as it is.
func Legible(text []byte) []byte {
	if utf8.Valid(text) {
		return text
	}
	if read := bytes.ToValidUTF8(text, []byte("\uFFFD")); json.Valid(read) {
		return read
	}
	return text
}

// Codings returns the content codings of a header in the order in which they were applied,
// in lower case, without identity (RFC 9110 section 8.4).
func Codings(h http.Header) []string {
	var codings []string
	for _, line := range h["Content-Encoding"] {
		for coding := range strings.SplitSeq(line, ",") {
			switch coding = strings.ToLower(strings.TrimSpace(coding)); coding {
			case "", "identity":
			default:
				codings = append(codings, coding)
			}
		}
	}
	return codings
}

// Decode returns body, at most limit bytes of it, without the content codings that h
// names. Its error is [ErrTooLarge], [ErrBroken] or a [CodingError].
func Decode(h http.Header, body []byte, limit int64) ([]byte, error) {
	codings := Codings(h)
	if len(codings) == 0 {
		if int64(len(body)) > limit {
			return nil, ErrTooLarge
		}
		return body, nil
	}
	r, err := NewReader(h, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	decoded, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case int64(len(decoded)) > limit:
		return nil, ErrTooLarge
	case err != nil:
		return nil, ErrBroken
	}
	return decoded, nil
}

// NewReader returns a reader of body without the content codings that h names. It reads
// nothing yet: if the body is not in its coding, Read returns the error. The length of the
// decoded body is not bounded. The error is a [CodingError].
func NewReader(h http.Header, body io.Reader) (io.Reader, error) {
	codings := Codings(h)
	if len(codings) > maxCodings {
		return nil, &CodingError{Coding: name(strings.Join(codings, ", "))}
	}
	for i := len(codings) - 1; i >= 0; i-- {
		open := openers[codings[i]]
		if open == nil {
			return nil, &CodingError{Coding: name(codings[i])}
		}
		body = &lazy{from: body, open: open}
	}
	return body, nil
}

// name returns a coding as it may be logged: a client or server may have written anything.
func name(coding string) string {
	if len(coding) > maxCodingName {
		coding = coding[:maxCodingName] + "..."
	}
	return fmt.Sprintf("%q", coding)
}

// openers make a reader for each supported coding.
var openers = map[string]func(*bufio.Reader) (io.Reader, error){
	"gzip":    openGzip,
	"x-gzip":  openGzip,
	"deflate": openDeflate,
}

func openGzip(r *bufio.Reader) (io.Reader, error) { return gzip.NewReader(r) }

// openDeflate reads the zlib format, which deflate means, and the raw format that some
// servers send instead (RFC 9110 section 8.4.1.2).
func openDeflate(r *bufio.Reader) (io.Reader, error) {
	const header = 2
	if head, err := r.Peek(header); err == nil && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(r)
	}
	return flate.NewReader(r), nil
}

// lazy opens the decoder at the first read, because the first bytes of the body may arrive
// later than the header.
type lazy struct {
	from io.Reader
	open func(*bufio.Reader) (io.Reader, error)
	r    io.Reader
	err  error
}

// Read implements io.Reader.
func (l *lazy) Read(p []byte) (int, error) {
	if l.r == nil && l.err == nil {
		buffered := bufio.NewReader(l.from)
		if _, err := buffered.Peek(1); err != nil {
			l.err = err // an empty body is empty in every coding
		} else {
			l.r, l.err = l.open(buffered)
		}
	}
	if l.err != nil {
		return 0, l.err
	}
	return l.r.Read(p)
}

// Undo removes the content codings from an answer: from its body and from its header. Its
// error is a [CodingError]; then the answer is unchanged.
func Undo(res *http.Response) error {
	if len(Codings(res.Header)) == 0 {
		return nil
	}
	r, err := NewReader(res.Header, res.Body)
	if err != nil {
		return err
	}
	res.Body = &undone{Reader: r, Closer: res.Body}
	DropFields(res.Header)
	res.ContentLength, res.Uncompressed = -1, true
	return nil
}

// DropFields removes the fields that describe the body as it was sent. It is called when the
// body is replaced.
func DropFields(h http.Header) {
	for _, field := range []string{"Content-Encoding", "Content-Length", "Etag", "Accept-Ranges", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5"} {
		delete(h, field)
	}
}

// undone is a body without its content codings.
type undone struct {
	io.Reader
	io.Closer
}
