package bridge

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// waitForInput bounds how long a server's request waits for a stateless client to come
// back with what it asks for.
const waitForInput = 10 * time.Minute

// input is a request of a server to the client, while the client's own is under way.
type input struct {
	id     []byte // as the server wrote it
	method string
	params []byte // as written; nil: none
}

// inputCapabilities are the capabilities of clients that take requests of servers, by
// the method.
var inputCapabilities = map[string]string{
	"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots",
}

// takesInput are the requests that may be answered with a request for input (MCP
// specification 2026-07-28, "Supported Requests").
func takesInput(method string) bool {
	switch method {
	case "tools/call", "prompts/get", "resources/read":
		return true
	}
	return false
}

// asked takes a request of the server, and returns what has to be said to it. The
// conversation is locked.
func (c *conversation) asked(m message.Message) [][]byte {
	refuse := func(code int, text string) [][]byte { return [][]byte{message.Error(m.RawID, code, text)} }
	if m.Method == "ping" {
		return [][]byte{message.Result(m.RawID, []byte("{}"))}
	}
	capability, known := inputCapabilities[m.Method]
	if c.server == nil || !known || message.Get(c.capabilities, capability) == nil {
		return refuse(message.CodeMethodNotFound, "the client does not know this method")
	}
	k := c.only(func(k *call) bool { return takesInput(k.method) })
	if k == nil {
		return refuse(message.CodeInternal, "it cannot be told which request of the client this belongs to")
	}
	if len(k.inputs) >= maxPending {
		return refuse(message.CodeInternal, "too many requests are under way")
	}
	if k.inputs == nil {
		k.inputs = make(map[string]*input)
	}
	k.asked++
	k.inputs["input-"+strconv.Itoa(k.asked)] = &input{id: m.RawID, method: m.Method, params: message.Get(m.Raw, "params")}
	if k.state == "" && !k.resuming {
		c.park(k)
	}
	return nil
}

// park answers the client's request with what the server asks for, and keeps the
// request until the client comes back. The conversation is locked.
func (c *conversation) park(k *call) {
	k.state = newID()
	c.parked[k.state] = k
	requests := make(map[string]map[string]json.RawMessage, len(k.inputs))
	for key, in := range k.inputs {
		method, _ := json.Marshal(in.method) // a string does not fail
		params := in.params
		if params == nil {
			params = []byte("{}") // clients of the Go SDK want some
		}
		requests[key] = map[string]json.RawMessage{"method": method, "params": params}
	}
	encoded, err := encode(requests)
	if err != nil {
		encoded = []byte("{}")
	}
	result := []byte(`{"resultType":"input_required","requestState":"` + k.state + `"}`)
	result = c.server.signed(message.Set(result, encoded, "inputRequests"))
	k.add(event{raw: message.Result(k.clientID, result), response: true})
	k.finish()
	state := k.state
	k.expiry = time.AfterFunc(waitForInput, func() { c.expire(k, state) })
}

// encode writes JSON without changing text that is JSON already.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// expire ends a request whose client has not come back.
func (c *conversation) expire(k *call, state string) {
	c.mu.Lock()
	if k.state != state || c.ended {
		c.mu.Unlock()
		return
	}
	frames := c.cancel(k)
	c.mu.Unlock()
	c.send(frames)
}

// resume continues the request that a client comes back to. It returns a rejection
// where there is none: what clients send as requestState is theirs to choose.
func (c *conversation) resume(r *http.Request, e *envelope, state string) (*call, *rejection, error) {
	c.mu.Lock()
	k := c.parked[state]
	if k == nil || k.method != e.m.Method || k.name != nameOf(e.m) {
		c.mu.Unlock()
		return nil, &rejection{
			status: http.StatusOK, code: message.CodeInvalidParams,
			text: "requestState is not known, or not any more; send the request without it",
		}, nil
	}
	delete(c.parked, state)
	k.expiry.Stop()
	k.resuming = true
	answered := make(map[string]*input)
	var frames [][]byte
	for key, in := range k.inputs {
		if value := message.Get(e.m.Raw, "params", "inputResponses", key); value != nil {
			answered[key] = in
			frames = append(frames, message.Result(in.id, value))
		}
	}
	c.mu.Unlock()

	for _, frame := range frames {
		if err := c.peer.Send(r, frame); err != nil {
			c.unresume(k, state)
			return nil, nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k.state, k.resuming, k.events, k.used = "", false, nil, 0
	for key := range answered {
		delete(k.inputs, key)
	}
	k.clientID, k.logLevel = e.m.RawID, e.logLevel
	k.clientToken = nil
	delete(c.tokens, k.id)
	if token := progressToken(e.m); token != nil {
		k.clientToken = token
		c.tokens[k.id] = k
	}
	switch {
	case k.late != nil:
		k.add(event{raw: c.answer(k, *k.late), response: true})
		c.drop(k)
	case c.ended:
		return nil, nil, errPeerEnded
	default:
		k.done = false
		if len(k.inputs) > 0 {
			c.park(k)
		}
	}
	return k, nil, nil
}

// unresume keeps a request for the client to come back to again.
func (c *conversation) unresume(k *call, state string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.resuming = false
	if c.ended {
		return
	}
	c.parked[state] = k
	k.expiry = time.AfterFunc(waitForInput, func() { c.expire(k, state) })
}

// nameOf is the tool, prompt or resource that a request is about.
func nameOf(m message.Message) string {
	source, ok := nameSources[m.Method]
	if !ok {
		return ""
	}
	return message.Text(m.Raw, "params", source)
}

// progressToken is the progress token of a request, as written.
func progressToken(m message.Message) []byte {
	if m.Progress == "" {
		return nil
	}
	return message.Get(m.Raw, "params", "_meta", "progressToken")
}
