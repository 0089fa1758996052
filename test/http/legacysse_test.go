package http_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// Rules A10, D2: a message path of which the upstream wants the other form works
// as well, and another redirect of it has no private address.
func TestMessagePathRedirects(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/messages/":
			_, _ = io.Copy(w, r.Body)
		case "/messages":
			http.Redirect(w, r, "http://"+r.Host+"/messages/?"+r.URL.RawQuery, http.StatusTemporaryRedirect)
		case "/moved":
			w.Header().Set("Location", r.URL.Query().Get("to"))
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	base := "http://" + testcaddy.Addr(port)
	testcaddy.Run(t, mcptest.BridgeTo(port, "sse+"+up.URL+"/sse", "message_path /messages"))
	if got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", base+"/mcp/message?a=b", mcptest.Initialize)); got.Status != http.StatusOK || got.Body != mcptest.Initialize {
		t.Errorf("got %d %q, header %v", got.Status, got.Body, got.Header)
	}
	testcaddy.Run(t, mcptest.BridgeTo(port, "sse+"+up.URL+"/sse", "message_path /moved"))
	for to, want := range map[string]string{
		up.URL + "/elsewhere?c": base + "/elsewhere?c", "https://other.example/x": "https://other.example/x",
	} {
		got := mcptest.Do(t, mcptest.NewClient(t), mcptest.NewRequest(t, "POST", base+"/mcp/message?to="+url.QueryEscape(to), mcptest.Initialize))
		if location := got.Header.Get("Location"); got.Status != http.StatusTemporaryRedirect || location != want {
			t.Errorf("got %d to %q, want %q", got.Status, location, want)
		}
	}
}

// Rule D2: the endpoint event is mapped below the endpoint, messages reach the
// path that the upstream announced, and no other.
func TestLegacySSE(t *testing.T) {
	got := make(chan string, 10)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Method + " " + r.URL.RequestURI() + " " + r.Header.Get("Accept-Encoding")
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "event: endpoint\ndata: /in/messages?sessionId=a%20b\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, "sse+"+up.URL+"/in/sse", mcptest.AllowApp))
	base := "http://" + testcaddy.Addr(port)
	c := mcptest.NewClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	res, err := c.Do(mcptest.NewRequest(t, "GET", base+"/mcp", "").WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	var path string
	for lines.Scan() && path == "" {
		path, _ = strings.CutPrefix(lines.Text(), "data: ")
		if path == lines.Text() {
			path = ""
		}
	}
	if !strings.HasPrefix(path, "/mcp/message/") || !strings.HasSuffix(path, "?sessionId=a%20b") {
		t.Fatalf("endpoint event names %q", path)
	}
	if line := <-got; line != "GET /in/sse identity" {
		t.Errorf("upstream was asked for %q", line)
	}
	if answer := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+path, mcptest.Initialize)); answer.Status != http.StatusAccepted {
		t.Errorf("message was answered %d", answer.Status)
	}
	if line := <-got; line != "POST /in/messages?sessionId=a%20b gzip" && line != "POST /in/messages?sessionId=a%20b " {
		t.Errorf("upstream was asked for %q", line)
	}
	forged := strings.Replace(path, "/mcp/message/", "/mcp/message/A", 1)
	if answer := mcptest.Do(t, c, mcptest.NewRequest(t, "POST", base+forged, mcptest.Initialize)); answer.Status != http.StatusNotFound ||
		answer.Header.Get("Content-Type") != "application/json" || !strings.Contains(answer.Body, `"error"`) {
		t.Errorf("forged message path was answered %d of type %q with %q, want 404 with JSON", answer.Status, answer.Header.Get("Content-Type"), answer.Body)
	}
	select {
	case line := <-got:
		t.Errorf("forged message path reached the upstream: %q", line)
	default:
	}
}

// Rule D2: an endpoint event that names a foreign origin ends the stream.
func TestLegacySSEForeignEndpoint(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "event: endpoint\ndata: https://evil.example/messages\n\ndata: secret\n\n")
	}))
	t.Cleanup(up.Close)
	port := testcaddy.FreePort(t)
	testcaddy.Run(t, mcptest.BridgeTo(port, "sse+"+up.URL+"/sse", mcptest.AllowApp))
	res, err := mcptest.NewClient(t).Do(mcptest.NewRequest(t, "GET", "http://"+testcaddy.Addr(port)+"/mcp", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil || strings.Contains(string(body), "evil") || strings.Contains(string(body), "secret") {
		t.Errorf("got %q, error %v", body, err)
	}
}
