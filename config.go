package mcpauthbridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
)

// DefaultEndpoint is the path of an endpoint that names none.
const DefaultEndpoint = "/mcp"

// ChallengeConfig says what becomes of the challenges (WWW-Authenticate) that
// the upstream sends.
type ChallengeConfig struct {
	// What to do with the upstream's challenges. `rewrite` maps their
	// metadata URL to the endpoint's own and adds what a client needs
	// where it is missing; `relay` leaves them untouched; `replace` drops
	// them, because something at the edge owns the tokens: a 401 of the
	// upstream then is a fault of the gateway, 502. Default: `rewrite`.
	Mode string `json:"mode,omitempty"`

	// Origins (`http://mcp-internal:3000`) that mean the upstream in the
	// URLs that it sends, beyond the address that is dialled, loopback and
	// private hosts. Needed where the upstream has no host of its own: unix
	// sockets, dynamic upstreams, middleware mode. Do not list an origin
	// that others control: its metadata URLs become yours.
	Origins []string `json:"origins,omitempty"`

	// The `scope` parameter of a challenge that is added to a 401 without
	// one. Default: none.
	Scope []string `json:"scope,omitempty"`

	// The `realm` parameter of a challenge that is added to a 401 without
	// one. Default: none.
	Realm string `json:"realm,omitempty"`
}

// CORSConfig says which web pages may call the endpoint.
type CORSConfig struct {
	// Leaves CORS and the check of Origin to the upstream. A server on
	// loopback without a check of its own is then open to DNS rebinding.
	// Mutually exclusive with the other options. Default: false.
	Off bool `json:"off,omitempty"`

	// Origins that may call the endpoint from a browser: exact
	// (`https://app.example.com`), every subdomain (`https://*.example.com`)
	// or `*`. Default: the endpoint's own origin, those of the site's other
	// hosts, and loopback origins where the request's host is loopback.
	AllowOrigins []string `json:"allow_origins,omitempty"`

	// Names of request headers that a page may send beyond those of MCP.
	AllowHeaders []string `json:"allow_headers,omitempty"`

	// Names of response headers that a page may read beyond those of MCP.
	ExposeHeaders []string `json:"expose_headers,omitempty"`

	// How long a browser may keep the answer to a preflight. Default: `2h`.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// Lets pages of public sites call an endpoint on a private network
	// (`Access-Control-Allow-Private-Network`). Default: false.
	PrivateNetwork bool `json:"private_network,omitempty"`
}

// MetadataConfig says where the protected resource metadata (RFC 9728) of the
// endpoint comes from.
type MetadataConfig struct {
	// Serves no metadata; something else answers the well-known URL.
	// Mutually exclusive with the other options. Default: false.
	Off bool `json:"off,omitempty"`

	// Issuer URLs of the authorization servers. If set, the document is
	// made from the configuration and the upstream's is not asked for.
	AuthorizationServers []string `json:"authorization_servers,omitempty"`

	// The `scopes_supported` member. Default: the upstream's.
	ScopesSupported []string `json:"scopes_supported,omitempty"`

	// The `resource_name` member. Default: the upstream's.
	ResourceName string `json:"resource_name,omitempty"`

	// Further members, which replace the upstream's or are added.
	Set []MetadataMember `json:"set,omitempty"`

	// Leaves the `resource` member as the upstream has it. Clients that
	// check it against the URL that they use (the specification wants it)
	// then refuse to log in. Default: false.
	KeepResource bool `json:"keep_resource,omitempty"`

	// How long a document is kept before the upstream is asked again.
	// Default: `5m`.
	TTL caddy.Duration `json:"ttl,omitempty"`
}

// MetadataMember is one member of a metadata document.
type MetadataMember struct {
	// The name of the member.
	Name string `json:"name"`

	// Its value.
	Value json.RawMessage `json:"value"`
}

// Limits bounds what clients and upstreams can make the bridge spend.
type Limits struct {
	// Bytes of a request body; a longer one is answered 413. -1 means no
	// limit. Default: 67108864 (64 MiB).
	RequestBody int64 `json:"request_body,omitempty"`

	// Bytes of a request body up to which it is held in memory, which
	// spares a write and lets a redirect be followed; longer ones stream.
	// Default: 65536 (64 KiB).
	HeldBody int64 `json:"held_body,omitempty"`

	// How long the upstream may take to send its response header; 504
	// after that. A `response_header_timeout` of the transport wins. -1
	// means no limit. Default: `10m`.
	ResponseHeader caddy.Duration `json:"response_header,omitempty"`

	// Bytes of the upstream's response header. A `max_response_header` of
	// the transport wins. Default: 1048576 (1 MiB).
	ResponseHeaderSize int64 `json:"response_header_size,omitempty"`

	// How long a 401 without a challenge waits for the metadata to be
	// found before one is added. Default: `2s`.
	ChallengeWait caddy.Duration `json:"challenge_wait,omitempty"`

	// How long the search for the upstream's metadata may take in all.
	// Default: `5s`.
	MetadataTimeout caddy.Duration `json:"metadata_timeout,omitempty"`

	// Bytes of a metadata document. Default: 262144 (256 KiB).
	MetadataSize int64 `json:"metadata_size,omitempty"`

	// How many metadata documents are kept, one for each public URL of the
	// endpoint. Default: 64.
	MetadataEntries int `json:"metadata_entries,omitempty"`

	// Bytes of a form that is sent to a bridged authorization server; a
	// longer one is answered 413. Default: 1048576 (1 MiB).
	Form int64 `json:"form,omitempty"`

	// Bytes of one message that is carried over to another transport: a longer one
	// to a process (`stdio`) is answered 413, one of the process is skipped, one of
	// an HTTP server ends the stream that it comes on. Default: 16777216 (16 MiB).
	Message int64 `json:"message,omitempty"`

	// Bytes of an event stream that are held until its endpoint event is
	// complete. Default: 65536 (64 KiB).
	EndpointEvent int `json:"endpoint_event,omitempty"`
}

// Defaults of the limits that belong to the proxy's transport.
const (
	DefaultResponseHeader     = 10 * time.Minute
	DefaultResponseHeaderSize = 1 << 20
)

// validate reports every mistake of the limits.
func (l *Limits) validate() error {
	var errs []error
	check := func(name string, bad bool, value any) {
		if bad {
			errs = append(errs, fmt.Errorf("limits %s: %v is not a positive value", name, value))
		}
	}
	check("request_body", l.RequestBody < -1, l.RequestBody)
	check("held_body", l.HeldBody < 0, l.HeldBody)
	check("response_header", l.ResponseHeader < 0 && l.ResponseHeader != -1, l.ResponseHeader)
	check("response_header_size", l.ResponseHeaderSize < 0, l.ResponseHeaderSize)
	check("challenge_wait", l.ChallengeWait < 0, l.ChallengeWait)
	check("metadata_timeout", l.MetadataTimeout < 0, l.MetadataTimeout)
	check("metadata_size", l.MetadataSize < 0, l.MetadataSize)
	check("metadata_entries", l.MetadataEntries < 0, l.MetadataEntries)
	check("form", l.Form < 0, l.Form)
	check("message", l.Message < 0, l.Message)
	check("endpoint_event", l.EndpointEvent < 0, l.EndpointEvent)
	return errors.Join(errs...)
}

// mode returns the mode of the challenge policy.
func (c *ChallengeConfig) mode() (bridge.Mode, error) {
	if c == nil || c.Mode == "" {
		return bridge.ModeRewrite, nil
	}
	switch m := bridge.Mode(c.Mode); m {
	case bridge.ModeRewrite, bridge.ModeRelay, bridge.ModeReplace:
		return m, nil
	}
	return "", fmt.Errorf("challenge mode: %q is none of rewrite, relay, replace", c.Mode)
}

// check reports every mistake of the challenge policy.
func (c *ChallengeConfig) check() error {
	if c == nil {
		return nil
	}
	mode, err := c.mode()
	errs := []error{err}
	for _, s := range c.Origins {
		if _, err := metadata.NormalizeOrigin(s); err != nil {
			errs = append(errs, fmt.Errorf("challenge origins: %w", err))
		}
	}
	for _, s := range c.Scope {
		if !metadata.ValidScope(s) {
			errs = append(errs, fmt.Errorf("challenge scope: %q is no scope (RFC 6749 section 3.3)", s))
		}
	}
	if err == nil && mode != bridge.ModeRewrite && (len(c.Scope) > 0 || c.Realm != "") {
		errs = append(errs, fmt.Errorf("challenge %s: excludes scope and realm, which belong to the challenges that rewrite adds", mode))
	}
	return errors.Join(errs...)
}

// policy compiles the origin policy of an endpoint with origins of its own.
func (c *CORSConfig) policy(own ...string) (*cors.Policy, error) {
	policy, err := cors.New(cors.Config{
		AllowOrigins:   c.AllowOrigins,
		AllowHeaders:   c.AllowHeaders,
		ExposeHeaders:  c.ExposeHeaders,
		MaxAge:         time.Duration(c.MaxAge),
		PrivateNetwork: c.PrivateNetwork,
		Own:            own,
	})
	if err != nil {
		return nil, prefixEach("cors", err)
	}
	return policy, nil
}

// document is what the operator says of the metadata document.
func (m *MetadataConfig) document() metadata.Config {
	cfg := metadata.Config{
		AuthorizationServers: m.AuthorizationServers,
		ScopesSupported:      m.ScopesSupported,
		ResourceName:         m.ResourceName,
		KeepResource:         m.KeepResource,
		TTL:                  time.Duration(m.TTL),
	}
	for _, member := range m.Set {
		cfg.Set = append(cfg.Set, metadata.Member{Name: member.Name, Value: member.Value})
	}
	return cfg
}

// compileHosts returns the host names of the option hosts in normal form.
func compileHosts(names []string) (map[string]bool, error) {
	hosts := make(map[string]bool, len(names))
	var errs []error
	for _, name := range names {
		origin, err := metadata.NormalizeOrigin("https://" + name)
		switch host := hostname(strings.TrimPrefix(origin, "https://")); {
		case err != nil || strings.Contains(name, "/"):
			errs = append(errs, fmt.Errorf("hosts: %q is no host name", name))
		case portOf(name) != "":
			errs = append(errs, fmt.Errorf("hosts: %q has a port, which host names have not; write %q", name, host))
		default:
			hosts[host] = true
		}
	}
	return hosts, errors.Join(errs...)
}

// portOf is the port of a host, if one is written.
func portOf(host string) string {
	_, port, _ := strings.Cut(host[strings.LastIndexByte(host, ']')+1:], ":")
	return port
}

// checkEndpoint validates the path of an endpoint.
func checkEndpoint(path string) error { return checkPath("endpoint", path) }

// checkPath validates a path that an option names.
func checkPath(option, path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return fmt.Errorf("%s: %q does not start with a slash", option, path)
	case path != "/" && strings.HasSuffix(path, "/"):
		return fmt.Errorf("%s: %q ends with a slash; write %q, both forms are served", option, path, strings.TrimRight(path, "/"))
	case strings.ContainsAny(path, "*{}?#\\% \t\r\n"):
		return fmt.Errorf("%s: %q is no plain path (no wildcard, placeholder, query or escape)", option, path)
	case hasOddSegment(path):
		return fmt.Errorf("%s: %q has an empty or dot segment", option, path)
	case path == metadata.WellKnownPath, strings.HasPrefix(path, "/.well-known/"):
		return fmt.Errorf("%s: %q is below /.well-known/, where the metadata of endpoints stands", option, path)
	}
	return nil
}

// hasOddSegment reports whether a path has an empty or dot segment, which servers
// and proxies read differently.
func hasOddSegment(path string) bool {
	return strings.Contains(path, "//") || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../")
}

// parsePublicURL validates public_url and returns its origin and path.
func parsePublicURL(s string) (origin, path string, err error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return "", "", fmt.Errorf("public_url: %q is no absolute http or https URL", s)
	case u.User != nil:
		return "", "", errors.New("public_url: a URL with user information cannot be a resource identifier")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return "", "", fmt.Errorf("public_url: %q has a query or a fragment", s)
	}
	origin, err = metadata.NormalizeOrigin(u.Scheme + "://" + u.Host)
	if err != nil {
		return "", "", fmt.Errorf("public_url: %w", err)
	}
	path = strings.TrimSuffix(u.EscapedPath(), "/")
	if path != "" {
		if err := checkEndpoint(path); err != nil {
			return "", "", fmt.Errorf("public_url: path of %q: %w", s, err)
		}
	}
	return origin, path, nil
}
