package doctor

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/probe"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/report"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/rules"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/doctor/urls"
)

// searchTimeouts limits the time for completing a URL, in timeouts of one request.
const searchTimeouts = 4

// usualPaths are the paths that most MCP servers have: Streamable HTTP and HTTP+SSE.
var usualPaths = []string{"/mcp", "/sse"}

// given is a URL as the caller gave it.
type given struct {
	url *url.URL // with https if the caller gave no scheme
	// anyScheme and anyPath are true if the caller left them out.
	anyScheme, anyPath bool
}

// parseGiven parses a URL that may lack its scheme and its path.
func parseGiven(raw string) (given, error) {
	g := given{anyScheme: !urls.HasScheme(raw)}
	if g.anyScheme {
		raw = "https://" + raw
	}
	u, err := parseTarget(raw)
	if err != nil {
		return given{}, err
	}
	g.url, g.anyPath = u, u.Path == "" || u.Path == "/"
	return g, nil
}

// with returns the URL with a scheme and a path.
func (g given) with(scheme, path string) *url.URL {
	u := *g.url
	u.Scheme = scheme
	if path != "" {
		u.Path, u.RawPath = path, ""
	}
	return &u
}

// schemes returns the schemes to try. Plain HTTP is tried on loopback only, because the
// requests may have secrets of the caller.
func (g given) schemes() []string {
	switch {
	case !g.anyScheme:
		return []string{g.url.Scheme}
	case urls.Loopback(g.url):
		return []string{"https", "http"}
	}
	return []string{"https"}
}

// paths returns the paths to try; "" is the path that was given.
func (g given) paths() []string {
	switch {
	case !g.anyPath:
		return []string{""}
	case g.url.Path == "/":
		return append([]string{"/"}, usualPaths...)
	}
	return append(slices.Clone(usualPaths), "/")
}

// complete finds the server for a URL without a scheme or a path. It returns a URL with
// both, and how it was found; nil if the caller gave both.
func complete(ctx context.Context, opts Options, raw string, known *report.Secrets) (string, *report.Search, error) {
	g, err := parseGiven(raw)
	if err != nil {
		return "", nil, err
	}
	return g.complete(ctx, opts, known)
}

// complete is the function complete for a URL that is parsed.
func (g given) complete(ctx context.Context, opts Options, known *report.Secrets) (string, *report.Search, error) {
	if !g.anyScheme && !g.anyPath {
		return g.url.String(), nil, nil
	}
	keepSecret(known, opts, g.url)
	shown := known.Link(g.url.String())
	if g.anyScheme {
		shown = strings.TrimPrefix(shown, "https://")
	}
	f := &finder{given: g, search: &report.Search{Given: shown}, known: known, opts: opts}
	ctx, cancel := context.WithTimeout(ctx, searchTimeouts*opts.Timeout)
	defer cancel()
	at := f.find(ctx)
	return at.String(), f.search, nil
}

// finder looks for an MCP server.
type finder struct {
	given
	search *report.Search
	known  *report.Secrets
	opts   Options
}

// How likely a response is from an MCP server.
const (
	unlikely = iota
	possible // a login is required, but not one of MCP
	certain
)

// find returns the first URL with an MCP server. Without one it returns the URL that is
// the most likely to be meant.
func (f *finder) find(ctx context.Context) *url.URL {
	var best *url.URL
	likely := unlikely
	for _, scheme := range f.schemes() {
		p := probe.New(f.opts.transport(), f.opts.Timeout, f.opts.Header, urls.Origin(f.with(scheme, "")), f.known)
		for _, path := range f.paths() {
			at := f.with(scheme, path)
			f.search.Tried = append(f.search.Tried, f.known.Text(urls.WithoutQuery(at)))
			how, err := ask(ctx, p, at)
			if best == nil || how > likely || likely == unlikely && best.Scheme != scheme && path == f.paths()[0] {
				best, likely = at, how
			}
			if err != nil && !f.anotherScheme(err) || how == certain || ctx.Err() != nil {
				f.search.Found = how != unlikely
				p.Fresh()
				return best
			}
			if err != nil {
				break
			}
		}
		p.Fresh()
		if likely != unlikely {
			break
		}
	}
	f.search.Found = likely != unlikely
	return best
}

// anotherScheme reports whether after an error the server may have another scheme.
func (f *finder) anotherScheme(err error) bool {
	rule, _, seen := unreached(err)
	return f.anyScheme && (rule == "connect.listens" || seen[rules.Plain] != "")
}

// errSlow is the error of a request without a response in time.
var errSlow = errors.New("no response in time")

// ask sends the first message of a client, and says how likely the response is from an MCP
// server.
func ask(ctx context.Context, p *probe.Prober, at *url.URL) (int, error) {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	a := p.Do(ctx, probe.Request{Name: "search", Method: http.MethodPost, URL: at, Header: h, Body: probe.InitializeMessage, Private: true, Event: probe.Responds(probe.InitializeID)})
	switch {
	case a.Slow && a.Err != nil:
		return unlikely, errSlow
	case a.Err != nil:
		return unlikely, a.Err
	}
	likely := likelihood(a)
	if likely == unlikely && at.Path == "/sse" {
		a = p.Do(ctx, probe.Request{Name: "search", Method: http.MethodGet, URL: at, Header: http.Header{"Accept": {"text/event-stream"}}, Private: true, HeaderOnly: true})
		likely = likelihood(a)
	}
	return likely, nil
}

// likelihood says how likely a response is from an MCP server.
func likelihood(a *probe.Answer) int {
	if _, ok := a.Reply(); ok || a.OK() && a.IsStream() {
		return certain
	}
	if a.Status != http.StatusUnauthorized {
		return unlikely
	}
	if c := parseChallenge(a.Header); len(c.bearer) > 0 || c.dpop {
		return certain
	}
	return possible
}
