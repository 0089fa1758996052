package mcpauthbridge

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/notes"
)

// tracerName is the scope of this module's spans.
const tracerName = "github.com/mcp-auth-bridge/caddy-mcp-auth-bridge"

// Attributes of spans: those of OpenTelemetry's semantic conventions for MCP, general
// ones, and this module's own. docs/observe.md lists them.
const (
	attrMethod    = attribute.Key("mcp.method.name")
	attrVersion   = attribute.Key("mcp.protocol.version")
	attrSession   = attribute.Key("mcp.session.id") // its hash
	attrTool      = attribute.Key("gen_ai.tool.name")
	attrPrompt    = attribute.Key("gen_ai.prompt.name")
	attrOperation = attribute.Key("gen_ai.operation.name")
	attrTransport = attribute.Key("network.transport")
	attrAddress   = attribute.Key("server.address")
	attrPort      = attribute.Key("server.port")
	attrVerb      = attribute.Key("http.request.method")
	attrStatus    = attribute.Key("http.response.status_code")
	attrError     = attribute.Key("error.type")

	attrEndpoint = attribute.Key("mcp_auth_bridge.endpoint")
	attrTarget   = attribute.Key("mcp_auth_bridge.target")
	attrEra      = attribute.Key("mcp_auth_bridge.era")
	attrAction   = attribute.Key("mcp_auth_bridge.challenge.action")
	attrReason   = attribute.Key("mcp_auth_bridge.challenge.reason")
	attrScheme   = attribute.Key("mcp_auth_bridge.challenge.scheme")
	attrCode     = attribute.Key("mcp_auth_bridge.challenge.error")
)

// describe returns what notes say of a request as attributes.
func describe(n notes.Notes) []attribute.KeyValue {
	var all []attribute.KeyValue
	for _, a := range []struct {
		key   attribute.Key
		value string
	}{{attrMethod, n.Method}, {attrVersion, n.Version}, {attrSession, n.Session}} {
		if a.value != "" {
			all = append(all, a.key.String(a.value))
		}
	}
	switch n.Method {
	case "tools/call":
		all = append(all, attrOperation.String("execute_tool"), attrTool.String(n.Name))
	case "prompts/get":
		all = append(all, attrPrompt.String(n.Name))
	}
	return all
}

// annotate puts what is known of a request on the span that Caddy's tracing has begun
// for it. Where there is none, it costs a look at the context.
func (q *request) annotate() {
	span := trace.SpanFromContext(q.r.Context())
	if !span.IsRecording() {
		return
	}
	n := q.notes()
	span.SetAttributes(append(describe(n), attrEndpoint.String(q.h.staticPath()), attrTarget.String(q.target), attrEra.String(n.Era))...)
	if o := q.outcome(); o.Action != "" {
		scheme, code := o.Kind()
		span.SetAttributes(attrAction.String(string(o.Action)), attrReason.String(string(o.Reason)), attrScheme.String(scheme), attrCode.String(code))
	}
}

// isTraced reports whether a request belongs to a trace that is recorded.
func isTraced(r *http.Request) bool { return trace.SpanContextFromContext(r.Context()).IsSampled() }

// spanName is the name of a span of a request (OpenTelemetry semantic conventions for
// MCP, "Client"); the HTTP method where the MCP method is not known.
func spanName(n notes.Notes, r *http.Request) string {
	switch {
	case n.Method == "":
		return r.Method
	case n.Name == "":
		return n.Method
	}
	return n.Method + " " + n.Name
}

// startSpan begins a span of a request to an upstream, below the one in r's context,
// and has r name it as its parent. A parent that has ended is one as well: a
// conversation outlives the request that began it.
func startSpan(r *http.Request, n notes.Notes, attributes ...attribute.KeyValue) trace.Span {
	ctx, span := trace.SpanFromContext(r.Context()).TracerProvider().Tracer(tracerName).
		Start(r.Context(), spanName(n, r), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(append(describe(n), attributes...)...))
	if len(r.Header["Traceparent"]) > 0 && span.SpanContext().IsValid() {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(r.Header))
	}
	return span
}

// traced is an exchange with the upstream that has a span of its own.
type traced interface {
	exchange
	// traceNotes returns what is known of a request that is sent to the upstream.
	traceNotes(req *http.Request) notes.Notes
	// upstreamStatus returns the status of the answer.
	upstreamStatus() int
}

// traceRoundTrip sends a request to the upstream within a span, which ends with the answer.
func traceRoundTrip(x traced, req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	host, port, _ := net.SplitHostPort(req.URL.Host)
	number, _ := strconv.Atoi(port)
	span := startSpan(req, x.traceNotes(req), attrVerb.String(req.Method), attrAddress.String(host), attrPort.Int(number), attrTransport.String("tcp"))
	res, err := x.roundTrip(req, rt)
	if err != nil {
		span.SetAttributes(attrError.String("unreachable"))
		span.SetStatus(codes.Error, "")
		span.End()
		return nil, err
	}
	setStatus(span, x.upstreamStatus())
	if res.Body == http.NoBody || res.Body == nil {
		span.End()
		return res, nil
	}
	res.Body = &spanBody{ReadCloser: res.Body, span: span}
	return res, nil
}

// setStatus puts the status of an answer on a span (OpenTelemetry semantic conventions
// for HTTP, "Status": for a client, 4xx are errors as well).
func setStatus(span trace.Span, status int) {
	span.SetAttributes(attrStatus.Int(status))
	if status >= http.StatusBadRequest {
		span.SetAttributes(attrError.String(strconv.Itoa(status)))
		span.SetStatus(codes.Error, "")
	}
}

// spanBody is the body of an answer, whose end is a span's.
type spanBody struct {
	io.ReadCloser
	span trace.Span
	once sync.Once
}

// Read implements io.Reader.
func (b *spanBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end(err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *spanBody) Close() error {
	b.end(nil)
	return b.ReadCloser.Close()
}

func (b *spanBody) end(err error) {
	b.once.Do(func() {
		if err != nil && err != io.EOF { // io.Reader's contract
			b.span.SetAttributes(attrError.String("broken"))
			b.span.SetStatus(codes.Error, "")
		}
		b.span.End()
	})
}

// traceProgram serves a request that goes to a program, within a span of its own.
func (q *request) traceProgram(serve func()) {
	span := startSpan(q.r, q.read, attrTransport.String("pipe"))
	defer func() {
		n := q.notes()
		span.SetName(spanName(n, q.r))
		span.SetAttributes(describe(n)...)
		if status, _ := q.Answered(); status >= http.StatusBadRequest {
			span.SetAttributes(attrError.String(strconv.Itoa(status)))
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}()
	serve()
}
