package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/demo/democlient"
)

// connect logs the go-sdk's client in at an endpoint.
func connect(t *testing.T, endpoint string, kind transport, through http.RoundTripper) *mcp.ClientSession {
	t.Helper()
	login := democlient.Connect
	if kind == legacySSE {
		login = democlient.ConnectSSE
	}
	s, err := login(t.Context(), endpoint, &http.Client{Transport: through})
	if err != nil {
		t.Fatalf("logging in: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func call(ctx context.Context, s *mcp.ClientSession, tool string) (string, error) {
	res, err := s.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: map[string]any{}})
	if err != nil {
		return "", fmt.Errorf("calling %s: %w", tool, err)
	}
	if len(res.Content) != 1 || res.IsError {
		return "", fmt.Errorf("%s answered %+v", tool, res)
	}
	text, ok := res.Content[0].(*mcp.TextContent)
	if !ok {
		return "", fmt.Errorf("%s answered %T", tool, res.Content[0])
	}
	return text.Text, nil
}

func wantCall(t *testing.T, s *mcp.ClientSession, tool, want string) {
	t.Helper()
	got, err := call(t.Context(), s, tool)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s: got %q, want %q", tool, got, want)
	}
}

const formType = "application/x-www-form-urlencoded"

const secret = "the secret of the admins"

// useTools calls a tool, and one that needs more than the login asked for.
func useTools(t *testing.T, s *mcp.ClientSession, o *observer) {
	t.Helper()
	wantCall(t, s, "whoami", "alice")
	if seen := o.with(http.StatusForbidden); len(seen) != 0 {
		t.Errorf("a 403 before anything needed more scope: %+v", seen)
	}
	wantCall(t, s, "admin_secret", secret)
	if len(o.with(http.StatusForbidden, `error="insufficient_scope"`, `scope="`+demo.ScopeAdmin+`"`)) == 0 {
		t.Errorf("no 403 asked for %s", demo.ScopeAdmin)
	}
	wantCall(t, s, "whoami", "alice")
}

// Rules A1, A3, C1, C3, D1, D2: a client that knows only the public URL logs
// in, is stepped up, and gets tokens for that URL; on a plain site, below a
// prefix, over TLS and HTTP/2, and behind a proxy that ends TLS.
func TestLogin(t *testing.T) {
	for name, newFront := range map[string]func(*testing.T) front{
		"plain": plainFront, "prefix": prefixFront, "tls": tlsFront, "behind a proxy": proxyFront,
	} {
		for _, kind := range transports {
			t.Run(name+"/"+string(kind), func(t *testing.T) {
				f := newFront(t)
				d := run(t, f, kind, demo.Options{}, "")
				o := &observer{base: f.httpTransport(t)}
				s := connect(t, f.public, kind, o)
				useTools(t, s, o)
				if got := len(o.with(http.StatusUnauthorized)); got != 1 {
					t.Errorf("the client was sent to log in %d times, want once", got)
				}
				o.check(t, f, d)
			})
		}
	}
}

// An upstream that guards itself against rebinding is reached with its own
// name where the operator says so.
func TestLoginWithUpstreamHost(t *testing.T) {
	f := plainFront(t)
	d := run(t, f, streamable, demo.Options{}, "header_up Host {upstream_hostport}")
	o := &observer{base: f.httpTransport(t)}
	useTools(t, connect(t, f.public, streamable, o), o)
	o.check(t, f, d)
}

// Rules A4, A6, C2: whatever the upstream's challenge looks like, the client's
// login starts, and a 403 that says what it needs steps the client up.
func TestLoginChallenges(t *testing.T) {
	for name, opts := range map[string]demo.Options{
		"whole":                   {},
		"bare":                    {Challenge: demo.ShapeBare},
		"several":                 {Challenge: demo.ShapeSeveral},
		"metadata at an odd path": {MetadataPath: "/meta/data"},
		"several, at an odd path": {Challenge: demo.ShapeSeveral, MetadataPath: "/meta/data"},
		"consent without a form":  {AutoConsent: true},
	} {
		for _, kind := range transports {
			t.Run(name+"/"+string(kind), func(t *testing.T) {
				f := plainFront(t)
				d := run(t, f, kind, opts, "")
				o := &observer{base: f.httpTransport(t)}
				useTools(t, connect(t, f.public, kind, o), o)
				o.check(t, f, d)
			})
		}
	}
}

// Rule A6: an upstream without any challenge gets one for its 401. Its 403
// gets none, for nobody knows what it wants: the client is told, and fails.
func TestLoginWithoutChallenge(t *testing.T) {
	for _, kind := range transports {
		t.Run("every scope/"+string(kind), func(t *testing.T) {
			f := plainFront(t)
			d := run(t, f, kind, demo.Options{Challenge: demo.ShapeNone}, "")
			o := &observer{base: f.httpTransport(t)}
			s := connect(t, f.public, kind, o)
			wantCall(t, s, "whoami", "alice")
			wantCall(t, s, "admin_secret", secret) // without a scope in the challenge the client asks for all that the metadata lists
			o.check(t, f, d)
		})
		t.Run("the operator's scope/"+string(kind), func(t *testing.T) {
			f := plainFront(t)
			d := run(t, f, kind, demo.Options{Challenge: demo.ShapeNone}, "challenge {\n\t\t\tscope "+demo.ScopeRead+"\n\t\t}")
			o := &observer{base: f.httpTransport(t)}
			s := connect(t, f.public, kind, o)
			wantCall(t, s, "whoami", "alice")
			if got, err := call(t.Context(), s, "admin_secret"); err == nil {
				t.Errorf("got %q without the scope", got)
			}
			refused := o.with(http.StatusForbidden)
			if len(refused) == 0 || len(refused[0].challenge) != 0 {
				t.Errorf("got %+v, want 403 without a challenge", refused)
			}
			if seen := o.with(http.StatusUnauthorized, `scope="`+demo.ScopeRead+`"`); len(seen) != 1 {
				t.Errorf("got %+v, want one challenge with the operator's scope", seen)
			}
			o.check(t, f, d)
		})
	}
}

// Rules A10, C3: the client gets in with and without the final slash,
// whichever form the upstream serves, and sees no redirect.
func TestLoginWithSlash(t *testing.T) {
	for name, opts := range map[string]demo.Options{"upstream without": {}, "upstream with": {Redirect: true}} {
		for _, slash := range []string{"", "/"} {
			t.Run(name+"/client "+strconv.Quote(slash), func(t *testing.T) {
				f := plainFront(t)
				f.public += slash
				d := run(t, f, streamable, opts, "")
				o := &observer{base: f.httpTransport(t)}
				useTools(t, connect(t, f.public, streamable, o), o)
				for _, status := range []int{http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
					if seen := o.with(status); len(seen) != 0 {
						t.Errorf("the client was redirected: %+v", seen)
					}
				}
				o.check(t, f, d)
			})
		}
	}
}

// lifetime of a token that is to expire within a test.
const lifetime = 3 * time.Second

// Rules A1, A2, D4: the token expires in the middle of a session; the very
// request that carries it is answered 401, the client refreshes it, and the
// session goes on.
func TestTokenExpires(t *testing.T) {
	for _, kind := range transports {
		t.Run(string(kind), func(t *testing.T) {
			f := plainFront(t)
			d := run(t, f, kind, demo.Options{TokenLifetime: lifetime}, "")
			o := &observer{base: f.httpTransport(t)}
			r := &refresher{base: o}
			s := connect(t, f.public, kind, r)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			id := s.ID()
			for r.count() == 0 {
				got, err := call(ctx, s, "whoami")
				if err != nil {
					t.Fatal(err)
				}
				if got != "alice" {
					t.Fatalf("got %q", got)
				}
			}
			useTools(t, s, o)
			if s.ID() != id {
				t.Errorf("the session is %q, was %q", s.ID(), id)
			}
			if seen := o.with(http.StatusUnauthorized, `error="invalid_token"`, "the token expired"); len(seen) == 0 {
				t.Error("the client was not told that the token had expired")
			}
			o.check(t, f, d)
		})
	}
}

// refresher is a client that uses its access token until the server refuses
// it, and then refreshes it (RFC 6750 section 3.1, RFC 6749 section 6).
type refresher struct {
	base       http.RoundTripper
	refreshing sync.Mutex // held during a refresh

	mu        sync.Mutex
	access    string
	form      url.Values // of the next refresh
	at        string     // the token endpoint
	refreshes int
}

// RoundTrip implements http.RoundTripper.
func (r *refresher) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Content-Type") == formType {
		return r.forward(req)
	}
	res, err := r.send(req)
	if err != nil || res.StatusCode != http.StatusUnauthorized || !strings.Contains(strings.Join(res.Header["Www-Authenticate"], "\n"), `error="invalid_token"`) {
		return res, err
	}
	_ = res.Body.Close()
	if err := r.refresh(req.Context(), res.Request.Header.Get("Authorization")); err != nil {
		return nil, err
	}
	return r.send(req)
}

// send sends a request with the newest access token.
func (r *refresher) send(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	r.mu.Lock()
	if r.access != "" && out.Header.Get("Authorization") != "" {
		out.Header.Set("Authorization", "Bearer "+r.access)
	}
	r.mu.Unlock()
	return r.base.RoundTrip(out)
}

// forward passes a form on; of an answer with tokens it keeps them, and drops
// the lifetime, so that the SDK uses its token until it is refused.
func (r *refresher) forward(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	out := req.Clone(req.Context())
	out.Body = io.NopCloser(bytes.NewReader(body))
	res, err := r.base.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	var tokens map[string]any
	if json.Unmarshal(answer, &tokens) == nil && tokens["access_token"] != nil {
		delete(tokens, "expires_in")
		if answer, err = json.Marshal(tokens); err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		r.keep(req.URL.String(), form, tokens)
	}
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(answer)), int64(len(answer))
	return res, nil
}

func (r *refresher) keep(at string, form url.Values, tokens map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = at
	r.access, _ = tokens["access_token"].(string)
	next := url.Values{"grant_type": {"refresh_token"}, "client_id": form["client_id"], "resource": form["resource"]}
	if fresh, ok := tokens["refresh_token"].(string); ok {
		next.Set("refresh_token", fresh)
	} else {
		next["refresh_token"] = r.form["refresh_token"]
	}
	r.form = next
}

// refresh gets a new token, unless refused is no longer the newest one.
func (r *refresher) refresh(ctx context.Context, refused string) error {
	r.refreshing.Lock()
	defer r.refreshing.Unlock()
	r.mu.Lock()
	at, form, stale := r.at, r.form.Encode(), refused == "Bearer "+r.access
	r.mu.Unlock()
	if !stale {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", formType)
	res, err := r.forward(req)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(res.Body)
		return fmt.Errorf("refreshing: %s: %s", res.Status, answer)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refreshes++
	return nil
}

func (r *refresher) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refreshes
}
