package edge

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/answer"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/filter"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/lists"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/principal"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
)

// Check is one of the checks of a request, in their order. The set is closed.
type Check string

// The checks.
const (
	// CheckCredentials: does the request prove who sends it?
	CheckCredentials Check = "credentials"
	// CheckMessage: has it a body that can be decided on, and do its header fields fit?
	CheckMessage Check = "message"
	// CheckRules: may the principal do that?
	CheckRules Check = "rules"
	// CheckExchange: does the issuer exchange the token for one for the MCP server?
	CheckExchange Check = "exchange"
	// CheckSession: has the principal such a session, or such a message path of HTTP+SSE?
	CheckSession Check = "session"
	// CheckTask: are the tasks that it names not those of others?
	CheckTask Check = "task"
)

// Denial is a request that was refused. Texts of the client are bounded, and have no query.
type Denial struct {
	// Status is that of the answer.
	Status int
	// Check is the one that the request did not pass.
	Check Check
	// Code is how credentials are refused. Fixable is set if more scopes would satisfy the
	// rules.
	Code    principal.Code
	Fixable bool
	// Reason is a [principal.Reason], an [operation.Reason] or a [rules.Reason], or one of
	// this package. The set is closed.
	Reason string
	// Cause is why the issuer could not be asked, or nil.
	Cause error
	// Subject and Client are those of the principal; they are empty if there is none.
	Subject, Client string
	Method, Name    string
	Rule            string
	Needed, Held    principal.Scopes
}

// The reasons of this package.
const (
	reasonTooLarge   = "body_too_large"
	reasonUnreadable = "body_unreadable"
	reasonTunnel     = "tunnel"          // CONNECT, which begins a WebSocket in HTTP/2 and HTTP/3
	reasonSession    = "unknown_session" // the session id, or the message path, is not one of the principal
	reasonTask       = "unknown_task"    // a task is one of other principals
)

// schemeOf is the authentication scheme of a request.
func schemeOf(r *http.Request) answer.Scheme {
	if value := r.Header.Get("Authorization"); len(value) > 4 && strings.EqualFold(value[:5], "DPoP ") {
		return answer.DPoP
	}
	return answer.Bearer
}

// refused reports a request whose credentials are not accepted.
func (e *Edge) refused(r *http.Request, status int, refusal *principal.Refusal) {
	if r.Context().Err() == nil { // otherwise nobody gets the answer
		e.deny(Denial{Status: status, Check: CheckCredentials, Code: refusal.Code, Reason: string(refusal.Reason), Cause: refusal.Cause})
	}
	level := zapcore.InfoLevel
	switch refusal.Code {
	case principal.Missing: // each client begins so
		level = zapcore.DebugLevel
	case principal.Unavailable:
		level = zapcore.WarnLevel
	}
	advice := ""
	if refusal.Reason == principal.NoAudience { // which a login does not change
		level = zapcore.WarnLevel
		advice = "let the authorization server put the audience into its answer; if it answers only about tokens for this endpoint, write `audience optional` in the block of introspect"
	}
	if c := e.logger.Check(level, "request has no usable credentials"); c != nil {
		fields := []zap.Field{zap.String("reason", string(refusal.Reason)), zap.Int("status", status), requestID(r)}
		if refusal.Cause != nil {
			fields = append(fields, zap.NamedError("cause", refusal.Cause))
		}
		if advice != "" {
			fields = append(fields, zap.String("advice", advice))
		}
		c.Write(fields...)
	}
}

// denial returns the denial of a request of a principal, with its first operation.
func (e *Edge) denial(a *Admission, check Check, status int, reason string) Denial {
	d := Denial{Status: status, Check: check, Reason: reason, Subject: a.Principal.ID(e.qualified), Client: a.Principal.ClientID}
	if ops := a.Request.Operations; len(ops) > 0 {
		d.Method, d.Name = shorten(ops[0].Method), shownName(ops[0].Method, ops[0].FirstName())
	}
	return d
}

// rejected reports a request of a principal that is refused before the rules decide, or after.
func (e *Edge) rejected(r *http.Request, a *Admission, check Check, status int, reason string) {
	d := e.denial(a, check, status, reason)
	e.deny(d)
	if c := e.logger.Check(zapcore.InfoLevel, "request is refused"); c != nil {
		c.Write(zap.String("user", d.Subject), zap.String("client", d.Client), zap.String("method", d.Method), zap.String("name", d.Name),
			zap.String("check", string(check)), zap.String("reason", reason), zap.Int("status", status), requestID(r))
	}
}

// NoSession reports a request for a session that the principal does not have, which is
// answered with 404.
func (e *Edge) NoSession(r *http.Request, a *Admission) {
	e.rejected(r, a, CheckSession, http.StatusNotFound, reasonSession)
}

// decided reports a decision of the rules.
func (e *Edge) decided(r *http.Request, a *Admission, d rules.Decision) {
	p, name := a.Principal, shownName(d.Method, d.Name)
	level, text := zapcore.DebugLevel, "request is allowed"
	if !d.Allowed {
		level, text = zapcore.InfoLevel, "request is denied"
		e.deny(Denial{
			Status: http.StatusForbidden, Check: CheckRules, Fixable: d.Fixable(), Reason: string(d.Reason), Subject: p.ID(e.qualified), Client: p.ClientID,
			Method: shorten(d.Method), Name: name, Rule: d.Rule, Needed: d.Needed, Held: p.Scopes,
		})
	}
	c := e.logger.Check(level, text)
	if c == nil {
		return
	}
	fields := []zap.Field{
		zap.String("user", p.ID(e.qualified)), zap.String("client", p.ClientID), zap.String("method", shorten(d.Method)), zap.String("name", name),
		zap.String("rule", d.Rule), zap.String("reason", string(d.Reason)),
		zap.String("needed", d.Needed.String()), zap.String("held", p.Scopes.String()), requestID(r),
	}
	if d.Err != nil {
		fields = append(fields, zap.NamedError("cause", d.Err))
	}
	c.Write(fields...)
}

// maxShown bounds, in bytes, a text of a client in the log.
const maxShown = 200

func shorten(text string) string { return safetext.Cut(text, maxShown) }

// shownName is the name of a tool or a prompt, or the URI of a resource, in a form that can be
// shown: the query of a URI may be secret.
func shownName(method, name string) string {
	if strings.HasPrefix(method, "resources/") {
		return shorten(safetext.URL(name))
	}
	return shorten(safetext.Name(name))
}

func (e *Edge) deny(d Denial) {
	if e.report.Denied != nil {
		e.report.Denied(d)
	}
}

// requestID is Caddy's id of a request, as `{http.request.uuid}` has it.
func requestID(r *http.Request) zap.Field {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return zap.Skip()
	}
	id, _ := repl.GetString("http.request.uuid")
	return zap.String("request_id", id)
}

// reader returns the writer for an answer that may have a list to filter, or a task to remember.
// It returns nil if the answer has neither. The stream of a GET may have any: with HTTP+SSE it has
// all answers, and a resumed stream has those that the client has missed. The answer to a request
// that asks for no list can have one, too: a server that was sent an id twice may answer on the
// stream of the later request.
func (e *Edge) reader(w http.ResponseWriter, r *http.Request, f Facts, a *Admission, header func(http.Header)) *filter.Writer {
	asked := make(map[message.Key]string)
	stream := r.Method == http.MethodGet
	answered, listed := false, stream
	for _, op := range a.Request.Operations {
		isList := lists.IsList(op.Method) // also without an id: some servers answer it all the same
		if op.Kind == message.Request && (isList || op.MayMakeTask && e.tasks != nil) {
			asked[message.KeyOf(op.ID)] = op.Method
		}
		answered = answered || op.Kind == message.Request
		listed = listed || isList
	}
	if !answered && !listed {
		return nil
	}
	answers := lists.Answers{Policy: e.policy, Who: a.Principal, Asked: asked, Learn: e.tools.Learn, Stream: stream}
	if e.tasks != nil {
		answers.Task = func(id string) { e.tasks.Give(a.owner, id) }
	}
	change := func(raw []byte) ([]byte, error) {
		changed, report, err := answers.Filter(raw)
		if report.Errors > 0 {
			e.logger.Warn("rule of a list could not be evaluated", zap.Int("hidden", report.Errors))
		}
		return changed, err
	}
	if listed {
		return filter.New(w, int(f.MaxBody), change, header, a.Request.ID())
	}
	words := listWords
	if e.tasks != nil {
		words = taskWords
	}
	return filter.Guard(w, int(f.MaxBody), words, change, header, a.Request.ID())
}

// listWords are in every answer that has a list, and taskWords in those that have a list or a task.
var (
	listWords = lists.Words()
	taskWords = append(lists.Words(), lists.TaskWord)
)
