package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/jsontext"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// Defaults of the limits in [Config].
const (
	DefaultTTL          = 5 * time.Minute
	DefaultNegativeTTL  = time.Minute
	DefaultStaleIfError = time.Hour
	DefaultTimeout      = 5 * time.Second
	DefaultRetryAfter   = 2 * time.Second
	DefaultMaxSize      = 256 << 10
	DefaultMaxEntries   = 64
	DefaultMaxFlights   = 16
)

// Config describes the metadata of one endpoint.
type Config struct {
	// AuthorizationServers are the issuers in the document, as written. If there is one, the
	// document is made from this configuration alone and nothing is fetched.
	AuthorizationServers []string
	// ScopesSupported, ResourceName and Set replace members of the upstream's
	// document in place, or are appended to it.
	ScopesSupported []string
	ResourceName    string
	Set             []Member
	// KeepResource leaves the upstream's resource as it is.
	KeepResource bool
	// BridgeServer maps an authorization server on the upstream's own origin to
	// the public one as well.
	BridgeServer bool

	// Dials are the upstream's addresses, "host:port" as dialled. Unix sockets
	// and dynamic upstreams have none.
	Dials []string
	// TLS is whether the upstream is spoken to over TLS: the default port of an
	// address in Dials that has none.
	TLS bool
	// EventStream says that the MCP server speaks HTTP+SSE. If such a server answers a POST
	// without a challenge, discovery also asks for its event stream.
	EventStream bool
	// UpstreamPath is the escaped path of the MCP server at the upstream.
	// Default: "/".
	UpstreamPath string
	// Origins are further origins that count as the upstream's own, and that
	// metadata may be fetched from when the upstream names them.
	Origins []string

	// TTL is how long a fetched document is used. Default: 5m.
	TTL time.Duration
	// NegativeTTL is how long the absence of a document is cached. Default: 1m.
	NegativeTTL time.Duration
	// StaleIfError is how long after its TTL a document is served while the upstream cannot
	// be asked. A negative value turns this off. Default: 1h.
	StaleIfError time.Duration
	// Timeout bounds one discovery with all its requests. Default: 5s.
	Timeout time.Duration
	// RetryAfter is how long to wait before a failed discovery is repeated. Clients get it
	// in Retry-After. Default: 2s.
	RetryAfter time.Duration
	// MaxSize bounds a fetched document, in bytes. Default: 256 KiB.
	MaxSize int64
	// MaxEntries bounds three things separately: the cached documents of fixed public URLs,
	// the discoveries in progress for them, and the cached documents for a query or named by
	// a challenge. Default: 64.
	MaxEntries int
	// MaxFlights bounds two things separately: the discoveries in progress for public URLs
	// that are not fixed, and those for a query or for a document that a challenge names.
	// Default: 16.
	MaxFlights int

	// Fetch sends a request to the upstream. If it is nil there is only a configured
	// document.
	Fetch Fetch
	// Seal makes tokens for documents that a challenge names outside the well-known URLs.
	// Without it such a document is mapped to the well-known URL of the endpoint.
	Seal Seal
	// ChallengeMetadata returns the resource_metadata parameter of WWW-Authenticate field
	// lines. If it is nil the upstream is not asked for a challenge.
	ChallengeMetadata func(lines []string) (string, bool)
	// Log is called for each event that an operator should know, once per cause. It may be
	// called from several goroutines at once.
	Log func(Event)
	// Looked is called with the result of each cache lookup, and Fetched with the result of
	// each discovery. Both must not wait. Default: they are not called.
	Looked  func(CacheResult)
	Fetched func(FetchResult)
}

// CacheResult is the result of a cache lookup. The set is closed.
type CacheResult string

// The results.
const (
	CacheHit   CacheResult = "hit"
	CacheMiss  CacheResult = "miss"  // the upstream was asked
	CacheStale CacheResult = "stale" // it gave no answer in time; the stale entry was used, if any
	CacheBusy  CacheResult = "busy"  // it was not asked: too many discoveries in progress
)

// FetchResult is the result of a discovery. The set is closed.
type FetchResult string

// The results.
const (
	FetchFound       FetchResult = "found"
	FetchAbsent      FetchResult = "absent"      // the upstream has no document
	FetchUnavailable FetchResult = "unavailable" // the upstream could not be asked, or has an invalid document
)

// Member is one member of the metadata document.
type Member struct {
	Name  string
	Value json.RawMessage
}

// Fetch sends one request to the upstream through its own transport, with the
// Host and X-Forwarded fields of the public URL, without credentials of any
// client, and without following redirects. It must return when ctx ends, and
// close the body. An error means that no response could be had.
type Fetch func(ctx context.Context, req FetchRequest) (FetchResponse, error)

// FetchRequest is one request of a discovery.
type FetchRequest struct {
	Method string
	// Path is the request target: an escaped path and, if it has one, a query.
	Path string
	// Origin is empty for the upstream itself, else one of [Config.Origins] in
	// the form of [NormalizeOrigin].
	Origin string
	Header http.Header
	Body   []byte
	Public Public
	// MaxBody is how many bytes of the response's body to read. If it is 0 the body is not
	// read.
	MaxBody int64
}

// FetchResponse is what [Fetch] got.
type FetchResponse struct {
	Status int
	Header http.Header
	Body   []byte
	// TooLarge says that the body is longer than MaxBody.
	TooLarge bool
	// SentHost is the Host field that was sent.
	SentHost string
}

// ownMembers are members that cannot be set by name: they have options of their own, or are
// computed.
var ownMembers = map[string]string{
	"resource":              "it is the public URL, set public_url or keep_resource",
	"authorization_servers": "use metadata authorization_servers",
	"scopes_supported":      "use metadata scopes_supported",
	"resource_name":         "use metadata resource_name",
}

// setDefaults sets defaults, and checks that the other values are positive.
func (c *Config) setDefaults() error {
	var errs []error
	duration := func(option string, d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		} else if *d < 0 {
			errs = append(errs, fmt.Errorf("metadata %s %v: must be positive", option, *d))
		}
	}
	duration("ttl", &c.TTL, DefaultTTL)
	duration("negative_ttl", &c.NegativeTTL, DefaultNegativeTTL)
	duration("timeout", &c.Timeout, DefaultTimeout)
	duration("retry_after", &c.RetryAfter, DefaultRetryAfter)
	if c.StaleIfError == 0 {
		c.StaleIfError = DefaultStaleIfError
	}
	count := func(option string, n *int, def int) {
		if *n == 0 {
			*n = def
		} else if *n < 0 {
			errs = append(errs, fmt.Errorf("metadata %s %d: must be positive", option, *n))
		}
	}
	count("max_entries", &c.MaxEntries, DefaultMaxEntries)
	count("max_flights", &c.MaxFlights, DefaultMaxFlights)
	if c.MaxSize == 0 {
		c.MaxSize = DefaultMaxSize
	} else if c.MaxSize < 0 {
		errs = append(errs, fmt.Errorf("metadata max_size %d: must be positive", c.MaxSize))
	}
	if c.UpstreamPath == "" {
		c.UpstreamPath = "/"
	}
	if c.UpstreamPath[0] != '/' || strings.ContainsAny(c.UpstreamPath, "?#") || !origin.CleanText(c.UpstreamPath) {
		errs = append(errs, fmt.Errorf("upstream_path %q: must be a path that starts with a slash", c.UpstreamPath))
	} else if _, err := url.PathUnescape(c.UpstreamPath); err != nil {
		errs = append(errs, fmt.Errorf("upstream_path %q: %w", c.UpstreamPath, err))
	}
	return errors.Join(errs...)
}

// checkDocument checks the members that the configuration sets.
func (c *Config) checkDocument() error {
	var errs []error
	for _, server := range c.AuthorizationServers {
		u, err := origin.Parse(server)
		switch meant := origin.MeantURL(server); {
		case err != nil && strings.Contains(server, ",") && strings.Contains(server, "://"):
			err = fmt.Errorf("has a comma; separate servers with spaces, as in `authorization_servers %s`", strings.Join(strings.FieldsFunc(server, func(r rune) bool { return r == ',' || r == ' ' }), " "))
		case err != nil && meant != "":
			err = fmt.Errorf("%w; write %s", err, meant)
		case err == nil && (u.Query != "" || u.Fragment):
			err = errors.New("must not have a query or a fragment; remove it")
		case err == nil && origin.MeantIssuer(server) != "":
			err = fmt.Errorf("is the URL of the server's metadata; write %s, as `issuer` in that document has it", origin.MeantIssuer(server))
		}
		if err == nil && !utf8.ValidString(server) {
			err = errors.New("is not UTF-8")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("metadata authorization_servers %q: %w", server, err))
		}
	}
	for _, scope := range c.ScopesSupported {
		if !ValidScope(scope) {
			errs = append(errs, fmt.Errorf("metadata scopes_supported %q: must be a scope: printable ASCII without spaces, quotes and backslashes (RFC 6749 section 3.3)", scope))
		}
	}
	if !utf8.ValidString(c.ResourceName) {
		errs = append(errs, fmt.Errorf("metadata resource_name %q: is not UTF-8", c.ResourceName))
	}
	seen := make(map[string]bool, len(c.Set))
	for _, m := range c.Set {
		switch hint := ownMembers[m.Name]; {
		case m.Name == "" || !utf8.ValidString(m.Name):
			errs = append(errs, fmt.Errorf("metadata set %q: must be the name of a member", m.Name))
		case hint != "":
			errs = append(errs, fmt.Errorf("metadata set %q: %s", m.Name, hint))
		case seen[m.Name]:
			errs = append(errs, fmt.Errorf("metadata set %q: is set twice; remove one of the two", m.Name))
		}
		if !jsontext.Valid(m.Value) {
			errs = append(errs, fmt.Errorf("metadata set %q: value %q is not JSON", m.Name, m.Value))
		}
		seen[m.Name] = true
	}
	return errors.Join(errs...)
}

// ValidScope reports whether s is a scope-token (RFC 6749 section 3.3).
func ValidScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
