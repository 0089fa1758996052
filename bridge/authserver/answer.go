package authserver

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/content"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// clientMetadata are the members of a registration whose values the client has chosen (RFC 7591
// section 2, OpenID Connect Registration 1.0 section 2 and its extensions). They are never edited
// (contract C5), because a client on its user's machine may have the same loopback address as the
// server has on its own machine.
var clientMetadata = map[string]bool{
	"redirect_uris": true, "redirect_uri": true, "client_id": true, "client_name": true, "client_uri": true, "logo_uri": true,
	"tos_uri": true, "policy_uri": true, "jwks_uri": true, "jwks": true, "contacts": true, "software_id": true,
	"software_version": true, "software_statement": true, "sector_identifier_uri": true, "initiate_login_uri": true,
	"request_uris": true, "post_logout_redirect_uris": true, "backchannel_logout_uri": true, "frontchannel_logout_uri": true,
	"backchannel_client_notification_endpoint": true, "tls_client_auth_san_uri": true, "scope": true, "resource": true,
}

// identifiers are members whose values clients compare and do not fetch.
var identifiers = map[string]bool{"iss": true, "issuer": true, "aud": true}

// devicePages are the members of a device authorization answer that name the page which a
// person opens (RFC 8628 section 3.2; verification_url is the name in its drafts).
var devicePages = map[string]bool{"verification_uri": true, "verification_uri_complete": true, "verification_url": true}

// mapAnswer removes the private URLs from a JSON answer of the authorization server. A URL is
// mapped if its path is served; otherwise its member is removed. An answer without private URLs
// crosses byte for byte. An answer that exceeds the limit of documents is passed on unread.
func (x *Request) mapAnswer(res *http.Response) {
	h := res.Header
	if !x.mayBeJSON(h) || res.StatusCode == http.StatusPartialContent || res.Request != nil && res.Request.Method == http.MethodHead {
		return
	}
	limit := x.server.cfg.Document
	raw, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil || int64(len(raw)) > limit {
		if err == nil {
			x.server.cfg.Endpoint.Report(Notice{
				Message: "response of the authorization server is passed unread", Subject: family(x.route.Path),
				Advice: "it is longer than `limits max_metadata_size`; private URLs in it are not mapped",
			})
		}
		res.Body = &prefixed{Reader: io.MultiReader(bytes.NewReader(raw), failed{err}, res.Body), Closer: res.Body}
		return
	}
	_ = res.Body.Close()
	body := raw
	if text, err := content.Decode(h, raw, limit); err == nil {
		s := answerSweep{x: x, private: x.private()}
		text = content.WithoutMark(text)
		if edited, ok := jsontext.EditStrings(text, s.edit); ok && s.changed {
			body = edited
			content.DropFields(h)
		}
	}
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
}

// mayBeJSON reports whether clients read an answer as JSON. Scripts do so whatever the media
// type says.
func (x *Request) mayBeJSON(h http.Header) bool {
	if isJSON(h) {
		return true
	}
	mediaType, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	switch strings.ToLower(strings.TrimSpace(mediaType)) {
	case "", "text/plain", "application/octet-stream":
		return x.route.Kind.Open()
	}
	return false
}

// private returns the private origins of the server: those in its metadata, and the one that the
// request was sent to.
func (x *Request) private() origin.Set {
	set := x.route.Server.Origins()
	for _, host := range []string{x.Dial, x.Host} {
		if u, err := origin.ParseOrigin(x.Scheme + "://" + host); err == nil {
			set.Add(u)
		}
	}
	return set.Without(x.route.Server.Public())
}

// answerSweep edits one answer.
type answerSweep struct {
	x       *Request
	private origin.Set
	own     map[string]bool // members of the request; nil until they are needed
	changed bool
}

// edit decides on one string.
func (s *answerSweep) edit(at jsontext.At, value string) (string, jsontext.Action) {
	server := s.x.route.Server
	mapped, found := origin.MapText(value, server.Public(), s.private.Has)
	if !found || s.isClients(at) {
		return value, jsontext.Keep
	}
	u, err := origin.Parse(value)
	before, query, after := splitQuery(value)
	switch whole := err == nil; {
	case at.Name:
		return mapped, s.drop(at, "")
	case identifiers[at.Member]:
		if iss, ok := server.MapIssuer(value); ok {
			mapped = iss
		}
	case !whole: // text for people
	case s.x.route.Kind == metadata.RoutePage || s.x.route.Kind == metadata.RouteAuthorize:
		// A script of the page may lead a browser there, or back to the client. If the path is
		// not served, that is reported when the browser requests it.
		if s.x.toClient(before, query, after) {
			return value, jsontext.Keep
		}
	case at.Top == "registration_client_uri" && s.x.route.Kind == metadata.RouteRegistration:
		s.x.learnClient(origin.AfterAuthority(value))
	case at.Member == "request_uri" && s.x.route.Kind == metadata.RouteToken: // comes back to [Request.upstreamRequest]
	case devicePages[at.Member] && s.x.learnDevice(u):
	case !s.x.serves(u):
		return mapped, s.drop(at, u.Path)
	}
	s.changed = true
	return mapped, jsontext.Replace
}

// drop removes a member and reports that.
func (s *answerSweep) drop(at jsontext.At, path string) jsontext.Action {
	s.changed = true
	n := Notice{
		Message: "removed a private URL from the authorization server's response", Subject: family(s.x.route.Path) + ": " + at.Member,
		Advice: "nothing is served at its path; if clients need it, list the path",
	}
	if unescaped, err := url.PathUnescape(path); err == nil {
		n.Path = unescaped
	}
	s.x.server.cfg.Endpoint.Report(n)
	return jsontext.Drop
}

// isClients reports whether the client has chosen the value of a member.
func (s *answerSweep) isClients(at jsontext.At) bool {
	if s.x.route.Kind != metadata.RouteRegistration {
		return clientMetadata[at.Member]
	}
	if at.Top == "registration_client_uri" {
		return false
	}
	if s.own == nil {
		s.own = make(map[string]bool)
		var members map[string]json.RawMessage
		if json.Unmarshal(s.x.Held(), &members) == nil {
			for name := range members {
				s.own[name] = true
			}
		}
	}
	return clientMetadata[at.Top] || s.own[at.Top] || !s.x.Repeatable()
}

// serves reports whether a path of the server is served at the public origin.
func (x *Request) serves(u origin.URL) bool {
	path, err := url.PathUnescape(u.Path)
	if err != nil {
		return false
	}
	if x.route.Server.Route(path) != metadata.RouteNone || x.server.listed(path) || metadata.OwnsServerPath(path) {
		return true
	}
	return x.server.cfg.Endpoint.Taken(path)
}

// learnDevice adds the page that a device authorization answer names to the server's pages. It
// returns false if the page is not served: the request has named it, or only listed paths are
// served.
func (x *Request) learnDevice(u origin.URL) bool {
	if x.serves(u) {
		return true
	}
	at, err := url.Parse(u.Path)
	if err != nil || x.server.cfg.OnlyListed {
		return false
	}
	path, ok := PlainPath(at)
	if !ok || !x.mayOpen(path) || x.named(path) {
		return false
	}
	x.open(path, "authorization server names one of its pages, which is served from now on; "+
		"list it in `paths` if there are replicas of Caddy, or if a login may outlast a restart")
	return true
}

// upstreamRequest returns the server's own form of a request_uri that it has given to a
// client (RFC 9126 section 2.2), if that is a URL.
func (x *Request) upstreamRequest(value string) (string, bool) {
	origins := x.route.Server.Origins()
	rest, ok := strings.CutPrefix(value, x.route.Server.Public()+"/")
	if !ok || len(origins) == 0 {
		return value, false
	}
	return origins[0].Origin() + "/" + rest, true
}
