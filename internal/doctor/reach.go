package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/record"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// reach is the first stage: it connects to the server, and asks, as a browser does, whether
// a page may call it.
type reach struct {
	*record.Recorder
	header   http.Header // of the caller
	insecure bool        // certificates are not checked

	preflighted int  // status of the preflight; 0 if it has no answer
	noDelete    bool // pages may not send DELETE
}

// connect sends OPTIONS, to see whether there is an answer.
func (c *reach) connect(ctx context.Context, s *report.Step) {
	a := c.Send(ctx, s, probe.Request{Name: "options", Method: http.MethodOptions, URL: c.Target, Private: true, HeaderOnly: true})
	if a.Err == nil {
		c.secure(s)
		return
	}
	rule, text, seen := unreached(a.Err)
	if a.Slow || rule == "connect.answers" {
		s.Skip("OPTIONS gets no response")
		return
	}
	c.Lost = true
	c.NoteWith(s, report.Fail, rule, seen, "%s: %s", text, a.Error)
}

// secure checks the scheme.
func (c *reach) secure(s *report.Step) {
	switch {
	case c.Target.Scheme == "https" && c.insecure:
		c.NoteWith(s, report.Warn, "connect.tls", report.Facts{rules.Unchecked: "yes"}, "the certificate was not checked (--insecure); clients check it")
	case c.Target.Scheme == "https":
		c.Pass(s, "connect.tls", "connected, the certificate is valid")
	case urls.Loopback(c.Target):
		c.Pass(s, "connect.listens", "connected, in plain HTTP on loopback")
	default:
		c.Warn(s, "connect.https", "the URL is plain HTTP: others can read tokens, and some clients refuse it")
	}
}

// unreached returns the rule that says why there is no response, a text for it, and the
// facts that its fixes depend on.
func unreached(err error) (rule, text string, seen report.Facts) {
	var (
		name    *net.DNSError
		dialing *net.OpError
	)
	fault, fact, isTLS := tlsFault(err)
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return "connect.name", "the host name is not found", nil
	case errors.As(err, &name):
		return "connect.name", "the host name cannot be looked up", nil
	case isTLS:
		return "connect.tls", fault, report.Facts{fact: "yes"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connect.listens", "nothing listens there", nil
	case errors.As(err, &dialing) && dialing.Op == "dial":
		return "connect.listens", "cannot connect", nil
	}
	return "connect.answers", "the connection gets no response", nil
}

// tlsFault says what is wrong with TLS, and whether that is the fault at all. fact is for
// the fixes; it may be empty.
func tlsFault(err error) (text, fact string, is bool) {
	var (
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &host):
		return "the certificate is for another name", rules.Misnamed, true
	case errors.As(err, &unknown):
		return "the certificate is not trusted", rules.Untrusted, true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate is not valid now", rules.Expired, true
	case errors.As(err, &invalid), errors.As(err, &cert):
		return "the certificate is not trusted", "", true
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "the server does not speak TLS", rules.Plain, true
	case errors.As(err, &alert), strings.Contains(err.Error(), "tls: "):
		return "TLS does not work", "", true
	}
	return "", "", false
}

// preflight asks, as a browser does, whether a page may send messages.
func (c *reach) preflight(ctx context.Context, s *report.Step) {
	h := http.Header{}
	h.Set("Access-Control-Request-Method", http.MethodPost)
	h.Set("Access-Control-Request-Headers", strings.Join(probe.AskedFields(c.header), ","))
	a := c.Send(ctx, s, probe.Request{Name: "preflight", Method: http.MethodOptions, URL: c.Target, Header: h, Origin: c.Origin, Private: true})
	c.preflighted = a.Status
	if a.Err != nil {
		c.Note(s, c.PageLevel(), "preflight.answered", "the CORS preflight gets no response: %s", a.Error)
		return
	}
	if c.preflightAllows(s, a) {
		c.Page = c.Origin
	} else if c.Asked {
		c.Page = c.Origin // to see what else such a page cannot do
	}
	c.credentials(s, a)
}

// preflightAllows checks the answer to a preflight, and reports whether it allows messages.
func (c *reach) preflightAllows(s *report.Step, a *probe.Answer) bool {
	bad := func(rule, format string, args ...any) bool {
		c.Note(s, c.PageLevel(), rule, format, args...)
		return false
	}
	why := probe.WhyUnreadable(c.Origin, a.Header)
	switch {
	case c.Obstructed(s, c.PageLevel(), "the CORS preflight", a):
		return false
	case a.Status == http.StatusForbidden && why != "":
		return bad("preflight.origin", "%s get 403", c.Pages())
	case !a.OK() && parseChallenge(a.Header).has("Basic"):
		c.NoteWith(s, c.PageLevel(), "preflight.answered", report.Facts{rules.Basic: "yes"}, "the CORS preflight of %s gets %d and a Basic challenge, so the browser sends no message", c.Pages(), a.Status)
		return false
	case !a.OK():
		return bad("preflight.answered", "the CORS preflight of %s gets %d, so the browser sends no message", c.Pages(), a.Status)
	case why != "":
		return bad("preflight.origin", "%s are not allowed: %s", c.Pages(), why)
	}
	if refused := probe.RefusedFields(a.Header, probe.AskedFields(c.header)); len(refused) > 0 {
		var more []string
		for _, name := range refused {
			if !slices.Contains(probe.ClientFields, name) {
				more = append(more, http.CanonicalHeaderKey(name))
			}
		}
		c.NoteWith(s, c.PageLevel(), "preflight.headers", report.Facts{rules.Fields: safetext.Printable(strings.Join(more, " "))}, "%s may not send %s", c.Pages(), safetext.Printable(strings.Join(refused, ", ")))
		return false
	}
	c.Pass(s, "preflight.answered", "pages at %s are allowed", c.Origin)
	methods := probe.List(a.Header, "Access-Control-Allow-Methods")
	c.noDelete = !slices.Contains(methods, "delete") && !slices.Contains(methods, "*")
	return true
}

// credentials checks for an answer that allows credentials to every page.
func (c *reach) credentials(s *report.Step, a *probe.Answer) {
	if !strings.EqualFold(a.Header.Get("Access-Control-Allow-Credentials"), "true") {
		return
	}
	if a.Header.Get("Access-Control-Allow-Origin") == "*" {
		c.Note(s, c.PageLevel(), "cors.credentials", "Access-Control-Allow-Origin * comes with Access-Control-Allow-Credentials; browsers refuse that for requests with credentials")
	}
}
