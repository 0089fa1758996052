package bridge

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

const (
	// maxRounds bounds how often a server may ask for input before it answers a
	// request.
	maxRounds = 32
	// maxInputs bounds what it may ask for at a time.
	maxInputs = 64
)

// require takes the answer to a request that asks for input: the client gets it in
// requests of the server, and once it has answered them its own request is sent again
// (MCP specification 2026-07-28, "Multi Round-Trip Requests").
func (f *facade) require(e *errand, result []byte) {
	asked, state := message.Get(result, "inputRequests"), message.Get(result, "requestState")
	var requests map[string]json.RawMessage
	switch {
	case !takesInput(e.method):
		f.fail(e, "the server asks for input where it may not")
		return
	case asked == nil && state == nil || asked != nil && json.Unmarshal(asked, &requests) != nil || len(requests) > maxInputs:
		f.fail(e, "the server asks for input, but not in a way that is understood")
		return
	}
	for _, request := range requests {
		method, params := message.Text(request, "method"), message.Get(request, "params")
		if !declares(f.client.capabilities, method, params) {
			f.fail(e, "the server asks for what the client has not declared: "+strconv.Quote(method))
			return
		}
	}
	f.mu.Lock()
	e.rounds++
	e.state, e.awaited, e.given = state, nil, nil
	rounds, all := e.rounds, f.await(e, requests)
	f.mu.Unlock()
	switch {
	case rounds > maxRounds:
		f.fail(e, "the server asks for input again and again")
	case len(requests) == 0: // it wants nothing but time
		time.AfterFunc(min(resumeLeast<<rounds, resumeWithin), func() { f.again(e) })
	}
	for _, m := range all {
		f.session.hand(m, e.client, nil)
	}
}

// await notes what a client is asked for, and returns the requests. The facade is
// locked.
func (f *facade) await(e *errand, requests map[string]json.RawMessage) (all []message.Message) {
	if f.relayed[e.client] != e || e.rounds > maxRounds || len(requests) == 0 {
		return nil // it was taken back, or there is nothing to ask
	}
	e.awaited, e.given = make(map[message.Key]string), make(map[string][]byte)
	if f.inputs == nil {
		f.inputs = make(map[message.Key]*errand)
	}
	for _, key := range slices.Sorted(maps.Keys(requests)) {
		f.next++
		id := []byte(strconv.Itoa(f.next))
		m := message.Message{Kind: message.Request, ID: message.KeyOf(id), RawID: id, Method: message.Text(requests[key], "method")}
		m.Raw = []byte(`{"jsonrpc":"2.0","id":` + string(id) + `,"method":"` + m.Method + `"}`)
		if params := message.Get(requests[key], "params"); params != nil {
			if message.Text(params, "mode") == "url" {
				params = message.Add(params, []byte(`"`+newID()+`"`), "elicitationId") // it is of 2025-11-25 alone
			}
			m.Raw = message.Set(m.Raw, params, "params")
		}
		e.awaited[m.ID] = key
		f.inputs[m.ID] = e
		all = append(all, m)
	}
	return all
}

// declares reports whether a client takes a request of a server.
func declares(capabilities []byte, method string, params []byte) bool {
	capability, known := inputCapabilities[method]
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

// given takes an answer of the client's to what the server asks for. The last one sends
// its request again, with its own credentials: a refusal is the answer to it, and the
// client may give it again.
func (f *facade) given(from *http.Request, m message.Message) error {
	for checked := false; ; checked = true {
		f.mu.Lock()
		e := f.inputs[m.ID]
		if e == nil || m.Failed || len(e.awaited) > 1 {
			if !checked {
				f.mu.Unlock()
				if err := f.Check(from); err != nil {
					return err
				}
				continue
			}
			if e == nil {
				f.mu.Unlock()
				return nil // nobody has asked, or does any more
			}
		}
		key := e.awaited[m.ID]
		delete(f.inputs, m.ID)
		delete(e.awaited, m.ID)
		if m.Failed {
			f.mu.Unlock()
			f.fail(e, "the client refuses what the server asks for: "+message.Text(m.Raw, "error", "message"))
			return nil
		}
		e.given[key] = message.Get(m.Raw, "result")
		raw, last := e.resumed(), len(e.awaited) == 0
		f.mu.Unlock()
		if !last {
			return nil
		}
		err := f.dispatch(from, e, raw)
		if isOfAnyRequest(err) {
			f.mu.Lock()
			if f.relayed[e.client] == e {
				f.inputs[m.ID], e.awaited[m.ID] = e, key
				rounds := e.rounds
				time.AfterFunc(waitForInput, func() { f.expire(e, rounds) })
			}
			f.mu.Unlock()
		} else if err != nil {
			f.fail(e, "the server takes no input")
		}
		return err
	}
}

// expire answers a request whose client does not come back after a refusal.
func (f *facade) expire(e *errand, rounds int) {
	f.mu.Lock()
	waits := e.rounds == rounds && len(e.awaited) > 0
	f.mu.Unlock()
	if waits {
		f.fail(e, "the input that the server asks for was refused")
	}
}

// again sends a request again for which the server wants nothing but time.
func (f *facade) again(e *errand) {
	f.mu.Lock()
	raw := e.resumed()
	f.mu.Unlock()
	if err := f.dispatch(nil, e, raw); err != nil {
		f.fail(e, "the server does not take the request again")
	}
}

// resumed is the client's request with what the server wants back.
func (e *errand) resumed() []byte {
	raw := e.raw
	if e.state != nil {
		raw = message.Set(raw, e.state, "params", "requestState")
	}
	if e.given != nil {
		given := make(map[string]json.RawMessage, len(e.given))
		for key, value := range e.given {
			given[key] = bytes.TrimSpace(value)
		}
		if encoded, err := encode(given); err == nil {
			raw = message.Set(raw, encoded, "params", "inputResponses")
		}
	}
	return raw
}
