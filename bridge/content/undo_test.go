package content

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// What is read of an answer is not what its coded header says.
func TestUndo(t *testing.T) {
	res := &http.Response{
		Header: http.Header{"Content-Encoding": {"gzip"}, "Content-Length": {"99"}, "Etag": {`"x"`}, "Content-Type": {"application/json"}},
		Body:   io.NopCloser(strings.NewReader(string(packGzip("{}")))), ContentLength: 99,
	}
	if err := Undo(res); err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "{}" || res.ContentLength != -1 || len(res.Header) != 1 {
		t.Errorf("got %q, %v, length %d, header %v", body, err, res.ContentLength, res.Header)
	}
	plain := &http.Response{Header: http.Header{"Content-Length": {"2"}}, Body: http.NoBody, ContentLength: 2}
	if err := Undo(plain); err != nil || plain.ContentLength != 2 || len(plain.Header) != 1 {
		t.Errorf("an answer without a coding was changed: %v %+v", err, plain)
	}
	unknown := &http.Response{Header: http.Header{"Content-Encoding": {"br"}}, Body: http.NoBody}
	if err := Undo(unknown); err == nil || len(unknown.Header) != 1 {
		t.Errorf("got %v, header %v", err, unknown.Header)
	}
}
