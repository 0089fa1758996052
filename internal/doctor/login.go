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

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/schema"
)

// callbackPath is the path to which the authorization server sends the browser back.
const callbackPath = "/callback"

// loginStage logs in as a client does, if the caller wants that.
type loginStage struct {
	*record.Recorder
	endpoint  *endpoint
	challenge *challengeStage
	resource  *resourceStage
	issuer    *issuerStage
	opts      Options

	token     string // token of the caller, or of the login
	loggedIn  bool   // the token is from the login
	asked     string // the scopes that the login has asked for
	steppedUp bool   // there was a second login
	client    registered
}

// registered is the client of the last login.
type registered struct{ id, secret, addr string }

// run does the authorization code flow with PKCE in the browser of the user, with a redirect
// URI on loopback (RFC 8252 section 7.3).
func (l *loginStage) run(ctx context.Context, s *report.Step) {
	switch {
	case !l.opts.Login:
		s.Skip("not tested; use --login")
		return
	case l.endpoint.refused == nil:
		s.Skip("no login is required")
		return
	case l.resource.noLogin:
		s.Skip(noLogin)
		return
	case l.issuer.doc.authorize == nil || l.issuer.doc.token == nil || l.stopped():
		s.Skip("clients stop before the login")
		return
	}
	f := l.logIn(ctx, s, l.scope())
	if f != nil && l.issuer.doc.device != nil && ctx.Err() == nil {
		f.askDevice(ctx)
	}
}

// stepUp logs in again, for the scopes of the first login and those that a challenge names. It
// reports whether there is a new token.
func (l *loginStage) stepUp(ctx context.Context, s *report.Step, needed string) bool {
	l.steppedUp = true
	old := l.token
	scopes := strings.Fields(l.asked)
	scopes = append(scopes, lacking(needed, scopes)...)
	_, _ = fmt.Fprintf(l.opts.Log, "\nThe server asks for more scopes: %s. A client logs in a second time.\n", l.Secrets.Text(needed))
	return l.logIn(ctx, s, strings.Join(scopes, " ")) != nil && l.token != old
}

// logIn does one login for scopes. It returns nil if there was none.
func (l *loginStage) logIn(ctx context.Context, s *report.Step, scope string) *flow {
	l.asked = scope
	listener, err := l.listen(ctx)
	if err != nil {
		s.Skip("cannot listen on 127.0.0.1: " + safetext.Printable(err.Error()))
		return nil
	}
	f := &flow{
		loginStage: l, s: s, redirect: "http://" + listener.Addr().String() + callbackPath, asks: scope,
		state: rand.Text(), verifier: rand.Text() + rand.Text(), id: l.client.id, secret: l.client.secret,
		back: make(chan url.Values, 1),
	}
	if f.id == "" {
		f.id, f.secret = l.opts.ClientID, l.opts.ClientSecret
	}
	l.Secrets.Add(f.state)
	l.Secrets.Add(f.verifier)
	server := &http.Server{Handler: f, ReadHeaderTimeout: l.opts.Timeout}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	if f.id == "" && !f.register(ctx) {
		return nil
	}
	l.client = registered{f.id, f.secret, listener.Addr().String()}
	f.ask()
	if code, ok := f.wait(ctx); ok {
		f.exchange(ctx, code)
	}
	return f
}

// listen listens where the last client has its redirect URI. If that is not possible, the client
// has to be another one.
func (l *loginStage) listen(ctx context.Context) (net.Listener, error) {
	if l.client.addr != "" {
		if listener, err := new(net.ListenConfig).Listen(ctx, "tcp", l.client.addr); err == nil {
			return listener, nil
		}
		l.client = registered{}
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
}

// stopped reports whether a client that follows the specification stops before the login.
func (l *loginStage) stopped() bool {
	for _, id := range []string{stepChallenge, stepResource, stepServer} {
		if l.Steps[id].Level == report.Fail {
			return true
		}
	}
	return false
}

// flow is one login.
type flow struct {
	*loginStage
	s               *report.Step
	redirect        string
	asks            string // the scopes
	state, verifier string
	id, secret      string // of the client
	back            chan url.Values
}

// register registers a native client (RFC 7591), and reports whether there is an ID then.
func (f *flow) register(ctx context.Context) bool {
	if f.issuer.doc.register == nil {
		f.Fail(f.s, "login.registers", "there is no registration_endpoint; use --client-id")
		return false
	}
	grants := []string{"authorization_code"}
	if f.issuer.devices() {
		grants = append(grants, deviceGrant)
	}
	body, err := json.Marshal(map[string]any{
		"client_name": "caddy mcp doctor", "application_type": "native", "redirect_uris": []string{f.redirect},
		"grant_types": grants, "response_types": []string{"code"}, "token_endpoint_auth_method": "none",
	})
	if err != nil {
		return false
	}
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	a := f.Send(ctx, f.s, probe.Request{Name: "registration", Method: http.MethodPost, URL: f.issuer.doc.register, Header: h, Body: string(body), Secret: true})
	client, why := a.Object()
	f.id, f.secret = probe.TextOf(client, "client_id"), probe.TextOf(client, "client_secret")
	f.Secrets.Add(f.secret)
	f.Secrets.Add(probe.TextOf(client, "registration_access_token"))
	if !a.OK() {
		seen := report.Facts{}
		if probe.TextOf(client, "error") == "invalid_redirect_uri" {
			seen[rules.BadRedirect] = "yes"
		}
		if a.Err != nil {
			f.Fail(f.s, "login.registers", "the registration endpoint does not respond: %s", a.Error)
			return false
		}
		if f.Obstructed(f.s, report.Fail, "the registration", a) {
			return false
		}
		f.NoteWith(f.s, report.Fail, "login.registers", seen, "the registration is refused (%s)%s", report.StatusText(a.Status), f.OAuthError(a))
		f.JudgeErrorForm(f.s, a)
		return false
	}
	f.judgeRegistered(a, client, why)
	if f.id == "" {
		return false
	}
	f.Pass(f.s, "login.registers", "registered a client")
	return true
}

// judgeRegistered checks the answer to a registration.
func (f *flow) judgeRegistered(a *probe.Answer, client map[string]json.RawMessage, why string) {
	if why != "" {
		f.Fail(f.s, "registration.members", "the response to the registration %s: clients cannot read it", f.Secrets.Text(why))
		return
	}
	all := schema.Registration.Faults(client)
	if probe.TextOf(client, "client_secret") != "" && schema.KindOf(client["client_secret_expires_at"]) == "" {
		all = append(all, schema.Fault{Name: "client_secret_expires_at", What: "client_secret_expires_at is missing, although there is a client_secret"})
	}
	refuse := schema.Go | schema.Python
	if a.Status == http.StatusOK {
		refuse = schema.NoSDK
	}
	f.NoteFaults(f.s, "registration.members", "the response to the registration", append(all, f.Oddities(a, http.StatusCreated, refuse, schema.NoSDK)...))
}

// authorizationURL returns the URL at which the user logs in.
func (f *flow) authorizationURL() string {
	sum := sha256.Sum256([]byte(f.verifier))
	u := *f.issuer.doc.authorize
	q := u.Query()
	for name, value := range map[string]string{
		"response_type": "code", "client_id": f.id, "redirect_uri": f.redirect, "state": f.state,
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256",
		"resource": f.resource.doc.resource, "scope": f.asks,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// scope returns the scopes to ask for (MCP 2026-07-28 Authorization, Scope Selection
// Strategy).
func (l *loginStage) scope() string {
	if l.challenge.scope != "" {
		return l.challenge.scope
	}
	supported, _ := l.resource.doc.Texts("scopes_supported")
	return strings.Join(supported, " ")
}

// ask shows the URL of the login to the user.
func (f *flow) ask() {
	at := f.authorizationURL()
	_, _ = fmt.Fprintf(f.opts.Log, "Log in at\n\n  %s\n\nThe doctor waits up to %s.\n", safetext.Printable(at), loginTimeout)
	if f.opts.Browse != nil {
		_ = f.opts.Browse(at) // if that fails, the user opens the printed URL
	}
}

// ServeHTTP is where the browser comes back. Any page can send requests here, so those that
// do not have the state of this login get 404.
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

// wait waits until the browser comes back, and returns the code.
func (f *flow) wait(ctx context.Context) (string, bool) {
	timer := time.NewTimer(loginTimeout)
	defer timer.Stop()
	var q url.Values
	select {
	case q = <-f.back:
	case <-timer.C:
	case <-ctx.Done():
	}
	if q == nil {
		f.Fail(f.s, "login.returns", "the browser did not come back from the login in time")
		return "", false
	}
	f.Secrets.Add(q.Get("code"))
	if !f.rightIssuer(q) {
		return "", false
	}
	if code := q.Get("code"); code != "" {
		f.Pass(f.s, "login.authorizes", "the browser came back with a code")
		return code, true
	}
	f.Fail(f.s, "login.authorizes", "the login is refused: %s %s", f.Secrets.Text(q.Get("error")), f.Secrets.Text(q.Get("error_description")))
	return "", false
}

// rightIssuer checks that the issuer that answered is the one that was asked (RFC 9207
// section 2.4).
func (f *flow) rightIssuer(q url.Values) bool {
	announced := f.issuer.doc.Truth(issAnnounced)
	switch iss := q.Get("iss"); {
	case iss == "" && announced:
		f.Fail(f.s, "login.issuer", "the browser came back without iss, although the metadata announces it")
	case iss != "" && iss != f.issuer.issuer:
		f.Fail(f.s, "login.issuer", "the browser came back with iss %s instead of %s", f.Secrets.Link(iss), f.Secrets.Link(f.issuer.issuer))
	case iss != "" && !announced:
		f.Warn(f.s, "login.issuer", "the browser came back with iss, but the metadata does not announce it: clients built with the Go SDK stop")
		return true
	default:
		return true
	}
	return false
}

// exchange exchanges the code for a token.
func (f *flow) exchange(ctx context.Context, code string) {
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {f.redirect},
		"client_id": {f.id}, "code_verifier": {f.verifier},
	}
	if f.resource.doc.resource != "" {
		form.Set("resource", f.resource.doc.resource)
	}
	if f.secret != "" {
		form.Set("client_secret", f.secret)
	}
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}
	a := f.Send(ctx, f.s, probe.Request{Name: "token", Method: http.MethodPost, URL: f.issuer.doc.token, Header: h, Body: form.Encode(), Secret: true})
	t := readToken(a)
	for _, secret := range []string{t.access, t.refresh, t.id} {
		f.Secrets.Add(secret)
	}
	if a.Err != nil {
		f.Fail(f.s, "login.token", "the token endpoint does not respond: %s", a.Error)
		return
	}
	if f.Obstructed(f.s, report.Fail, "the exchange of the code", a) {
		return
	}
	if !a.OK() || t.refused {
		f.Fail(f.s, "login.token", "the token endpoint refuses the code (%s)%s", report.StatusText(a.Status), f.OAuthError(a))
		f.JudgeErrorForm(f.s, a)
		return
	}
	f.judgeToken(a, t)
	switch {
	case t.access == "":
	case !strings.EqualFold(t.kind, "Bearer") && t.kind != "":
		f.Fail(f.s, "login.token", "the token has the type %s, not Bearer", f.Secrets.Text(t.kind))
	default:
		f.token, f.loggedIn = t.access, true
		f.Pass(f.s, "login.token", "exchanged the code for a token")
	}
}

// issued is the answer of a token endpoint.
type issued struct {
	access, refresh, id, kind string

	document map[string]json.RawMessage
	why      string // why there is no document
	form     bool   // the answer is a form and not JSON
	refused  bool   // the answer is an error, even if its status is 200
}

// readToken parses the answer of a token endpoint as JSON or as a form. The Go SDK accepts
// forms too.
func readToken(a *probe.Answer) issued {
	var t issued
	if t.document, t.why = a.Object(); t.why == "" {
		t.access, t.refresh = probe.TextOf(t.document, "access_token"), probe.TextOf(t.document, "refresh_token")
		t.id, t.kind = probe.TextOf(t.document, "id_token"), probe.TextOf(t.document, "token_type")
		t.refused = t.access == "" && probe.TextOf(t.document, "error") != ""
		return t
	}
	form, err := url.ParseQuery(string(a.Body))
	if err == nil && form.Get("access_token") != "" {
		t.access, t.refresh, t.form = form.Get("access_token"), form.Get("refresh_token"), true
		t.id, t.kind = form.Get("id_token"), form.Get("token_type")
	}
	return t
}

// judgeToken checks the answer with a token.
func (f *flow) judgeToken(a *probe.Answer, t issued) {
	switch {
	case t.form && (a.MediaType() == "application/x-www-form-urlencoded" || a.MediaType() == "text/plain"):
		f.Fail(f.s, "token.members", "the token endpoint's response is a form (%s), not JSON: clients built with the TypeScript and the Python SDK cannot read it", a.MediaType())
		return
	case t.form:
		f.Fail(f.s, "token.members", "the token endpoint's response is a form, not JSON: clients cannot read it")
		return
	case t.why != "":
		f.Fail(f.s, "token.members", "the token endpoint's response %s: clients cannot read it", f.Secrets.Text(t.why))
		return
	}
	refuse := schema.NoSDK
	if a.MediaType() == "application/x-www-form-urlencoded" || a.MediaType() == "text/plain" {
		refuse = schema.Go // it parses an answer of this type as a form
	}
	f.NoteFaults(f.s, "token.members", "the token endpoint's response", append(schema.Token.Faults(t.document), f.Oddities(a, http.StatusOK, schema.Python, refuse)...))
}
