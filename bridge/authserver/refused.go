package authserver

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// ReportRefused reports a request for a path, unescaped, that is not served, if the path is
// likely to belong to the server: a page of the server leads there, or the path stands below
// one of the server's.
func (s *Server) ReportRefused(r *http.Request, path string, public metadata.Public) {
	store := s.cfg.Endpoint.Metadata
	if store.Reserved(path) {
		return
	}
	isPage := func(p string) bool {
		kind, _, _ := store.Route(p, public)
		return kind == metadata.RouteAuthorize || kind == metadata.RoutePage || s.listed(p)
	}
	glob := family(path)
	below := false
	for at := strings.LastIndexByte(path, '/'); at > 0 && !below; at = strings.LastIndexByte(path[:at], '/') {
		if below = isPage(path[:at]); below {
			glob = path[:at] + "/*"
		}
	}
	if !below && !fromPage(r, public, isPage) {
		return
	}
	s.cfg.Endpoint.Report(Notice{
		Message: "path of the bridged authorization server is not served", Subject: family(path),
		Advice: "it seems to be a page of its logins: list it in the block authorization_server", Path: glob,
	})
}

// fromPage reports whether a page of the server leads to a request: its URL is the Referer,
// or, where that has no path, a form of the public origin is posted.
func fromPage(r *http.Request, public metadata.Public, isPage func(path string) bool) bool {
	rest, ok := strings.CutPrefix(r.Header.Get("Referer"), public.Origin)
	if ok {
		u, err := url.Parse(rest)
		if err != nil || u.Host != "" || u.Scheme != "" {
			return false
		}
		if path, plain := PlainPath(u); plain && path != "/" {
			return isPage(path)
		}
	}
	return r.Method == http.MethodPost && r.Header.Get("Origin") == public.Origin
}
