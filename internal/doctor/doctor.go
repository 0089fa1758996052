// Package doctor walks to an MCP server the way a client walks, of the
// revisions before 2026-07-28 and since, and says at each step what was sent
// and seen, what a script of a web page could read of it, which rule of a
// specification it meets or breaks, and what mends it. It needs nothing of the
// server but its URL, and works with any.
//
// What a server sends is hostile: its sizes and times are bounded, its text is
// shown with all that a terminal could act on written out, and no secret that
// the doctor holds is shown, whoever sends it back. No redirect is followed
// with a token or with the caller's header fields.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultTimeout bounds one request.
const DefaultTimeout = 10 * time.Second

// walkTimeouts bounds a walk without its login, in timeouts of one request.
const walkTimeouts = 12

// loginPatience bounds how long a login waits for its user.
const loginPatience = 5 * time.Minute

// Options of a walk. URL is required.
type Options struct {
	// URL is the server's, as clients are given it.
	URL string
	// Upstream is the server's URL without what stands in front of it. Where it
	// is given the walk is made there too, and what differs is in the report.
	Upstream string
	// Origin is that of a web page which is to use the server, for instance
	// https://app.example.com. Default: the server's own, and what such a page
	// cannot read is no failure.
	Origin string
	// Token is an access token. Default: none, and the walk ends at the login.
	Token string
	// Header is sent to the server's own origin, and nowhere else.
	Header http.Header
	// Login goes through the login in a browser.
	Login bool
	// ClientID and ClientSecret are those of a client that is registered.
	// Default: the login registers one.
	ClientID, ClientSecret string
	// Browse opens a URL in a browser. Default: the login prints it.
	Browse func(url string) error
	// Log is told what a login waits for. Default: nobody.
	Log io.Writer
	// Timeout bounds one request. Default: DefaultTimeout.
	Timeout time.Duration
	// Transport makes the connections. Default: one like Go's own.
	Transport *http.Transport
}

// ErrUsage says that the options cannot be walked with.
var ErrUsage = errors.New("wrong argument")

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUsage, fmt.Sprintf(format, args...))
}

// Run walks. Its error says that the options are wrong, or that the context
// ended; what is wrong with the server is in the report.
func Run(ctx context.Context, opts Options) (*Report, error) {
	if opts.Timeout <= 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.Log == nil {
		opts.Log = io.Discard
	}
	if opts.Login && opts.Token != "" {
		return nil, usage("--login and --token exclude each other")
	}
	if strings.ContainsFunc(opts.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, usage("--token holds a character that no token has")
	}
	known := new(secrets)
	w, err := newWalk(opts, opts.URL, known)
	if err != nil {
		return nil, err
	}
	var upstream *walk
	if opts.Upstream != "" {
		without := opts
		without.Login = false
		if upstream, err = newWalk(without, opts.Upstream, known); err != nil {
			return nil, err
		}
	}
	w.run(ctx)
	if upstream != nil {
		upstream.opts.Token = w.opts.Token // a login's
		upstream.run(ctx)
		w.report.Upstream = upstream.report
		w.report.Differences = compare(w.report, upstream.report)
	}
	if err := ctx.Err(); err != nil {
		return nil, err // half a walk would be taken for a whole one
	}
	return w.report, nil
}

// parseTarget reads the URL of a server.
func parseTarget(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, usage("the URL cannot be read") // the error would repeat it, with what is secret in it
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, usage("the URL has to begin with https:// or http:// and a host")
	case u.User != nil:
		return nil, usage("the URL has a user name in it, which clients do not send; use --header")
	case u.Fragment != "":
		return nil, usage("the URL has a fragment")
	}
	return u, nil
}

// parseOrigin reads the origin of a web page.
func parseOrigin(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return "", usage("--origin %q is none, such as https://app.example.com", plain(raw))
	}
	return strings.ToLower(u.Scheme + "://" + u.Host), nil
}
