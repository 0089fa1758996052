// Package doctor checks an MCP server as clients use it, both as a client with a handshake
// and as a stateless one. For each step it reports what was sent and received, what a
// script of a web page could read of it, which rules of the specifications the server meets
// or breaks, and what fixes it. It needs only the URL of the server, and works with any
// server.
//
// A server may be hostile. So sizes and times are limited, control characters are shown as
// text, and a secret of the caller is never shown, even if a server sends it back. The
// doctor follows no redirect with a token or with the header fields of the caller.
//
// Where to look:
//   - complete.go finds the server for a URL without a scheme or a path
//   - walk.go has the steps in their order, and verdict.go the result. Each stage is a type with a file: reach.go,
//     endpoint.go (and httpsse.go), challenge.go, resource.go, issuer.go, proof.go, login.go
//     (and device.go), session.go (and token.go, claims.go)
//   - package record has what the stages share
//   - package rules has the rules, their sources and their fixes
//   - package schema has the members that each document must have
//   - package probe sends requests and reads answers
//   - package report has the result, as JSON and as text
package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
)

// The types that callers of Run need.
type (
	// Report is what a check found.
	Report = report.Report
	// State is the outcome of a check.
	State = report.State
	// TextOptions say how a report is written.
	TextOptions = report.TextOptions
)

// The states and levels of a report, and the version of its form as JSON.
const (
	Healthy     = report.Healthy
	Broken      = report.Broken
	Unreachable = report.Unreachable
	Pass        = report.Pass
	Version     = report.Version
)

// Rules are the rules of package rules.
var Rules = rules.Rules

// DefaultTimeout is the time limit of one request.
const DefaultTimeout = 10 * time.Second

// walkTimeouts is the time limit of a check without a login, in timeouts of one request.
const walkTimeouts = 12

// loginTimeout is how long a login waits for its user.
const loginTimeout = 5 * time.Minute

// Options of a check. URL is required.
type Options struct {
	// URL is the URL of the server, as clients use it. Without a scheme https is tried, and
	// on loopback http too; without a path the usual paths of MCP servers are tried.
	URL string
	// Upstream is the URL of the server past the proxy in front of it. If it is set, it is
	// checked too, and the report has the differences.
	Upstream string
	// Origin is the origin of a web page that should be able to use the server, for
	// example https://app.example.com. Default: the origin of the server; what the page
	// cannot read is then a warning and not a failure.
	Origin string
	// Token is an access token. Without one, and without Login, the check ends before a
	// token is needed.
	Token string
	// Header is sent to the origin of the server only.
	Header http.Header
	// Login logs in with a browser.
	Login bool
	// Call is a tool that is called once, without arguments, after the tools are listed.
	Call string
	// StepUp logs in again, once, if a request after the login needs more scopes. It needs
	// Login.
	StepUp bool
	// ClientID and ClientSecret are those of a registered client. Default: the login
	// registers a client.
	ClientID, ClientSecret string
	// Browse opens a URL in a browser. Default: the URL is only written to Log.
	Browse func(url string) error
	// Log gets the URL at which the user logs in. Default: it is not written.
	Log io.Writer
	// Timeout is the time limit of one request. Default: DefaultTimeout.
	Timeout time.Duration
	// Insecure skips the check of certificates. CAs, if not nil, replaces the CAs of
	// the system.
	Insecure bool
	CAs      *x509.CertPool
	// Transport sends the requests. Default: http.DefaultTransport. Insecure and CAs
	// count if it is an *http.Transport.
	Transport http.RoundTripper
}

// ErrUsage is the error of Run for options that are wrong.
var ErrUsage = errors.New("wrong argument")

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUsage, fmt.Sprintf(format, args...))
}

// Run checks a server. It returns an error if the options are wrong or the context
// ended. What is wrong with the server is in the report.
func Run(ctx context.Context, opts Options) (*report.Report, error) {
	if opts.Timeout <= 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.Log == nil {
		opts.Log = io.Discard
	}
	if opts.Login && opts.Token != "" {
		return nil, usage("--login and --token exclude each other")
	}
	if opts.StepUp && !opts.Login {
		return nil, usage("--step-up needs --login")
	}
	if strings.ContainsFunc(opts.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, usage("--token holds a character that no token has")
	}
	known := new(report.Secrets)
	raw, search, err := complete(ctx, opts, opts.URL, known)
	if err != nil {
		return nil, err
	}
	w, err := newWalk(opts, raw, known)
	if err != nil {
		return nil, err
	}
	w.Report.Search = search
	upstream, err := upstreamOf(ctx, w, known)
	if err != nil {
		return nil, err
	}
	w.run(ctx)
	if upstream != nil {
		upstream.login.token = w.login.token // the token may be from the login
		upstream.run(ctx)
		w.Report.Upstream = upstream.Report
		w.Report.Differences = report.Compare(w.Report, upstream.Report)
	}
	if err := ctx.Err(); err != nil {
		return nil, err // the report would look complete
	}
	return w.Report, nil
}

// upstreamOf prepares the check of the upstream, if the caller gave one. Its path is that of
// the server if the caller left it out.
func upstreamOf(ctx context.Context, w *walk, known *report.Secrets) (*walk, error) {
	opts := w.opts
	if opts.Upstream == "" {
		return nil, nil
	}
	opts.Login, opts.StepUp = false, false
	g, err := parseGiven(opts.Upstream)
	if err != nil {
		return nil, err
	}
	if g.anyPath {
		g.anyPath, g.url.Path, g.url.RawPath = false, w.Target.Path, w.Target.RawPath
	}
	at, search, err := g.complete(ctx, opts, known)
	if err != nil {
		return nil, err
	}
	w.opts.Upstream, w.proof.upstream = at, at
	upstream, err := newWalk(opts, at, known)
	if err == nil {
		upstream.Report.Search = search
	}
	return upstream, err
}

// transport returns what sends the requests.
func (o Options) transport() http.RoundTripper {
	sends := o.Transport
	if sends == nil {
		sends = http.DefaultTransport
	}
	t, ok := sends.(*http.Transport)
	if !ok || !o.Insecure && o.CAs == nil {
		return sends
	}
	t = t.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = new(tls.Config)
	}
	t.TLSClientConfig.InsecureSkipVerify = o.Insecure //nolint:gosec // the caller asked for it
	t.TLSClientConfig.RootCAs = o.CAs
	return t
}

// parseTarget parses the URL of a server.
func parseTarget(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, usage("the URL cannot be read") // the text of err has the URL, which may contain secrets
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, usage("the URL has to begin with https:// or http:// and a host")
	case u.User != nil:
		return nil, usage("the URL has a user name in it, which clients do not send; use --header")
	case u.Fragment != "":
		return nil, usage("the URL has a fragment")
	}
	return u, nil
}

// parseOrigin returns the origin of a web page as its browser sends it. Browsers write the
// host of http and https in lower case, and change no host of another scheme (URL
// standard, opaque hosts).
func parseOrigin(raw string) (string, error) {
	o, err := origin.ParseTuple(strings.TrimSuffix(raw, "/"))
	if err != nil {
		return "", usage("--origin %q is no origin such as https://app.example.com: %v", safetext.Printable(safetext.Cut(raw, report.ShownText)), err)
	}
	return o.String(), nil
}
