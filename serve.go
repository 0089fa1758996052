package mcpauthbridge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/notes"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/tracing"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
)

// ServeHTTP serves the endpoint and its metadata and calls next for all else.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if err := h.app.prepare(); err != nil {
		return h.settle(w, r, h.serveNothing(w, r, err))
	}
	// What follows is known from the routes, but inside a plugin's handler or after the answer
	// of a proxy, which run routes as they like, and where several routes invoke the endpoint:
	// there it is what follows for the first request.
	if h.ReverseProxy == nil && h.follows.Load() == nil {
		following := next // so that next itself stays off the heap
		h.follows.Store(&following)
	}
	if target, path := h.endpoint.Match(r.URL.Path); target != bridge.TargetNone {
		return h.settle(w, r, h.begin(w, r, target, path).run(w, next, target))
	}
	if suffix, ok := (discovery{h}).owns(r.URL.Path); ok && strippedPrefix(r) == "" {
		return h.settle(w, r, discovery{h}.serve(w, r, suffix))
	}
	if h.bridgesServer() && strippedPrefix(r) == "" {
		if done, err := (bridgedServer{h}).serve(w, r, next); done {
			return h.settle(w, r, err)
		}
	}
	return discovery{h}.passOn(w, r, next)
}

// settle answers a request that has failed with err. It returns err if the site answers it.
func (h *Handler) settle(w http.ResponseWriter, r *http.Request, err error) error {
	return settle(h.logger, h.staticPath(), w, r, err)
}

// serveNothing answers if the configuration is refused: 503, which a page that may
// call the endpoint can read.
func (h *Handler) serveNothing(w http.ResponseWriter, r *http.Request, err error) error {
	if target, path := h.endpoint.Match(r.URL.Path); target != bridge.TargetNone {
		if q := h.begin(w, r, target, path); q.admit(w) {
			return nil
		}
	}
	return errNotServing(err)
}

// begin returns a new request to the endpoint.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request, target bridge.Target, path string) *request {
	q := &request{facts: facts{h: h, r: r, w: w, target: targetNames[target]}}
	q.Begin(h.endpoint, r, clientOf(h, r), target, path)
	return q
}

// bodyError is the answer to a body that could not be read.
func bodyError(err error) error {
	if mcp.BodyTooLarge(err) {
		return caddyhttp.Error(http.StatusRequestEntityTooLarge, err)
	}
	return caddyhttp.Error(http.StatusBadRequest, err)
}

// proxyError gives the proxy's error the status that the failure has: a
// timeout at any depth is 504, a body over the limit 413.
func proxyError(err error, rec *record.Record) error {
	if rec.TooLarge() {
		return caddyhttp.Error(http.StatusRequestEntityTooLarge, record.ErrBodyTooLarge)
	}
	var handlerErr caddyhttp.HandlerError
	if !errors.As(err, &handlerErr) || handlerErr.StatusCode != http.StatusBadGateway {
		return err
	}
	var netErr net.Error
	if errors.As(handlerErr.Err, &netErr) && netErr.Timeout() || errors.Is(handlerErr.Err, context.DeadlineExceeded) {
		handlerErr.StatusCode = http.StatusGatewayTimeout
		return handlerErr
	}
	return err
}

// request is one request of a client to the endpoint.
type request struct {
	bridge.ClientRequest
	facts
	begun time.Time
	// admission is the result of the edge. It is nil without authorize.
	admission *edge.Admission
	// forwarding passes the answer on, if the proxy does not.
	forwarding forwarding
}

// roundTrip implements exchange.
func (q *request) roundTrip(req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	res, err := q.RoundTrip(req, rt.RoundTrip)
	q.h.answered(&q.Exchange)
	return res, err
}

// traceNotes implements traced.
func (q *request) traceNotes(*http.Request) notes.Notes { return q.notes() }

// run answers the request and reports what became of it.
func (q *request) run(w http.ResponseWriter, next caddyhttp.Handler, target bridge.Target) error {
	h := q.h
	q.publish()
	q.begun = time.Now()
	status := http.StatusInternalServerError // that of a panic
	h.observer.counts.Begin()
	defer func() {
		sent, bytes := q.Answered()
		if sent != 0 {
			status = sent
		}
		q.Done()
		h.observer.counts.End(q.r.Method, status, time.Since(q.begun), q.Received(), bytes)
	}()
	err := q.serve(q.Watch(w), next, target)
	if status = http.StatusOK; err != nil {
		status = errorStatus(err)
	}
	q.over(err)
	return err
}

// over reports what became of the request, to its trace and to the log.
func (q *request) over(err error) {
	q.annotate()
	q.logRequest(err)
}

// serve answers the request.
func (q *request) serve(w http.ResponseWriter, next caddyhttp.Handler, target bridge.Target) error {
	h := q.h
	if q.admit(w) {
		return nil
	}
	w, r, ok := q.authorize(w, target)
	if !ok {
		return nil
	}
	if q.admission != nil {
		defer q.endAuthorized()
		if r, ok = q.ownMessage(w, r, target); !ok {
			return nil
		}
	}
	dropTrailers(r)
	if target == bridge.TargetUnknownMessage {
		mcp.Refuse(w, http.StatusNotFound, nil, message.CodeServer, "no event stream has announced this path; open the event stream again")
		return nil
	}
	if h.hub != nil {
		cors.SetVary(w.Header())
	}
	answers := w
	if h.ReverseProxy == nil {
		answers = nil // the answers belong to a later handler
	}
	if err := q.Hold(answers, r); err != nil {
		if q.carriesOver(target) {
			mcp.RefuseBody(w, err)
			return nil
		}
		return bodyError(err)
	}
	if q.carriesOver(target) {
		q.carryOver(w, r, target)
		return nil
	}
	if h.ReverseProxy == nil {
		return serveMiddleware(q, w, r, next)
	}
	err := proxied(q, w, r, next)
	if breaksOff(h, &q.Record, r) {
		abort(w)
	}
	if err != nil {
		return proxyError(err, &q.Record)
	}
	return nil
}

// dropTrailers removes the trailers of a client. MCP has none, and a recipient may discard them
// (RFC 9110 section 6.5.1). Some servers add trailers to the header. There they could name another
// user than the fields that guards have set and that decide the owner of the request (D5a).
func dropTrailers(r *http.Request) {
	r.Trailer = nil
	delete(r.Header, "Trailer")
}

// carriesOver reports whether the request is carried over to another transport, in place of
// being passed on as it is.
func (q *request) carriesOver(target bridge.Target) bool {
	if q.h.hub == nil {
		return false
	}
	switch target {
	case bridge.TargetLegacy, bridge.TargetLegacyMessage:
		return true
	case bridge.TargetEndpoint:
		return !q.h.upstream.crosses(q.r)
	}
	return false
}

// carryOver answers a request that is carried over to another transport.
func (q *request) carryOver(w http.ResponseWriter, r *http.Request, target bridge.Target) {
	h := q.h
	q.read = notes.Of(r)
	r = r.WithContext(notes.With(r.Context(), &q.read))
	serve := func() {
		switch target {
		case bridge.TargetLegacy:
			h.hub.ServeSSE(w, r, legacyPath(h, q.Client().Prefix, h.LegacySSE.MessagePath))
		case bridge.TargetLegacyMessage:
			h.hub.ServeMessage(w, r)
		default:
			h.hub.ServeHTTP(w, r)
		}
	}
	if h.upstream.proxied || !tracing.Sampled(r) {
		serve()
		return
	}
	tracing.Program(q.r, q.read, serve, func() (notes.Notes, int) {
		status, _ := q.Answered()
		return q.notes(), status
	})
}

// admit applies the origin policy. It returns true if the request is answered: a preflight, or
// an origin that is not allowed.
func (q *request) admit(w http.ResponseWriter) (answered bool) {
	answered = q.Admit(w)
	if q.Origin == bridge.OriginRefused {
		q.h.observer.originRefused(bridge.OriginText(q.r.Header["Origin"]), q.r.Host)
	}
	return answered
}

// shownError returns the text of an error as it may be logged: without secrets of the client,
// which an answer of the server may quote.
func shownError(err error, r *http.Request) string {
	return safetext.SecretsOf(r).Text(causeOf(err).Error())
}

// settle answers a request that has failed as Caddy would, with the status alone. Caddy would
// log the whole request of an error of 5xx, at level ERROR: the query, the session id and each
// field that it does not know to be secret. If the site has error routes, it returns the error
// to them, which Caddy logs at level DEBUG.
func settle(logger *zap.Logger, endpoint string, w http.ResponseWriter, r *http.Request, err error) error {
	if err == nil {
		return nil
	}
	status := errorStatus(err)
	if status < http.StatusInternalServerError || hasErrorRoutes(r) {
		return err
	}
	fields := []zap.Field{
		zap.String("endpoint", endpoint), zap.String("method", r.Method), zap.Int("status", status),
		zap.String("error", shownError(err, r)),
	}
	if e, ok := err.(caddyhttp.HandlerError); ok { // the trace is that of the outermost
		fields = append(fields, zap.String("err_id", e.ID), zap.String("err_trace", e.Trace))
	}
	logger.Error("request has failed", fields...)
	w.WriteHeader(status)
	return nil
}

// hasErrorRoutes reports whether the configuration may answer an error. An unknown server
// may.
func hasErrorRoutes(r *http.Request) bool {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return !ok || site.HasErrorRoutes(server)
}

// breaksOff reports whether the proxy could not pass the answer on completely, and logs why:
// at level WARN if that is the upstream's doing.
func breaksOff(h *Handler, rec *record.Record, r *http.Request) bool {
	clientLeft, err := rec.Broken()
	if err == nil {
		return false
	}
	level, message := zapcore.WarnLevel, "answer of the upstream breaks off"
	if clientLeft || r.Context().Err() != nil || errors.Is(err, context.Canceled) {
		level, message = zapcore.DebugLevel, "client has left before the end of the answer"
	}
	if c := h.logger.Check(level, message); c != nil {
		c.Write(zap.String("endpoint", h.staticPath()), zap.String("method", r.Method), zap.String("upstream", rec.Dial),
			zap.String("error", shownError(err, r)))
	}
	return true
}

// abort ends an answer that is not complete, as the proxy does: the client gets what there
// is, and sees that it is not all.
func abort(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}
