package mcp

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Bounds of what is carried of a trace, in bytes: W3C Trace Context section 3.3.1.5
// and W3C Baggage section 4.2 want as much to be propagated.
const (
	maxTraceState = 512
	maxBaggage    = 8192
)

// CarryTrace returns a message with the trace context that the fields of its request
// have in _meta, for a server that gets no fields (MCP specification 2026-07-28, "OpenTelemetry
// trace context"). What a client has put there itself stays.
func CarryTrace(h http.Header, m message.Message) message.Message {
	parents := h["Traceparent"]
	if len(parents) != 1 || !isTraceParent(parents[0]) ||
		m.Kind == message.Response || m.Get("params", "_meta", "traceparent") != nil {
		return m
	}
	m = m.Set(strconv.AppendQuote(nil, parents[0]), "params", "_meta", "traceparent")
	for _, f := range []struct {
		field, member string
		most          int
	}{{"Tracestate", "tracestate", maxTraceState}, {"Baggage", "baggage", maxBaggage}} {
		value := strings.Join(h[f.field], ",")
		if value == "" || len(value) > f.most || !isPlain(value) || m.Get("params", "_meta", f.member) != nil {
			continue
		}
		m = m.Set(strconv.AppendQuote(nil, value), "params", "_meta", f.member)
	}
	return m
}

// isPlain reports whether a value is printable ASCII without quotes and backslashes.
func isPlain(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// isTraceParent reports whether a value is a traceparent (W3C Trace Context section
// 3.2.2): of a later version, as far as it has to be understood.
func isTraceParent(value string) bool {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(value) < length || len(value) > maxTraceState || strings.HasPrefix(value, "ff") || !isPlain(value) ||
		len(value) > length && (strings.HasPrefix(value, "00") || value[length] != '-') {
		return false
	}
	for i := range length {
		switch c := value[i]; {
		case i == 2 || i == 35 || i == 52:
			if c != '-' {
				return false
			}
		case c < '0' || c > 'f' || c > '9' && c < 'a':
			return false
		}
	}
	return strings.Trim(value[3:35], "0") != "" && strings.Trim(value[36:52], "0") != ""
}
