package observe_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// garbled answers with no HTTP, and has in it what the client has sent.
func garbled(t *testing.T) string {
	return mcptest.ListenRaw(t, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(conn, "%s %s %s\r\n\r\n", r.Header.Get("Mcp-Session-Id"), r.Header.Get("X-Api-Key"), r.URL.RawQuery)
	})
}

// endlessStream begins an answer that goes on for as long as the client is there.
func endlessStream(t *testing.T) string {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			if _, err := io.WriteString(w, "data: "+secret("event")+strings.Repeat("x", 1<<10)+"\n\n"); err != nil || r.Context().Err() != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			if r.Header.Get("X-Idle") != "" {
				<-r.Context().Done()
			}
		}
	}))
	t.Cleanup(up.Close)
	return up.URL
}

// defaultLog returns the lines that the log has at its default level.
func defaultLog() (lines []string) {
	for _, line := range testcaddy.Logs() {
		if !strings.Contains(line, `"level":"debug"`) {
			lines = append(lines, line)
		}
	}
	return lines
}

// F1: at the default level, without a filter and whatever happens, the log has no session
// id, key or query: of a request that fails or breaks off neither the bridge nor Caddy
// says more than what it takes to find out why.
func TestDefaultLogHasNoSecrets(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	up := newTattler(t)
	silent := mcptest.ListenRaw(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	gone := mcptest.ListenRaw(t, func(net.Conn) {})
	ports := make(map[string]int)
	var sites strings.Builder
	add := func(name, directive string) {
		ports[name] = testcaddy.FreePort(t)
		fmt.Fprintf(&sites, "http://127.0.0.1:%d {\n\tbind 127.0.0.1\n\t%s\n}\n", ports[name], directive)
	}
	const short = " {\n\tmetadata off\n\tlimits {\n\t\tresponse_header_timeout 50ms\n\t}\n}"
	add("cross", "mcp_auth_bridge "+up.URL+" {\n\tauthorization_server bridge\n}")
	add("replace", "mcp_auth_bridge "+up.URL+" {\n\tchallenge replace\n}")
	add("sse", "mcp_auth_bridge sse+"+up.URL+"/sse")
	add("legacy", "mcp_auth_bridge "+up.URL+" {\n\tlegacy_sse\n}")
	add("garbled", "mcp_auth_bridge "+garbled(t))
	add("garbled legacy", "mcp_auth_bridge "+garbled(t)+" {\n\tlegacy_sse\n}")
	add("garbled sse", "mcp_auth_bridge sse+"+garbled(t)+"/sse")
	add("gone", "mcp_auth_bridge "+gone)
	add("down", "mcp_auth_bridge 127.0.0.1:1")
	add("slow", "mcp_auth_bridge "+silent+short)
	add("middleware", "route {\n\tmcp_auth_bridge /mcp\n\treverse_proxy 127.0.0.1:1\n}")
	add("endless", "mcp_auth_bridge "+endlessStream(t)+" {\n\tmetadata off\n}")
	add("program", fmt.Sprintf("mcp_auth_bridge {\n\tlegacy_sse\n\tstdio %q -test.run=^$ {\n\t\tenv %s=1\n\t\tenv TOKEN=%s\n\t}\n}", self, leakyProgram, secret("environment")))
	testcaddy.Run(t, "{\n\tauto_https off\n\tservers {\n\t\tprotocols h1 h2c\n\t}\n}\n"+sites.String())
	at := func(name, path string) string {
		return "http://" + testcaddy.Addr(ports[name]) + path + "?q=" + secret("query") + "&access_token=" + secret("querytoken")
	}
	clients := map[string]*http.Client{"h1": mcptest.NewClient(t), "h2": mcptest.NewClient(t)}
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2.CloseIdleConnections)
	clients["h2"].Transport = h2

	statuses, left := make(map[int]int), 0
	send := func(c *http.Client, method, url, body string, fields map[string]string) {
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range fields {
			req.Header.Set(name, value)
		}
		res, err := c.Do(req)
		if err != nil {
			return
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if statuses[res.StatusCode]++; err != nil {
			statuses[0]++ // the answer breaks off
		}
	}
	for _, protocol := range []string{"h1", "h2"} {
		c := clients[protocol]
		for _, site := range slices.Sorted(maps.Keys(ports)) {
			if site == "endless" {
				continue
			}
			for _, do := range []string{"", "described", "redirect", "500", "abort", "broken"} {
				if do == "broken" && site == "sse" {
					continue // an initialize without an answer takes a minute
				}
				send(c, "POST", at(site, "/mcp"), mcptest.Initialize, confidential("X-Do", do))
				send(c, "POST", at(site, "/mcp"), mcptest.Initialize, confidential("X-Do", do, "Mcp-Session-Id", ""))
			}
			send(c, "DELETE", at(site, "/mcp"), "", confidential())
			if site != "middleware" { // whose endpoint has no such path
				send(c, "GET", at(site, "/mcp/message/"+secret("path")), "", confidential())
			}
		}
		send(c, "GET", at("cross", "/authorize"), "", confidential())
		send(c, "GET", at("down", "/.well-known/oauth-protected-resource/mcp"), "", confidential())
		for _, idle := range []string{"", "1"} {
			ctx, cancel := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, at("endless", "/mcp"), nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range confidential("X-Idle", idle) {
				req.Header.Set(name, value)
			}
			res, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(res.Body, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			cancel()
			_ = res.Body.Close()
			left++
			testcaddy.AwaitLog(t, func(string) bool { return count("client has left before the end of the answer") == left })
		}
	}
	for _, status := range []int{0, http.StatusBadGateway, http.StatusGatewayTimeout, http.StatusUnauthorized, http.StatusOK} {
		if statuses[status] == 0 {
			t.Errorf("no answer was %d: %v", status, statuses)
		}
	}
	for _, message := range []string{"request has failed", "answer of the upstream breaks off"} {
		if count(message) == 0 {
			t.Errorf("the log does not say %q", message)
		}
	}
	for _, line := range defaultLog() {
		if strings.Contains(line, mark) && !strings.Contains(line, onStderr) {
			t.Errorf("the log has a secret: %.1500s", line)
		}
	}
}

// count returns how many lines of the log have a text.
func count(text string) (n int) {
	for _, line := range testcaddy.Logs() {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
