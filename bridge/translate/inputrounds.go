package translate

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/upstream"
)

const (
	// maxRounds bounds how often a server may ask for input before it answers a
	// request.
	maxRounds = 32
	// maxInputs bounds what it may ask for at a time.
	maxInputs = 64
	// waitForInput bounds how long the client may take to send an answer again whose
	// credentials were refused.
	waitForInput = 10 * time.Minute
)

// inputRounds are the requests of a client whose server waits for input of the client (MCP
// specification 2026-07-28, "Multi Round-Trip Requests"). The client gets each request for
// input as a request of the server. When it has answered all of them, its own request is
// sent again.
type inputRounds struct {
	requests *requests

	mu   sync.Mutex
	byID map[message.Key]*upstreamRequest // by the ids of the requests for input
}

// inputState is what a server has asked for before it answers a request. The lock of inputRounds
// guards it.
type inputState struct {
	over   bool // the client does not wait for the request any more
	rounds int  // answers that were requests for input
	// awaited has the requests for input that the client has not answered yet: the ids that
	// the client knows, and the keys that the server has given them. given has the client's
	// answers by those keys.
	awaited map[message.Key]string
	given   map[string][]byte
	state   []byte // requestState as the server has written it; nil if there is none
	// expiry ends the wait for an answer that the client has to send again, because its
	// credentials were refused.
	expiry *upstream.Timeout
}

// require takes an answer that asks for input.
func (i *inputRounds) require(u *upstreamRequest, result []byte) {
	asked, state := message.Get(result, "inputRequests"), message.Get(result, "requestState")
	var wanted map[string]json.RawMessage
	switch {
	case !mcp.TakesInput(u.method):
		i.requests.fail(u, "the server asks for input where it may not")
		return
	case asked == nil && state == nil || asked != nil && json.Unmarshal(asked, &wanted) != nil || len(wanted) > maxInputs:
		i.requests.fail(u, "the server asks for input, but not in a way that is understood")
		return
	}
	capabilities := i.requests.clientCapabilities()
	for _, request := range wanted {
		method, params := message.Text(request, "method"), message.Get(request, "params")
		if !declares(capabilities, method, params) {
			i.requests.fail(u, "the server asks for what the client has not declared: "+strconv.Quote(method))
			return
		}
	}
	i.mu.Lock()
	u.input.rounds++
	u.input.state, u.input.awaited, u.input.given = state, nil, nil
	rounds, all := u.input.rounds, i.await(u, wanted)
	i.mu.Unlock()
	switch {
	case rounds > maxRounds:
		i.requests.fail(u, "the server asks for input again and again")
	case len(wanted) == 0: // the server needs more time
		time.AfterFunc(min(resendLeast<<rounds, resendWithin), func() { i.resend(u) })
	}
	for _, m := range all {
		i.requests.deliver(m, u.client.ID, nil)
	}
}

const (
	// resendLeast is the wait before a request is sent again to a server that asks for
	// time. It doubles each time, up to resendWithin.
	resendLeast  = 100 * time.Millisecond
	resendWithin = 30 * time.Second
)

// await notes the requests for input and returns them as the client gets them. The caller
// holds the lock.
func (i *inputRounds) await(u *upstreamRequest, wanted map[string]json.RawMessage) (all []message.Message) {
	if u.input.over || u.input.rounds > maxRounds || len(wanted) == 0 {
		return nil // the client has cancelled it, or there is nothing to ask
	}
	u.input.awaited, u.input.given = make(map[message.Key]string), make(map[string][]byte)
	if i.byID == nil {
		i.byID = make(map[message.Key]*upstreamRequest)
	}
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		params := message.Get(wanted[key], "params")
		if message.Text(params, "mode") == "url" {
			params = message.Add(params, []byte(`"`+mcp.NewID()+`"`), "elicitationId") // of 2025-11-25 alone
		}
		m := message.NewRequest([]byte(strconv.Itoa(i.requests.number())), message.Text(wanted[key], "method"), params)
		u.input.awaited[m.ID] = key
		i.byID[m.ID] = u
		all = append(all, m)
	}
	return all
}

// declares reports whether the capabilities of a client allow a request to it.
func declares(capabilities []byte, method string, params []byte) bool {
	capability, known := mcp.InputCapability(method)
	declared := message.Get(capabilities, capability)
	switch {
	case !known || len(declared) == 0 || declared[0] != '{':
		return false
	case method == "elicitation/create" && message.Text(params, "mode") == "url":
		return message.Get(declared, "url") != nil
	case method == "elicitation/create":
		return message.Get(declared, "form") != nil || message.Get(declared, "url") == nil
	case method == "sampling/createMessage" && message.Get(params, "tools") != nil:
		return message.Get(declared, "tools") != nil
	}
	return true
}

// fromClient takes an answer of the client to a request for input. After the last answer,
// the client's request is sent again with the credentials of that answer. If they are
// refused, the refusal answers the client, which may send the answer again.
func (i *inputRounds) fromClient(from *http.Request, m message.Message) error {
	i.mu.Lock()
	u := i.byID[m.ID]
	if u == nil || m.Failed || len(u.input.awaited) > 1 { // nothing is sent that the server judges
		i.mu.Unlock()
		if err := i.requests.check(from); err != nil {
			return err
		}
		i.mu.Lock()
		u = i.byID[m.ID]
	}
	if u == nil {
		i.mu.Unlock()
		return nil // it was not asked for, or is not needed any more
	}
	key := u.input.awaited[m.ID]
	delete(i.byID, m.ID)
	delete(u.input.awaited, m.ID)
	if m.Failed {
		i.mu.Unlock()
		i.requests.fail(u, "the client refuses what the server asks for: "+m.Text("error", "message"))
		return nil
	}
	u.input.given[key] = m.Get("result")
	resent, last := u.withInput(), len(u.input.awaited) == 0
	u.input.expiry.Stop()
	i.mu.Unlock()
	if !last {
		return nil
	}
	err := i.requests.dispatch(from, u, resent)
	switch {
	case upstream.IsOfAnyRequest(err):
		i.awaitAgain(u, m.ID, key)
	case err != nil:
		i.requests.fail(u, "the server takes no input")
	}
	return err
}

// awaitAgain waits again for an answer of the client whose credentials were refused.
func (i *inputRounds) awaitAgain(u *upstreamRequest, id message.Key, key string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if u.input.over {
		return
	}
	i.byID[id], u.input.awaited[id] = u, key
	u.input.expiry = upstream.StartTimeout(&i.mu, waitForInput, func() func() {
		return func() { i.requests.fail(u, "the input that the server asks for was refused") }
	})
}

// forget ends the wait for the input of a request.
func (i *inputRounds) forget(u *upstreamRequest) {
	i.mu.Lock()
	defer i.mu.Unlock()
	u.input.over = true
	u.input.expiry.Stop()
	for id := range u.input.awaited {
		delete(i.byID, id)
	}
}

// resend sends a request again after the server has asked for time.
func (i *inputRounds) resend(u *upstreamRequest) {
	i.mu.Lock()
	m := u.withInput()
	i.mu.Unlock()
	if err := i.requests.dispatch(nil, u, m); err != nil {
		i.requests.fail(u, "the server does not take the request again")
	}
}

// withInput is the client's request with the state and the inputs that the server has asked
// for.
func (u *upstreamRequest) withInput() message.Message {
	m := u.client
	if u.input.state != nil {
		m = m.Set(u.input.state, "params", "requestState")
	}
	if u.input.given != nil {
		given := make(map[string]json.RawMessage, len(u.input.given))
		for key, value := range u.input.given {
			given[key] = bytes.TrimSpace(value)
		}
		if encoded, err := message.Encode(given); err == nil {
			m = m.Set(encoded, "params", "inputResponses")
		}
	}
	return m
}
