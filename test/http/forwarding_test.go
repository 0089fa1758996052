package http_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/mcptest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/testcaddy"
)

// forwardings are the values of the option forwarding that are compared.
var forwardings = []string{"reverse_proxy", "direct"}

// scripted is an upstream that writes answers as bytes.
type scripted struct {
	addr string
	mu   sync.Mutex
	// pieces are what it writes. It waits for goOn before each but the first.
	pieces []string
	early  bool // it does not read the body before it answers
	goOn   chan struct{}
	got    []string // the requests, as bytes
	left   chan struct{}
}

func newScripted(t *testing.T) *scripted {
	s := new(scripted)
	s.addr = mcptest.ListenRaw(t, s.serve)
	return s
}

// script says how the next request is answered.
func (s *scripted) script(early bool, pieces []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pieces, s.early, s.got, s.goOn, s.left = pieces, early, nil, make(chan struct{}), make(chan struct{})
}

func (s *scripted) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	var raw bytes.Buffer
	r, err := http.ReadRequest(bufio.NewReader(io.TeeReader(conn, &raw)))
	s.mu.Lock()
	pieces, early, goOn, left := s.pieces, s.early, s.goOn, s.left
	s.mu.Unlock()
	if err != nil {
		return
	}
	if !early {
		_, _ = io.Copy(io.Discard, r.Body)
		s.mu.Lock()
		s.got = append(s.got, raw.String())
		s.mu.Unlock()
	}
	for i, piece := range pieces {
		if i > 0 && piece != awaitEnd {
			select {
			case <-goOn:
			case <-time.After(20 * time.Second):
				return
			}
		}
		if piece == awaitEnd { // until the client has left
			_, _ = io.Copy(io.Discard, conn)
			close(left)
			return
		}
		_, _ = io.WriteString(conn, piece)
	}
}

// awaitEnd is a piece at which the upstream waits for the end of the connection.
const awaitEnd = "\x00"

// crossing is a request and its answer.
type crossing struct {
	method string // POST if it is empty
	fields string // of the request
	body   string
	length int // of the body as announced, if it is another
	// answer is what the upstream writes, in pieces. The next is written once the client has
	// the last line of the one before.
	answer  []string
	early   bool
	leaves  bool // the client leaves after the first piece
	options string
}

const date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

// large is a text of 200 KiB.
var large = strings.Repeat("0123456789abcde\n", 200<<10/16)

func chunk(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }

// answered is an answer in one piece. One whose length is not known has a type: whether net/http
// finds one by its beginning depends on when the header is flushed.
func answered(status, fields, body string) []string {
	if !strings.Contains(fields, "Content-Length") && !strings.Contains(fields, "Content-Type") {
		fields = "Content-Type: text/plain\r\n" + fields
	}
	return []string{"HTTP/1.1 " + status + "\r\n" + date + fields + "\r\n" + body}
}

func lengthOf(body string) string { return fmt.Sprintf("Content-Length: %d\r\n", len(body)) }

var crossings = map[string]crossing{
	"json":                    {answer: answered("200 OK", "Content-Type: application/json\r\nContent-Length: 2\r\n", "{}")},
	"json in chunks":          {answer: answered("200 OK", "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n", chunk("{")+chunk("}")+"0\r\n\r\n")},
	"until the end":           {answer: answered("200 OK", "Content-Type: text/plain\r\n", "hello")},
	"until the end, empty":    {answer: answered("200 OK", "Content-Type: text/plain\r\n", "")},
	"HTTP/1.0":                {answer: []string{"HTTP/1.0 200 OK\r\n" + date + "Content-Type: text/plain\r\n\r\nhello"}},
	"large":                   {answer: answered("200 OK", lengthOf(large), large)},
	"large, in chunks":        {answer: answered("200 OK", "Transfer-Encoding: chunked\r\n", chunk(large)+"0\r\n\r\n")},
	"empty":                   {answer: answered("200 OK", "Content-Length: 0\r\n", "")},
	"accepted":                {answer: answered("202 Accepted", "Content-Length: 0\r\n", "")},
	"204":                     {answer: answered("204 No Content", "X-A: 1\r\n", "")},
	"204 with a length":       {answer: answered("204 No Content", "Content-Length: 5\r\n", "")},
	"205":                     {answer: answered("205 Reset Content", "Content-Length: 0\r\n", "")},
	"304":                     {method: "GET", answer: answered("304 Not Modified", "Etag: \"x\"\r\nContent-Length: 5\r\n", "")},
	"HEAD":                    {method: "HEAD", answer: answered("200 OK", "Content-Type: application/json\r\nContent-Length: 2\r\n", "")},
	"HEAD of a stream":        {method: "HEAD", answer: answered("200 OK", "Content-Type: text/event-stream\r\n", "")},
	"DELETE":                  {method: "DELETE", answer: answered("200 OK", "Content-Length: 0\r\n", "")},
	"status without a text":   {answer: answered("299", "Content-Length: 0\r\n", "")},
	"status of 3 digits":      {answer: answered("999 Odd", "Content-Length: 0\r\n", "")},
	"server error":            {answer: answered("500 Internal Server Error", lengthOf("no"), "no")},
	"redirect":                {answer: answered("302 Found", "Location: /elsewhere\r\nContent-Length: 0\r\n", "")},
	"challenge":               {answer: answered("401 Unauthorized", "WWW-Authenticate: Bearer error=\"invalid_token\"\r\nContent-Length: 0\r\n", "")},
	"CORS":                    {fields: "Origin: " + mcptest.AppOrigin + "\r\n", answer: answered("200 OK", "Access-Control-Allow-Origin: *\r\nVary: Accept\r\nContent-Length: 2\r\n", "{}")},
	"Server and Via":          {answer: answered("200 OK", "Server: other/1\r\nVia: 1.0 first, 1.1 second\r\nVia: 1.1 third\r\nContent-Length: 2\r\n", "{}")},
	"fields twice":            {answer: answered("200 OK", "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-A: 2\r\nx-a: 1\r\nX-A: \r\nContent-Length: 2\r\n", "{}")},
	"fields of a connection":  {answer: answered("200 OK", "Connection: keep-alive, X-Private,  x-other ,\r\nConnection: X-Third\r\nX-Private: 1\r\nX-Other: 2\r\nX-Third: 3\r\nX-Kept: 4\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Connection: x\r\nTe: trailers\r\nAlt-Svc: h3=\":443\"\r\nContent-Length: 2\r\n", "{}")},
	"Connection names length": {answer: answered("200 OK", "Connection: Content-Length, Content-Type, Set-Cookie\r\nSet-Cookie: a=1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n", "{}")},
	"Connection names type":   {answer: answered("200 OK", "Connection: Content-Type, Content-Length\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n", "data: 1\n\n")},
	"upgrade not asked for":   {answer: answered("200 OK", "Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n", "{}")},
	"101 not asked for":       {answer: answered("101 Switching Protocols", "Upgrade: odd\r\nConnection: Upgrade\r\n", "")},
	"name with a space":       {answer: answered("200 OK", "X A: 1\r\nContent-Length: 2\r\n", "{}")},
	"value with a control":    {answer: answered("200 OK", "X-A: a\x01b\r\nContent-Length: 2\r\n", "{}")},
	"value in Latin-1":        {answer: answered("200 OK", "X-A: \xe9\r\nContent-Length: 2\r\n", "{}")},
	"two lengths":             {answer: answered("200 OK", "Content-Length: 2\r\nContent-Length: 3\r\n", "{}")},
	"length and chunks":       {answer: answered("200 OK", "Content-Type: text/plain\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", chunk("{}")+"0\r\n\r\n")},
	"length too small":        {answer: answered("200 OK", "Content-Length: 1\r\n", "{}")},
	"length too large":        {answer: answered("200 OK", "Content-Length: 9\r\n", "{}")},
	"length too large, 200K":  {answer: answered("200 OK", "Content-Length: 300000\r\n", large)},
	"chunks break off":        {answer: answered("200 OK", "Transfer-Encoding: chunked\r\n", chunk("{}")+"9\r\n{")},
	"chunks are wrong":        {answer: answered("200 OK", "Transfer-Encoding: chunked\r\n", chunk("{}")+"zz\r\n{")},
	"no answer":               {answer: []string{""}},
	"no HTTP":                 {answer: []string{"hello\r\n\r\n"}},
	"trailers":                {answer: answered("200 OK", "Transfer-Encoding: chunked\r\nTrailer: X-End\r\n", chunk("{}")+"0\r\nX-End: 1\r\nX-End: 2\r\n\r\n")},
	"trailers, not announced": {answer: answered("200 OK", "Transfer-Encoding: chunked\r\n", chunk("{}")+"0\r\nX-End: 1\r\n\r\n")},
	"trailers, one announced": {answer: answered("200 OK", "Transfer-Encoding: chunked\r\nTrailer: X-End\r\n", chunk("{}")+"0\r\nX-End: 1\r\nX-More: 2\r\n\r\n")},
	"trailers, none come":     {answer: answered("200 OK", "Transfer-Encoding: chunked\r\nTrailer: X-End\r\n", chunk("{}")+"0\r\n\r\n")},
	"informational":           {answer: []string{"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-B\r\nX-B: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + answered("200 OK", "Content-Length: 2\r\n", "{}")[0]}},
	"informational after it":  {answer: answered("200 OK", "Content-Length: 2\r\n", "{}HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")},
	"many informational":      {answer: []string{strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 9) + answered("200 OK", "Content-Length: 2\r\n", "{}")[0]}},
	"events at once":          {answer: answered("200 OK", "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n", chunk("data: 1\n\n")+chunk("data: 2\n\n")+"0\r\n\r\n")},
	"events with a length":    {answer: []string{"HTTP/1.1 200 OK\r\n" + date + "Content-Type: Text/Event-Stream; charset=utf-8\r\nContent-Length: 21\r\n\r\ndata: 1\n\n", "data: 23456\n"}},
	"events with pauses":      {answer: []string{"HTTP/1.1 200 OK\r\n" + date + "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", chunk("data: 1\n\n"), chunk("data: 2\n\n"), "0\r\n\r\n"}},
	"incremental":             {answer: []string{"HTTP/1.1 200 OK\r\n" + date + "Incremental: ?1\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nab\n", "cd\n"}},
	"flushed":                 {options: "flush_interval -1", answer: []string{"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 6\r\n\r\n", "ab\n", "cd\n"}},
	"flushed in time":         {options: "flush_interval 1ms", answer: []string{"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 6\r\n\r\n", "ab\n", "cd\n"}},
	"large body, early":       {body: large, early: true, answer: answered("401 Unauthorized", "WWW-Authenticate: Bearer\r\nContent-Length: 2\r\n", "no")},
	"part of a body, early":   {body: large[:70<<10], length: 200 << 10, early: true, answer: answered("413 Too Large", "Content-Length: 2\r\n", "no")},
	"client leaves":           {leaves: true, answer: []string{"HTTP/1.1 200 OK\r\n" + date + "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("data: 1\n\n"), awaitEnd}},
	"breaks off after events": {answer: []string{"HTTP/1.1 200 OK\r\n" + date + "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("data: 1\n\n"), "x"}},
	"encoded by the site":     {fields: "Accept-Encoding: gzip\r\n", options: "#encode", answer: answered("200 OK", "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n", chunk(large)+"0\r\n\r\n")},
	"all Early-Data":          {fields: "Early-Data: 1\r\nTe: trailers\r\nConnection: X-Gone\r\nX-Gone: 1\r\nX-Forwarded-For: 9.9.9.9\r\nVia: 1.0 x\r\n", options: "header_up X-Up {http.reverse_proxy.upstream.hostport}", answer: answered("200 OK", "Content-Length: 2\r\n", "{}")},
}

// A1, A2: whoever passes an answer on, client and upstream get the same bytes, and the log the same
// lines.
func TestForwardingIsTheSame(t *testing.T) {
	up := newScripted(t)
	for _, options := range []string{"", "flush_interval -1", "flush_interval 1ms", "#encode", "header_up X-Up {http.reverse_proxy.upstream.hostport}"} {
		ports := map[string]int{}
		config := "{\nauto_https off\nlog {\nlevel DEBUG\n}\n}\n"
		for _, by := range forwardings {
			ports[by] = testcaddy.FreePort(t)
			shown, own := "", options
			for _, name := range shownPlaceholders {
				shown += fmt.Sprintf("log_append %s {http.reverse_proxy.%s}\n", name, name)
			}
			if options == "#encode" {
				shown, own = shown+"encode gzip {\nminimum_length 5000\n}\n", ""
			}
			config += fmt.Sprintf("http://:%d {\nbind 127.0.0.1\nlog\n%sheader {\nX-Seen \"{http.reverse_proxy.status_code} {http.reverse_proxy.header.Content-Length} {http.reverse_proxy.header.Connection}\"\ndefer\n}\n"+
				"mcp_auth_bridge %s {\nforwarding %s\n%s\n%s\ntransport http {\nkeepalive off\n}\n}\n}\n", ports[by], shown, up.addr, by, own, mcptest.AllowApp)
		}
		t.Run(options, func(t *testing.T) {
			testcaddy.Run(t, config)
			for _, name := range slices.Sorted(maps.Keys(crossings)) {
				c := crossings[name]
				if c.options != options {
					continue
				}
				want := c.cross(t, name, up, ports["reverse_proxy"])
				got := c.cross(t, name, up, ports["direct"])
				for part := range want {
					if got[part] != want[part] {
						t.Errorf("%s: %s is\n%q\nwant\n%q", name, part, short(got[part]), short(want[part]))
					}
				}
				if testing.Verbose() {
					t.Logf("%s: %q", name, short(got["answer"]+got["placeholders"]))
				}
			}
		})
	}
}

func short(text string) string {
	if len(text) > 3000 {
		return text[:1500] + "..." + text[len(text)-1500:]
	}
	return text
}

// shownPlaceholders are those that the access log has.
var shownPlaceholders = []string{
	"status_code", "status_text", "header.Content-Type", "header.Set-Cookie", "header.Connection", "header.Nothing", "upstream.address", "retries", "upstream.requests",
}

// cross sends a request and returns what can be seen of it, by name.
func (c *crossing) cross(t *testing.T, name string, up *scripted, port int) map[string]string {
	t.Helper()
	up.script(c.early, c.answer)
	testcaddy.ForgetLogs()
	conn, err := net.Dial("tcp", testcaddy.Addr(port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	method, body, length := c.method, c.body, c.length
	if method == "" {
		method = http.MethodPost
		if body == "" {
			body = mcptest.Initialize
		}
	}
	if length == 0 {
		length = len(body)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = fmt.Fprintf(conn, "%s /mcp?key=secret HTTP/1.1\r\nHost: mcp.example.com\r\nConnection: close\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", method, c.fields, length, body)
	}()
	raw := c.receive(t, name, conn, up)
	_ = conn.Close()
	<-sent
	if c.early { // whether the body was read decides how net/http says that it closes the connection
		raw = strings.ReplaceAll(raw, "Connection: close\r\n", "")
	}
	got := map[string]string{"answer": dateNow.ReplaceAllString(normal(t, raw), "")}
	if c.leaves {
		select {
		case <-up.left:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the upstream is not told that the client has left", name)
		}
	}
	testcaddy.AwaitLog(t, func(line string) bool { return strings.Contains(line, `"logger":"http.log.access`) })
	up.mu.Lock()
	got["request"] = strings.Join(up.got, "\n")
	up.mu.Unlock()
	got["log"], got["placeholders"] = logOf(t)
	return got
}

// receive reads the answer to its end. It lets the upstream go on after each piece.
func (c *crossing) receive(t *testing.T, name string, conn net.Conn, up *scripted) string {
	t.Helper()
	var raw bytes.Buffer
	buf := make([]byte, 64<<10)
	next := 0
	for {
		n, err := conn.Read(buf)
		raw.Write(buf[:n])
		for next < len(c.answer)-1 && bytes.Contains(raw.Bytes(), []byte(lastLine(c.answer[next]))) {
			if c.leaves {
				return raw.String()
			}
			next++
			select {
			case up.goOn <- struct{}{}:
			case <-time.After(20 * time.Second):
				t.Fatalf("%s: the upstream has ended", name)
			}
		}
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			t.Fatalf("%s: the answer does not go on: %q", name, short(raw.String()))
		}
		if err != nil {
			return raw.String()
		}
	}
}

// lastLine returns the last line of a piece that says something.
func lastLine(piece string) string {
	lines := strings.FieldsFunc(piece, func(c rune) bool { return c == '\r' || c == '\n' })
	return lines[len(lines)-1]
}

// normal returns an answer without what depends on chance: how it is cut into chunks.
func normal(t *testing.T, raw string) string {
	t.Helper()
	head := ""
	for {
		before, after, ok := strings.Cut(raw, "\r\n\r\n")
		if !ok {
			return head + raw
		}
		head, raw = head+before+"\r\n\r\n", after
		if !strings.HasPrefix(before, "HTTP/1.1 1") || strings.HasPrefix(before, "HTTP/1.1 101") {
			break
		}
	}
	if strings.Contains(head, "Transfer-Encoding: chunked") {
		in := bufio.NewReader(strings.NewReader(raw))
		body, err := io.ReadAll(httputil.NewChunkedReader(in))
		trailers, _ := io.ReadAll(in)
		if strings.Contains(head, "Content-Encoding: gzip") {
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			body, _ = io.ReadAll(z)
		}
		if len(body) == 0 && err == nil && len(trailers) == 2 { // which depends on when the header is flushed
			return strings.Replace(head, "Connection: close\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 0\r\nConnection: close\r\n", 1)
		}
		raw = fmt.Sprintf("%s(%v)%s", body, err, trailers)
	}
	return head + raw
}

// logOf returns the lines of the log but those of the proxy, and what the access log has.
func logOf(t *testing.T) (lines, access string) {
	t.Helper()
	var all []string
	for _, line := range testcaddy.Logs() {
		var entry struct {
			Level, Logger, Msg, Error string
			Status, Size              int
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(entry.Logger, "http.log.access"):
			var fields map[string]any
			_ = json.Unmarshal([]byte(line), &fields)
			access = fmt.Sprint(entry.Status)
			if !strings.Contains(line, "Content-Encoding") {
				access += fmt.Sprint(" ", entry.Size)
			}
			for _, name := range shownPlaceholders {
				access += fmt.Sprint("|", fields[name])
			}
			continue
		case entry.Msg == "upstream roundtrip":
			if strings.Contains(line, "passed on") && strings.Contains(line, "secret") {
				t.Errorf("the log has the query: %s", line)
			}
			continue
		case entry.Logger != "http.handlers.mcp_auth_bridge" || entry.Msg == "selected upstream":
			continue
		}
		all = append(all, fmt.Sprint(entry.Level, " ", entry.Logger, " ", entry.Msg, " ", entry.Status, " ", anyPort.ReplaceAllString(entry.Error, "PORT")))
	}
	slices.Sort(all)
	return strings.Join(all, "\n"), access
}

// dateNow is the line that Caddy adds to its own answers.
var dateNow = regexp.MustCompile("Date: .* 2[0-9]{3} .*\r\n")
