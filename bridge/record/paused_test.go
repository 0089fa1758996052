package record

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
)

// duplexWriter is the writer of a server that can leave the body alone.
type duplexWriter struct {
	http.ResponseWriter
	duplex bool
}

func (w *duplexWriter) EnableFullDuplex() error { w.duplex = true; return nil }

// Rule D1: while a read of the body waits for the client, nothing of the answer's way
// waits for that read: neither the answer, nor an error, nor what is asked at the end. In
// the bubble a wait is a deadlock, which fails the test.
func TestNothingWaitsForAReadOfTheBody(t *testing.T) {
	for _, proto := range []int{1, 2, 3} {
		for _, failed := range []error{nil, errors.New("broken")} {
			synctest.Test(t, func(t *testing.T) {
				client, server := io.Pipe()
				w := &duplexWriter{ResponseWriter: httptest.NewRecorder()}
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mcp", client)
				r.ContentLength, r.ProtoMajor = 200<<10, proto
				rec := new(Record)
				if err := rec.Hold(w, r, 64<<10, 0); err != nil {
					t.Fatal(err)
				}
				read := make(chan error)
				_, err := rec.RoundTrip(r, func(req *http.Request) (*http.Response, error) {
					go func() {
						_, err := io.Copy(io.Discard, req.Body)
						read <- err
					}()
					_, _ = server.Write(make([]byte, 100<<10))
					synctest.Wait() // the read waits for the client
					return respond(http.StatusUnauthorized), failed
				}, nil)
				if !errors.Is(err, failed) {
					t.Errorf("HTTP/%d: got %v", proto, err)
				}
				if rec.Received() != 100<<10 || rec.ClientFailed() || rec.TooLarge() {
					t.Errorf("HTTP/%d: received %d, failed %v, too large %v", proto, rec.Received(), rec.ClientFailed(), rec.TooLarge())
				}
				closes := w.Header().Get("Connection") == "close"
				if closes != (proto == 1) || w.duplex != (proto == 1) {
					t.Errorf("HTTP/%d: closes the connection %v, duplex %v", proto, closes, w.duplex)
				}
				_ = server.CloseWithError(io.ErrUnexpectedEOF)
				if err := <-read; !errors.Is(err, io.ErrUnexpectedEOF) || !rec.ClientFailed() {
					t.Errorf("HTTP/%d: the read ended with %v, failed %v", proto, err, rec.ClientFailed())
				}
			})
		}
	}
}
