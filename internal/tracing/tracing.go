// Package tracing writes what is known of a request into the traces of OpenTelemetry: on the span
// that Caddy's tracing has begun for the request, and in spans for the requests that go to the MCP
// server.
package tracing

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

// describe returns notes of a request as attributes.
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

// Facts is what the span of a request gets.
type Facts struct {
	notes.Notes
	Endpoint, Target string
	// Action is what was done with the challenge of the answer, and the others say why and what
	// the challenge is. All are empty if there is none.
	Action, Reason, Scheme, Code string
}

// Recording reports whether Caddy's tracing has begun a span for a request, which [Annotate] can
// add to.
func Recording(r *http.Request) bool { return trace.SpanFromContext(r.Context()).IsRecording() }

// Annotate puts facts on the span that Caddy's tracing has begun for a request.
func Annotate(r *http.Request, f Facts) {
	span := trace.SpanFromContext(r.Context())
	span.SetAttributes(append(describe(f.Notes), attrEndpoint.String(f.Endpoint), attrTarget.String(f.Target), attrEra.String(f.Era))...)
	if f.Action != "" {
		span.SetAttributes(attrAction.String(f.Action), attrReason.String(f.Reason), attrScheme.String(f.Scheme), attrCode.String(f.Code))
	}
}

// Sampled reports whether a request belongs to a trace that is recorded.
func Sampled(r *http.Request) bool { return trace.SpanContextFromContext(r.Context()).IsSampled() }

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

// startSpan begins the span of a request to an upstream, below the span in r's context. If r has a
// Traceparent field, it names the new span from now on. The span above may have ended before: a
// session outlives the request that began it.
func startSpan(r *http.Request, n notes.Notes, attributes ...attribute.KeyValue) trace.Span {
	ctx, span := trace.SpanFromContext(r.Context()).TracerProvider().Tracer(tracerName).
		Start(r.Context(), spanName(n, r), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(append(describe(n), attributes...)...))
	if len(r.Header["Traceparent"]) > 0 && span.SpanContext().IsValid() {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(r.Header))
	}
	return span
}

// RoundTrip sends a request to the upstream within a span, which ends with the body of the answer.
// n is what is known of the request. status returns the status that the upstream answered with.
func RoundTrip(req *http.Request, n notes.Notes, send func() (*http.Response, error), status func() int) (*http.Response, error) {
	host, port, _ := net.SplitHostPort(req.URL.Host)
	number, _ := strconv.Atoi(port)
	span := startSpan(req, n, attrVerb.String(req.Method), attrAddress.String(host), attrPort.Int(number), attrTransport.String("tcp"))
	res, err := send()
	if err != nil {
		span.SetAttributes(attrError.String("unreachable"))
		span.SetStatus(codes.Error, "")
		span.End()
		return nil, err
	}
	setStatus(span, status())
	// After 101 the body is a connection, and the proxy has to see that.
	if res.Body == http.NoBody || res.Body == nil || res.StatusCode == http.StatusSwitchingProtocols {
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

// spanBody is the body of an answer. Its span ends with it.
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

// Program serves a request that goes to a program, within a span. n is what is known of the request
// before, and after returns what is known of it then, with the status of the answer.
func Program(r *http.Request, n notes.Notes, serve func(), after func() (notes.Notes, int)) {
	span := startSpan(r, n, attrTransport.String("pipe"))
	defer func() {
		n, status := after()
		span.SetName(spanName(n, r))
		span.SetAttributes(describe(n)...)
		if status >= http.StatusBadRequest {
			span.SetAttributes(attrError.String(strconv.Itoa(status)))
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}()
	serve()
}
