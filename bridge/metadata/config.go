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
	// AuthorizationServers are the issuers that the document names, as they are
	// written. Where there is one, the document is made from this configuration
	// alone and nothing is fetched.
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
	// UpstreamPath is the escaped path of the MCP server at the upstream.
	// Default: "/".
	UpstreamPath string
	// Origins are further origins that count as the upstream's own, and that
	// metadata may be fetched from when the upstream names them.
	Origins []string

	// TTL is how long a fetched document is used. Default: 5m.
	TTL time.Duration
	// NegativeTTL is how long an upstream is believed to have none. Default: 1m.
	NegativeTTL time.Duration
	// StaleIfError is how long past its TTL a document is used while the
	// upstream cannot be asked; negative for not at all. Default: 1h.
	StaleIfError time.Duration
	// Timeout bounds one discovery with all its requests. Default: 5s.
	Timeout time.Duration
	// RetryAfter is how long a failed discovery is not repeated, and what a
	// client is told to wait. Default: 2s.
	RetryAfter time.Duration
	// MaxSize bounds a fetched document, in bytes. Default: 256 KiB.
	MaxSize int64
	// MaxEntries bounds the cached documents, one for each fixed public URL, and
	// the discoveries for these at one time. Default: 64.
	MaxEntries int
	// MaxFlights bounds the discoveries at one time for public URLs that are not
	// fixed. Default: 16.
	MaxFlights int

	// Fetch asks the upstream. Without it only a configured document exists.
	Fetch Fetch
	// ChallengeMetadata returns the resource_metadata of the WWW-Authenticate
	// field lines of a 401. Without it the upstream's 401 is not asked for.
	ChallengeMetadata func(lines []string) (string, bool)
	// Log is told what an operator should know, each cause once for an endpoint.
	// It may be called from several goroutines at once.
	Log func(Event)
	// Looked is told what a look into the cache brings, and Fetched what a search
	// does. Both must not wait. Default: nobody is told.
	Looked  func(CacheResult)
	Fetched func(FetchResult)
}

// CacheResult is what a look into the cache brings. The set is closed.
type CacheResult string

// The results.
const (
	CacheHit   CacheResult = "hit"
	CacheMiss  CacheResult = "miss"  // the upstream was asked
	CacheStale CacheResult = "stale" // it gave no answer in time; what there was is used, or nothing
	CacheBusy  CacheResult = "busy"  // it was not asked: too many searches at one time
)

// FetchResult is what a search brings. The set is closed.
type FetchResult string

// The results.
const (
	FetchFound       FetchResult = "found"
	FetchAbsent      FetchResult = "absent"      // the upstream definitely has none
	FetchUnavailable FetchResult = "unavailable" // that could not be found out
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
	// Path is the request target: an escaped path, with a query where it has one.
	Path string
	// Origin is empty for the upstream itself, else one of [Config.Origins] in
	// the form of [NormalizeOrigin].
	Origin string
	Header http.Header
	Body   []byte
	Public Public
	// MaxBody is how many bytes of the response's body are wanted; 0: none is
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

// ownMembers have options of their own, or are computed.
var ownMembers = map[string]string{
	"resource":              "it is the public URL, set public_url or keep_resource",
	"authorization_servers": "use metadata authorization_servers",
	"scopes_supported":      "use metadata scopes_supported",
	"resource_name":         "use metadata resource_name",
}

// setDefaults fills what was left out and checks that the rest is positive.
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
	if c.UpstreamPath[0] != '/' || strings.ContainsAny(c.UpstreamPath, "?#") || !cleanText(c.UpstreamPath) {
		errs = append(errs, fmt.Errorf("upstream_path %q: must be a path that starts with a slash", c.UpstreamPath))
	} else if _, err := url.PathUnescape(c.UpstreamPath); err != nil {
		errs = append(errs, fmt.Errorf("upstream_path %q: %w", c.UpstreamPath, err))
	}
	return errors.Join(errs...)
}

// checkDocument checks what goes into the document.
func (c *Config) checkDocument() error {
	var errs []error
	for _, server := range c.AuthorizationServers {
		l, err := parseLocation(server)
		if err == nil && (l.query != "" || l.marked) {
			err = errors.New("must not have a query or a fragment")
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
			errs = append(errs, fmt.Errorf("metadata scopes_supported %q: is no scope (RFC 6749 section 3.3)", scope))
		}
	}
	if !utf8.ValidString(c.ResourceName) {
		errs = append(errs, fmt.Errorf("metadata resource_name %q: is not UTF-8", c.ResourceName))
	}
	seen := make(map[string]bool, len(c.Set))
	for _, m := range c.Set {
		switch hint := ownMembers[m.Name]; {
		case m.Name == "" || !utf8.ValidString(m.Name):
			errs = append(errs, fmt.Errorf("metadata set %q: is no member name", m.Name))
		case hint != "":
			errs = append(errs, fmt.Errorf("metadata set %q: %s", m.Name, hint))
		case seen[m.Name]:
			errs = append(errs, fmt.Errorf("metadata set %q: is set twice", m.Name))
		}
		if !validJSON(m.Value) {
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

// identity is what the upstream is known by.
type identity struct {
	dials   []hostPort
	origins []location
	path    string // without a final slash, "" for the root
}

func (c *Config) identity() (identity, error) {
	id := identity{path: strings.TrimSuffix(c.UpstreamPath, "/")}
	var errs []error
	for _, dial := range c.Dials {
		var hp hostPort
		var err error
		// ":3000" is dialled on this machine: it has a port but no host.
		if port, ok := strings.CutPrefix(dial, ":"); ok {
			hp.port, err = parsePort(port)
		} else {
			hp, err = parseAuthority(withoutZone(dial), defaultPort(c.TLS))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("upstream %q: %w", dial, err))
			continue
		}
		id.dials = append(id.dials, hp)
	}
	for _, s := range c.Origins {
		l, err := parseOrigin(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("origins: %w", err))
			continue
		}
		id.origins = append(id.origins, l)
	}
	return id, errors.Join(errs...)
}

// withoutZone removes the zone of an IPv6 address: it means something on this
// machine alone, and no URL of the upstream names it.
func withoutZone(dial string) string {
	before, zone, ok := strings.Cut(dial, "%")
	if !ok || !strings.HasPrefix(dial, "[") {
		return dial
	}
	if i := strings.IndexByte(zone, ']'); i >= 0 {
		return before + zone[i:]
	}
	return dial
}
