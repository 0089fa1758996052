package mcpauthbridge

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/forward"
)

// The values of the option forwarding.
const (
	forwardingAuto   = "auto"
	forwardingDirect = "direct"
	forwardingProxy  = "reverse_proxy"
)

// checkForwarding refuses values that the option forwarding does not have.
func checkForwarding(value string) error {
	switch value {
	case "", forwardingAuto, forwardingDirect, forwardingProxy:
		return nil
	}
	return fmt.Errorf("forwarding: %q must be auto, direct or reverse_proxy", value)
}

// readForwarding reads the option of the Caddyfile.
func readForwarding(dir *directive, s setting) error {
	if err := s.one(&dir.h.Forwarding); err != nil {
		return err
	}
	return placed(s.Dispenser, checkForwarding(dir.h.Forwarding))
}

// compileForwarding finds out who passes the answers of the upstream on to clients. The proxy has
// to be provisioned.
func compileForwarding(h *Handler) error {
	if err := checkForwarding(h.Forwarding); err != nil {
		return err
	}
	if h.ReverseProxy == nil {
		if h.Forwarding != "" && h.Forwarding != forwardingAuto {
			return fmt.Errorf("forwarding: %s needs an upstream address; remove forwarding", h.Forwarding)
		}
		return nil
	}
	obstacle := obstacleToDirect(h.ReverseProxy)
	if h.Forwarding == forwardingProxy {
		obstacle = "forwarding reverse_proxy"
	}
	if obstacle != "" && h.Forwarding == forwardingDirect {
		return fmt.Errorf("forwarding: direct excludes %s of reverse_proxy, which has to see each answer; remove one of them, or write `forwarding auto`", obstacle)
	}
	h.notDirect = obstacle
	return nil
}

// forwards returns who passes the answers of the upstream on and, if that is the proxy, because of
// what. It returns nothing if there is no proxy.
func forwards(h *Handler) (by, because string) {
	switch {
	case h.ReverseProxy == nil:
		return "", ""
	case h.notDirect != "":
		return forwardingProxy, h.notDirect
	}
	return forwardingDirect, ""
}

// obstacleToDirect returns the option of a proxy that prevents that answers are passed on within
// the round trip, and nothing if there is none. With each of these options the proxy has to see
// the answer before the client does, or has to see when its header came.
func obstacleToDirect(p *reverseproxy.Handler) string {
	switch {
	case len(p.HandleResponse) > 0:
		return "handle_response"
	case p.Headers != nil && p.Headers.Response != nil:
		return "header_down"
	case p.ResponseBuffers != 0:
		return "response_buffers"
	case p.CB != nil:
		return "circuit_breaker"
	case p.HealthChecks != nil && p.HealthChecks.Passive != nil && p.HealthChecks.Passive.UnhealthyLatency > 0:
		return "unhealthy_latency"
	case p.LoadBalancing != nil && hasExpression(p.LoadBalancing.RetryMatch):
		return "an expression in lb_retry_match"
	case p.VerboseLogs:
		return "verbose_logs"
	}
	return ""
}

// hasExpression reports whether there is an expression among matchers, which may be about the
// answer.
func hasExpression(sets caddyhttp.MatcherSets) bool {
	for _, set := range sets {
		for _, m := range set {
			if _, ok := m.(*caddyhttp.MatchExpression); ok {
				return true
			}
		}
	}
	return false
}

// forwarding passes the answer to a request on to the client within the round trip: before the
// proxy, which has selected the upstream, sees it. It is the response writer of the proxy.
type forwarding struct {
	proxy *reverseproxy.Handler // nil if the proxy itself passes the answer on
	repl  *caddy.Replacer
	w     http.ResponseWriter

	sent     bool // the answer is passed on
	begun    time.Time
	latency  time.Duration // from begun until the header came
	duration time.Duration // from begun until the end of the answer
	status   int           // as the upstream has sent it
	text     string
	header   http.Header

	mu   sync.Mutex
	over bool // informational answers are passed on no longer
}

// proxied sends a request through the proxy.
func proxied(q *request, w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	h := q.h
	w = q.Relay(w)
	if h.notDirect != "" {
		return h.ReverseProxy.ServeHTTP(w, withExchange(r, q), next)
	}
	f := &q.forwarding
	f.proxy, f.w = h.ReverseProxy, w
	f.repl, _ = r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	err := h.ReverseProxy.ServeHTTP(f, withExchange(r, q), next)
	if f.sent {
		return nil // whatever the proxy makes of what it got in place of the answer
	}
	return err
}

// passedOn is what the proxy gets in place of an answer that was passed on: its status. The proxy
// takes it for a client that has left. So it neither tries again, nor counts a failure of the
// upstream, and is done.
type passedOn int

// Error implements error. The proxy logs it, at level DEBUG.
func (status passedOn) Error() string {
	return "none: the answer was passed on, with status " + strconv.Itoa(int(status))
}

// Is makes it a context.Canceled.
func (passedOn) Is(err error) bool { return err == context.Canceled } // as errors.Is asks

// roundTrip sends a request of the proxy and passes the answer on.
func (f *forwarding) roundTrip(x exchange, req *http.Request, rt http.RoundTripper) (*http.Response, error) {
	if f.sent { // the client has its answer: nothing may be sent again
		return nil, passedOn(f.status)
	}
	f.guardInformational(req)
	f.begun = time.Now()
	sent := *req // the transport may read it after the round trip
	res, err := exchangeWith(x, &sent, rt)
	if err == nil && !f.takes(res) {
		return res, nil
	}
	// The proxy makes a log line of its request, also where no log has it. That line has
	// neither the query nor the fields of the client.
	req.RequestURI, req.Header, req.TLS, req.TransferEncoding = "", nil, nil, nil
	if err != nil {
		return nil, err
	}
	f.answer(res)
	return nil, passedOn(res.StatusCode)
}

// takes reports whether an answer is passed on here. The proxy has to see upgrades, and what it
// counts as a failure of the upstream.
func (f *forwarding) takes(res *http.Response) bool {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return false
	}
	if c := f.proxy.HealthChecks; c != nil && c.Passive != nil {
		for _, unhealthy := range c.Passive.UnhealthyStatus {
			if caddyhttp.StatusCodeMatches(res.StatusCode, unhealthy) {
				return false
			}
		}
	}
	return true
}

// answer passes an answer on.
func (f *forwarding) answer(res *http.Response) {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	_, again := f.repl.Get(proxyPlaceholders + "upstream.latency")
	f.latency, f.status, f.text, f.header = time.Since(f.begun), res.StatusCode, res.Status, res.Header
	f.sent = true
	if again {
		f.repl.DeleteByPrefix(proxyPlaceholders + headerPlaceholders)
		f.set("status_code", "status_text", "upstream.latency", "upstream.latency_ms")
	}
	interval := forward.Interval(res, time.Duration(f.proxy.FlushInterval), caddyhttp.IsIncremental(res.Header))
	_ = forward.Answer(f.w, res, interval) // the writer knows of the error, see record.Record.Broken
	f.duration = time.Since(f.begun)
	if again {
		f.set("upstream.duration", "upstream.duration_ms")
	}
}

// guardInformational keeps informational answers (1xx) from being written beside the answer.
// The proxy itself drops those that come after the round trip, as a connection that was given up
// may have them.
func (f *forwarding) guardInformational(req *http.Request) {
	trace := httptrace.ContextClientTrace(req.Context())
	if trace == nil || trace.Got1xxResponse == nil {
		return
	}
	pass := trace.Got1xxResponse
	trace.Got1xxResponse = func(status int, header textproto.MIMEHeader) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.over {
			return nil
		}
		return pass(status, header)
	}
}

// Header implements http.ResponseWriter.
func (f *forwarding) Header() http.Header { return f.w.Header() }

// WriteHeader implements http.ResponseWriter. After the answer it does nothing: for a client
// that has left, the proxy writes a status for the log.
func (f *forwarding) WriteHeader(status int) {
	if !f.sent {
		f.w.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (f *forwarding) Write(p []byte) (int, error) { return f.w.Write(p) }

// Unwrap lets http.ResponseController find what else the writer can do.
func (f *forwarding) Unwrap() http.ResponseWriter { return f.w }

// proxyPlaceholders is what the placeholders of reverse_proxy begin with. headerPlaceholders is
// what the names of those for the header fields of the answer begin with.
const (
	proxyPlaceholders  = "http.reverse_proxy."
	headerPlaceholders = "header."
)

// placeholder returns the value of a placeholder of reverse_proxy for the answer. It is called
// only if something uses one. A proxy that sets placeholders itself, before or after, hides
// those of this one.
func (f *forwarding) placeholder(name string) (any, bool) {
	if !f.sent {
		return nil, false
	}
	switch name {
	case "status_code":
		return f.status, true
	case "status_text":
		return f.text, true
	case "upstream.latency":
		return f.latency, true
	case "upstream.latency_ms":
		return f.latency.Seconds() * 1e3, true
	case "upstream.duration":
		return f.duration, f.duration != 0
	case "upstream.duration_ms":
		return f.duration.Seconds() * 1e3, f.duration != 0
	}
	field, ok := strings.CutPrefix(name, headerPlaceholders)
	values, has := f.header[field]
	if !ok || !has || !f.isLast() {
		return nil, false
	}
	return strings.Join(values, ","), true
}

// isLast reports whether no other proxy has answered the request later. Such a proxy has another
// latency, to the nanosecond.
func (f *forwarding) isLast() bool {
	latency, _ := f.repl.Get(proxyPlaceholders + "upstream.latency")
	return latency == any(f.latency)
}

// set sets placeholders, in place of those that an earlier proxy has set for the same request.
func (f *forwarding) set(names ...string) {
	for _, name := range names {
		if value, ok := f.placeholder(name); ok {
			f.repl.Set(proxyPlaceholders+name, value)
		}
	}
}
