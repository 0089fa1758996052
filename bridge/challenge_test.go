package bridge

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// challenged returns what clients get of a challenge, each through an exchange of its own.
func challenged(t *testing.T, e *Endpoint, host, line string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/mcp", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	var x ClientRequest
	x.Begin(e, r, Client{Scheme: "https", Host: host}, TargetEndpoint, "/mcp")
	x.Host = "up:3000"
	h := http.Header{"Www-Authenticate": {line}}
	x.Edit(&x.Record, &http.Response{StatusCode: http.StatusUnauthorized, Header: h, Body: http.NoBody, Request: r})
	return strings.Join(h["Www-Authenticate"], "\n")
}

// What an endpoint remembers of the last request and its challenge does not change the next: each
// client gets its own public URL, and each challenge is read anew if it is another.
func TestLastChallenge(t *testing.T) {
	store, err := metadata.New(metadata.Config{Dials: []string{"up:3000"}, AuthorizationServers: []string{"https://login.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	e := New(Config{Path: "/mcp", Kind: KindHTTP, UpstreamPath: "/mcp", Mode: ModeRewrite, Metadata: store})
	at := func(host string) string {
		return `resource_metadata="https://` + host + `/.well-known/oauth-protected-resource/mcp"`
	}
	const upstream = `resource_metadata="http://up:3000/.well-known/oauth-protected-resource/mcp"`
	for range 2 {
		for _, host := range []string{"a.example.com", "a.example.com", "b.example.com"} {
			for _, rest := range []string{"Bearer ", "Bearer ", `Bearer error="invalid_token", `} {
				if got, want := challenged(t, e, host, rest+upstream), rest+at(host); got != want {
					t.Errorf("%s, %s: got %s, want %s", host, rest, got, want)
				}
			}
		}
		if got, want := challenged(t, e, "a.example.com", `Bearer realm="x`), "Bearer "+at("a.example.com")+"\nBearer realm=\"x"; got != want {
			t.Errorf("got %s for a challenge that does not parse, want %s", got, want)
		}
	}
}
