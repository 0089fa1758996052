package integration_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
)

const bridgeServer = "authorization_server bridge {\n\t\t\tpaths /authorize/*\n\t\t}"

// sitePrefixFront is prefixFront with what serves the authorization server.
func sitePrefixFront(t *testing.T) front {
	t.Helper()
	f := prefixFront(t)
	f.caddyfile = strings.Replace(f.caddyfile, "\thandle /.well-known/oauth-protected-resource/* {\n\t\tmcp_auth_bridge metadata\n\t}\n", "\tmcp_auth_bridge metadata\n", 1)
	return f
}

// runCohosted starts a demo with its authorization server on the MCP server's
// own, private, origin, and a front that bridges it. accepted are the audiences
// that the server accepts; none: its private URLs.
func runCohosted(t *testing.T, f front, kind transport, opts demo.Options, accepted ...string) *demo.Demo {
	t.Helper()
	opts.SameOrigin, opts.Public, opts.AnyHost = true, accepted, f.secure()
	return startDemo(t, f, kind, opts, bridgeServer)
}

// checkCohosted asserts what holds of every login at a bridged server: the
// client never leaves the public origin, and its tokens are for the audience
// that the server accepts.
func (o *observer) checkCohosted(t *testing.T, f front, audiences ...string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	public, err := url.Parse(f.public)
	if err != nil {
		t.Fatal(err)
	}
	tokens := 0
	for _, e := range o.seen {
		if e.url.Host != public.Host || e.url.Scheme != public.Scheme {
			t.Errorf("the client was sent to %s", e.url)
		}
		if e.token != "" {
			tokens++
			if got := audience(t, e.token); len(got) != 1 || !slices.Contains(audiences, got[0]) {
				t.Errorf("the token is for %q, want one of %q", got, audiences)
			}
		}
	}
	if tokens == 0 {
		t.Error("no token was sent")
	}
}

// Rule C5: a client logs in at an authorization server on the MCP server's own
// private origin, with a private and with a public audience, on a plain site,
// below a prefix, over TLS and HTTP/2, and behind a proxy that ends TLS.
func TestCohostedLogin(t *testing.T) {
	for name, newFront := range map[string]func(*testing.T) front{
		"plain": plainFront, "prefix": sitePrefixFront, "tls": tlsFront, "behind a proxy": proxyFront,
	} {
		for _, kind := range transports {
			t.Run(name+"/"+string(kind)+"/private audience", func(t *testing.T) {
				f := newFront(t)
				d := runCohosted(t, f, kind, demo.Options{})
				o := &observer{base: f.httpTransport(t)}
				useTools(t, connect(t, f.public, kind, o), o)
				o.checkCohosted(t, f, d.MCPURL(), d.SSEURL())
			})
			t.Run(name+"/"+string(kind)+"/public audience", func(t *testing.T) {
				f := newFront(t)
				runCohosted(t, f, kind, demo.Options{NamesPublic: true}, f.public)
				o := &observer{base: f.httpTransport(t)}
				useTools(t, connect(t, f.public, kind, o), o)
				o.checkCohosted(t, f, f.public)
			})
		}
	}
}
