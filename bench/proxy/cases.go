package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// testCase is one kind of request and the answer to it.
type testCase struct {
	name    string
	request []byte // as it is sent
	// requests are sent in turn in place of request, if there are any.
	requests [][]byte
	sent     [maxConfigurations]atomic.Int64 // through each configuration
	large    bool                            // the request is written while the answer is read
	pauses   bool                            // the answer takes as long as the upstream pauses in it
	status   int
	body     []byte // that the upstream answers
	// bodies are what arrives through a configuration in place of body, if they are not nil.
	bodies [maxConfigurations][]byte
	// needs are headers that the answer has through a configuration, one
	// value each; "" forbids the header.
	needs [maxConfigurations]map[string]string
}

// accessToken is a JWT of the usual length.
var accessToken = strings.Repeat("eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9", 20)

const call = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"search","arguments":{"query":"quarterly report","limit":20},"_meta":{"progressToken":7}}}`

// allowed are the CORS headers of an answer to a page.
var allowed = map[string]string{
	"Access-Control-Allow-Origin": origin,
	"Vary":                        "Origin",
}

// measured are the cases of the table.
var measured = []*testCase{
	post("json-300", "json-300", call, 200),
	post("json-64k", "json-64k", call, 200),
	post("json-1m", "json-1m", call, 200),
	challenged(post("challenge", "challenge", call, 401)),
	post("sse-burst", "sse-burst", call, 200),
	paused(post("sse", "sse", call, 200)),
	paused(post("sse-5ms", "sse-5ms", call, 200)),
	preflight(),
}

// mixed are the requests of -truncation.
var mixed = mix()

// mix asks for each answer with a small body and a large one, and in each mode
// of the upstream.
func mix() []*testCase {
	large := pad(256 << 10)
	var cases []*testCase
	for _, mode := range []string{"", early, closing} {
		for _, name := range []string{"json-300", "json-64k", "json-1m", "challenge", "sse"} {
			if mode == closing && name == "sse" {
				continue
			}
			status := answers[name].status
			cases = append(cases, post(mode+name, mode+name, call, status), post(mode+name+", 256 KiB", mode+name, large, status))
		}
	}
	for i, c := range cases {
		if c.status == http.StatusUnauthorized {
			cases[i] = challenged(c)
		}
	}
	return cases
}

// fields are what a page sends with each request beside its own headers.
const fields = "Host: " + publicHost + "\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\n" +
	"Accept-Language: en-US,en;q=0.9\r\n" +
	"Origin: " + origin + "\r\n" +
	"Referer: " + origin + "/\r\n" +
	"Sec-Fetch-Dest: empty\r\n" +
	"Sec-Fetch-Mode: cors\r\n" +
	"Sec-Fetch-Site: cross-site\r\n"

// post is a message to the endpoint that the upstream answers as asked.
func post(name, asked, body string, status int) *testCase {
	request := "POST " + endpoint + "?answer=" + asked + " HTTP/1.1\r\n" + fields +
		"Accept: application/json, text/event-stream\r\n" +
		"Content-Type: application/json\r\n" +
		"Authorization: Bearer " + accessToken + "\r\n" +
		"Mcp-Protocol-Version: 2025-11-25\r\n" +
		"Mcp-Session-Id: " + sessionID + "\r\n" +
		fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
	answer, _ := split(asked)
	return &testCase{
		name: name, request: []byte(request), large: len(body) > 32<<10,
		status: status, body: answers[answer].body,
		needs: [maxConfigurations]map[string]string{byHand: allowed, bridge: allowed},
	}
}

// paused says that the upstream pauses in an answer.
func paused(c *testCase) *testCase {
	c.pauses = true
	return c
}

// challenged has an answer's challenge name the public metadata.
func challenged(c *testCase) *testCase {
	for _, i := range []int{byHand, bridge} {
		c.needs[i] = map[string]string{"Www-Authenticate": challenge(metadataURL)}
		for name, value := range allowed {
			c.needs[i][name] = value
		}
	}
	return c
}

// preflight is what the proxies answer themselves; through plain it is the
// upstream that does.
func preflight() *testCase {
	answered := map[string]string{
		"Access-Control-Allow-Origin":  origin,
		"Access-Control-Allow-Methods": "GET, POST, DELETE",
		"Access-Control-Max-Age":       "7200",
		"Vary":                         "Origin",
	}
	return &testCase{
		name: "preflight",
		request: []byte("OPTIONS " + endpoint + " HTTP/1.1\r\n" + fields +
			"Accept: */*\r\n" +
			"Access-Control-Request-Method: POST\r\n" +
			"Access-Control-Request-Headers: authorization,content-type,mcp-protocol-version,mcp-session-id\r\n\r\n"),
		status: 204,
		needs:  [maxConfigurations]map[string]string{byHand: answered, bridge: answered},
	}
}

// next returns the request to send through a configuration.
func (c *testCase) next(through int) []byte {
	if len(c.requests) == 0 {
		return c.request
	}
	return c.requests[(c.sent[through].Add(1)-1)%int64(len(c.requests))]
}

// most returns how many requests one process can get before one comes again.
func (c *testCase) most() int {
	if len(c.requests) > 1 {
		return len(c.requests)
	}
	return maxRequests
}

// wanted returns the body that arrives through a configuration.
func (c *testCase) wanted(through int) []byte {
	if b := c.bodies[through]; b != nil {
		return b
	}
	return c.body
}

// check compares an answer in full.
func (c *testCase) check(through int, res *http.Response, body []byte) error {
	want := c.wanted(through)
	if res.StatusCode != c.status || len(body) != len(want) {
		return fmt.Errorf("got status %d and %d bytes, want %d and %d", res.StatusCode, len(body), c.status, len(want))
	}
	if !bytes.Equal(body, want) {
		return errors.New("the body is another")
	}
	for name, value := range c.needs[through] {
		got := res.Header[name]
		if name == "Vary" {
			got = strings.Split(strings.Join(got, ","), ",")
			if !slices.Contains(got, value) {
				return fmt.Errorf("%s: got %q, want %q in it", name, got, value)
			}
			continue
		}
		if !slices.Equal(got, []string{value}) {
			return fmt.Errorf("%s: got %q, want %q", name, got, value)
		}
	}
	if c.needs[through] != nil && c.status != http.StatusNoContent {
		expose := res.Header["Access-Control-Expose-Headers"]
		if len(expose) != 1 || !strings.Contains(strings.ToLower(expose[0]), "www-authenticate") {
			return fmt.Errorf("got exposed headers %q, want www-authenticate in one line", expose)
		}
	}
	return nil
}
