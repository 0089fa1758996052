package mcp

import "slices"

// nameSources says which member of params Mcp-Name repeats.
var nameSources = map[string]string{
	"tools/call": "name", "prompts/get": "name", "resources/read": "uri",
	"tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId",
}

// NameSource returns the member of params that the header field Mcp-Name repeats. It returns
// false for methods without that field.
func NameSource(method string) (member string, ok bool) {
	member, ok = nameSources[method]
	return member, ok
}

// ConcernsServer reports whether a notification is about a change at the server, and belongs
// to no request.
func ConcernsServer(method string) bool {
	switch method {
	case "notifications/tools/list_changed", "notifications/prompts/list_changed",
		"notifications/resources/list_changed", "notifications/resources/updated":
		return true
	}
	return false
}

// Methods are the requests of clients that the specification has, in all of its revisions.
var Methods = []string{
	"initialize", "server/discover", "ping",
	"tools/list", "tools/call", "prompts/list", "prompts/get", "completion/complete",
	"resources/list", "resources/templates/list", "resources/read", "resources/subscribe", "resources/unsubscribe",
	"subscriptions/listen", "logging/setLevel",
	"tasks/get", "tasks/result", "tasks/list", "tasks/cancel", "tasks/update",
}

// IsCacheable reports whether results of a method say how long they may be kept (MCP
// specification 2026-07-28, "Caching").
func IsCacheable(method string) bool {
	switch method {
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read":
		return true
	}
	return false
}

// IsRemoved reports whether a method of clients exists only in revisions with a handshake.
func IsRemoved(method string) bool {
	switch method {
	case "initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe",
		"notifications/initialized", "notifications/roots/list_changed", "notifications/cancelled",
		"notifications/progress":
		return true
	}
	return false
}

// TakesInput reports whether a request may be answered with a request for input (MCP
// specification 2026-07-28, "Supported Requests").
func TakesInput(method string) bool {
	switch method {
	case "tools/call", "prompts/get", "resources/read":
		return true
	}
	return false
}

// InputCapability returns the capability of clients that accept a request of a server. It
// returns false if servers have no such request.
func InputCapability(method string) (capability string, ok bool) {
	switch method {
	case "elicitation/create":
		return "elicitation", true
	case "sampling/createMessage":
		return "sampling", true
	case "roots/list":
		return "roots", true
	}
	return "", false
}

// logLevels are the levels of log messages, the least first (RFC 5424 section 6.2.1,
// by the names of the MCP specification).
var logLevels = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

// UnknownLevel is the rank of a name that is no log level.
const UnknownLevel = 8

// LevelOf returns the rank of a log level: more severe levels have higher ranks.
func LevelOf(name string) int {
	if i := slices.Index(logLevels, name); i >= 0 {
		return i
	}
	return UnknownLevel
}
