package mcpauthbridge

import (
	"crypto/sha256"
	_ "embed" // of the page
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
)

func init() { caddy.RegisterModule(StatusHandler{}) }

// StatusHandler answers with a page that shows all endpoints of this Caddy as the admin
// API does, and that tries them from the visitor's browser. It asks for no login of its
// own: whoever reaches it sees the addresses of upstreams and their challenges, so that
// it belongs behind authentication.
//
// It answers GET and HEAD at whatever path leads to it; with the query `json` it gives
// the state as the admin API does. Nothing can be changed through it.
type StatusHandler struct {
	app   *App
	place place
}

// CaddyModule returns the Caddy module information.
func (StatusHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.mcp_auth_bridge_status",
		New: func() caddy.Module { return new(StatusHandler) },
	}
}

// Provision sets the handler up.
func (s *StatusHandler) Provision(ctx caddy.Context) error {
	appModule, err := ctx.App(appID) // which says at load where the page is open to everyone
	if err != nil {
		return err
	}
	s.app = appModule.(*App)
	return nil
}

var (
	//go:embed statuspage/page.html
	pageHTML string
	//go:embed statuspage/page.css
	pageCSS string
	//go:embed statuspage/page.js
	pageJS string

	statusPage = strings.NewReplacer("{{style}}", pageCSS, "{{script}}", pageJS).Replace(pageHTML)

	// statusPolicy lets the page run its own script and nothing else. It connects to
	// wherever endpoints and authorization servers are.
	statusPolicy = "default-src 'none'; script-src " + hashOf(pageJS) + "; style-src " + hashOf(pageCSS) +
		"; connect-src http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

// hashOf is the source expression of an inline script or style, as in
// https://www.w3.org/TR/CSP3/#grammardef-hash-source.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// ServeHTTP gives the page, or the state that it shows.
func (s *StatusHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	h := w.Header()
	for name, value := range map[string]string{
		"Cache-Control": "no-store", "Content-Security-Policy": statusPolicy, "Cross-Origin-Opener-Policy": "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
	} {
		h.Set(name, value)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		return caddyhttp.Error(http.StatusMethodNotAllowed, errors.New("the status page is for reading"))
	}
	state := r.URL.Query().Has("json")
	if !fromItself(r, state) {
		return caddyhttp.Error(http.StatusForbidden, errors.New("the status page was asked for by another site"))
	}
	if s.rebound(r) {
		return caddyhttp.Error(http.StatusForbidden, errors.New("the status page was asked for by a name that the configuration does not have: put it into the address of the site, or the proxy before it into trusted_proxies"))
	}
	if state {
		return answerJSON(w, r, statusOfAll(endpointsNow()))
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := io.WriteString(w, statusPage)
	return err
}

// fromItself reports whether a browser asks on behalf of the page's own origin or of the
// visitor. A link elsewhere may lead to the page: it opens in a window of its own and
// shows nothing to where it was. No other site may have a part of it, or the state.
func fromItself(r *http.Request, state bool) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return true
	}
	return !state && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// rebound reports whether the request may be the work of DNS rebinding, as at endpoints:
// a browser asked a server of this machine by the name of another.
func (s *StatusHandler) rebound(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") == "" || !arrivedAtLoopback(r) {
		return false
	}
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		return false
	}
	s.app.resolve()
	host := strings.ToLower(hostname(r.Host))
	return !cors.Loopback(host) && !s.place.has(host)
}

// asks reports whether a handler lets only those pass who have a login: one of
// Caddy's authentication, or a proxy that asks elsewhere as `forward_auth` does.
func asks(handler caddyhttp.MiddlewareHandler) bool {
	switch handler := handler.(type) {
	case caddyauth.Authentication, *caddyauth.Authentication:
		return true
	case *reverseproxy.Handler:
		return len(handler.HandleResponse) > 0
	}
	return false
}

// open reports whether people on other machines can come here without a login, as
// far as the configuration tells.
func (p *place) open() bool {
	if p.asked || p.server == nil {
		return false
	}
	for _, policy := range p.server.TLSConnPolicies {
		if policy.ClientAuthentication != nil {
			return false
		}
	}
	return slices.ContainsFunc(p.server.Listen, func(listen string) bool { return !onlyHere(listen) })
}

// Interface guards
var _ caddyhttp.MiddlewareHandler = (*StatusHandler)(nil)
