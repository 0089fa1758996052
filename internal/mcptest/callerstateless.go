package mcptest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// StatelessMessage is a message that stands for itself; params are members of params.
func StatelessMessage(id, method, params string) string {
	head, meta := `{"jsonrpc":"2.0",`, `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"`
	if id != "" {
		head += `"id":` + id + `,`
		meta += `,"io.modelcontextprotocol/clientCapabilities":{}`
	}
	if params != "" {
		params += ","
	}
	return head + `"method":"` + method + `","params":{` + params + meta + `}}}`
}

// Subscribe is a subscription of a stateless client.
var Subscribe = StatelessMessage(`"l"`, "subscriptions/listen", `"notifications":{"toolsListChanged":true}`)

// statelessRequest is a POST with the fields that its body wants.
func (c *Caller) statelessRequest(token, body string, fields ...string) *http.Request {
	c.T.Helper()
	req := c.request(http.MethodPost, c.At, token, body)
	var m struct {
		Method string
		Params struct{ Name string }
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		c.T.Fatal(err)
	}
	req.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	req.Header.Set("Mcp-Method", m.Method)
	if m.Params.Name != "" {
		req.Header.Set("Mcp-Name", m.Params.Name)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	return req
}

// Post sends a message and returns the answer with its body read.
func (c *Caller) Post(token, body string, fields ...string) (*http.Response, string) {
	c.T.Helper()
	return c.do(c.statelessRequest(token, body, fields...))
}

// Reaches wants a call to be answered by the gate, which has seen these credentials
// with it.
func (c *Caller) Reaches(what, token string) {
	c.T.Helper()
	res, got := c.Post(token, StatelessMessage(`"r"`, "tools/call", `"name":"x"`))
	if !strings.Contains(got, `"auth":"Bearer `+token+`"`) || !strings.Contains(got, `"id":"r"`) || res.StatusCode != http.StatusOK {
		c.T.Errorf("%s: %d %s", what, res.StatusCode, got)
	}
}

// Subscribe sends a subscriptions/listen and returns its events, of which the first,
// the acknowledgement, was read.
func (c *Caller) Subscribe(token string) <-chan string {
	c.T.Helper()
	res, err := c.Client.Do(c.statelessRequest(token, Subscribe))
	if err != nil {
		c.T.Fatal(err)
	}
	c.T.Cleanup(func() { _ = res.Body.Close() })
	c.Events = events(res.Body)
	if got := c.Next(); !strings.Contains(got, "acknowledged") {
		c.T.Fatalf("listen: %d %s", res.StatusCode, got)
	}
	return c.Events
}
