package mcptest

import (
	"bufio"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Caller is a client of either kind, without an SDK.
type Caller struct {
	T       *testing.T
	Client  *http.Client
	Base    string
	Legacy  bool
	At      string // what messages are posted to
	Session string
	Events  <-chan string // of the GET stream; closed with it
	Leave   func()        // ends the GET stream
}

func (c *Caller) request(method, at, token, body string) *http.Request {
	c.T.Helper()
	req, err := http.NewRequestWithContext(c.T.Context(), method, c.Base+at, strings.NewReader(body))
	if err != nil {
		c.T.Fatal(err)
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	if method == http.MethodGet {
		req.Header.Set("Accept", "text/event-stream")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", PageOrigin)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if c.Session != "" {
		req.Header.Set("Mcp-Session-Id", c.Session)
		req.Header.Set("Mcp-Protocol-Version", "2025-11-25")
	}
	return req
}

// Send sends a request and returns the answer with its body read.
func (c *Caller) Send(method, at, token, body string) (*http.Response, string) {
	c.T.Helper()
	return c.do(c.request(method, at, token, body))
}

// do sends a request and returns the answer with its body read.
func (c *Caller) do(req *http.Request) (*http.Response, string) {
	c.T.Helper()
	res, err := c.Client.Do(req)
	if err != nil {
		c.T.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		c.T.Fatal(err)
	}
	return res, string(got)
}

// Listen opens the GET stream.
func (c *Caller) Listen(token string) {
	c.T.Helper()
	res, err := c.Client.Do(c.request(http.MethodGet, c.StreamPath(), token, ""))
	if err != nil {
		c.T.Fatal(err)
	}
	c.Leave = func() { _ = res.Body.Close() }
	c.T.Cleanup(c.Leave)
	if res.StatusCode != http.StatusOK {
		c.T.Fatalf("GET: %d", res.StatusCode)
	}
	c.Events = events(res.Body)
	if c.Legacy {
		c.At = c.Next()
	}
}

// events reads a stream to its end.
func events(from io.Reader) <-chan string {
	events := make(chan string, 100)
	go func() {
		defer close(events)
		lines := bufio.NewScanner(from)
		lines.Buffer(nil, 8<<20)
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				events <- data
			}
		}
	}()
	return events
}

// Next is the next event of the GET stream; empty: it has ended.
func (c *Caller) Next() string {
	c.T.Helper()
	select {
	case data := <-c.Events:
		return data
	case <-time.After(20 * time.Second):
		c.T.Fatal("no event in 20 s")
		return ""
	}
}

func (c *Caller) StreamPath() string {
	if c.Legacy {
		return "/mcp/sse"
	}
	return "/mcp"
}

// Ask sends a request and returns the answer to it, wherever that comes.
func (c *Caller) Ask(token, body string) string {
	c.T.Helper()
	res, got := c.Send(http.MethodPost, c.At, token, body)
	want := http.StatusOK
	if c.Legacy {
		want = http.StatusAccepted
	}
	if res.StatusCode != want {
		c.T.Fatalf("%s: %d %s, want %d", body, res.StatusCode, got, want)
	}
	if c.Legacy {
		return c.Next()
	}
	if rest, ok := strings.CutPrefix(got, "id: "); ok {
		_, got, _ = strings.Cut(rest, "data: ")
	}
	return got
}

// Begin initializes a session.
func (c *Caller) Begin(token string) {
	c.T.Helper()
	if c.Legacy {
		c.Listen(token)
		if got := c.Ask(token, Initialize); !strings.Contains(got, `"gate"`) {
			c.T.Fatalf("initialize: %s", got)
		}
	} else {
		c.At = "/mcp"
		res, got := c.Send(http.MethodPost, c.At, token, Initialize)
		if c.Session = res.Header.Get("Mcp-Session-Id"); c.Session == "" {
			c.T.Fatalf("initialize: %d %s", res.StatusCode, got)
		}
	}
	if res, got := c.Send(http.MethodPost, c.At, token, Initialized); res.StatusCode != http.StatusAccepted {
		c.T.Fatalf("initialized: %d %s", res.StatusCode, got)
	}
}

// Refused wants an answer to be a verdict of the gate's, to the letter but for the
// URL of the metadata, and readable by a page.
func (c *Caller) Refused(what string, g *Gate, v *Verdict, res *http.Response, body string) {
	c.T.Helper()
	want := v.header.Clone()
	for i, line := range want["Www-Authenticate"] {
		want["Www-Authenticate"][i] = strings.ReplaceAll(line, g.URL, c.Base)
	}
	want.Set("Access-Control-Allow-Origin", PageOrigin)
	if res.StatusCode != v.Status || body != v.body {
		c.T.Errorf("%s: %d %q, want %d %q", what, res.StatusCode, body, v.Status, v.body)
	}
	for name, lines := range want {
		if !slices.Equal(res.Header[name], lines) {
			c.T.Errorf("%s: %s: %q, want %q", what, name, res.Header[name], lines)
		}
	}
	if exposed := res.Header["Access-Control-Expose-Headers"]; len(exposed) != 1 || !strings.Contains(exposed[0], "WWW-Authenticate") {
		c.T.Errorf("%s: exposes %q", what, exposed)
	}
	if vary := res.Header.Values("Vary"); !strings.Contains(strings.Join(vary, ","), "Origin") {
		c.T.Errorf("%s: varies with %q", what, vary)
	}
	if id := res.Header.Get("Mcp-Session-Id"); id != "" && c.Session == "" {
		c.T.Errorf("%s: session %q", what, id)
	}
}
