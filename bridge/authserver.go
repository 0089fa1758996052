package bridge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
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
	// Clients is where the paths stand at which clients manage themselves.
	Clients *LearnedPaths
	// OnlyListed has nothing learned from redirects.
	OnlyListed bool
	// Document bounds the answer to a registration that is edited, in bytes.
	Document int64
	// Note reports what an operator may want to know, once for each detail.
	Note func(msg, detail string)
}

// LearnedPaths are the paths that an authorization server has redirected
// browsers to, and so made a part of its logins.
type LearnedPaths struct {
	mu    sync.Mutex
	paths []string // the one used last at the end
	noted int
}

// maxLearned bounds them: what was not used for longest gives way, and is learned
// again by the next login that it belongs to.
const maxLearned = 64

// use reports whether path is known, and keeps it from giving way.
func (l *LearnedPaths) use(path string) bool {
	path = family(path)
	i := slices.Index(l.paths, path)
	if i < 0 {
		return false
	}
	l.paths = append(append(l.paths[:i], l.paths[i+1:]...), path)
	return true
}

func (l *LearnedPaths) has(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.use(path)
}

// add reports whether path is new and worth a note.
func (l *LearnedPaths) add(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.use(path) {
		return false
	}
	if len(l.paths) >= maxLearned {
		l.paths = append(l.paths[:0], l.paths[1:]...)
	}
	l.paths = append(l.paths, family(path))
	l.noted++
	return l.noted <= maxLearned
}

// family returns what paths have in common that differ only in the id of a login
// or a client: some servers put one into the last segment.
func family(path string) string {
	path = withoutParameters(path)
	if i := strings.LastIndexByte(path, '/'); i > 0 && isID(path[i+1:]) {
		return path[:i+1] + "*"
	}
	return path
}

// isID reports whether a segment was made by a machine: long, of one word, and
// with digits.
func isID(segment string) bool {
	const short = 16
	digits := 0
	for i := range len(segment) {
		switch c := segment[i]; {
		case '0' <= c && c <= '9':
			digits++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '_', c == '~':
		default:
			return false
		}
	}
	return len(segment) >= short && digits > 0
}

// withoutParameters returns a path without those of its last segment: some
// servers put the session there, another one for each visitor (RFC 3986 section
// 3.3).
func withoutParameters(path string) string {
	if i := strings.IndexByte(path[strings.LastIndexByte(path, '/')+1:], ';'); i >= 0 {
		return path[:strings.LastIndexByte(path, '/')+1+i]
	}
	return path
}

// ServerRoute is what a request is to the authorization server.
type ServerRoute struct {
	Kind   metadata.RouteKind
	Path   string           // unescaped
	Server *metadata.Server // nil: it could not be asked what it serves
	// Unknown says that nobody knows yet whether the path is the server's.
	Unknown bool
}

// RouteServer says what path, unescaped, is to the authorization server. Where
// that is not known yet it asks, and waits until ctx ends.
func (e *Endpoint) RouteServer(ctx context.Context, path string, public metadata.Public) ServerRoute {
	store, none := e.cfg.Metadata, ServerRoute{}
	if e.cfg.Server == nil || store.Reserved(path) {
		return none
	}
	listed := e.listed(path)
	last, seen, fresh := store.Route(path, public)
	if seen && last == metadata.RouteNone && !listed {
		if !fresh {
			store.Warm(public)
		}
		return none
	}
	if !seen && !listed && !metadata.DefaultRoute(path) {
		// It may be anybody's: whoever it belongs to need not wait for long.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, e.cfg.ChallengeWait)
		defer cancel()
	}
	srv := store.Server(ctx, public)
	kind := srv.Route(path)
	if !srv.Available() && last != metadata.RouteNone {
		kind = last
	}
	if kind == metadata.RouteNone {
		if !listed {
			return ServerRoute{Unknown: !seen && !srv.Available()}
		}
		kind = metadata.RoutePage
	}
	if !srv.Available() {
		srv = nil
	}
	return ServerRoute{Kind: kind, Path: path, Server: srv}
}

// listed reports whether a path was named by the operator, or learned.
func (e *Endpoint) listed(path string) bool {
	for _, g := range e.cfg.Server.Paths {
		if g.Match(path) {
			return true
		}
	}
	return e.cfg.Server.Learned.has(path) || e.cfg.Server.Clients.has(path)
}

// ServerExchange is one request to the authorization server and what became of
// it.
type ServerExchange struct {
	record.Record
	endpoint    *Endpoint
	route       ServerRoute
	resource    func(value string) (string, bool)
	cookies     []string // of the server
	allCookies  []string // as they came
	referer     string
	req         *http.Request
	client      named // as the client wrote it
	mapped      named // with the upstream's name of the resource
	asIs        bool  // client is what is sent
	redone      bool
	redirectURI string // that the request names
}

// named is what of a request may name the resource.
type named struct{ query, form string }

// BeginServer prepares x for a request to the authorization server. resource
// returns the upstream's name of a protected resource. Its error is
// record.ErrBodyTooLarge, or that of reading the body.
func (e *Endpoint) BeginServer(x *ServerExchange, r *http.Request, route ServerRoute, resource func(value string) (string, bool)) error {
	x.endpoint, x.route, x.resource, x.Hooks = e, route, resource, x
	x.Path = route.Path
	x.Identity = route.Kind == metadata.RouteRegistration
	h := http.Header{"Cookie": r.Header["Cookie"]}
	login.RequestCookies(h)
	x.cookies, x.allCookies, x.referer = h["Cookie"], r.Header["Cookie"], r.Header.Get("Referer")
	x.client.query = r.URL.RawQuery
	x.mapped = x.client
	if !x.takesResource() {
		err := e.holdBody(&x.Record, r)
		if isForm(r.Header) {
			x.client.form = string(x.Held())
			x.mapped.form = x.client.form
		}
		return err
	}
	x.mapped.query, _ = login.Edit(x.client.query, "resource", resource)
	x.redirectURI, _ = login.Param(x.client.query, "redirect_uri")
	if isForm(r.Header) {
		limit := e.cfg.Server.Form
		if err := x.Hold(r, limit, limit); err != nil {
			return err
		}
		if !x.Repeatable() {
			return record.ErrBodyTooLarge
		}
		x.client.form = string(x.Held())
		x.mapped.form, _ = login.Edit(x.client.form, "resource", resource)
		if x.redirectURI == "" {
			x.redirectURI, _ = login.Param(x.client.form, "redirect_uri")
		}
	} else if err := e.holdBody(&x.Record, r); err != nil {
		return err
	}
	x.asIs = e.publicResource.Load()
	// A refusal of the name has to be readable.
	x.Identity = route.Kind == metadata.RouteToken && x.client != x.mapped
	return nil
}

// name has the request sent with the name of the resource that is due.
func (x *ServerExchange) name() {
	n := x.mapped
	if x.asIs {
		n = x.client
	}
	x.req.URL.RawQuery = n.query
	if x.client.form != x.mapped.form {
		x.SetHeld([]byte(n.form))
	}
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
	if slices.Equal(req.Header["Cookie"], x.allCookies) { // else the operator has set them
		delete(req.Header, "Cookie")
		if x.cookies != nil {
			req.Header["Cookie"] = x.cookies
		}
	}
	x.req = req
	x.name()
	return x.Record.RoundTrip(req, rt)
}

// Redo implements record.Hooks. A server that refuses the name of the resource
// (RFC 8707 section 2) is asked once more with the other one: it may accept the
// public URL alone, although its own metadata names the private one.
func (x *ServerExchange) Redo(_ *record.Record, res *http.Response) bool {
	if x.client == x.mapped || !refusesTarget(res) {
		return false
	}
	if _, query, _ := login.Query(x.redirectURI); isAnswer(query) {
		return false // the client's own words look like the server's
	}
	x.asIs = !x.asIs
	x.name()
	x.redone = true
	return true
}

// maxError bounds, in bytes, an error of the token endpoint that is looked into.
const maxError = 16 << 10

// refusesTarget reports whether an answer has the error invalid_target, in a
// redirect to the client or in a document (RFC 6749 section 5.2).
func refusesTarget(res *http.Response) bool {
	const refusal = "invalid_target"
	if location := res.Header["Location"]; len(location) > 0 {
		_, query, _ := login.Query(location[0])
		fault, _ := login.Param(query, "error")
		_, code := login.Param(query, "code")
		return fault == refusal && !code
	}
	if res.StatusCode != http.StatusBadRequest || !isJSON(res.Header) || len(res.Header["Content-Encoding"]) > 0 {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxError))
	res.Body = &prefixed{Reader: io.MultiReader(bytes.NewReader(body), failed{err}, res.Body), Closer: res.Body}
	found := false
	metadata.EditURL(body, "error", func(code string) (string, bool) {
		found = code == refusal
		return code, false
	})
	return found
}

// Edit is called with the answer before it goes downstream.
func (x *ServerExchange) Edit(rec *record.Record, res *http.Response) {
	h := res.Header
	if x.redone && succeeds(res) {
		x.endpoint.publicResource.Store(x.asIs)
	}
	cors.Drop(h)
	login.ResponseCookies(h)
	if x.mapLocation(rec, h) {
		emptyRedirect(res)
	}
	if ref, ok := firstLine(h, "Content-Location"); ok {
		if mapped, ok := x.mapURL(rec, ref); ok {
			h["Content-Location"] = []string{mapped}
		}
	}
	if x.route.Kind == metadata.RouteRegistration {
		x.mapRegistration(rec, res)
	}
}

// succeeds reports whether a login or a grant goes on after an answer.
func succeeds(res *http.Response) bool {
	if res.StatusCode/100 == 3 {
		_, query, _ := login.Query(res.Header.Get("Location"))
		_, fault := login.Param(query, "error")
		return !fault
	}
	return res.StatusCode/100 == 2
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

// mapLocation maps a redirect to the server's own origin, and returns whether it
// changed. One that takes the
// browser back to a client goes where the client asked for; only an issuer in it
// is mapped (RFC 9207 section 2).
func (x *ServerExchange) mapLocation(rec *record.Record, h http.Header) (mapped bool) {
	ref, ok := firstLine(h, "Location")
	if !ok {
		return false
	}
	if isRelative(ref) {
		x.learn(ref)
		return false
	}
	absolute := ref
	if strings.HasPrefix(ref, "//") {
		absolute = rec.Scheme + ":" + ref
	}
	to, own := x.mapURL(rec, absolute)
	before, query, after := login.Query(ref)
	if own && !x.toClient(before, query, after) {
		x.learn(strings.TrimPrefix(to, x.route.Server.Public()))
		h["Location"] = []string{to}
		return to != ref
	}
	if !isAnswer(query) {
		return false
	}
	query, mapped = login.Edit(query, "iss", x.route.Server.MapIssuer)
	if mapped {
		h["Location"] = []string{before + query + after}
	}
	return mapped
}

// emptyRedirect takes the body from a redirect that was mapped: it repeats, for
// people, where the server meant it to go.
func emptyRedirect(res *http.Response) {
	if res.StatusCode/100 != 3 {
		return
	}
	_ = res.Body.Close()
	res.Body, res.ContentLength = http.NoBody, 0
	delete(res.Header, "Content-Type")
	delete(res.Header, "Content-Encoding")
	res.Header["Content-Length"] = []string{"0"}
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
func (x *ServerExchange) toClient(before, query, fragment string) bool {
	before = strings.TrimSuffix(before, "?")
	if x.redirectURI != "" {
		if want, _, _ := login.Query(x.redirectURI); strings.TrimSuffix(want, "?") == before {
			return true
		}
	}
	if _, code := login.Param(query, "code"); code {
		return true
	}
	fragment = strings.TrimPrefix(fragment, "#")
	if _, token := login.Param(fragment, "access_token"); token || isAnswer(fragment) {
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
	if e.cfg.Server.OnlyListed || x.route.Kind != metadata.RouteAuthorize && x.route.Kind != metadata.RoutePage {
		return
	}
	if !ok || e.cfg.Metadata.Reserved(path) || x.route.Server.Closed(path) || x.route.Server.Route(path) != metadata.RouteNone || e.listed(path) {
		return
	}
	if target, _ := e.Match(path); target != TargetNone {
		return
	}
	if x.named(path) {
		x.note("authorization server redirects to a path that the request named, which is not served; "+
			"if it is a page of its logins, list it in `paths`", path)
		return
	}
	if e.cfg.Server.Learned.add(path) {
		x.note("authorization server redirects to a path of its own, which is served from now on; "+
			"where there are replicas, or a login may outlast a restart, list it in `paths`", path)
	}
}

func (x *ServerExchange) note(msg, path string) {
	if note := x.endpoint.cfg.Server.Note; note != nil {
		note(msg, path)
	}
}

// named reports whether the client had a say in where it is redirected: then it
// could open any path of the upstream to everyone. What it says may be the path,
// or what the server puts after a slash.
func (x *ServerExchange) named(path string) bool {
	if x.Held() == nil && !x.Repeatable() {
		return true // nobody has read what the body says
	}
	path = withoutParameters(path)
	if x.route.Kind == metadata.RoutePage && x.route.Path != path && strings.HasSuffix(x.route.Path, path) {
		return true
	}
	says := func(value string) bool { return strings.Contains(value, path) || endsWith(path, value) }
	if strings.Contains(x.referer, path) {
		return true
	}
	for _, line := range x.cookies { // a client can make up its own
		for pair := range strings.SplitSeq(line, "; ") {
			_, value, _ := strings.Cut(pair, "=")
			if anyUnescaped(strings.Trim(value, `"`), says) {
				return true
			}
		}
	}
	for _, pairs := range []string{x.client.query, x.client.form} {
		for pair := range strings.SplitSeq(pairs, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if name == "prompt" && oidcPrompts[value] {
				continue
			}
			if anyUnescaped(value, says) {
				return true
			}
		}
	}
	return false
}

// oidcPrompts are the values of prompt that clients send as a matter of course,
// and servers may have pages called alike (OpenID Connect Core 1.0 section
// 3.1.2.1).
var oidcPrompts = map[string]bool{"none": true, "login": true, "consent": true, "select_account": true}

// anyUnescaped reports whether is holds of a value, as often as it may have been
// escaped.
func anyUnescaped(value string, is func(string) bool) bool {
	for range 3 {
		if is(value) {
			return true
		}
		unescaped, err := url.QueryUnescape(value)
		if err != nil || unescaped == value {
			return false
		}
		value = unescaped
	}
	return is(value)
}

// endsWith reports whether the last segments of a path are those of ref, a
// relative reference.
func endsWith(target, ref string) bool {
	if i := strings.IndexAny(ref, "?#;"); i >= 0 {
		ref = ref[:i]
	}
	if len(ref) > 2*len(target) {
		return false // and not looked into
	}
	ref = path.Clean("/" + ref)
	return ref != "/" && strings.HasSuffix(strings.TrimSuffix(target, "/"), ref)
}

// learnClient makes where a client manages its registration one of the server's
// paths.
func (x *ServerExchange) learnClient(ref string) {
	u, err := url.Parse(ref)
	if err != nil {
		return
	}
	path, ok := login.PlainPath(u)
	if ok && !x.endpoint.cfg.Metadata.Reserved(path) && !x.route.Server.Closed(path) && x.route.Server.Route(path) == metadata.RouteNone {
		x.endpoint.cfg.Server.Clients.add(path)
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
			x.learnClient(strings.TrimPrefix(mapped, x.route.Server.Public()))
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
