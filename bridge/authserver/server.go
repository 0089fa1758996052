package authserver

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// DefaultForm bounds, in bytes, a form that is sent to the authorization
// server, where it may have to be edited.
const DefaultForm = 1 << 20

// Config is the configuration of a Server.
type Config struct {
	// Paths are the server's paths beyond those that its metadata names.
	Paths []Glob
	// OnlyListed is true if nothing is learned from redirects.
	OnlyListed bool
	// Form bounds a form, in bytes. Default: [DefaultForm].
	Form int64
	// Document bounds the answer to a registration that is edited, in bytes. Default:
	// [metadata.DefaultMaxSize].
	Document int64
	// Info reports what an operator may want to know, once for each path.
	Info func(msg, path string)

	// Endpoint has the facts about the endpoint. Package bridge sets it.
	Endpoint Endpoint
}

// Endpoint has the facts about the MCP endpoint that a Server belongs to.
type Endpoint struct {
	// Metadata knows the documents of the authorization server.
	Metadata *metadata.Store
	// Taken reports whether a path is one of the endpoint's own.
	Taken func(path string) bool
	// Wait bounds how long a request for a path waits that may not be the server's.
	Wait time.Duration
	// HeldBody and RequestBody bound, in bytes, the body held in memory and the whole
	// body of a request. 0 for RequestBody is no bound.
	HeldBody, RequestBody int64
	// Report reports what an operator should know.
	Report func(Notice)
}

// Notice is what an operator should know of something that was refused or dropped.
type Notice struct {
	Message string // a constant phrase
	Subject string // what it is about
	Advice  string
	// Path is the path that should be listed, if that helps.
	Path string
}

// Server is a bridged authorization server.
type Server struct {
	cfg     Config
	learned *Learned
	// publicResource is true if the server wants resources named as clients name them, and
	// not as the upstream's own metadata does.
	publicResource atomic.Bool
}

// New returns a server.
func New(cfg Config) *Server {
	if cfg.Form <= 0 {
		cfg.Form = DefaultForm
	}
	if cfg.Document <= 0 {
		cfg.Document = metadata.DefaultMaxSize
	}
	return &Server{cfg: cfg, learned: new(Learned)}
}

// SetLearned sets the paths that were learned before. It must be called before the first request.
// Default: none.
func (s *Server) SetLearned(learned *Learned) { s.learned = learned }

// Audience returns the name of the MCP server that the authorization server puts into tokens.
func (s *Server) Audience(public metadata.Public) string {
	audience := public.URL()
	if s.publicResource.Load() {
		return audience
	}
	if own, ok := s.cfg.Endpoint.Metadata.ServerNow(public).UpstreamResource(audience, public); ok {
		return own
	}
	return audience
}

// Route is the part of the authorization server that a request is for.
type Route struct {
	Kind metadata.RouteKind
	Path string // unescaped
	// Server has the metadata of the server. It is nil if the metadata could not be fetched.
	Server *metadata.Server
	// Unknown is true if it is not known yet whether the path is the server's.
	Unknown bool
}

// Route returns what path, unescaped, is to the authorization server. If that is not known yet
// it fetches the metadata, and waits until ctx ends.
func (s *Server) Route(ctx context.Context, path string, public metadata.Public) Route {
	store := s.cfg.Endpoint.Metadata
	if store.Reserved(path) {
		return Route{}
	}
	listed := s.listed(path)
	last, seen, fresh := store.Route(path, public)
	if seen && last == metadata.RouteNone && !listed {
		if !fresh {
			store.Warm(public)
		}
		return Route{}
	}
	if !seen && !listed && !metadata.DefaultRoute(path) {
		// The path may belong to another handler, which should not have to wait long.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.Endpoint.Wait)
		defer cancel()
	}
	srv := store.Server(ctx, public)
	kind := srv.Route(path)
	if !srv.Available() && last != metadata.RouteNone {
		kind = last
	}
	if kind == metadata.RouteNone {
		if !listed {
			return Route{Unknown: !seen && !srv.Available()}
		}
		kind = metadata.RoutePage
		if s.learned.clients.has(path) {
			kind = metadata.RouteRegistration
		}
	}
	if !srv.Available() {
		srv = nil
	}
	return Route{Kind: kind, Path: path, Server: srv}
}

// listed reports whether a path was listed by the operator, or learned.
func (s *Server) listed(path string) bool {
	for _, g := range s.cfg.Paths {
		if g.Match(path) {
			return true
		}
	}
	return s.learned.pages.has(path) || s.learned.clients.has(path)
}
