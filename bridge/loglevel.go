package bridge

import "slices"

// logLevels are the levels of log messages, the least first (RFC 5424 section 6.2.1,
// by the names of the MCP specification).
var logLevels = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

// levelOf is the rank of a level; that of one that nobody knows is the highest.
func levelOf(name string) int {
	if i := slices.Index(logLevels, name); i >= 0 {
		return i
	}
	return len(logLevels)
}
