package mcpauthbridge

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

type countedBody struct {
	io.Reader
	reads, closes int
}

func (b *countedBody) Read(p []byte) (int, error) { b.reads++; return b.Reader.Read(p) }
func (b *countedBody) Close() error               { b.closes++; return nil }

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What the bridge asks itself is sent whole by each attempt, and by no reader of the
// proxy's: that of Caddy 2.11.9 is read and closed by HTTP/2 at one time, without a lock.
func TestEachAttemptOfAFetchSendsTheWholeBody(t *testing.T) {
	const text = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	c := &capture{body: []byte(text)}
	proxys := &countedBody{Reader: strings.NewReader("")}
	for attempt := range 2 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/mcp", proxys)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.roundTrip(r, roundTripFunc(func(r *http.Request) (*http.Response, error) {
			got, err := io.ReadAll(r.Body)
			if err != nil || string(got) != text || r.ContentLength != int64(len(text)) {
				t.Errorf("attempt %d: got %q of %d bytes, error %v", attempt, got, r.ContentLength, err)
			}
			if again, err := r.GetBody(); err != nil {
				t.Error(err)
			} else if got, _ := io.ReadAll(again); string(got) != text {
				t.Errorf("attempt %d: again %q", attempt, got)
			}
			_ = r.Body.Close()
			return &http.Response{StatusCode: http.StatusOK, Header: make(http.Header), Body: http.NoBody}, nil
		}))
		if err != nil {
			t.Error(err)
		}
	}
	if proxys.reads != 0 || proxys.closes != 0 {
		t.Errorf("the proxy's reader was read %d times and closed %d times", proxys.reads, proxys.closes)
	}
}
