package integration_test

import (
	"net/http"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/integration"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
)

// crossed starts a demo whose server speaks the other transport than the client.
func crossed(t *testing.T, down transport, opts demo.Options) (front, *demo.Demo) {
	t.Helper()
	up := map[transport]transport{streamable: legacySSE, legacySSE: streamable}[down]
	f := plainFront(t)
	return f, run(t, f, up, opts, "legacy_sse")
}

// Rules A1, C1, C3, D3, D4: the go-sdk's client logs in and is stepped up where the
// server speaks another transport than the client.
func TestCrossedLogin(t *testing.T) {
	f, d := crossed(t, streamable, demo.Options{})
	o := &observer{base: f.httpTransport(t)}
	useTools(t, connect(t, f.public, streamable, o), o)
	if got := len(o.with(http.StatusUnauthorized)); got != 1 {
		t.Errorf("the client was sent to log in %d times, want once", got)
	}
	o.check(t, f, d)
}

// Rules A1, C1, C3, D3, D4: the clients of both TypeScript SDKs do, either way.
func TestCrossedNodeLogin(t *testing.T) {
	integration.NeedNode(t)
	for _, tc := range []struct {
		driver string
		down   transport
		by     string
	}{
		{sdkV1, streamable, "application"},
		{sdkV1, legacySSE, "application"},
		{sdkV2, streamable, "sdk"},
		{sdkV2, legacySSE, "application"},
	} {
		t.Run(tc.driver+"/"+string(tc.down), func(t *testing.T) {
			f, d := crossed(t, tc.down, demo.Options{AutoConsent: true})
			at := f.public
			if tc.down == legacySSE {
				at += "/sse"
			}
			r := driveAt(t, at, tc.driver, tc.down)
			r.check(t, f, d, tc.down)
			r.steppedUp(t, tc.by)
		})
	}
}
