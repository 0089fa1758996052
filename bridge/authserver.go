package bridge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/login"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

// DefaultForm bounds, in bytes, a form that is sent to the authorization
// server, where it may have to be edited.
const DefaultForm = 1 << 20

// ServerConfig bridges the authorization server on the upstream's own origin.
type ServerConfig struct {
	// Paths are its paths beyond those that its metadata names.
	Paths []login.Glob
	// Form bounds a form, in bytes. Default: [DefaultForm].
	Form int64
	// Learned is where the paths stand that it redirects to.
	Learned *LearnedPaths
	// Document bounds the answer to a registration that is edited, in bytes.
	Document int64
	// Note reports what an operator may want to know, once for each detail.
	Note func(msg, detail string)
}

// LearnedPaths are the paths that an authorization server has redirected
// browsers to, and so made a part of its logins.
type LearnedPaths struct {
	mu    sync.RWMutex
	paths map[string]struct{}
}

// maxLearned bounds them.
const maxLearned = 64

func (l *LearnedPaths) has(path string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	_, ok := l.paths[path]
	return ok
}

// add reports whether path is new.
func (l *LearnedPaths) add(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.paths[path]; ok || len(l.paths) >= maxLearned {
		return false
	}
	if l.paths == nil {
		l.paths = make(map[string]struct{})
	}
	l.paths[path] = struct{}{}
	return true
}

// ServerRoute is what a request is to the authorization server.
type ServerRoute struct {
	Kind   metadata.RouteKind
	Path   string           // unescaped
	Server *metadata.Server // nil: it could not be asked what it serves
}

// RouteServer says what path, unescaped, is to the authorization server. Where
// that is not known yet it asks, and waits until ctx ends.
func (e *Endpoint) RouteServer(ctx context.Context, path string, public metadata.Public) ServerRoute {
	store, none := e.cfg.Metadata, ServerRoute{}
	if e.cfg.Server == nil || store.Reserved(path) {
		return none
	}
	listed := e.listed(path)
	last, fresh := store.Route(path)
	if fresh && last == metadata.RouteNone && !listed {
		return none
	}
	srv := store.Server(ctx, public)
	kind := srv.Route(path)
	if !srv.Available() && last != metadata.RouteNone {
		kind = last
	}
	if kind == metadata.RouteNone {
		if !listed {
			return none
		}
		kind = metadata.RoutePage
	}
	if !srv.Available() {
		srv = nil
	}
	return ServerRoute{kind, path, srv}
}

// listed reports whether a path was named by the operator, or learned.
func (e *Endpoint) listed(path string) bool {
	for _, g := range e.cfg.Server.Paths {
		if g.Match(path) {
			return true
		}
	}
	return e.cfg.Server.Learned.has(path)
}

// ServerExchange is one request to the authorization server and what became of
// it.
type ServerExchange struct {
	record.Record
	endpoint    *Endpoint
	route       ServerRoute
	resource    func(value string) (string, bool)
	cookies     []string
	query       string
	redirectURI string // that the request names
}

// BeginServer prepares x for a request to the authorization server. resource
// returns the upstream's name of a protected resource. Its error is
// record.ErrBodyTooLarge, or that of reading the body.
func (e *Endpoint) BeginServer(x *ServerExchange, r *http.Request, route ServerRoute, resource func(value string) (string, bool)) error {
	x.endpoint, x.route, x.resource, x.Hooks = e, route, resource, x
	x.Path = route.Path
	x.Identity = route.Kind == metadata.RouteRegistration
	h := http.Header{"Cookie": r.Header["Cookie"]}
	login.RequestCookies(h)
	x.cookies = h["Cookie"]
	x.query = r.URL.RawQuery
	if !x.takesResource() {
		return e.holdBody(&x.Record, r)
	}
	x.query, _ = login.Edit(x.query, "resource", resource)
	x.redirectURI, _ = login.Param(x.query, "redirect_uri")
	if !isForm(r.Header) {
		return e.holdBody(&x.Record, r)
	}
	limit := e.cfg.Server.Form
	if err := x.Hold(r, limit, limit); err != nil {
		return err
	}
	if !x.Repeatable() {
		return record.ErrBodyTooLarge
	}
	x.EditHeld(r, func(form []byte) []byte {
		if x.redirectURI == "" {
			x.redirectURI, _ = login.Param(string(form), "redirect_uri")
		}
		edited, ok := login.Edit(string(form), "resource", resource)
		if !ok {
			return form
		}
		return []byte(edited)
	})
	return nil
}

// takesResource reports whether a client may name a resource here (RFC 8707
// section 2, RFC 9126 section 2.1).
func (x *ServerExchange) takesResource() bool {
	return x.route.Kind == metadata.RouteAuthorize || x.route.Kind == metadata.RouteToken
}

func isForm(h http.Header) bool {
	mediaType, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return mediaType == "application/x-www-form-urlencoded" && len(h["Content-Encoding"]) == 0
}

// RoundTrip sends req, the proxy's own copy.
func (x *ServerExchange) RoundTrip(req *http.Request, rt record.RoundTripFunc) (*http.Response, error) {
	delete(req.Header, "Cookie")
	if x.cookies != nil {
		req.Header["Cookie"] = x.cookies
	}
	req.URL.RawQuery = x.query
	return x.Record.RoundTrip(req, rt)
}

// Redo implements record.Hooks: no redirect is followed.
func (x *ServerExchange) Redo(*record.Record, *http.Response) bool { return false }

// Edit is called with the answer before it goes downstream.
func (x *ServerExchange) Edit(rec *record.Record, res *http.Response) {
	h := res.Header
	cors.Drop(h)
	login.ResponseCookies(h)
	x.mapLocation(rec, h)
	if ref := h["Content-Location"]; len(ref) > 0 {
		if mapped, ok := x.mapURL(rec, ref[0]); ok {
			h["Content-Location"] = []string{mapped}
		}
	}
	if x.route.Kind == metadata.RouteRegistration {
		x.mapRegistration(rec, res)
	}
}

// mapURL maps an absolute URL of the server, and only that: its origin is the
// one that its metadata has, or the one that it was asked at.
func (x *ServerExchange) mapURL(rec *record.Record, raw string) (string, bool) {
	rest, ok := x.route.Server.Owns(raw, rec.Scheme+"://"+rec.Dial, rec.Scheme+"://"+rec.Host)
	if !ok {
		return raw, false
	}
	return x.route.Server.Public() + rest, true
}

// mapLocation maps a redirect to the server's own origin. One that takes the
// browser back to a client goes where the client asked for; only an issuer in it
// is mapped (RFC 9207 section 2).
func (x *ServerExchange) mapLocation(rec *record.Record, h http.Header) {
	lines := h["Location"]
	if len(lines) == 0 {
		return
	}
	ref := lines[0]
	if isRelative(ref) {
		x.learn(ref)
		return
	}
	absolute := ref
	if strings.HasPrefix(ref, "//") {
		absolute = rec.Scheme + ":" + ref
	}
	mapped, own := x.mapURL(rec, absolute)
	before, query, after := login.Query(ref)
	if own && !x.toClient(before, query) {
		x.learn(strings.TrimPrefix(mapped, x.route.Server.Public()))
		h["Location"] = []string{mapped}
		return
	}
	if !isAnswer(query) {
		return
	}
	if query, ok := login.Edit(query, "iss", x.route.Server.MapIssuer); ok {
		h["Location"] = []string{before + query + after}
	}
}

// isRelative reports whether a reference has neither scheme nor authority. A
// client's redirect URI has both (RFC 6749 section 3.1.2).
func isRelative(ref string) bool {
	if strings.HasPrefix(ref, "//") || strings.HasPrefix(ref, `/\`) || strings.HasPrefix(ref, `\`) {
		return false
	}
	colon, end := strings.IndexByte(ref, ':'), strings.IndexAny(ref, "/?#")
	return colon < 0 || end >= 0 && end < colon
}

// isAnswer reports whether a query is that of an authorization response (RFC
// 6749 sections 4.1.2 and 4.1.2.1).
func isAnswer(query string) bool {
	_, code := login.Param(query, "code")
	_, fault := login.Param(query, "error")
	return code || fault
}

// toClient reports whether a redirect to the server's own origin is really one
// to a client: a client on its own machine may well have the same address there
// as the server has on its own. So a path that is not the server's anyway is not
// made its own by an answer to a client.
func (x *ServerExchange) toClient(before, query string) bool {
	before = strings.TrimSuffix(before, "?")
	if x.redirectURI != "" {
		if want, _, _ := login.Query(x.redirectURI); strings.TrimSuffix(want, "?") == before {
			return true
		}
	}
	if _, code := login.Param(query, "code"); code {
		return true
	}
	if _, fault := login.Param(query, "error"); !fault {
		return false
	}
	u, err := url.Parse(before)
	return err != nil || !x.endpoint.listed(u.Path) && x.route.Server.Route(u.Path) == metadata.RouteNone
}

// learn makes the target of a redirect to the server's own origin one of its
// paths. ref is relative to the path that was asked for.
func (x *ServerExchange) learn(ref string) {
	u, err := url.Parse(ref)
	if err != nil || u.Host != "" || u.Scheme != "" {
		return
	}
	u = (&url.URL{Path: x.route.Path}).ResolveReference(u)
	path, ok := login.PlainPath(u)
	e := x.endpoint
	if !ok || e.cfg.Metadata.Reserved(path) || x.route.Server.Closed(path) || x.route.Server.Route(path) != metadata.RouteNone || e.listed(path) {
		return
	}
	if target, _ := e.Match(path); target != TargetNone {
		return
	}
	if e.cfg.Server.Learned.add(path) && e.cfg.Server.Note != nil {
		e.cfg.Server.Note("authorization server redirects to a path of its own, which is served from now on; "+
			"where there are replicas, or a login may outlast a restart, list it in `paths`", path)
	}
}

// mapRegistration maps where a client manages its registration (RFC 7592
// section 3).
func (x *ServerExchange) mapRegistration(rec *record.Record, res *http.Response) {
	if res.StatusCode/100 != 2 || !isJSON(res.Header) || len(res.Header["Content-Encoding"]) > 0 || res.ContentLength > x.endpoint.cfg.Server.Document {
		return
	}
	limit := x.endpoint.cfg.Server.Document
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil || int64(len(body)) > limit {
		res.Body = &prefixed{Reader: io.MultiReader(bytes.NewReader(body), failed{err}, res.Body), Closer: res.Body}
		return
	}
	_ = res.Body.Close()
	edited, ok := metadata.EditURL(body, "registration_client_uri", func(raw string) (string, bool) {
		mapped, ok := x.mapURL(rec, raw)
		if ok {
			x.learn(strings.TrimPrefix(mapped, x.route.Server.Public()))
		}
		return mapped, ok
	})
	if ok {
		body = edited
	}
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	res.Header["Content-Length"] = []string{strconv.Itoa(len(body))}
}

// prefixed is a body of which something was read already.
type prefixed struct {
	io.Reader
	io.Closer
}

// failed is a reader that ends with an error, or at once.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

func isJSON(h http.Header) bool {
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) && (mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"))
}
