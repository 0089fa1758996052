package authserver

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/content"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/record"
)

// Request is one request to the authorization server, and what came of it.
type Request struct {
	record.Record
	server      *Server
	route       Route
	resource    func(value string) (string, bool)
	cookies     []string    // those that the server has set, under its own names
	allCookies  []string    // as the browser has sent them
	fields      http.Header // of the client's request
	req         *http.Request
	client      named // as the client wrote it
	mapped      named // with the upstream's name of the resource
	asIs        bool  // client is sent, and not mapped
	redone      bool  // the request was sent a second time
	redirectURI string
}

// named has the parts of a request that may name the resource.
type named struct{ query, form string }

// Begin prepares x for a request to the authorization server. resource returns the upstream's
// name of a protected resource. The answer will be written to w. The error is
// [record.ErrBodyTooLarge], or that of reading the body.
func (s *Server) Begin(x *Request, w http.ResponseWriter, r *http.Request, route Route, resource func(value string) (string, bool)) error {
	x.server, x.route, x.resource = s, route, resource
	x.Path = route.Path
	if route.Kind.Open() { // their answers have to be readable, whole
		x.Identity = true
		delete(r.Header, "Range")
	}
	h := http.Header{"Cookie": r.Header["Cookie"]}
	requestCookies(h)
	x.cookies, x.allCookies, x.fields = h["Cookie"], r.Header["Cookie"], r.Header
	x.client.query, _ = editParam(r.URL.RawQuery, "request_uri", x.upstreamRequest)
	x.mapped = x.client
	if !x.takesResource() {
		err := x.Hold(w, r, s.cfg.Endpoint.HeldBody, s.cfg.Endpoint.RequestBody)
		if isForm(r.Header) {
			x.client.form = string(x.Held())
			x.mapped.form = x.client.form
		}
		return err
	}
	x.mapped.query, _ = editParam(x.client.query, "resource", resource)
	x.redirectURI, _ = param(x.client.query, "redirect_uri")
	if isForm(r.Header) {
		limit := s.cfg.Form
		if err := x.Hold(w, r, limit, limit); err != nil {
			return err
		}
		if !x.Repeatable() {
			return record.ErrBodyTooLarge
		}
		x.client.form = string(x.Held())
		x.mapped.form, _ = editParam(x.client.form, "resource", resource)
		if x.redirectURI == "" {
			x.redirectURI, _ = param(x.client.form, "redirect_uri")
		}
	} else if err := x.Hold(w, r, s.cfg.Endpoint.HeldBody, s.cfg.Endpoint.RequestBody); err != nil {
		return err
	}
	x.asIs = s.publicResource.Load()
	return nil
}

// name writes the name of the resource that the server should get into the request.
func (x *Request) name() {
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
func (x *Request) takesResource() bool {
	return x.route.Kind == metadata.RouteAuthorize || x.route.Kind == metadata.RouteToken
}

func isForm(h http.Header) bool {
	mediaType, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return mediaType == "application/x-www-form-urlencoded" && len(h["Content-Encoding"]) == 0
}

// RoundTrip sends req, the proxy's own copy.
func (x *Request) RoundTrip(req *http.Request, rt record.RoundTripFunc) (*http.Response, error) {
	if slices.Equal(req.Header["Cookie"], x.allCookies) { // otherwise the operator has set them
		delete(req.Header, "Cookie")
		if x.cookies != nil {
			req.Header["Cookie"] = x.cookies
		}
	}
	x.req = req
	x.name()
	return x.Record.RoundTrip(req, rt, x)
}

// Redo implements [record.Hooks]. If the server refuses the name of the resource (RFC 8707
// section 2), the request is sent once more with the other name: the server may accept only
// the public URL, although its own metadata names the private one.
func (x *Request) Redo(_ *record.Record, res *http.Response) bool {
	if x.client == x.mapped || !refusesTarget(res) {
		return false
	}
	if _, query, _ := splitQuery(x.redirectURI); isAnswer(query) {
		return false // the client's own words look like the server's
	}
	x.asIs = !x.asIs
	x.name()
	x.redone = true
	return true
}

// maxError bounds, in bytes, how much of an error of the token endpoint is read.
const maxError = 16 << 10

// refusesTarget reports whether an answer has the error invalid_target, in a
// redirect to the client or in a document (RFC 6749 section 5.2).
func refusesTarget(res *http.Response) bool {
	const refusal = "invalid_target"
	if location := res.Header["Location"]; len(location) > 0 {
		_, query, _ := splitQuery(location[0])
		fault, _ := param(query, "error")
		_, code := param(query, "code")
		return fault == refusal && !code
	}
	if res.StatusCode != http.StatusBadRequest || !isJSON(res.Header) || content.Undo(res) != nil {
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
func (x *Request) Edit(_ *record.Record, res *http.Response) {
	h := res.Header
	if x.redone && succeeds(res) {
		x.server.publicResource.Store(x.asIs)
	}
	cors.Drop(h)
	responseCookies(h)
	if x.mapLocation(h) {
		emptyRedirect(res)
	}
	if ref, ok := record.FirstLine(h, "Content-Location"); ok {
		if mapped, ok := x.mapURL(ref); ok {
			h["Content-Location"] = []string{mapped}
		}
	}
	x.mapFields(h)
	x.mapAnswer(res)
}

// Inform implements [record.Hooks]. Browsers go by the cookies and the URLs of the answer itself.
func (x *Request) Inform(h http.Header) {
	cors.Drop(h)
	for _, name := range append([]string{"Set-Cookie", "Location", "Content-Location"}, urlFields...) {
		delete(h, name)
	}
}

// succeeds reports whether a login or a grant goes on after an answer.
func succeeds(res *http.Response) bool {
	if res.StatusCode/100 == 3 {
		_, query, _ := splitQuery(res.Header.Get("Location"))
		_, fault := param(query, "error")
		return !fault
	}
	return res.StatusCode/100 == 2
}

// mapURL maps an absolute URL of the server: one whose origin is that of its metadata, or the
// origin that the request was sent to. It returns false for any other URL.
func (x *Request) mapURL(raw string) (string, bool) {
	rest, ok := x.route.Server.Owns(raw, x.Scheme+"://"+x.Dial, x.Scheme+"://"+x.Host)
	if !ok {
		return raw, false
	}
	return x.route.Server.Public() + rest, true
}

// urlFields are the fields of an answer that may have URLs of the server within a text.
var urlFields = []string{"Link", "Www-Authenticate", "Content-Security-Policy", "Content-Security-Policy-Report-Only", "Refresh"}

// mapFields maps the server's own URLs in fields of the answer; every other byte stays.
func (x *Request) mapFields(h http.Header) {
	var private origin.Set
	for _, name := range urlFields {
		for i, line := range h[name] {
			if !strings.Contains(line, "://") {
				continue
			}
			if private == nil {
				private = x.private()
			}
			h[name][i], _ = origin.MapText(line, x.route.Server.Public(), private.Has)
		}
	}
}

// prefixed is a body whose begin was read before, and is read again.
type prefixed struct {
	io.Reader
	io.Closer
}

// failed is a reader that returns an error, or the end of the file if there is none.
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
