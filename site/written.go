package site

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
)

// maxWritten bounds how many places in Caddyfiles are remembered.
const maxWritten = 10_000

// written are the places in the Caddyfile that was adapted last, by the JSON of the handlers.
// A configuration in JSON says nothing of them.
var written struct {
	sync.Mutex
	at    map[string][]string
	taken map[string]int
	n     int
}

// stateKey is set in the state of an adaptation that Wrote has seen.
const stateKey = "mcp_auth_bridge"

// Wrote remembers where in a Caddyfile a handler is written. state is that of the adaptation.
// server tells apart handlers that one line stands for; it may be empty.
func Wrote(state map[string]any, handler any, file string, line int, server string) {
	key, err := json.Marshal(handler)
	if err != nil {
		return
	}
	written.Lock()
	defer written.Unlock()
	if state[stateKey] == nil || written.at == nil {
		written.at, written.taken, written.n = make(map[string][]string), make(map[string]int), 0
		if state != nil {
			state[stateKey] = true
		}
	}
	if written.n++; written.n <= maxWritten {
		place := fmt.Sprintf("%s:%d", filepath.Base(file), line)
		if server != "" {
			place += ", server " + server
		}
		written.at[string(key)] = append(written.at[string(key)], place)
	}
}

// WrittenAt returns where a handler is written that is as its JSON was; it is empty if that is
// not known. Equal handlers get their places in turn.
func WrittenAt(handler any) string {
	key, err := json.Marshal(handler)
	if err != nil {
		return ""
	}
	written.Lock()
	defer written.Unlock()
	all := written.at[string(key)]
	if len(all) == 0 {
		return ""
	}
	written.taken[string(key)]++
	return all[(written.taken[string(key)]-1)%len(all)]
}
