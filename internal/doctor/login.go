package doctor

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// callbackPath is where the browser comes back to.
const callbackPath = "/callback"

// login goes through the authorization code flow with PKCE, on loopback (RFC
// 8252 section 7.3), in the user's browser.
func (w *walk) login(ctx context.Context, s *Step) {
	switch {
	case !w.opts.Login:
		s.skip("not asked for; --login goes through it")
		return
	case w.refused == nil:
		s.skip("no login is asked for")
		return
	case w.server.authorize == nil || w.server.token == nil || w.stopped():
		s.skip("clients stop before it")
		return
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		s.skip("no port on loopback: " + plain(err.Error()))
		return
	}
	f := &flow{
		w: w, s: s, redirect: "http://" + listener.Addr().String() + callbackPath,
		state: rand.Text(), verifier: rand.Text() + rand.Text(), id: w.opts.ClientID, secret: w.opts.ClientSecret,
		back: make(chan url.Values, 1),
	}
	w.secrets.add(f.state)
	w.secrets.add(f.verifier)
	server := &http.Server{Handler: f, ReadHeaderTimeout: w.opts.Timeout}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	if f.id == "" && !f.register(ctx) {
		return
	}
	f.ask()
	if code, ok := f.wait(ctx); ok {
		f.exchange(ctx, code)
	}
}

// stopped reports whether a client that follows the specification is stopped
// before the login.
func (w *walk) stopped() bool {
	for _, id := range []string{stepChallenge, stepResource, stepServer} {
		if w.steps[id].Level == Fail {
			return true
		}
	}
	return false
}

// flow is one login.
type flow struct {
	w               *walk
	s               *Step
	redirect        string
	state, verifier string
	id, secret      string // of the client
	back            chan url.Values
}

// register registers a native client (RFC 7591).
func (f *flow) register(ctx context.Context) bool {
	if f.w.server.register == nil {
		f.w.fail(f.s, "login.registers", "there is no registration_endpoint, and no --client-id")
		return false
	}
	body, err := json.Marshal(map[string]any{
		"client_name": "caddy mcp doctor", "application_type": "native", "redirect_uris": []string{f.redirect},
		"grant_types": []string{"authorization_code"}, "response_types": []string{"code"}, "token_endpoint_auth_method": "none",
	})
	if err != nil {
		return false
	}
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	a := f.w.send(ctx, f.s, request{name: "registration", method: http.MethodPost, url: f.w.server.register, header: h, body: string(body), secret: true})
	var client struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if !a.ok() || json.Unmarshal(a.body, &client) != nil || client.ID == "" {
		f.w.fail(f.s, "login.registers", "the registration is refused (%s)%s", statusText(a.Status), f.w.oauthError(a))
		return false
	}
	f.id, f.secret = client.ID, client.Secret
	f.w.secrets.add(client.Secret)
	f.w.pass(f.s, "login.registers", "a client is registered")
	return true
}

// oauthError is what an endpoint says is wrong (RFC 6749 section 5.2), to be
// shown.
func (w *walk) oauthError(a *answer) string {
	if a.err != nil {
		return ": " + a.Error
	}
	var e struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(a.body, &e) != nil || e.Error == "" {
		return ""
	}
	return ": " + w.secrets.text(e.Error) + " " + w.secrets.text(e.Description)
}

// authorizationURL is where the user logs in.
func (f *flow) authorizationURL() string {
	sum := sha256.Sum256([]byte(f.verifier))
	u := *f.w.server.authorize
	q := u.Query()
	for name, value := range map[string]string{
		"response_type": "code", "client_id": f.id, "redirect_uri": f.redirect, "state": f.state,
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256",
		"resource": f.w.resource.resource, "scope": f.w.scope(),
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// scope is what to ask for (MCP 2026-07-28 Authorization, Scope Selection
// Strategy).
func (w *walk) scope() string {
	if w.challenged.scope != "" {
		return w.challenged.scope
	}
	supported, _ := w.resource.texts("scopes_supported")
	return strings.Join(supported, " ")
}

// ask sends the user to the login.
func (f *flow) ask() {
	at := f.authorizationURL()
	_, _ = fmt.Fprintf(f.w.opts.Log, "Log in at\n\n  %s\n\nThe doctor waits up to %s.\n", plain(at), loginPatience)
	if f.w.opts.Browse != nil {
		_ = f.w.opts.Browse(at) // else the user opens what is printed
	}
}

// ServeHTTP takes the browser back. What does not belong to this login, which
// any page may send, is not listened to.
func (f *flow) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.URL.Path != callbackPath || q.Get("state") != f.state {
		http.NotFound(rw, r)
		return
	}
	select {
	case f.back <- q:
	default:
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Header().Set("Referrer-Policy", "no-referrer")
	_, _ = rw.Write([]byte("Back to the terminal: this window can be closed.\n"))
}

// wait waits for the code.
func (f *flow) wait(ctx context.Context) (string, bool) {
	patience := time.NewTimer(loginPatience)
	defer patience.Stop()
	var q url.Values
	select {
	case q = <-f.back:
	case <-patience.C:
	case <-ctx.Done():
	}
	if q == nil {
		f.w.fail(f.s, "login.authorizes", "the browser did not come back in time")
		return "", false
	}
	f.w.secrets.add(q.Get("code"))
	if !f.issuer(q) {
		return "", false
	}
	if code := q.Get("code"); code != "" {
		f.w.pass(f.s, "login.authorizes", "the browser comes back with a code")
		return code, true
	}
	f.w.fail(f.s, "login.authorizes", "the login is refused: %s %s", f.w.secrets.text(q.Get("error")), f.w.secrets.text(q.Get("error_description")))
	return "", false
}

// issuer compares who answers with who was asked (RFC 9207 section 2.4).
func (f *flow) issuer(q url.Values) bool {
	announced := f.w.server.truth("authorization_response_iss_parameter_supported")
	switch iss := q.Get("iss"); {
	case iss == "" && announced:
		f.w.fail(f.s, "login.issuer", "the browser comes back without iss, although the metadata announces it")
	case iss != "" && iss != f.w.issuer:
		f.w.fail(f.s, "login.issuer", "the browser comes back with the iss %s, but %s was asked", f.w.secrets.link(iss), f.w.secrets.link(f.w.issuer))
	default:
		return true
	}
	return false
}

// exchange gets the token.
func (f *flow) exchange(ctx context.Context, code string) {
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {f.redirect},
		"client_id": {f.id}, "code_verifier": {f.verifier}, "resource": {f.w.resource.resource},
	}
	if f.secret != "" {
		form.Set("client_secret", f.secret)
	}
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}
	a := f.w.send(ctx, f.s, request{name: "token", method: http.MethodPost, url: f.w.server.token, header: h, body: form.Encode(), secret: true})
	var token struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		ID      string `json:"id_token"`
		Type    string `json:"token_type"`
	}
	_ = json.Unmarshal(a.body, &token) // else there is none
	for _, secret := range []string{token.Access, token.Refresh, token.ID} {
		f.w.secrets.add(secret)
	}
	switch {
	case !a.ok() || token.Access == "":
		f.w.fail(f.s, "login.token", "the code is not taken (%s)%s", statusText(a.Status), f.w.oauthError(a))
	case !strings.EqualFold(token.Type, "Bearer"):
		f.w.fail(f.s, "login.token", "the token is of the type %s; the doctor sends Bearer tokens", orWord(f.w.secrets.text(token.Type), "that is not named"))
	default:
		f.w.opts.Token, f.w.loggedIn = token.Access, true
		f.w.pass(f.s, "login.token", "the code is exchanged for a token")
	}
}
