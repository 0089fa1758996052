package mcptest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// RawClient is a client without an SDK, for [RawServer].
type RawClient struct {
	// URL is the endpoint, or the event stream of HTTP+SSE.
	URL string
	// Legacy says that it is HTTP+SSE.
	Legacy bool

	ctx     context.Context // of the conversation
	client  *http.Client
	post    string
	session string
	posts   sync.WaitGroup
	mu      sync.Mutex
	seen    []string // messages of the server
	changed chan struct{}
	err     error
}

// rawIDs are ids of every kind that JSON-RPC has; that servers tell the larger ones
// apart takes more than a float.
var rawIDs = []string{`"a"`, `""`, `"\u00e4\n"`, `0`, `-7`, `9007199254740993`, `9007199254740992`, `1.5`, `123456789012345678901234567890`, `"1.5"`}

// take notes a message of the server's, and answers it where it is a request.
func (c *RawClient) take(raw string) {
	c.mu.Lock()
	c.seen = append(c.seen, raw)
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	var m rawMessage
	if json.Unmarshal([]byte(raw), &m) != nil || m.Method == "" || m.ID == nil {
		return
	}
	answer := `{"id":` + string(m.ID) + `,"jsonrpc":"2.0","result":{"to":"` + m.Method + `","n":1.0},"z":{"deep":[[]]}}`
	if m.Method == "vendor/refused" {
		answer = `{"jsonrpc":"2.0","error":{"data":{"n":9007199254740993},"code":-1,"message":"no"},"id":` + string(m.ID) + `}`
	}
	c.send(answer)
}

// await waits for a message of the server's that has all texts.
func (c *RawClient) await(texts ...string) error {
	late := time.After(patience)
	for next := 0; ; {
		c.mu.Lock()
		for ; next < len(c.seen); next++ {
			all := true
			for _, text := range texts {
				all = all && strings.Contains(c.seen[next], text)
			}
			if all {
				c.mu.Unlock()
				return nil
			}
		}
		changed, err := c.changed, c.err
		c.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-late:
			return fmt.Errorf("%q has not arrived", texts)
		}
	}
}

func (c *RawClient) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.ctx.Err() == nil {
		c.err = err
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

func (c *RawClient) do(method, at, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(c.ctx, method, at, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.session != "" {
		req.Header.Set("Mcp-Session-Id", c.session)
		req.Header.Set("Mcp-Protocol-Version", "2025-11-25")
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		text, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		return nil, fmt.Errorf("%s %s: %d %.300s", method, body[:min(len(body), 200)], res.StatusCode, text)
	}
	return res, nil
}

// send posts a message and reads what the answer brings. It returns when the message
// was taken.
func (c *RawClient) send(body string) {
	res, err := c.do(http.MethodPost, c.post, body)
	if err != nil {
		c.fail(err)
		return
	}
	if id := res.Header.Get("Mcp-Session-Id"); id != "" {
		c.session = id
	}
	c.posts.Go(func() { c.read(res) })
}

// read reads an answer to its end.
func (c *RawClient) read(res *http.Response) {
	defer res.Body.Close() // it was read
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			c.fail(err)
		} else if len(bytes.TrimSpace(raw)) > 0 && strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
			c.take(string(raw))
		}
		return
	}
	lines := bufio.NewReader(res.Body)
	name := ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.fail(err)
			}
			return
		}
		line = strings.TrimSuffix(line, "\n")
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if name == "endpoint" {
				c.take("endpoint " + data)
			} else {
				c.take(data)
			}
		}
		name, _ = strings.CutPrefix(line, "event: ")
	}
}

// request is a request with members that nobody knows.
func request(id, method, params string) string {
	return `{ "x":{"b":1,"a":[1.0,1e5]}, "method":"` + method + `" ,"id":` + id + `,"params":` + params + `,"jsonrpc":"2.0","":null}`
}

// Converse has the conversation.
func (c *RawClient) Converse(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c.ctx, c.client, c.changed, c.post = ctx, &http.Client{Transport: tr}, make(chan struct{}), c.URL
	if c.Legacy {
		res, err := c.do(http.MethodGet, c.URL, "")
		if err != nil {
			return err
		}
		c.posts.Go(func() { c.read(res) })
		if err := c.await("endpoint "); err != nil {
			return err
		}
		to, err := url.Parse(strings.TrimPrefix(c.seen[0], "endpoint "))
		if err != nil {
			return err
		}
		c.post = res.Request.URL.ResolveReference(to).String()
	}
	if err := c.converse(); err != nil {
		return err
	}
	if !c.Legacy {
		res, err := c.do(http.MethodDelete, c.URL, "")
		if err != nil {
			return err
		}
		_ = res.Body.Close()
	}
	cancel()
	c.posts.Wait()
	return nil
}

func (c *RawClient) converse() error {
	c.send(request(`"i"`, "initialize", `{"protocolVersion":"2025-11-25","capabilities":{"vendor":{}},"clientInfo":{"name":"raw","version":"1"},"z":1}`))
	if err := c.await(`"id":"i"`, `"raw"`); err != nil {
		return err
	}
	c.send(`{"jsonrpc":"2.0","method":"notifications/initialized","vendor":[1.0]}`)
	if !c.Legacy {
		res, err := c.do(http.MethodGet, c.URL, "")
		if err != nil {
			return err
		}
		c.posts.Go(func() { c.read(res) })
	}
	if err := c.await(`vendor/heard`, `"vendor":[1.0]`); err != nil { // its stream is open
		return err
	}
	// ask sends a request and waits for the answer.
	ask := func(id, method, params string, texts ...string) error {
		c.send(request(id, method, params))
		return c.await(append(texts, `"id":`+id+`,`)...)
	}
	for i, id := range rawIDs {
		if err := ask(id, "vendor/echo", fmt.Sprintf(`[%d,{"method":"y","id":9}]`, i), fmt.Sprintf(`"params":[%d,`, i), `"vendor":{`); err != nil {
			return err
		}
		params := fmt.Sprintf(`{"_meta":{"progressToken":%s},"k":1}`, id)
		if err := ask(`"s`+fmt.Sprint(i)+`"`, "vendor/steps", params, `"result":{}`); err != nil {
			return err
		}
		// The server's ids are its own, and may equal the client's.
		params = fmt.Sprintf(`{"id":%s,"ask":"vendor/asks"}`, id)
		if err := ask(fmt.Sprintf("%d", 1000+i), "vendor/back", params, `"result":[{"id":`+id+`,`); err != nil {
			return err
		}
		c.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"vendor/tell","params":{"n":%d.0},"id0":%s}`, i, id))
		if err := c.await(`vendor/heard`, fmt.Sprintf(`"n":%d.0}`, i)); err != nil {
			return err
		}
		// A call that is taken back.
		params = fmt.Sprintf(`{"_meta":{"progressToken":"w%d"}}`, i)
		c.send(request(id, "vendor/wait", params))
		if err := c.await(`notifications/progress`, fmt.Sprintf(`"w%d"`, i)); err != nil {
			return err
		}
		c.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `,"reason":"r"}}`)
		if err := c.await(`vendor/stopped`, `"id":`+id+`}`); err != nil {
			return err
		}
	}
	return c.large(ask)
}

// large is what is large, many or refused.
func (c *RawClient) large(ask func(id, method, params string, texts ...string) error) error {
	for _, step := range []struct{ id, method, params, text string }{
		{`2`, "vendor/fail", `{}`, `"code":-31999`},
		{`3`, "vendor/none", `null`, `-32601`},
		{`4`, "ping", `{}`, `"result":{}`},
		{`5`, "vendor/flood", `{}`, `"result":2000`},
		{`6`, "vendor/big", `{}`, `"result":"0123456789abcdef`},
		{`7`, "vendor/echo", `"` + strings.Repeat("fedcba9876543210", 4<<20/16) + `"`, `"result":{`},
		{`8`, "vendor/back", `{"id":"p","ask":"ping"}`, `"result":[{"id":"p"`},
		{`9`, "vendor/back", `{"id":"q","ask":"vendor/refused"}`, `"error":{"data"`},
		{`10`, "vendor/back", `{"id":"e","ask":"elicitation/create"}`, `"result":[{"id":"e"`},
	} {
		if err := ask(step.id, step.method, step.params, step.text); err != nil {
			return err
		}
	}
	// Two in flight are answered in the other order.
	c.send(request(`"l"`, "vendor/later", `{"_meta":{"progressToken":"l"}}`))
	if err := c.await(`notifications/progress`, `"l"`); err != nil {
		return err
	}
	if err := ask(`"n"`, "vendor/now", `{}`); err != nil {
		return err
	}
	return c.await(`"id":"l"`, `"later"`)
}
