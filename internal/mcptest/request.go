package mcptest

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// Messages that tests send, and the origin of the page that sends them.
const (
	AppOrigin   = "https://app.example.com"
	Initialize  = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
	Initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
)

// NewClient returns an HTTP client that follows no redirect and asks for no compression.
func NewClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// NewRequest returns a request of an MCP client. header has names and values in turn.
func NewRequest(t *testing.T, method, url, body string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// Answer is an answer with its body read.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Do sends a request. It fails the test if no whole answer comes.
func Do(t *testing.T, c *http.Client, r *http.Request) Answer {
	t.Helper()
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("reading the body of a %d: %v", res.StatusCode, err)
	}
	return Answer{res.StatusCode, res.Header, string(body)}
}

// HTTPClient returns an HTTP client whose connections end with the test.
func HTTPClient(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}
