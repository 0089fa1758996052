//go:build unix

package mcptest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// gatedScript answers initialize at once, and each other request with the result that comes through
// a named pipe. That has the number of these requests in its _meta.
const gatedScript = `
n=0
while read -r line; do
	id=${line##*'"id":'}
	id=${id%%[,\}]*}
	case $line in
	*'"initialize"'*)
		result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
	*'"id":'*)
		n=$((n + 1))
		read -r result <"$1"
		result='{"_meta":{"requests":'$n'},'${result#?} ;;
	*) continue ;;
	esac
	echo '{"jsonrpc":"2.0","id":'$id',"result":'$result'}'
done
`

// Gated is an MCP server as a program that answers when the test wants it to. It returns the
// command, for the option stdio, and what gives the next request its result, a JSON object of one
// line with members.
func Gated(t *testing.T) (command string, answer func(result string)) {
	t.Helper()
	dir := t.TempDir()
	gate, script := filepath.Join(dir, "gate"), filepath.Join(dir, "script")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte(gatedScript), 0o600); err != nil {
		t.Fatal(err)
	}
	return "/bin/sh " + script + " " + gate, func(result string) {
		_ = os.WriteFile(gate, []byte(result+"\n"), 0o600)
	}
}
