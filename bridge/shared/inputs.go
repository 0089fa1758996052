package shared

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/servers"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

// waitForInput bounds how long a request is parked: how long the server's request for input waits
// until the client comes back with the input.
const waitForInput = 10 * time.Minute

// input is a request of the server to the client, during a request of that client.
type input struct {
	id     []byte // as the server wrote it
	method string
	params []byte // as written; nil if it has none
}

// parkedCalls has the parked requests: the server has asked for input, the client has got the
// result `input_required`, and has not come back with the input yet. The lock of the server guards
// it.
type parkedCalls struct {
	server *server
	parked map[string]*call // by the requestState that continues them
}

// asked handles a request of the server. If it is for input, it is added to the request of a client
// that it belongs to, which is then parked; else the server gets an error.
func (r *parkedCalls) asked(m message.Message) {
	c := r.server
	refuse := func(code int, text string) { c.out.Post(message.NewError(m.RawID, code, text)) }
	if m.Method == "ping" {
		c.out.Post(message.NewResult(m.RawID, []byte("{}")))
		return
	}
	capability, known := mcp.InputCapability(m.Method)
	if c.handshake == nil || !known || message.Get(c.capabilities, capability) == nil {
		refuse(message.CodeMethodNotFound, "the client does not know this method")
		return
	}
	k := c.calls.sole(func(k *call) bool { return mcp.TakesInput(k.method) })
	if k == nil {
		refuse(message.CodeInternal, "it cannot be told which request of the client this belongs to")
		return
	}
	if len(k.inputs) >= servers.MaxPending {
		refuse(message.CodeInternal, "too many requests are in progress")
		return
	}
	if k.inputs == nil {
		k.inputs = make(map[string]*input)
	}
	k.asked++
	k.inputs["input-"+strconv.Itoa(k.asked)] = &input{id: m.RawID, method: m.Method, params: message.Get(m.Raw, "params")}
	if k.state == "" && !k.resuming {
		r.park(k)
	}
}

// park answers the client's request with `input_required` and the server's requests for input, and
// keeps the request until the client comes back.
func (r *parkedCalls) park(k *call) {
	k.state = mcp.NewID()
	r.parked[k.state] = k
	requests := make(map[string]map[string]json.RawMessage, len(k.inputs))
	for key, in := range k.inputs {
		method, _ := json.Marshal(in.method) // a string does not fail
		params := in.params
		if params == nil {
			params = []byte("{}") // clients of the Go SDK need some
		}
		requests[key] = map[string]json.RawMessage{"method": method, "params": params}
	}
	encoded, err := message.Encode(requests)
	if err != nil {
		encoded = []byte("{}")
	}
	result := []byte(`{"resultType":"input_required","requestState":"` + k.state + `"}`)
	result = r.server.handshake.signed(message.Set(result, encoded, "inputRequests"))
	k.add(servers.Event{Raw: message.Result(k.clientID, result), Response: true})
	k.finish()
	r.expireLater(k)
}

// keepLate keeps the server's answer to a parked request for when its client comes back. If there
// is no room for the answer, it keeps an error.
func (r *parkedCalls) keepLate(k *call, m message.Message) {
	if !r.server.calls.unread.keep(k, len(m.Raw), servers.MaxUnread*r.server.servers.Bounds().Buffer) {
		m = message.NewError(k.number(), message.CodeInternal, textUnread)
	}
	k.late = &m
}

// expireLater cancels a parked request if its client does not come back within waitForInput.
func (r *parkedCalls) expireLater(k *call) {
	k.expiry = upstream.StartTimeout(&r.server.out, waitForInput, func() func() {
		r.server.cancel(k)
		return nil
	})
}

// resume continues the parked request that state belongs to, with the input in the client's new
// request. It returns a rejection if there is no such parked request.
func (r *parkedCalls) resume(from *http.Request, e *envelope, state string) (*call, *rejection, error) {
	c := r.server
	c.out.Lock()
	k := r.parked[state]
	if k == nil || k.method != e.m.Method || k.name != nameOf(e.m) {
		c.out.Unlock()
		return nil, &rejection{
			status: http.StatusOK, code: message.CodeInvalidParams,
			text: "requestState is not known, or not any more; send the request without it",
		}, nil
	}
	delete(r.parked, state)
	k.expiry.Stop() // it has not fired: a request that it cancels is not parked any more
	k.resuming = true
	answered := make(map[string]*input)
	var answers []message.Message
	for key, in := range k.inputs {
		if value := message.Get(e.m.Raw, "params", "inputResponses", key); value != nil {
			answered[key] = in
			answers = append(answers, message.NewResult(in.id, value))
		}
	}
	c.out.Unlock()

	for _, m := range answers { // with the credentials of this request, which gets a refusal
		if err := c.peer.Send(from, m); err != nil {
			r.unresume(k, state)
			return nil, nil, err
		}
	}
	c.out.Lock()
	defer c.out.Unlock()
	k.state, k.resuming = "", false
	c.calls.unread.unkeep(k)
	c.calls.unread.leave(k)
	k.client = e.from
	c.calls.unread.join(k)
	for key := range answered {
		delete(k.inputs, key)
	}
	k.clientID, k.logLevel = e.m.RawID, e.LogLevel
	k.clientToken = nil
	delete(c.calls.byToken, k.id)
	if token := progressToken(e.m); token != nil {
		k.clientToken = token
		c.calls.byToken[k.id] = k
	}
	switch {
	case k.late != nil:
		k.add(servers.Event{Raw: c.answer(k, *k.late), Response: true})
		c.drop(k)
	case c.ended:
		c.calls.unread.leave(k)
		return nil, nil, upstream.ErrEnded
	default:
		k.done = false
		if len(k.inputs) > 0 {
			r.park(k)
		}
	}
	return k, nil, nil
}

// unresume parks a request again, because its client's input could not be sent.
func (r *parkedCalls) unresume(k *call, state string) {
	r.server.out.Lock()
	defer r.server.out.Unlock()
	k.resuming = false
	if r.server.ended {
		return
	}
	r.parked[state] = k
	r.expireLater(k)
}

// nameOf returns the name of the tool or prompt, or the URI of the resource, that a request is
// about; empty if its method has none.
func nameOf(m message.Message) string {
	source, ok := mcp.NameSource(m.Method)
	if !ok {
		return ""
	}
	return message.Text(m.Raw, "params", source)
}

// progressToken is the progress token of a request, as written.
func progressToken(m message.Message) []byte {
	return m.RawProgress
}
