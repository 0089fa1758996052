package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/answer"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/credential"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/exchange"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/fetch"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/filter"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/keyset"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/operation"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/tasks"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/bodies"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
)

// Edge decides about the requests of one endpoint.
type Edge struct {
	cfg    *Config
	auth   *credential.Authenticator
	policy *rules.Policy
	// exchanger gets the tokens for the MCP server; nil if it gets none.
	exchanger *exchange.Exchanger
	logger    *zap.Logger
	report    Reports
	tools     operation.Tools
	room      bodies.Room // for the bodies of all principals
	// tasks has the tasks that were given to principals, for a server that all principals share;
	// nil for other servers.
	tasks *tasks.Given
	// qualified is true if ids of users have their issuer in front.
	qualified bool
}

// Options are the facts and callbacks that the endpoint gives to the edge.
type Options struct {
	// Endpoint is a name of the endpoint that all replicas have.
	Endpoint string
	// NonceKey returns the key of nonces.
	NonceKey func() ([]byte, error)
	Logger   *zap.Logger
	Reports  Reports
	// Shared is set if one MCP server answers several principals.
	Shared bool
}

// Reports are called on the goroutines of requests, several at a time. Each may be nil.
type Reports struct {
	// Denied is called for each request that is refused.
	Denied func(Denial)
	// Accepted is called for each request whose credentials are accepted.
	Accepted func()
	// Issuer is called if an issuer cannot be asked, and with nil if it can again.
	Issuer func(issuer string, use Use, err error)
}

// Use is what an issuer is asked for.
type Use int

// What issuers are asked for.
const (
	Keys          Use = iota // the keys of tokens
	Introspection            // whether a token is valid
	Exchanging               // a token for the MCP server
)

// New compiles a configuration.
func New(cfg *Config, opts Options) (*Edge, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	credentials, err := cfg.credentials()
	if err != nil {
		return nil, err
	}
	e := &Edge{
		cfg: cfg, logger: opts.Logger, report: opts.Reports,
		qualified: len(cfg.Issuers) > 1 || len(cfg.Issuers) == 1 && cfg.CaddyUser,
	}
	if e.policy, err = cfg.Policy(opts.Shared); err != nil {
		return nil, err
	}
	if cfg.DPoPNonce {
		if credentials.NonceKey, err = opts.NonceKey(); err != nil {
			return nil, fmt.Errorf("authorize dpop_nonce: %w", err)
		}
	}
	client := fetch.New(nil)
	if e.exchanger, err = cfg.exchanger(client, func(issuer string, err error) { e.reportIssuer(issuer, Exchanging, err) }); err != nil {
		return nil, err
	}
	credentials.Client, credentials.Endpoint, credentials.Report = client, opts.Endpoint, e.reportKeys
	credentials.ReportTokens = func(issuer string, err error) { e.reportIssuer(issuer, Introspection, err) }
	if e.auth, err = credential.New(credentials); err != nil {
		return nil, fmt.Errorf("authorize %w", err)
	}
	return e, nil
}

// SetTasks sets where the tasks of principals are remembered. It is called before the first
// request.
func (e *Edge) SetTasks(g *tasks.Given) { e.tasks = g }

// Scopes returns the scopes for the metadata: those that rules name. The specification wants
// `offline_access` not among them (2026-07-28, "Authorization").
func (e *Edge) Scopes() []string {
	return slices.DeleteFunc(e.policy.Scopes(), func(s string) bool { return s == "offline_access" })
}

// Close ends what is in progress.
func (e *Edge) Close() {
	if e != nil {
		e.auth.Close()
	}
}

// reportKeys logs that the keys of an issuer cannot be had, and that they can again.
func (e *Edge) reportKeys(issuer string, err error) {
	e.reportIssuer(issuer, Keys, err)
	if err != nil {
		e.logger.Error("keys of the issuer cannot be fetched", zap.String("issuer", issuer), zap.Error(err),
			zap.String("advice", "tokens of the issuer get 503 once no known key fits; see whether this machine reaches the issuer, and that its metadata names exactly this issuer"))
		return
	}
	e.logger.Info("keys of the issuer can be fetched again", zap.String("issuer", issuer))
}

// reportIssuer reports that an issuer cannot be asked for something, and that it can again. For
// all but keys the log has the cause with each request that is refused because of it.
func (e *Edge) reportIssuer(issuer string, use Use, err error) {
	if e.report.Issuer != nil {
		e.report.Issuer(issuer, use, err)
	}
}

// accepted reports a request whose credentials are accepted.
func (e *Edge) accepted() {
	if e.report.Accepted != nil {
		e.report.Accepted()
	}
}

// Facts is what the endpoint knows of a request.
type Facts struct {
	// PublicURL is the public URL of the request, without a query, and Endpoint that of the
	// endpoint.
	PublicURL, Endpoint string
	// Metadata is the public URL of the metadata.
	Metadata string
	// MaxBody bounds the body, and one message of an answer, in bytes.
	MaxBody int64
	// Seal seals the session ids of the server. It is nil if the sessions are the bridge's
	// own, which have an owner.
	Seal Seal
	// Legacy is set for HTTP+SSE, whose header fields do not repeat the message.
	Legacy bool
	// Scope is a name of the endpoint with its upstream that all replicas have.
	Scope string
}

// Admission is a request that may go on.
type Admission struct {
	Principal *principal.Principal
	Request   operation.Request
	owner     string
	stateless bool // the request is of a revision without sessions
	// answer is the writer that changes the answer; nil if none does.
	answer *filter.Writer
	// cancel ends the context of the request; it may be nil.
	cancel context.CancelFunc
}

// End ends what belongs to a request, and completes its answer. It returns why the answer of
// the server was not passed on, if it was not.
func (a *Admission) End() (err error) {
	if a == nil {
		return nil
	}
	if a.answer != nil {
		err = a.answer.Close()
	}
	if a.cancel != nil {
		a.cancel()
	}
	return err
}

// ownerVar is the variable of a request that has the owner.
const ownerVar = "mcp_auth_bridge.owner"

// OwnerOf returns whom the edge has found a request to be from, and false if no edge stands
// before the endpoint.
func OwnerOf(r *http.Request) (string, bool) {
	owner, ok := caddyhttp.GetVar(r.Context(), ownerVar).(string)
	return owner, ok
}

// Admit checks the credentials of a request, and its body. If it returns a nil admission it has
// answered the request. Otherwise the caller goes on with the writer and the request that it
// returns: the client's credentials are removed, and the body was read.
func (e *Edge) Admit(w http.ResponseWriter, r *http.Request, f Facts) (http.ResponseWriter, *http.Request, *Admission) {
	scheme := schemeOf(r)
	res, refusal := e.auth.Authenticate(r.Context(), e.requestOf(r, f))
	if res.Nonce != "" {
		w.Header().Set("DPoP-Nonce", res.Nonce)
	}
	if refusal != nil {
		a := e.challenger(f).Credentials(refusal, scheme)
		e.refused(r, a.Status, refusal)
		a.Write(w)
		return nil, nil, nil
	}
	if e.exchanger == nil {
		e.accepted() // otherwise the issuer has to exchange the token, too
	}
	admission := &Admission{Principal: res.Principal}
	admission.owner, _ = res.Principal.Owner()
	if r.Method == http.MethodConnect { // a WebSocket of HTTP/2 or HTTP/3, as which Caddy passes it on
		e.rejected(r, admission, CheckMessage, http.StatusMethodNotAllowed, reasonTunnel)
		w.Header().Set("Allow", "GET, POST, DELETE")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil, nil, nil
	}
	// Nobody could judge the messages of another protocol. Without the wish for one the request is
	// answered as it is (RFC 9110 section 7.8).
	r.Header.Del("Upgrade")
	if err := e.readBody(w, r, f, admission); err != nil {
		e.refuseBody(w, r, admission, err)
		return nil, nil, nil
	}
	decision := e.policy.Decide(res.Principal, admission.Request)
	e.decided(r, admission, decision)
	if !decision.Allowed {
		e.challenger(f).Denial(decision, admission.Request, scheme).Write(w)
		return nil, nil, nil
	}
	if !e.ownTasks(w, r, f, admission) {
		return nil, nil, nil
	}
	token, refusal := e.exchange(r, res, admission)
	if refusal != nil {
		a := e.challenger(f).Exchange(refusal, admission.Request, scheme)
		e.notExchanged(r, a.Status, refusal, admission)
		a.Write(w)
		return nil, nil, nil
	}
	if e.exchanger != nil {
		e.accepted()
	}
	e.identify(r, admission)
	if token != "" {
		keepField(r.Header, "Authorization")
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r, ok := e.openSession(w, r, f, admission)
	if !ok {
		return nil, nil, nil
	}
	header := func(h http.Header) { e.sealSession(h, f, admission) }
	if admission.answer = e.reader(w, r, f, admission, header); admission.answer != nil {
		r.Header.Set("Accept-Encoding", "identity")
	} else if f.Seal != nil {
		admission.answer = filter.PassOn(w, header)
	}
	if admission.answer != nil {
		w = admission.answer
	}
	return w, e.bound(r, admission), admission
}

// challenger returns the part that all challenges to a request have in common.
func (e *Edge) challenger(f Facts) answer.Challenger {
	c := answer.Challenger{Scopes: e.policy.BaseScopes()}
	if len(e.cfg.Issuers) > 0 {
		c.Metadata = f.Metadata
	}
	if e.cfg.DPoP != "" {
		for _, alg := range keyset.Algorithms() {
			c.Algorithms = append(c.Algorithms, string(alg))
		}
	}
	return c
}

// requestOf returns the parts of a request that its credentials are checked against.
func (e *Edge) requestOf(r *http.Request, f Facts) credential.Request {
	req := credential.Request{
		Authorization: r.Header["Authorization"], DPoP: r.Header["Dpop"], Query: r.URL.RawQuery,
		Method: r.Method, URL: f.PublicURL, User: UserOf(r),
	}
	if endpoint := strings.TrimSuffix(f.Endpoint, "/"); endpoint != "" {
		req.Audiences = []string{endpoint, endpoint + "/"}
	}
	if e.cfg.KeyHeader != "" {
		req.Key = r.Header.Values(e.cfg.KeyHeader)
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && len(r.TLS.PeerCertificates) > 0 {
		sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
		req.Certificate = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return req
}

// readBody reads and parses the body, whatever the method: many servers answer what a body says
// without a look at the method. A POST has to have one.
func (e *Edge) readBody(w http.ResponseWriter, r *http.Request, f Facts, a *Admission) error {
	if r.Body == nil || r.Method != http.MethodPost && r.ContentLength == 0 {
		return nil
	}
	body, err := e.room.Read(w, r, int(f.MaxBody), bodies.TimesKnown)
	if err != nil {
		return err
	}
	r.TransferEncoding = nil
	if len(body) == 0 && r.Method != http.MethodPost {
		r.Body, r.ContentLength = http.NoBody, 0
		return nil
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	all, err := message.ParseAll(body, message.MaxBatch)
	if err != nil {
		_, err = operation.Parse(body) // which says what is wrong
		return err
	}
	batch := message.IsBatch(body)
	if err := operation.CheckCoding(r.Header, all, batch); err != nil {
		return err
	}
	if !f.Legacy {
		a.stateless = mcp.IsStateless(r, all)
		if err := e.tools.CheckFields(r, all, batch); err != nil {
			return err
		}
	}
	a.Request, err = operation.FromMessages(all, batch)
	return err
}

// refuseBody answers a request whose body cannot be used.
func (e *Edge) refuseBody(w http.ResponseWriter, r *http.Request, a *Admission, err error) {
	if invalid, ok := err.(*operation.Invalid); ok {
		e.rejected(r, a, CheckMessage, http.StatusBadRequest, string(invalid.Reason))
		answer.Invalid(invalid).Write(w)
		return
	}
	switch {
	case mcp.BodyTooLarge(err):
		e.rejected(r, a, CheckMessage, http.StatusRequestEntityTooLarge, reasonTooLarge)
	case errors.Is(err, bodies.ErrNoRoom):
		e.logger.Warn("large bodies take all the room; clients are told to come back", requestID(r))
	case errors.Is(err, bodies.ErrSlow):
		e.rejected(r, a, CheckMessage, http.StatusRequestTimeout, reasonUnreadable)
	case r.Context().Err() == nil && !errors.Is(err, io.ErrUnexpectedEOF): // otherwise the client is gone
		e.rejected(r, a, CheckMessage, http.StatusBadRequest, reasonUnreadable)
	}
	mcp.RefuseBody(w, err)
}

// identify makes the principal Caddy's user, and removes from the request what must not reach
// the MCP server.
func (e *Edge) identify(r *http.Request, a *Admission) {
	p := a.Principal
	caddyhttp.SetVar(r.Context(), ownerVar, a.owner)
	id := p.ID(e.qualified)
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.auth.user.id", id)
		for _, claim := range e.cfg.UserClaims {
			repl.Set("http.auth.user."+claim, claimText(p, claim))
		}
	}
	if e.cfg.Token != pass || p.Kind == principal.Key || p.Kind == principal.User {
		removeField(r.Header, "Authorization")
	}
	removeField(r.Header, "DPoP")
	if e.cfg.KeyHeader != "" {
		removeField(r.Header, e.cfg.KeyHeader)
	}
	for _, f := range e.cfg.Identity {
		removeField(r.Header, f.Name)
	}
	for _, f := range e.cfg.Identity {
		value := id
		if f.Claim != "id" {
			value = claimText(p, f.Claim)
		}
		if value = fieldText(value); value != "" {
			keepField(r.Header, f.Name)
			r.Header.Set(f.Name, value)
		}
	}
}

// grace is how long after the end of its token a stream goes on.
const grace = 30 * time.Second

// bound returns a request that ends with its token if it is for a stream.
func (e *Edge) bound(r *http.Request, a *Admission) *http.Request {
	if a.Principal.Expires.IsZero() || !isStream(r, a.Request) {
		return r
	}
	ctx, cancel := context.WithDeadline(r.Context(), a.Principal.Expires.Add(grace))
	a.cancel = cancel
	return r.WithContext(ctx)
}

// isStream reports whether a request is for a stream that has no end of its own.
func isStream(r *http.Request, req operation.Request) bool {
	if r.Method == http.MethodGet {
		return true
	}
	for _, op := range req.Operations {
		if op.Method == "subscriptions/listen" {
			return true
		}
	}
	return false
}

// UserOf returns the user of a request, as an authentication handler of Caddy in front has found
// it; empty if there is none.
func UserOf(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	user, _ := repl.GetString("http.auth.user.id")
	return user
}

// claimText is a claim as text: texts, numbers and booleans as they are, the texts of a list
// with commas between them.
func claimText(p *principal.Principal, name string) string {
	switch value := p.Claims[name].(type) {
	case nil:
		return ""
	case []any:
		var all []string
		for _, one := range value {
			if text, ok := one.(string); ok {
				all = append(all, text)
			}
		}
		return strings.Join(all, ",")
	case map[string]any:
		return ""
	default:
		return fmt.Sprint(value)
	}
}

// maxField bounds, in bytes, the value of an identity field.
const maxField = 4 << 10

// fieldText returns a text if a header field can carry it unchanged. Otherwise it returns "",
// because a changed text could name another user.
func fieldText(text string) string {
	if len(text) > maxField || text != strings.TrimSpace(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return text
}
