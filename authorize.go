package mcpauthbridge

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/mcp"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/message"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/edge"
)

// compileEdge compiles the option authorize. It refuses options that would decide the same things
// a second time.
func (h *Handler) compileEdge() error {
	if h.Authorize == nil {
		return nil
	}
	if err := h.checkBesideAuthorize(); err != nil {
		return err
	}
	if !h.upstream.proxied {
		if err := errTokenForProgram(h.Authorize, h.upstream.Transport()); err != nil {
			return err
		}
	}
	e, err := edge.New(h.Authorize, edge.Options{
		Endpoint: h.Endpoint, Logger: h.logger.Named("authorize").With(zap.String("endpoint", h.Endpoint)),
		Shared:  h.upstream.proxied,
		Reports: edge.Reports{Denied: h.observer.denied, Accepted: func() { h.observer.memory.Load().Accepted() }, Issuer: h.observer.issuerAsked},
		NonceKey: func() ([]byte, error) {
			sealer, err := h.app.sealer()
			if err != nil {
				return nil, err
			}
			return []byte(sealer.Seal("DPoP-Nonce", "")), nil
		},
	})
	if err != nil {
		return fmt.Errorf("endpoint %q: %w", h.Endpoint, err)
	}
	h.edge = e
	return nil
}

// checkBesideAuthorize refuses options that decide what `authorize` decides.
func (h *Handler) checkBesideAuthorize() error {
	switch {
	case h.Authorize == nil:
	case h.Challenge != nil:
		return errors.New("challenge: excludes authorize, which sends its own challenges; remove challenge, or remove authorize if the MCP server has a login of its own")
	case h.AuthorizationServer != nil:
		return errors.New("authorization_server: excludes authorize, whose issuers stand for themselves; remove authorization_server, or remove authorize if the MCP server has a login of its own")
	case h.metadataOff() && len(h.Authorize.Issuers) > 0:
		return errors.New("metadata off: excludes authorize with an issuer, which clients find by the metadata; remove `metadata off`")
	case h.Metadata.isSet() && len(h.Authorize.Issuers) == 0:
		return errors.New("metadata: has no effect beside authorize without an issuer, because clients that cannot log in have no use for it; remove the block metadata, or write `issuer https://login.example.com` in authorize")
	case h.Metadata != nil && len(h.Metadata.AuthorizationServers) > 0:
		return errors.New("metadata authorization_servers: excludes authorize, because the metadata names its issuers; remove authorization_servers, and write each server as an `issuer`")
	}
	return nil
}

// errTokenForProgram refuses a token for a server that gets no header fields.
func errTokenForProgram(c *edge.Config, kind string) error {
	if c == nil || !c.GivesToken() {
		return nil
	}
	return fmt.Errorf("authorize token %s: excludes %s, because such a server gets no token; remove it", c.Token, kind)
}

// documentOfEdge makes the metadata that of the edge: its issuers, and the scopes that its
// rules name, unless the operator lists others.
func (h *Handler) documentOfEdge(m MetadataConfig) *MetadataConfig {
	m.AuthorizationServers = h.Authorize.IssuerURLs()
	if len(m.AuthorizationServers) == 0 {
		m = MetadataConfig{Disabled: true}
	} else if m.ScopesSupported == nil {
		m.ScopesSupported = h.edge.Scopes()
	}
	return &m
}

// authorize checks the credentials of a request. It returns false if it has answered it, or
// the writer and the request to go on with.
func (q *request) authorize(w http.ResponseWriter, target bridge.Target) (http.ResponseWriter, *http.Request, bool) {
	h := q.h
	if h.edge == nil {
		return w, q.r, true
	}
	client := q.Client()
	public, ok := h.endpoint.Public(&client)
	facts := edge.Facts{Metadata: public.WellKnown(), MaxBody: int64(h.Limits.message()), Scope: h.scope}
	if ok && (public.Fixed || origin.IsLoopback(origin.HostnameOf(public.Origin))) {
		// The host may be forged, and name another resource. Tokens for that resource would then be
		// accepted here.
		facts.Endpoint = public.URL()
		facts.PublicURL = public.Origin + originalPath(q.r)
	}
	switch target {
	case bridge.TargetLegacy, bridge.TargetLegacyMessage, bridge.TargetMessage, bridge.TargetUnknownMessage:
		facts.Legacy = true
	}
	if !q.carriesOver(target) {
		sealer, err := h.app.sealer()
		if err != nil {
			mcp.Refuse(w, http.StatusInternalServerError, nil, message.CodeInternal, "session ids cannot be sealed")
			return nil, nil, false
		}
		facts.Seal = sealer
	}
	w, r, admission := h.edge.Admit(w, q.r, facts)
	if admission == nil {
		return nil, nil, false
	}
	q.admission, q.asked = admission, &admission.Request
	return w, r, true
}

// ownMessage returns a message of HTTP+SSE with the query that belongs to its path. The path of
// another principal is a session that does not exist. It returns false if it has answered the
// request.
func (q *request) ownMessage(w http.ResponseWriter, r *http.Request, target bridge.Target) (*http.Request, bool) {
	query, ok := q.SetOwner(ownerOf(r))
	if !ok {
		q.h.edge.NoSession(r, q.admission)
		mcp.Refuse(w, http.StatusNotFound, q.admission.Request.ID(), message.CodeServer, "there is no such session; open the event stream again")
		return nil, false
	}
	if target != bridge.TargetMessage {
		return r, true
	}
	return origin.WithQuery(r, query), true
}

// endAuthorized completes the answer of a request that the edge has let through.
func (q *request) endAuthorized() {
	if err := q.admission.End(); err != nil {
		q.h.logger.Warn("answer of the server was not passed on", zap.String("endpoint", q.h.staticPath()), zap.Error(err))
	}
}

// answered takes the answer of the upstream to a request.
func (h *Handler) answered(x *bridge.Exchange) {
	h.observer.answered(x)
	if x.Status == http.StatusUnauthorized {
		h.edge.TokenRefused(x.Request())
	}
}

// originalPath is the escaped path of a request as it arrived.
func originalPath(r *http.Request) string {
	if orig, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && orig.URL != nil {
		return orig.URL.EscapedPath()
	}
	return r.URL.EscapedPath()
}

// ownerOf returns the user of a request: the owner that the edge has found, or the user that an
// authentication handler in front has found.
func ownerOf(r *http.Request) string {
	if owner, ok := edge.OwnerOf(r); ok {
		return owner
	}
	return edge.UserOf(r)
}
