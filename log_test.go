package mcpauthbridge

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	logstest "go.uber.org/zap/zaptest/observer"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
)

// B3: a refused origin is told with the line that allows it, also after others have been
// invented, and again after a while.
func TestRefusedOriginsAreLoggedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := logstest.New(zapcore.DebugLevel)
		o := &observer{endpoint: "/mcp", logger: zap.New(core)}
		told := func(origin string) bool {
			o.logRefused(origin, "mcp.example.com")
			n := 0
			for _, entry := range logs.TakeAll() {
				if entry.ContextMap()["add"] == "allow_origins "+origin {
					n++
				}
			}
			return n == 1
		}
		const own = "https://app.example.com"
		if !told(own) || told(own) {
			t.Error("an origin is not told once")
		}
		for i := range 10_000 {
			told(fmt.Sprintf("https://x%d.example", i))
		}
		if time.Sleep(time.Minute); !told("https://other.example.com") {
			t.Error("invented origins silence the log for good")
		}
		if time.Sleep(time.Hour); !told(own) || told(own) {
			t.Error("an origin is not told again after an hour")
		}
	})
}

// B3: of a request whose Origin is empty, or is there twice, no line is logged that would not allow it.
func TestRefusedOriginsThatAreNone(t *testing.T) {
	for name, origins := range map[string][]string{
		"empty": {""}, "twice": {"https://app.example.com", "https://app.example.com"}, "twice, one empty": {"https://app.example.com", ""},
	} {
		core, logs := logstest.New(zapcore.DebugLevel)
		o := &observer{endpoint: "/mcp", logger: zap.New(core)}
		o.logRefused(bridge.OriginText(origins), "mcp.example.com")
		for _, entry := range logs.TakeAll() {
			if got := entry.ContextMap(); entry.Message != "refused a browser's request whose origin is not allowed" || got["add"] != nil {
				t.Errorf("%s: got %q with %v", name, entry.Message, got)
			}
		}
	}
	if got := bridge.OriginText(nil); got != "" {
		t.Errorf("without Origin got %q", got)
	}
}
