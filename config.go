package mcpauthbridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/cors"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/metadata"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/placeholder"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/upstreams"
)

// DefaultEndpoint is the path of an endpoint that names none.
const DefaultEndpoint = "/mcp"

// ChallengeConfig says what to do with the challenges (`WWW-Authenticate`
// headers) of the upstream.
type ChallengeConfig struct {
	// What to do with the challenges. `rewrite` rewrites their metadata URL to
	// the endpoint's own, and adds what a client needs if it is missing. `relay`
	// passes them unchanged. `replace` removes them, for when authentication
	// happens in Caddy; a 401 from the upstream then becomes 502.
	// Default: `rewrite`.
	Mode string `json:"mode,omitempty"`

	// Additional origins (`http://mcp-internal:3000`) to treat as the upstream
	// when rewriting URLs. The upstream address, loopback and private hosts are
	// always included. Needed for Unix sockets, dynamic upstreams and middleware
	// mode. Do not list an origin that others control: its metadata URLs would
	// become yours. Default: none.
	Origins []string `json:"origins,omitempty"`

	// The `scope` parameter of a challenge that Caddy adds to a 401 without one.
	// Default: none.
	Scope []string `json:"scope,omitempty"`

	// The `realm` parameter of a challenge that Caddy adds to a 401 without one.
	// Default: none.
	Realm string `json:"realm,omitempty"`
}

// CORSConfig says which web pages may call the endpoint.
type CORSConfig struct {
	// Leaves CORS and the check of `Origin` to the upstream. If a server on
	// loopback does not check it, it is then open to DNS rebinding. Cannot be
	// used with `stdio`, because a stdio server sees no headers.
	// Mutually exclusive with the other options. Default: false.
	Disabled bool `json:"disabled,omitempty"`

	// Origins that may call the endpoint from a browser: exact
	// (`https://app.example.com`), all subdomains (`https://*.example.com`), all
	// apps or browser extensions with a scheme (`moz-extension://*`), or `*`.
	// Origins of apps and extensions are compared byte for byte. The endpoint's
	// own origin is always allowed. Default: the endpoint's own origin, those of
	// the site's other hosts, and loopback origins if the host of the request is
	// loopback.
	AllowOrigins []string `json:"allow_origins,omitempty"`

	// Names of request headers that a page may send, besides those of MCP.
	// Default: none.
	AllowHeaders []string `json:"allow_headers,omitempty"`

	// Names of response headers that a page may read, besides those of MCP.
	// Default: none.
	ExposeHeaders []string `json:"expose_headers,omitempty"`

	// How long a browser may cache the response to a preflight. Default: `2h`.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// Lets pages of public sites call an endpoint on a private network
	// (`Access-Control-Allow-Private-Network`). Default: false.
	PrivateNetwork bool `json:"private_network,omitempty"`
}

// MetadataConfig says where the protected resource metadata (RFC 9728) of the
// endpoint comes from.
type MetadataConfig struct {
	// Turns the metadata off, for when something else serves the well-known URL.
	// Mutually exclusive with the other options. Default: false.
	Disabled bool `json:"disabled,omitempty"`

	// Issuer URLs of the authorization servers. If set, the document is made
	// from the configuration, and the upstream is not asked. Default: the
	// upstream's.
	AuthorizationServers []string `json:"authorization_servers,omitempty"`

	// The `scopes_supported` member. Default: the upstream's.
	ScopesSupported []string `json:"scopes_supported,omitempty"`

	// The `resource_name` member. Default: the upstream's.
	ResourceName string `json:"resource_name,omitempty"`

	// Other members to set. They are added, or replace the upstream's.
	// Default: none.
	Set []MetadataMember `json:"set,omitempty"`

	// Does not rewrite the `resource` member. Clients that follow the
	// specification compare it with the URL that they use, and then refuse to
	// log in. Default: false.
	KeepResource bool `json:"keep_resource,omitempty"`

	// How long a document is cached. After the upstream rejects a token, it is
	// fetched again on the next request. Default: `5m`.
	TTL caddy.Duration `json:"ttl,omitempty"`
}

// MetadataMember is one member of a metadata document.
type MetadataMember struct {
	// The name of the member.
	Name string `json:"name"`

	// Its value.
	Value json.RawMessage `json:"value"`
}

// Limits are the limits of sizes, times and numbers that clients and upstreams
// control.
type Limits struct {
	// Maximum size of a request body, in bytes. A longer one gets 413. -1 means
	// no limit. Default: 67108864 (64 MiB).
	MaxRequestBody int64 `json:"max_request_body,omitempty"`

	// Maximum size of a request body that is held in memory, in bytes, so that a
	// redirect can be followed. A longer one is streamed.
	// Default: 65536 (64 KiB).
	MaxHeldBody int64 `json:"max_held_body,omitempty"`

	// How long to wait for the response header of the upstream. After that the
	// client gets 504. If the transport has a `response_header_timeout`, that is
	// used. -1 means no limit. Default: `10m`.
	ResponseHeaderTimeout caddy.Duration `json:"response_header_timeout,omitempty"`

	// Maximum size of the upstream's response header, in bytes. After that the
	// client gets 502. If the transport has a `max_response_header`, that is
	// used. Default: 1048576 (1 MiB).
	MaxResponseHeader int64 `json:"max_response_header,omitempty"`

	// How long a 401 without a challenge waits for the metadata, so that a
	// challenge can be added. After that it is sent without one. Default: `2s`.
	ChallengeTimeout caddy.Duration `json:"challenge_timeout,omitempty"`

	// How long the search for the upstream's metadata may take in total.
	// Default: `5s`.
	MetadataTimeout caddy.Duration `json:"metadata_timeout,omitempty"`

	// Maximum size of a metadata document after decompression, in bytes.
	// Default: 262144 (256 KiB).
	MaxMetadataSize int64 `json:"max_metadata_size,omitempty"`

	// Maximum number of cached metadata documents, one for each public URL of
	// the endpoint. The oldest is dropped. Default: 64.
	MaxMetadataEntries int `json:"max_metadata_entries,omitempty"`

	// Maximum size of a form for a bridged authorization server, in bytes. A
	// longer one gets 413. Default: 1048576 (1 MiB).
	MaxForm int64 `json:"max_form,omitempty"`

	// Maximum size of a message that is bridged to another transport, in bytes. A
	// longer one from a client gets 413. From a stdio server it is dropped. From an
	// HTTP server it closes the stream. Default: 16777216 (16 MiB).
	MaxMessage int64 `json:"max_message,omitempty"`

	// Maximum size of the first event of an HTTP+SSE stream, which names the
	// message path, in bytes. After that the stream ends. Default: 65536 (64 KiB).
	MaxEndpointEvent int `json:"max_endpoint_event,omitempty"`
}

// Defaults of the limits that belong to the proxy's transport.
const (
	DefaultResponseHeaderTimeout = 10 * time.Minute
	DefaultMaxResponseHeader     = 1 << 20
)

// validate reports every mistake of the limits.
func (l *Limits) validate() error {
	var errs []error
	check := func(name string, bad bool, value any) {
		if bad {
			errs = append(errs, fmt.Errorf("limits %s: %v must be positive; leave it out for its default", name, value))
		}
	}
	check("max_request_body", l.MaxRequestBody < -1, l.MaxRequestBody)
	check("max_held_body", l.MaxHeldBody < 0, l.MaxHeldBody)
	check("response_header_timeout", l.ResponseHeaderTimeout < 0 && l.ResponseHeaderTimeout != -1, l.ResponseHeaderTimeout)
	check("max_response_header", l.MaxResponseHeader < 0, l.MaxResponseHeader)
	check("challenge_timeout", l.ChallengeTimeout < 0, l.ChallengeTimeout)
	check("metadata_timeout", l.MetadataTimeout < 0, l.MetadataTimeout)
	check("max_metadata_size", l.MaxMetadataSize < 0, l.MaxMetadataSize)
	check("max_metadata_entries", l.MaxMetadataEntries < 0, l.MaxMetadataEntries)
	check("max_form", l.MaxForm < 0, l.MaxForm)
	check("max_message", l.MaxMessage < 0, l.MaxMessage)
	check("max_endpoint_event", l.MaxEndpointEvent < 0, l.MaxEndpointEvent)
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
	return "", errMode(c.Mode)
}

// errMode refuses a mode of the challenge policy.
func errMode(mode string) error {
	return fmt.Errorf("challenge mode: %q must be rewrite, relay or replace (relay passes challenges through unchanged)", mode)
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
			errs = append(errs, fmt.Errorf("challenge origins: %w%s", err, instead(origin.MeantOrigin(s), "http://mcp.internal:3000")))
		}
	}
	for _, s := range c.Scope {
		if !metadata.ValidScope(s) {
			errs = append(errs, fmt.Errorf("challenge scope: %q must be a scope: printable ASCII without spaces, quotes and backslashes (RFC 6749 section 3.3)", s))
		}
	}
	if err == nil && mode != bridge.ModeRewrite && (len(c.Scope) > 0 || c.Realm != "") {
		errs = append(errs, fmt.Errorf("challenge %s: excludes scope and realm, which belong to the challenges that rewrite adds; remove them", mode))
	}
	return errors.Join(errs...)
}

// check refuses options beside `off`.
func (c *CORSConfig) check() error {
	if c != nil && c.Disabled && (len(c.AllowOrigins)+len(c.AllowHeaders)+len(c.ExposeHeaders) > 0 || c.MaxAge != 0 || c.PrivateNetwork) {
		return errors.New("cors off: excludes the other options of cors; remove them")
	}
	return nil
}

// isSet reports whether an option beside Disabled is set.
func (m *MetadataConfig) isSet() bool {
	return m != nil && (len(m.AuthorizationServers)+len(m.ScopesSupported)+len(m.Set) > 0 || m.ResourceName != "" || m.KeepResource || m.TTL != 0)
}

// check refuses options beside `off`.
func (m *MetadataConfig) check() error {
	if m.isSet() && m.Disabled {
		return errors.New("metadata off: excludes the other options of metadata; remove them")
	}
	return nil
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

// document returns the configuration of the metadata document.
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

// checkEndpoint validates the path of an endpoint.
func checkEndpoint(path string) error {
	if plain := strings.TrimRight(path, "/*"); plain != path && strings.HasSuffix(path, "*") && checkPath("endpoint", plain) == nil {
		return fmt.Errorf("endpoint: %q must be a plain path; write %s, which includes the paths below it", path, plain)
	}
	return checkPath("endpoint", path)
}

// checkPath validates a path that an option names.
func checkPath(option, path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return fmt.Errorf("%s: %q must start with a slash%s", option, path, instead(pathMeant(path), "/mcp"))
	case path != "/" && strings.HasSuffix(path, "/"):
		return fmt.Errorf("%s: %q ends with a slash; write %q, both forms are served", option, path, strings.TrimRight(path, "/"))
	case option == "endpoint" && strings.Contains(path, namePlaceholder):
		return errNameWithoutNames(path)
	case strings.ContainsAny(path, "{}"):
		return fmt.Errorf("%s: %q must be a plain path; %s", option, path, atLoad(path))
	case strings.ContainsAny(path, "*?#\\% \t\r\n"):
		return fmt.Errorf("%s: %q must be a plain path%s", option, path, instead(pathMeant(path), "/mcp"))
	case upstreams.HasOddSegment(path):
		return fmt.Errorf("%s: %q has an empty or dot segment%s", option, path, instead(pathMeant(path), "/mcp"))
	case path == metadata.WellKnownPath, strings.HasPrefix(path, "/.well-known/"):
		return fmt.Errorf("%s: %q is below /.well-known/, where the metadata of endpoints is; write another path, such as /mcp", option, path)
	}
	return nil
}

// pathMeant returns the plain path that an operator meant with a text, such as a URL or a path
// without its slash. It is empty if that is not clear.
func pathMeant(s string) string {
	if _, rest, ok := strings.Cut(s, "://"); ok {
		_, s, _ = strings.Cut(rest, "/")
	}
	s, _, _ = strings.Cut(s, "?")
	s, _, _ = strings.Cut(s, "#")
	meant := "/" + strings.TrimRight(strings.TrimLeft(s, "/"), "/*")
	if meant == "/" || strings.ContainsAny(meant, "*{}\\% \t\r\n") || upstreams.HasOddSegment(meant) {
		return ""
	}
	return meant
}

// instead ends an error with what to write in place of a value, or with an example if that
// is not known.
func instead(meant, example string) string {
	if meant == "" {
		return ", such as " + example
	}
	return "; write " + meant
}

// replaceOptions replaces the placeholders in all options of an endpoint that are texts.
func replaceOptions(h *Handler) error {
	r := placeholder.NewReplacer()
	r.One("public_url", &h.PublicURL)
	r.List("hosts", &h.Hosts)
	if c := h.Challenge; c != nil {
		r.List("challenge origins", &c.Origins)
		r.List("challenge scope", &c.Scope)
		r.One("challenge realm", &c.Realm)
	}
	h.CORS.replace(r)
	if m := h.Metadata; m != nil {
		r.List("metadata authorization_servers", &m.AuthorizationServers)
		r.List("metadata scopes_supported", &m.ScopesSupported)
		r.One("metadata resource_name", &m.ResourceName)
	}
	return r.Err()
}

// replace replaces the placeholders of an origin policy.
func (c *CORSConfig) replace(r *placeholder.Replacer) {
	if c == nil {
		return
	}
	r.List("cors allow_origins", &c.AllowOrigins)
	r.List("cors allow_headers", &c.AllowHeaders)
	r.List("cors expose_headers", &c.ExposeHeaders)
}

// LegacySSEConfig says where HTTP+SSE is served beside an endpoint, for old clients
// (MCP specification 2024-11-05, "HTTP with SSE").
type LegacySSEConfig struct {
	// The path of the event stream. It should be below the endpoint, because
	// clients that log in compare it with the `resource` of the metadata, which is
	// the endpoint. Default: `sse` below the endpoint.
	Path string `json:"path,omitempty"`

	// The path that clients post messages to. Cannot be set in front of an
	// HTTP+SSE server. Default: `message` below the path of the event stream.
	MessagePath string `json:"message_path,omitempty"`
}

func (c *LegacySSEConfig) path() string {
	if c == nil {
		return ""
	}
	return c.Path
}

func (c *LegacySSEConfig) messagePath() string {
	if c == nil {
		return ""
	}
	return c.MessagePath
}

// fill sets the defaults for an endpoint.
func (c *LegacySSEConfig) fill(endpoint string) {
	if c.Path == "" {
		c.Path = strings.TrimSuffix(endpoint, "/") + "/sse"
	}
	if c.MessagePath == "" {
		c.MessagePath = c.Path + "/message"
	}
}

// check sets the defaults of an endpoint's paths and validates them.
func (c *LegacySSEConfig) check(h *Handler) error {
	if c == nil {
		return nil
	}
	if h.isMiddleware() {
		return errors.New("legacy_sse: needs an upstream, and a middleware has none; write the upstream's address, or remove legacy_sse")
	}
	if h.upstream.sse && c.MessagePath != "" {
		return fmt.Errorf("legacy_sse: %q: in front of an HTTP+SSE server messages are posted below the endpoint; remove the second path", c.MessagePath)
	}
	c.fill(h.Endpoint)
	for _, p := range []string{c.Path, c.MessagePath} {
		if err := checkPath("legacy_sse", p); err != nil {
			return err
		}
	}
	own := strings.TrimSuffix(h.Endpoint, "/")
	switch {
	case strings.TrimSuffix(c.Path, "/") == own || strings.TrimSuffix(c.MessagePath, "/") == own:
		return fmt.Errorf("legacy_sse: %q is the endpoint itself; write another path, or none for %[1]s/sse", h.Endpoint)
	case c.Path == c.MessagePath:
		return fmt.Errorf("legacy_sse: %q is both the event stream and the message path; write two paths, or none", c.Path)
	}
	return nil
}

// legacyPath returns a path of HTTP+SSE as clients see it. stripped is the prefix that enclosing
// routes have stripped.
func legacyPath(h *Handler, stripped, path string) string {
	if h.base.path != "" {
		stripped, _ = strings.CutSuffix(h.base.path, h.Endpoint)
	}
	return stripped + path
}

// The parts of the configuration decode themselves, so that the error for an unknown member of
// JSON names the right one.

// UnmarshalJSON implements json.Unmarshaler.
func (c *ChallengeConfig) UnmarshalJSON(data []byte) error {
	type plain ChallengeConfig
	return suggest.Decode(data, (*plain)(c), "challenge", nil)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *CORSConfig) UnmarshalJSON(data []byte) error {
	type plain CORSConfig
	return suggest.Decode(data, (*plain)(c), "cors", nil)
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *MetadataConfig) UnmarshalJSON(data []byte) error {
	type plain MetadataConfig
	return suggest.Decode(data, (*plain)(m), "metadata", nil)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *LegacySSEConfig) UnmarshalJSON(data []byte) error {
	type plain LegacySSEConfig
	return suggest.Decode(data, (*plain)(c), "legacy_sse", nil)
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *Limits) UnmarshalJSON(data []byte) error {
	type plain Limits
	return suggest.Decode(data, (*plain)(l), "limits", renamed["limits"])
}
