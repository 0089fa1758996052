package mcpauthbridge

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authserver"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
)

func init() {
	caddy.RegisterModule(MetadataHandler{})
}

// discovery answers requests that an endpoint gets beside its own paths: for its well-known URLs,
// and for URLs that MCP clients look for on its site and that no other handler serves.
type discovery struct{ h *Handler }

// owns reports whether path is a well-known URL of the endpoint's
// metadata, and returns what follows the well-known path in it.
func (d discovery) owns(path string) (suffix string, ok bool) {
	suffix, ok = strings.CutPrefix(path, metadata.WellKnownPath)
	if !ok || d.h.metadataOff() {
		return "", false
	}
	return d.ownsSuffix(suffix)
}

// ownedSuffix follows the well-known path in a URL of an endpoint's metadata.
type ownedSuffix struct {
	suffix string
	// names is the suffix of the resource that the metadata names.
	names string
}

// ownedSuffixes returns what names the endpoint behind the well-known path, at a place; the root
// form stands for the site's only or default one. Old clients look for the metadata below the
// path of their event stream: it is the endpoint's, and names that.
func ownedSuffixes(h *Handler, p *placement) []ownedSuffix {
	own := ""
	if p.path != "/" {
		own = p.path
	}
	owned := []ownedSuffix{{own, own}, {own + "/", own + "/"}}
	if h.LegacySSE != nil {
		owned = append(owned, ownedSuffix{legacyPath(h, p.Prefix, h.LegacySSE.Path), own})
	}
	if own != "" && p.ownsRoot(h) {
		owned = append(owned, ownedSuffix{"", ""}, ownedSuffix{"/", ""})
	}
	return owned
}

// ownsSuffix reports whether suffix, as it follows the well-known path, names the endpoint, and
// returns the suffix of the resource that the metadata names.
func (d discovery) ownsSuffix(suffix string) (string, bool) {
	for _, owned := range d.h.placed().suffixes {
		if suffix == owned.suffix {
			return owned.names, true
		}
	}
	return "", false
}

// serve answers a well-known URL.
func (d discovery) serve(w http.ResponseWriter, r *http.Request, suffix string) error {
	(&facts{h: d.h, r: r, w: w, target: targetMetadata}).publish()
	if d.open(w, r) {
		return nil
	}
	public, ok := publicOf(d.h, r)
	if !ok {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("request names no usable host"))
	}
	d.h.store.Serve(w, r, public, suffix)
	return nil
}

// open gives a public resource its CORS headers. If the request is a preflight, open answers it
// and returns true.
func (d discovery) open(w http.ResponseWriter, r *http.Request) (done bool) {
	if cors.IsPreflight(r) {
		d.h.policy.OpenPreflight(w, r)
		return true
	}
	cors.OpenHeaders(w.Header())
	d.varyByHost(w)
	return false
}

// varyByHost sets Vary for an answer that contains the public URL, to the fields that the URL
// depends on.
func (d discovery) varyByHost(w http.ResponseWriter) {
	header := w.Header()
	cors.SetVary(header)
	if d.h.base.origin == "" {
		header["Vary"] = append(header["Vary"], "Host, X-Forwarded-Host, X-Forwarded-Proto")
	}
}

// bodyNothing is the answer if nothing is served at a path.
const bodyNothing = `{"error":"not_found","error_description":"` + metadata.NothingServed + `."}`

// bodyNoLogin is the answer at the well-known URL of an endpoint that accepts no issuer.
const bodyNoLogin = `{"error":"not_found","error_description":"` + metadata.NoLogin + `: its operator hands out keys, or accounts of the site."}`

// discoveryPaths are the paths of a site at which clients of MCP look for metadata and
// authorization servers, as patterns of Caddy's path matcher. The route of each endpoint has
// them too, so that they are answered (contract C0).
var discoveryPaths = caddyhttp.MatchPath{
	"/.well-known/oauth-*", "/.well-known/openid-*", "/.well-known/mcp*",
	"*/.well-known/oauth-protected-resource", "*/.well-known/oauth-authorization-server", "*/.well-known/openid-configuration",
	"/authorize", "/register", "/token",
}

// isDiscovery reports whether a path is one of discoveryPaths.
func isDiscovery(path string) bool {
	path = strings.ToLower(singleSlashes(path))
	for _, pattern := range discoveryPaths {
		prefix, isPrefix := strings.CutSuffix(pattern, "*")
		suffix, isSuffix := strings.CutPrefix(pattern, "*")
		if path == pattern || isPrefix && strings.HasPrefix(path, prefix) || isSuffix && strings.HasSuffix(path, suffix) {
			return true
		}
	}
	return false
}

// isBelow reports whether a path is the endpoint's, in any case, or stands below it.
func isBelow(path, endpoint string) bool {
	endpoint = strings.TrimSuffix(endpoint, "/")
	return len(path) >= len(endpoint) && strings.EqualFold(path[:len(endpoint)], endpoint) &&
		(len(path) == len(endpoint) || path[len(endpoint)] == '/')
}

// passOn calls the handlers that follow for a request that is not the endpoint's. If they write
// nothing and the path belongs to MCP or to OAuth discovery, it answers with 404: clients would
// try to parse Caddy's empty 200 as a document (contract C0).
func (d discovery) passOn(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	bridged := d.h.bridgesServer() && strippedPrefix(r) == ""
	if !bridged && !isBelow(r.URL.Path, d.h.Endpoint) && !isDiscovery(r.URL.Path) {
		return next.ServeHTTP(w, r)
	}
	return d.passOnOr404(w, r, next, bridged)
}

// passOnOr404 calls the handlers that follow, and answers the request if they write nothing.
// bridged is true if the path may be one of the endpoint's authorization server.
func (d discovery) passOnOr404(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, bridged bool) error {
	noticed := &noticedWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	err := next.ServeHTTP(noticed, r)
	if noticed.written || err != nil && errorStatus(err) != http.StatusNotFound {
		return err
	}
	if d.relayServer(w, r) {
		return nil
	}
	if bridged {
		d.reportRefused(r)
	}
	if err == nil {
		d.answerNothing(w, r)
	}
	return err
}

// MetadataHandler serves the well-known URLs of endpoints inside `handle_path` or
// `handle`, where requests for those URLs do not arrive. Use it once, outside of
// these blocks.
type MetadataHandler struct {
	app       *App
	described *site.Handler
	endpoints *siteEndpoints // of the site; they are known once the app is prepared
}

// CaddyModule returns the Caddy module information.
func (MetadataHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.mcp_auth_bridge_metadata",
		New: func() caddy.Module { return new(MetadataHandler) },
	}
}

// Provision sets the handler up.
func (m *MetadataHandler) Provision(ctx caddy.Context) error {
	appModule, err := ctx.App(appID)
	if err != nil {
		return err
	}
	m.app = appModule.(*App)
	m.described = &site.Handler{Role: site.Metadata, Module: m}
	m.app.metadata = append(m.app.metadata, m)
	return m.app.observe(ctx)
}

// ServeHTTP answers for an endpoint of the same site, else it calls next.
func (m *MetadataHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if err := m.app.prepare(); err != nil {
		return settle(m.app.logger, "", w, r, errNotServing(err))
	}
	suffix, ok := strings.CutPrefix(r.URL.Path, metadata.WellKnownPath)
	if m.endpoints == nil {
		return next.ServeHTTP(w, r)
	}
	var owner *Handler
	if ok {
		owner = m.endpoints.owner(suffix)
	}
	for _, h := range m.endpoints.bridging {
		if owner != nil && m.endpoints.number[owner] <= m.endpoints.number[h] {
			break
		}
		if done, err := (bridgedServer{h}).serve(w, r, next); done {
			return h.settle(w, r, err)
		}
	}
	if owner != nil {
		d := discovery{owner}
		owned, _ := d.ownsSuffix(suffix)
		return owner.settle(w, r, d.serve(w, r, owned))
	}
	return m.passOn(w, r, next)
}

// passOn is [discovery.passOn] for all endpoints of the site.
func (m *MetadataHandler) passOn(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	isDiscovery := isDiscovery(r.URL.Path)
	for _, h := range m.endpoints.all {
		bridged := h.bridgesServer()
		if bridged || isDiscovery || isBelow(r.URL.Path, h.staticPath()) {
			return discovery{h}.passOnOr404(w, r, next, bridged)
		}
	}
	return next.ServeHTTP(w, r)
}

// answerNothing answers that nothing is served at a path. If the path is one of discovery, pages
// of every origin may read the answer (contract B5).
func (d discovery) answerNothing(w http.ResponseWriter, r *http.Request) {
	if isDiscovery(r.URL.Path) {
		if cors.IsPreflight(r) {
			d.h.policy.OpenPreflight(w, r)
			return
		}
		cors.OpenHeaders(w.Header())
		cors.SetVary(w.Header())
	}
	body := bodyNothing
	if d.isOfNoLogin(r) {
		body = bodyNoLogin
	}
	header := w.Header()
	header["Content-Type"], header["Cache-Control"] = []string{"application/json"}, []string{"no-store"}
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(http.StatusNotFound)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body)
	}
}

// isOfNoLogin reports whether a request is for the well-known URL of an endpoint of the site
// that has `authorize` without an issuer.
func (d discovery) isOfNoLogin(r *http.Request) bool {
	suffix, ok := strings.CutPrefix(r.URL.Path, metadata.WellKnownPath)
	if !ok || strippedPrefix(r) != "" {
		return false
	}
	noLogin := func(h *Handler) bool { return h.edge != nil && len(h.Authorize.Issuers) == 0 }
	if all := d.h.placed().endpoints; all != nil {
		return slices.ContainsFunc(all.suffixes[suffix], noLogin)
	}
	_, own := d.ownsSuffix(suffix)
	return own && noLogin(d.h)
}

// reportRefused reports a path that is not served and is likely a page of the bridged
// authorization server.
func (d discovery) reportRefused(r *http.Request) {
	path, plain := authserver.PlainPath(r.URL)
	if !plain || d.h.placed().endpoints.isAnothers(d.h, path) || metadata.OwnsServerPath(path) || isBelow(path, d.h.Endpoint) {
		return
	}
	if public, ok := publicOf(d.h, r); ok {
		d.h.endpoint.Server().ReportRefused(r, path, public)
	}
}

// relayServer answers a request for the metadata of an authorization server, as clients of MCP
// specification 2025-03-26 send it. The answer is the upstream's own document about an
// authorization server elsewhere. It is called if no other handler of the site has answered. It
// returns false if it has written nothing.
func (d discovery) relayServer(w http.ResponseWriter, r *http.Request) bool {
	path, plain := authserver.PlainPath(r.URL)
	if !plain || !metadata.OwnsServerPath(path) || strippedPrefix(r) != "" {
		return false
	}
	endpoints := []*Handler{d.h}
	if all := d.h.placed().endpoints; all != nil {
		endpoints = all.mayRelay(path)
	}
	for _, e := range endpoints {
		if e.metadataOff() || e.store == nil {
			continue
		}
		public, ok := publicOf(e, r)
		if !ok {
			continue
		}
		if e.store.ServeRelay(w, r, public, path, e.ownsRoot(), func() { discovery{e}.open(w, r) }) {
			return true
		}
	}
	return false
}

// noticedWriter notes whether anything is written.
type noticedWriter struct {
	*caddyhttp.ResponseWriterWrapper
	written bool
}

// WriteHeader implements http.ResponseWriter.
func (w *noticedWriter) WriteHeader(status int) {
	w.written = w.written || status >= http.StatusOK || status == http.StatusSwitchingProtocols
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *noticedWriter) Write(p []byte) (int, error) {
	w.written = true
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom implements io.ReaderFrom.
func (w *noticedWriter) ReadFrom(r io.Reader) (int64, error) {
	w.written = true
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError implements the interface of http.ResponseController.
func (w *noticedWriter) FlushError() error {
	w.written = true
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (w *noticedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.written = w.written || err == nil
	return conn, rw, err
}

// Interface guards
var (
	_ caddy.Provisioner           = (*MetadataHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*MetadataHandler)(nil)
)
