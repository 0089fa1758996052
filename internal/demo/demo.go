// Package demo is an MCP server that requires authorization, and the OAuth
// authorization server that it trusts, for the demonstration and for tests.
// The server knows only its private address, as most do, and sends no CORS
// header: what a client sees of it depends on what stands in front.
//
// It is no example of how to write either of them.
package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// The scopes of the server's tools.
const (
	ScopeRead  = "mcp:read"
	ScopeAdmin = "mcp:admin"
)

// Shape is how the server's 401 and 403 look.
type Shape string

// The shapes.
const (
	// ShapeWhole is one Bearer challenge with all parameters.
	ShapeWhole Shape = ""
	// ShapeBare has no resource_metadata.
	ShapeBare Shape = "bare"
	// ShapeNone has no WWW-Authenticate at all.
	ShapeNone Shape = "none"
	// ShapeSeveral has several challenges, in one line and in several.
	ShapeSeveral Shape = "several"
)

// Options of a demo. The zero value listens on free loopback ports.
type Options struct {
	// Addr is where the MCP server listens. Default: "127.0.0.1:0".
	Addr string
	// IssuerAddr is where the authorization server listens, if elsewhere.
	// Default: "127.0.0.1:0".
	IssuerAddr string
	// SameOrigin puts the authorization server on the MCP server's origin.
	SameOrigin bool
	// Public are resource identifiers that clients use: the URLs of the
	// endpoints in front. If there are any, tokens must be made out to one
	// of them; else to the server's own private URLs.
	Public []string
	// NamesPublic has the metadata name the identifiers in Public, as a server
	// does that was told its public URL.
	NamesPublic bool
	// Challenge is the shape of a 401.
	Challenge Shape
	// MetadataPath is where the metadata of the resource stands instead of
	// at its well-known path; only the challenge names it.
	MetadataPath string
	// Redirect answers /mcp with a 307 to /mcp/.
	Redirect bool
	// TokenLifetime of access tokens. Default: one hour.
	TokenLifetime time.Duration
	// AutoConsent lets the authorization server agree without asking.
	AutoConsent bool
	// AnyHost turns the SDK's protection against DNS rebinding off, which
	// refuses requests on loopback for hosts that are not.
	AnyHost bool
}

// Demo is a running pair of servers.
type Demo struct {
	opts    Options
	origin  string // of the MCP server
	issuer  string
	as      *authorizationServer
	servers []*http.Server
	mcp     *mcp.Server
}

// Start starts the servers. They run until Close.
func Start(ctx context.Context, opts Options) (*Demo, error) {
	d := &Demo{opts: opts}
	rs, err := listen(ctx, opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("starting the MCP server: %w", err)
	}
	d.origin = "http://" + rs.Addr().String()
	d.issuer = d.origin
	var as net.Listener
	if !opts.SameOrigin {
		if as, err = listen(ctx, opts.IssuerAddr); err != nil {
			return nil, errors.Join(fmt.Errorf("starting the authorization server: %w", err), rs.Close())
		}
		d.issuer = "http://" + as.Addr().String()
	}
	if d.as, err = newAuthorizationServer(d.issuer, d.resources(), opts.TokenLifetime, opts.AutoConsent); err != nil {
		return nil, fmt.Errorf("setting up the authorization server: %w", err)
	}
	d.mcp = newMCPServer()
	d.serve(rs, d.handler())
	if as != nil {
		d.serve(as, d.as)
	}
	return d, nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	return (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
}

func (d *Demo) serve(l net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	d.servers = append(d.servers, s)
	go func() { _ = s.Serve(l) }()
}

// ServeProgram is the MCP server as a program that speaks over standard input and
// output. Whoever starts it is in: it asks for no login.
func ServeProgram(ctx context.Context) error {
	return newMCPServer().Run(ctx, &mcp.StdioTransport{})
}

// Close ends both servers and all their connections.
func (d *Demo) Close() error {
	for session := range d.mcp.Sessions() {
		_ = session.Close()
	}
	var errs []error
	for _, s := range d.servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Origin is the private origin of the MCP server.
func (d *Demo) Origin() string { return d.origin }

// MCPURL is the private URL of the Streamable HTTP endpoint.
func (d *Demo) MCPURL() string { return d.origin + "/mcp" }

// SSEURL is the private URL of the HTTP+SSE endpoint.
func (d *Demo) SSEURL() string { return d.origin + "/sse" }

// Issuer is the authorization server's issuer identifier.
func (d *Demo) Issuer() string { return d.issuer }

// resources are the resource identifiers that tokens may be made out to, in
// both slash forms.
func (d *Demo) resources() []string {
	ids := d.opts.Public
	if len(ids) == 0 {
		ids = []string{d.origin, d.MCPURL(), d.SSEURL()}
	}
	var all []string
	for _, id := range ids {
		all = append(all, strings.TrimSuffix(id, "/"), strings.TrimSuffix(id, "/")+"/")
	}
	return slices.Compact(all)
}

// handler is the MCP server with its metadata and, if it lives there, the
// authorization server.
func (d *Demo) handler() http.Handler {
	mux := http.NewServeMux()
	get := func(*http.Request) *mcp.Server { return d.mcp }
	streamable := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{DisableLocalhostProtection: d.opts.AnyHost})
	sse := mcp.NewSSEHandler(get, &mcp.SSEOptions{DisableLocalhostProtection: d.opts.AnyHost})
	path := "/mcp"
	if d.opts.Redirect {
		mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/mcp/", http.StatusTemporaryRedirect)
		})
		path = "/mcp/"
	}
	mux.Handle(path, d.guard(streamable, "/mcp"))
	mux.Handle("/sse", d.guard(sse, "/sse"))
	for _, resource := range []string{"/mcp", "/sse"} {
		document := d.metadata(resource)
		at := "/.well-known/oauth-protected-resource" + resource
		if d.opts.MetadataPath != "" {
			at = d.opts.MetadataPath + resource
		}
		mux.Handle("GET "+at, document)
	}
	if d.opts.SameOrigin {
		mux.Handle("/", d.as)
	}
	return mux
}

// metadata is the protected resource metadata, as the server sees itself.
func (d *Demo) metadata(path string) http.Handler {
	resource := d.origin + path
	if public := d.opts.Public; d.opts.NamesPublic && len(public) > 0 {
		same := slices.IndexFunc(public, func(id string) bool { return strings.HasSuffix(strings.TrimSuffix(id, "/"), path) })
		resource = public[max(0, same)]
	}
	body := fmt.Sprintf(`{
  "resource": %q,
  "resource_name": "Demo",
  "authorization_servers": [%q],
  "scopes_supported": [%q, %q],
  "bearer_methods_supported": ["header"],
  "x_demo_note": "kept as it is"
}
`, resource, d.issuer, ScopeRead, ScopeAdmin)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body))
	})
}

// metadataURL is what the server's challenge names.
func (d *Demo) metadataURL(path string) string {
	if d.opts.MetadataPath != "" {
		return d.origin + d.opts.MetadataPath + path
	}
	return d.origin + "/.well-known/oauth-protected-resource" + path
}
