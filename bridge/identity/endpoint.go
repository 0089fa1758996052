package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Endpoint is everything that decides where the requests of an endpoint go, and as whom.
// State that outlives a request or a reload is found by its [Endpoint.Key], so that no
// endpoint gets the sessions, servers, pages or memory of another.
//
// Options that change neither (cors, limits, sessions, challenge, metadata, paths of
// legacy_sse) are not part of it: the state of an endpoint survives a change of them.
type Endpoint struct {
	// Places are where the endpoint is in the configuration: one place, or several if it is
	// in a named route.
	Places []Place
	// Path, PublicURL and Names (hosts) are its own options.
	Path, PublicURL string
	Names           []string
	// Upstream and Proxy are the upstream and the proxy as configured, in JSON, before they
	// are provisioned. They are empty if there is none.
	Upstream, Proxy json.RawMessage
	// Inherited are the values of Caddy's environment that are passed to a program.
	Inherited []string

	// Constant replaces the placeholders that cannot change while the process runs
	// ({env.*}). Now replaces those that have a value when the configuration is loaded,
	// {file.*} as well. Addresses are read with Now: a file with another address at the next
	// load means another server. Everything else is read with Constant, so that a secret in
	// a file can be changed. Nil: nothing is replaced.
	Constant, Now func(text string) string
}

// Place is where an endpoint is in the configuration.
type Place struct {
	// Listen are the addresses of its server. They are used in place of the name of the
	// server, which the Caddyfile adapter numbers: adding a site would rename others.
	Listen []string
	// Hosts are those of its site. Matchers are all matchers around it, from outside in.
	// Prefix is the part of the path that routes around it strip.
	Hosts    []string
	Matchers []string
	Prefix   string
}

// places returns a description of the places, sorted.
func (e *Endpoint) places(describe func(p Place) []any) []string {
	all := make([]string, len(e.Places))
	for i, p := range e.Places {
		all[i] = digest(describe(p)...)
	}
	return sorted(all)
}

// Key returns a text that is the same exactly for equal endpoints. It is a hash, so secrets
// of the configuration cannot be read from it.
func (e *Endpoint) Key() string {
	places := e.places(func(p Place) []any {
		return []any{sorted(p.Listen), sorted(p.Hosts), p.Matchers, e.constants(p.Matchers), p.Prefix}
	})
	return digest("endpoint", places, e.Path, e.PublicURL, sorted(e.Names),
		canonical(e.Upstream, withoutGuard), e.read(e.Upstream, withoutGuard),
		canonical(e.Proxy, onlyWhere), e.read(e.Proxy, onlyWhere), e.Inherited)
}

// Scope returns the scope in which the message paths of an HTTP+SSE server are sealed. It is
// the same on every replica with the same configuration, as long as that leads to the same
// addresses: neither the listeners nor other values of the environment are part of it.
func (e *Endpoint) Scope() string {
	places := e.places(func(p Place) []any { return []any{sorted(p.Hosts), p.Prefix} })
	return digest("scope", slices.Compact(places), e.Path, e.PublicURL, sorted(e.Names),
		canonical(e.Upstream, withoutGuard), canonical(e.Proxy, onlyWhere), e.addresses())
}

// constants returns a list with its placeholders replaced.
func (e *Endpoint) constants(list []string) []string {
	if e.Constant == nil {
		return list
	}
	read := make([]string, len(list))
	for i, text := range list {
		read[i] = e.Constant(text)
	}
	return read
}

// SameServer reports whether two endpoints lead to one server: the same addresses, in any
// order, by the same transport, with the same Host.
func (e *Endpoint) SameServer(other *Endpoint) bool { return e.Server() == other.Server() }

// Server tells the bridged authorization server of the endpoint from others.
func (e *Endpoint) Server() string {
	proxy := object(e.Proxy)
	headers, _ := proxy["headers"].(map[string]any)
	request, _ := headers["request"].(map[string]any)
	transport := replaced(onlyWhere(object(e.Proxy))["transport"], e.Constant)
	return digest("server", e.addresses(), transport, replaced(proxy["rewrite"], e.Constant), replaced(hostOperations(request), e.Constant))
}

// addresses returns the addresses of the upstreams, sorted, and the configuration of dynamic
// ones.
func (e *Endpoint) addresses() any {
	proxy := object(e.Proxy)
	var dials []string
	upstreams, _ := proxy["upstreams"].([]any)
	for _, up := range upstreams {
		if up, ok := up.(map[string]any); ok {
			dial, _ := up["dial"].(string)
			if e.Now != nil {
				dial = e.Now(dial)
			}
			if !strings.Contains(dial, "/") { // a host, where case does not matter; in the path of a socket it does
				dial = strings.ToLower(dial)
			}
			dials = append(dials, dial)
		}
	}
	return []any{sorted(dials), replaced(proxy["dynamic_upstreams"], e.Now)}
}

// read decodes JSON of the configuration and replaces its placeholders.
func (e *Endpoint) read(raw json.RawMessage, only func(map[string]any) map[string]any) any {
	all := only(object(raw))
	for name, value := range all {
		with := e.Constant
		if name == "upstreams" || name == "dynamic_upstreams" {
			with = e.Now
		}
		all[name] = replaced(value, with)
	}
	return all
}

// replaced returns a value with the placeholders in its texts replaced.
func replaced(value any, with func(string) string) any {
	if with == nil {
		return value
	}
	switch value := value.(type) {
	case string:
		return with(value)
	case []any:
		list := make([]any, len(value))
		for i, v := range value {
			list[i] = replaced(v, with)
		}
		return list
	case map[string]any:
		// Names can have placeholders as well, names of header fields for example. Two of
		// them may be replaced by the same text.
		list := make([][2]any, 0, len(value))
		for name, v := range value {
			list = append(list, [2]any{name, [2]any{with(name), replaced(v, with)}})
		}
		slices.SortFunc(list, func(a, b [2]any) int { return strings.Compare(a[0].(string), b[0].(string)) })
		return list
	}
	return value
}

// hostOperations are the operations on header fields that change the Host.
func hostOperations(request map[string]any) any {
	var all []any
	for _, operation := range []string{"add", "set", "delete", "replace"} {
		switch fields := request[operation].(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(fields)) {
				if strings.EqualFold(name, "Host") {
					all = append(all, operation, fields[name])
				}
			}
		case []any:
			for _, name := range fields {
				if name, ok := name.(string); ok && strings.EqualFold(name, "Host") {
					all = append(all, operation)
				}
			}
		}
	}
	return all
}

// withoutGuard removes the option that says that something else guards a program.
func withoutGuard(upstream map[string]any) map[string]any {
	delete(upstream, "allow_unauthenticated")
	return upstream
}

// elsewhere are the members of a proxy that do not decide where a request goes or as
// whom. Every other member counts, also those that a later version of Caddy adds.
var elsewhere = []string{
	"buffer_requests", "circuit_breaker", "flush_interval", "health_checks", "proxy_status_name", "request_buffers", "response_buffers",
	"stream_buffer_size", "stream_close_delay", "stream_timeout", "verbose_logs",
}

// timesAndSizes are such members of Caddy's own HTTP transport.
var timesAndSizes = []string{
	"compression", "dial_fallback_delay", "dial_timeout", "expect_continue_timeout", "keep_alive", "max_conns_per_host",
	"max_response_header_size", "read_buffer_size", "read_timeout", "response_header_timeout", "write_buffer_size", "write_timeout",
}

// onlyWhere removes members that do not decide where a request goes, or as whom.
func onlyWhere(proxy map[string]any) map[string]any {
	for _, name := range elsewhere {
		delete(proxy, name)
	}
	if transport, ok := proxy["transport"].(map[string]any); ok && transport["protocol"] == "http" {
		for _, name := range timesAndSizes {
			delete(transport, name)
		}
		if len(transport) == 1 { // only its name is left: the default transport
			delete(proxy, "transport")
		}
	}
	return proxy
}

// canonical returns JSON of the configuration with its members in order.
func canonical(raw json.RawMessage, only func(map[string]any) map[string]any) any {
	return only(object(raw))
}

// object decodes an object of the configuration. If it does not decode, its text counts as
// it is.
func object(raw json.RawMessage) map[string]any {
	if len(raw) == 0 {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var all map[string]any
	if err := decoder.Decode(&all); err != nil || all == nil {
		return map[string]any{"": string(raw)}
	}
	return all
}

// sorted returns a list in order.
func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// digest returns a hash of values that have an encoding in JSON.
func digest(values ...any) string {
	encoded, err := json.Marshal(values)
	if err != nil {
		panic("bridge/identity: " + err.Error()) // cannot happen: the values are decoded JSON and texts
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}
