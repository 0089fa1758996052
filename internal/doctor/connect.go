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
)

// connect asks for nothing but an answer.
func (w *walk) connect(ctx context.Context, s *Step) {
	a := w.send(ctx, s, request{name: "options", method: http.MethodOptions, url: w.target, private: true, headerOnly: true})
	if a.err == nil {
		w.secure(s)
		return
	}
	rule, text := unreached(a.err)
	if a.slow || rule == "connect.answers" {
		s.skip("OPTIONS has no answer; the next messages show more")
		return
	}
	w.lost = true
	w.fail(s, rule, "%s: %s", text, a.Error)
}

// secure looks at the scheme.
func (w *walk) secure(s *Step) {
	switch {
	case w.target.Scheme == "https":
		w.pass(s, "connect.tls", "it answers, and its certificate is good")
	case loopback(w.target):
		w.pass(s, "connect.listens", "it answers, in plain HTTP on loopback")
	default:
		w.warn(s, "connect.https", "it is reached in plain HTTP: tokens can be read on the way, and some clients refuse it")
	}
}

// unreached tells why no answer came, by a rule.
func unreached(err error) (rule, text string) {
	var (
		name     *net.DNSError
		cert     *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		alert    tls.AlertError
		host     x509.HostnameError
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		dialing  *net.OpError
		tlsFault = strings.Contains(err.Error(), "tls: ")
	)
	switch {
	case errors.As(err, &name):
		return "connect.name", "the name of the host is not found"
	case errors.As(err, &host), errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &cert):
		return "connect.tls", "the certificate is refused"
	case errors.As(err, &record), errors.As(err, &alert), tlsFault,
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "connect.tls", "there is no TLS that works"
	case errors.As(err, &dialing) && dialing.Op == "dial":
		return "connect.listens", "nothing listens there"
	}
	return "connect.answers", "the connection gives no answer"
}

// preflight asks as a browser does, for a page that sends a message.
func (w *walk) preflight(ctx context.Context, s *Step) {
	h := http.Header{}
	h.Set("Access-Control-Request-Method", http.MethodPost)
	h.Set("Access-Control-Request-Headers", strings.Join(needed[:3], ","))
	a := w.send(ctx, s, request{name: "preflight", method: http.MethodOptions, url: w.target, header: h, origin: w.origin, private: true, headerOnly: true})
	if a.err != nil {
		w.note(s, w.pageLevel(), "preflight.answered", "no answer to the preflight: %s", a.Error)
		return
	}
	if w.preflightAllows(s, a) {
		w.page = w.origin
	} else if w.asked {
		w.page = w.origin // and see what else such a page runs into
	}
	w.credentials(s, a)
}

// preflightAllows judges the answer to a preflight.
func (w *walk) preflightAllows(s *Step, a *answer) bool {
	bad := func(rule, format string, args ...any) bool {
		w.note(s, w.pageLevel(), rule, format, args...)
		return false
	}
	why := shared(w.origin, a.header)
	switch {
	case a.Status == http.StatusForbidden && why != "":
		return bad("preflight.origin", "%s are refused (403)", w.pages())
	case !a.ok():
		return bad("preflight.answered", "the preflight of %s is answered with %d, so browsers send nothing after it", w.pages(), a.Status)
	case why != "":
		return bad("preflight.origin", "%s may not call: %s", w.pages(), why)
	}
	if refused := refusedFields(a.header, needed[:3]); len(refused) > 0 {
		return bad("preflight.headers", "%s may not send %s", w.pages(), strings.Join(refused, ", "))
	}
	w.pass(s, "preflight.answered", "pages at %s may call", w.origin)
	methods := list(a.header, "Access-Control-Allow-Methods")
	w.noDelete = !slices.Contains(methods, "delete") && !slices.Contains(methods, "*")
	return true
}

// credentials looks for answers that let any page in with the user's cookies.
func (w *walk) credentials(s *Step, a *answer) {
	if !strings.EqualFold(a.header.Get("Access-Control-Allow-Credentials"), "true") {
		return
	}
	if a.header.Get("Access-Control-Allow-Origin") == "*" {
		w.note(s, w.pageLevel(), "cors.credentials", "Access-Control-Allow-Origin * comes with Access-Control-Allow-Credentials, which browsers refuse to a page that sends credentials")
	}
}
