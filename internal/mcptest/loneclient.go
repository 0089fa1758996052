package mcptest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// loneVersion is the revision whose requests each stand for themselves.
const loneVersion = "2026-07-28"

// LoneClient is a client of 2026-07-28 without an SDK, for [LoneServer].
type LoneClient struct {
	// URL is the endpoint.
	URL string

	client *http.Client
}

// start sends a request and returns what is said for it, one frame after the other;
// params and meta are members.
func (c *LoneClient) start(ctx context.Context, id, method, params, meta string) (<-chan string, error) {
	meta += `"io.modelcontextprotocol/protocolVersion":"` + loneVersion + `","io.modelcontextprotocol/clientInfo":{"name":"lone","version":"1"},` +
		`"io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"sampling":{},"vendor":{"n":1.0}}`
	body := `{ "x":{"b":1,"a":[1.0,1e5]}, "method":"` + method + `" ,"id":` + id + `,"params":{` + params + `"_meta":{` + meta + `}},"jsonrpc":"2.0","":null}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"Accept": "application/json, text/event-stream", "Content-Type": "application/json",
		"Mcp-Protocol-Version": loneVersion, "Mcp-Method": method,
	} {
		req.Header.Set(name, value)
	}
	var m struct {
		Params struct{ Name, URI string }
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		return nil, fmt.Errorf("%s: %w", body[:min(len(body), 200)], err)
	}
	if name := m.Params.Name + m.Params.URI; name != "" {
		req.Header.Set("Mcp-Name", name)
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	frames := make(chan string, 10000)
	go func() {
		defer close(frames)
		defer res.Body.Close() // it was read
		if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
			raw, _ := io.ReadAll(res.Body)
			frames <- strings.TrimSpace(string(raw))
			return
		}
		for lines := bufio.NewReader(res.Body); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				frames <- strings.TrimSuffix(data, "\n")
			}
		}
	}()
	return frames, nil
}

// next returns the next frame.
func next(frames <-chan string) (string, error) {
	select {
	case frame, ok := <-frames:
		if !ok {
			return "", errors.New("the stream has ended")
		}
		return frame, nil
	case <-time.After(patience):
		return "", errors.New("no message has arrived")
	}
}

// ask sends a request and returns its answer, which has to come after so many other
// frames and to have a text.
func (c *LoneClient) ask(ctx context.Context, before int, want, id, method, params, meta string) (string, error) {
	frames, err := c.start(ctx, id, method, params, meta)
	if err != nil {
		return "", err
	}
	for n := 0; ; n++ {
		frame, err := next(frames)
		if err != nil {
			return "", fmt.Errorf("%s after %d messages: %w", method, n, err)
		}
		if !strings.Contains(frame, `"id":`+id+`,`) {
			continue
		}
		if n != before || !strings.Contains(frame, want) {
			return "", fmt.Errorf("%s: %d messages, and %.300s", method, n, frame)
		}
		return frame, nil
	}
}

// Converse has the conversation.
func (c *LoneClient) Converse(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c.client = &http.Client{Transport: tr}
	flood := `"io.modelcontextprotocol/logLevel":"info",`
	for _, step := range []struct {
		before                         int
		want, id, method, params, meta string
	}{
		{0, `"supportedVersions"`, `"d"`, "server/discover", ``, ``},
		{0, `"ask"`, `0`, "tools/list", ``, ``},
		{0, `"lone:now"`, `-7`, "resources/read", `"uri":"lone:now",`, ``},
		{0, `-31999`, `2`, "vendor/fail", ``, ``},
		{0, `-32601`, `3`, "vendor/none", ``, ``},
		{2000, `2000`, `5`, "vendor/flood", ``, flood},
		{0, `"0123456789abcdef`, `6`, "vendor/big", ``, ``},
		{0, `"said":"fedcba`, `7`, "vendor/echo", `"arguments":"` + strings.Repeat("fedcba9876543210", 4<<20/16) + `",`, ``},
	} {
		if _, err := c.ask(ctx, step.before, step.want, step.id, step.method, step.params, step.meta); err != nil {
			return err
		}
	}
	for i, id := range rawIDs {
		args := fmt.Sprintf(`{"i":%d.0,"method":"y","id":9}`, i)
		if _, err := c.ask(ctx, 0, `"said":`+args, id, "vendor/echo", `"z":[],"arguments":`+args+`,`, ``); err != nil {
			return err
		}
		if _, err := c.ask(ctx, 10, `"steps"`, `"s`+fmt.Sprint(i)+`"`, "vendor/steps", ``, `"progressToken":`+id+`,`); err != nil {
			return err
		}
		if err := c.rounds(ctx, id); err != nil {
			return err
		}
	}
	if err := c.listen(ctx); err != nil {
		return err
	}
	for _, id := range rawIDs {
		if err := c.cancel(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// rounds calls a tool that asks for input, until it is content.
func (c *LoneClient) rounds(ctx context.Context, id string) error {
	more := ""
	for round := 1; ; round++ {
		want := `"input_required"`
		if round > len(loneQuestions) {
			want = `"structuredContent":{"got":[{"n":1.0,"round":1},{"n":1.0,"round":2}]}`
		}
		frame, err := c.ask(ctx, 0, want, id, "tools/call", `"name":"ask",`+more, ``)
		if err != nil || round > len(loneQuestions) {
			return err
		}
		var m struct {
			Result struct {
				State    string                     `json:"requestState"`
				Requests map[string]json.RawMessage `json:"inputRequests"`
			} `json:"result"`
		}
		_ = json.Unmarshal([]byte(frame), &m)
		if len(m.Result.Requests) != 1 {
			return fmt.Errorf("asked for %.300s", frame)
		}
		for key := range m.Result.Requests {
			more = fmt.Sprintf(`"requestState":%q,"inputResponses":{%q:{"n":1.0,"round":%d}},`, m.Result.State, key, round)
		}
	}
}

// listen listens for changes.
func (c *LoneClient) listen(ctx context.Context) error {
	for i, id := range rawIDs {
		within, cancel := context.WithCancel(ctx)
		defer cancel()
		frames, err := c.start(within, id, "subscriptions/listen", `"notifications":{"toolsListChanged":true,"resourceSubscriptions":["lone:now"]},`, ``)
		if err != nil {
			return err
		}
		for _, want := range []string{"subscriptions/acknowledged", "resources/updated", "tools/list_changed"} {
			frame, err := next(frames)
			if err != nil || !strings.Contains(frame, want) || !strings.Contains(frame, `"io.modelcontextprotocol/subscriptionId":`+id) {
				return fmt.Errorf("listening for %s: %v %s", want, err, frame)
			}
			if want == "subscriptions/acknowledged" {
				if _, err := c.ask(ctx, 0, `"touched":1.0`, fmt.Sprintf(`"t%d"`, i), "vendor/touch", ``, ``); err != nil {
					return err
				}
			}
		}
		cancel()
		if _, err := c.ask(ctx, 0, `"ended":true`, fmt.Sprintf(`"e%d"`, i), "vendor/ended", ``, ``); err != nil {
			return err
		}
	}
	return nil
}

// cancel takes a call back by closing its stream.
func (c *LoneClient) cancel(ctx context.Context, id string) error {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	frames, err := c.start(within, id, "tools/call", `"name":"wait",`, `"progressToken":`+id+`,`)
	if err != nil {
		return err
	}
	frame, err := next(frames)
	if err != nil || !strings.Contains(frame, `"progressToken":`+id+`,`) {
		return fmt.Errorf("before it is taken back: %v %s", err, frame)
	}
	cancel()
	_, err = c.ask(ctx, 0, `"ended":true`, id, "vendor/ended", ``, ``)
	return err
}
