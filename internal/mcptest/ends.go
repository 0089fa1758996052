package mcptest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// decode reads a message without changing numbers.
func decode(raw string) map[string]any {
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.UseNumber()
	var m map[string]any
	_ = dec.Decode(&m) // a tap has nothing but messages
	return m
}

// encode writes a message with its members in order.
func encode(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // it was decoded
	return strings.TrimSpace(b.String())
}

// at returns what is at a path of objects; nil: there is no such thing.
func at(v any, path ...string) any {
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

// change sets what is at a path, where there is something.
func change(v any, to func(any) any, path ...string) {
	object, _ := at(v, path[:len(path)-1]...).(map[string]any)
	if old, ok := object[path[len(path)-1]]; ok {
		object[path[len(path)-1]] = to(old)
	}
}

// remove removes what is at a path.
func remove(v any, path ...string) {
	if object, ok := at(v, path[:len(path)-1]...).(map[string]any); ok {
		delete(object, path[len(path)-1])
	}
}

const (
	metaPrefix       = "io.modelcontextprotocol/"
	metaSubscription = metaPrefix + "subscriptionId"
)

// Numbered rewrites what passed at one end of a bridge between stateless clients
// (2026-07-28) and a server that they share, so that both ends can be compared: ids,
// progress tokens and subscription ids are different there. They become the number of
// the request that they belong to. Answers come before the notifications that cancel
// their requests, which are left out: for clients over HTTP that is a closed stream.
func Numbered(frames []Frame) []Frame {
	ids, tokens := make(map[string]any), make(map[string]any)
	cancelled := make(map[string]bool)
	requests := 0
	var all []Frame
	for _, f := range frames {
		m := decode(f.Raw)
		method, _ := m["method"].(string)
		id, has := m["id"]
		lookUp := func(known map[string]any) func(any) any {
			return func(old any) any {
				if n, ok := known[encode(old)]; ok {
					return n
				}
				return old
			}
		}
		switch {
		case method == "notifications/cancelled" && f.Up:
			cancelled[encode(at(m, "params", "requestId"))] = true
			continue
		case method != "" && has && f.Up:
			requests++
			number := fmt.Sprintf("#%d", requests)
			ids[encode(id)], m["id"] = number, number
			delete(cancelled, encode(id))
			if token := at(m, "params", "_meta", "progressToken"); token != nil {
				tokens[encode(token)] = number
			}
			change(m, lookUp(tokens), "params", "_meta", "progressToken")
		case method == "" && !f.Up:
			if cancelled[encode(id)] {
				continue
			}
			m["id"] = lookUp(ids)(id)
			change(m, lookUp(ids), "result", "_meta", metaSubscription)
		case !f.Up:
			change(m, lookUp(tokens), "params", "progressToken")
			change(m, lookUp(ids), "params", "_meta", metaSubscription)
		}
		all = append(all, Frame{f.Up, encode(m)})
	}
	return all
}

// InNobodysName rewrites what passed at the client's end of a bridge in front of a server
// that clients share: a subscription there is asked for in the bridge's name, with nothing
// of a client's own message but what the subscription is to.
func InNobodysName(frames []Frame) []Frame {
	all := make([]Frame, 0, len(frames))
	for _, f := range frames {
		m := decode(f.Raw)
		if f.Up && m["method"] == "subscriptions/listen" {
			m = map[string]any{"jsonrpc": m["jsonrpc"], "id": m["id"], "method": m["method"], "params": map[string]any{
				"_meta": map[string]any{
					metaPrefix + "clientCapabilities": map[string]any{},
					metaPrefix + "protocolVersion":    "2026-07-28",
				},
				"notifications": at(m, "params", "notifications"),
			}}
		}
		all = append(all, Frame{f.Up, encode(m)})
	}
	return all
}

// WithoutChoices leaves out what a server may choose as it likes, and a bridge that
// answers in its place may choose otherwise: the requestState of a result that asks for
// input; the revisions that are served, and how long the answer to server/discover may
// be kept, since a bridge learns of no change. The Go SDK's server has an empty
// "content" in results that ask for input. The order of members is that of their names.
func WithoutChoices(frames []Frame) []Frame {
	all := make([]Frame, 0, len(frames))
	for _, f := range frames {
		m := decode(f.Raw)
		remove(m, "params", "requestState")
		remove(m, "result", "requestState")
		if at(m, "result", "supportedVersions") != nil {
			remove(m, "result", "supportedVersions")
			remove(m, "result", "ttlMs")
			remove(m, "result", "cacheScope")
		}
		if at(m, "result", "inputRequests") != nil && at(m, "result", "content") == nil {
			remove(m, "result", "content")
		}
		all = append(all, Frame{f.Up, encode(m)})
	}
	return all
}

// translated are the methods of one era that have another meaning, or none, in the
// other.
var translated = map[string]bool{
	"server/discover": true, "subscriptions/listen": true, "notifications/subscriptions/acknowledged": true,
	"initialize": true, "notifications/initialized": true, "ping": true, "logging/setLevel": true,
	"resources/subscribe": true, "resources/unsubscribe": true, "notifications/cancelled": true,
	"elicitation/create": true, "sampling/createMessage": true, "roots/list": true,
}

// Crossing is what crosses a bridge between stateless clients and a server with a
// handshake, as it is seen at either end: all that is neither translated nor added on
// the way.
func Crossing(frames []Frame) []Frame {
	var all []Frame
	drop := make(map[string]bool)  // answers to requests that are translated
	asked := make(map[string]any)  // ids of requests that were answered with a request for input, by the state
	became := make(map[string]any) // the first id of a request that came again
	for _, f := range frames {
		m := decode(f.Raw)
		method, _ := m["method"].(string)
		id, has := m["id"]
		key := encode(id)
		first := func() any {
			if earlier, ok := became[key]; ok {
				return earlier
			}
			return id
		}
		switch {
		case f.Up && has && method != "":
			delete(drop, key)
			delete(became, key)
			if state := at(m, "params", "requestState"); state != nil {
				became[key] = asked[encode(state)]
				continue
			}
			drop[key] = translated[method]
		case !f.Up && has && method == "":
			if state := at(m, "result", "requestState"); state != nil {
				asked[encode(state)] = first()
				continue
			}
			if drop[key] {
				continue
			}
			m["id"] = first()
		case method == "":
			continue // an answer of the client's
		}
		if translated[method] && method != "notifications/cancelled" {
			continue
		}
		for _, name := range []string{"protocolVersion", "clientInfo", "clientCapabilities", "logLevel", "subscriptionId"} {
			remove(m, "params", "_meta", metaPrefix+name)
		}
		for _, name := range []string{"resultType", "ttlMs", "cacheScope"} {
			remove(m, "result", name)
		}
		remove(m, "result", "_meta", metaPrefix+"serverInfo")
		if encode(at(m, "error", "code")) == "-32002" {
			change(m, func(any) any { return json.Number("-32602") }, "error", "code") // a resource that is not there
		}
		for _, path := range [][]string{{"params", "_meta"}, {"result", "_meta"}, {"params"}} {
			if empty, ok := at(m, path...).(map[string]any); ok && len(empty) == 0 {
				remove(m, path...)
			}
		}
		all = append(all, Frame{f.Up, encode(m)})
	}
	return Numbered(all)
}
