package upstreams

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/identity"
)

// Sent are the placeholders with which the configuration names the user of a request to
// the server, or chooses the server: those in `header_up`, `rewrite`, addresses and the
// transport. Requests with different values must not share a session or a server, whether a
// value comes from the path, a variable or a map.
type Sent []string

// SentBy returns those of a proxy, as it is written in the configuration. There may be no
// proxy.
func SentBy(written json.RawMessage) (found Sent) {
	var proxy struct {
		Headers struct {
			Request map[string]any `json:"request"`
		} `json:"headers"`
		Upstreams any `json:"upstreams"`
		Dynamic   any `json:"dynamic_upstreams"`
		Rewrite   any `json:"rewrite"`
		Transport any `json:"transport"`
	}
	if json.Unmarshal(written, &proxy) != nil {
		return nil // there is no proxy
	}
	for _, value := range []any{proxy.Upstreams, proxy.Dynamic, proxy.Rewrite, proxy.Transport} {
		found.collect(value)
	}
	for _, operation := range proxy.Headers.Request {
		fields, _ := operation.(map[string]any)
		for name, value := range fields {
			if identity.Counts(http.CanonicalHeaderKey(name)) {
				found.collect(name)
				found.collect(value)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// collect adds the placeholders in the texts of a value.
func (s *Sent) collect(value any) {
	switch value := value.(type) {
	case string:
		for {
			_, rest, ok := strings.Cut(value, "{")
			if !ok {
				return
			}
			name, _, ok := strings.Cut(rest, "}")
			if !ok {
				return
			}
			if name = name[strings.LastIndexByte(name, '{')+1:]; distinguishesUsers(name) {
				*s = append(*s, name)
			}
			value = rest
		}
	case []any:
		for _, v := range value {
			s.collect(v)
		}
	case map[string]any:
		for name, v := range value {
			s.collect(name)
			s.collect(v)
		}
	}
}

// distinguishesUsers reports whether a placeholder may have different values for different
// users. It does not count if it has another value for each request or connection.
func distinguishesUsers(placeholder string) bool {
	if name, ok := strings.CutPrefix(placeholder, "http.request.header."); ok {
		return identity.Counts(http.CanonicalHeaderKey(name))
	}
	switch placeholder {
	case "http.request.uuid", "http.request.remote", "http.request.remote.port", "http.request.method", "http.request.proto":
		return false
	}
	for _, kind := range []string{
		"env.", "file.", "system.", "time.", // the same for all users
		"http.request.body", "http.request.duration", "http.request.proto_", "http.reverse_proxy.", "http.response.", "http.error.", "http.mcp_auth_bridge.",
	} {
		if strings.HasPrefix(placeholder, kind) {
			return false
		}
	}
	return true
}

// Of returns the values of the placeholders for a request.
func (s Sent) Of(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	var all []byte
	for _, name := range s {
		value, _ := repl.GetString(name)
		all = strconv.AppendQuote(all, value)
	}
	return string(all)
}
