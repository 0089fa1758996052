package cors

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/origin"
)

// Bounds of [Config.MaxAge].
const (
	// DefaultMaxAge is what Chromium caps it at; Firefox caps it at a day,
	// Safari at ten minutes.
	DefaultMaxAge = 2 * time.Hour
	// MaxMaxAge is the longest that any browser keeps a preflight's answer.
	MaxMaxAge = 24 * time.Hour
)

// maxErrorValue bounds, in bytes, how much of a value an error repeats.
const maxErrorValue = 200

var errStar = errors.New("allows every origin; remove it or the others")

// Config is what the operator configures. The zero value is the default policy: the
// endpoint's own origin, and loopback origins if the request's host is loopback.
type Config struct {
	// AllowOrigins are the origins that may call the endpoint: exact ones
	// ("https://app.example.com"), every subdomain at any depth and one port
	// ("https://*.example.com", which does not include example.com), every host of a scheme
	// of apps or extensions ("moz-extension://*"), or "*" alone, which includes the origin
	// "null". A list replaces the loopback origins of the default policy; the endpoint's own
	// origin stays allowed. Default: none.
	AllowOrigins []string
	// AllowHeaders are request header names that a page may send beyond the
	// built-in ones. Default: none.
	AllowHeaders []string
	// ExposeHeaders are response header names that a page may read beyond the
	// built-in ones. Default: none.
	ExposeHeaders []string
	// MaxAge is how long a browser may keep the answer to a preflight, from
	// one second to [MaxMaxAge]. Default: [DefaultMaxAge].
	MaxAge time.Duration
	// PrivateNetwork lets pages of public sites call an endpoint on a private
	// network, in browsers that ask (Private Network Access). Default: false.
	PrivateNetwork bool
	// Own are the endpoint's own origins, those of its public URL and of its
	// configured hosts, exact or with a wildcard. They are always allowed.
	Own []string
}

// Error is one mistake in a [Config].
type Error struct {
	Option string // as operators write it: "allow_origins"
	Value  string // as it was given
	Err    error  // the reason
}

// Error returns one line with option, value and reason.
func (e *Error) Error() string {
	value := e.Value
	if len(value) > maxErrorValue {
		value = value[:maxErrorValue] + "..."
	}
	return fmt.Sprintf("%s: %q: %v", e.Option, value, e.Err)
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Policy says which origins may call one endpoint, and how. It is immutable.
type Policy struct {
	all      bool            // every origin
	listed   bool            // AllowOrigins was given
	exact    map[string]bool // by normal form
	patterns []pattern

	allowed        map[string]bool // request header names, lower case
	allowHeaders   string
	exposeHeaders  string
	maxAge         string
	preflightVary  string
	privateNetwork bool
}

// New compiles a policy. It reports every mistake: the error joins one [*Error]
// for each ([errors.Join]).
func New(cfg Config) (*Policy, error) {
	p := &Policy{
		listed:         len(cfg.AllowOrigins) > 0,
		exact:          make(map[string]bool),
		allowHeaders:   mergeNames(builtinRequest, cfg.AllowHeaders),
		exposeHeaders:  mergeNames(builtinExposed, cfg.ExposeHeaders),
		preflightVary:  preflightVary,
		maxAge:         seconds(cmp.Or(cfg.MaxAge, DefaultMaxAge)),
		privateNetwork: cfg.PrivateNetwork,
	}
	p.allowed = lowerNames(builtinRequest, cfg.AllowHeaders)
	if p.privateNetwork {
		p.preflightVary += ", " + requestPrivateNetwork
	}
	var errs []error
	check := func(option, value string, err error) {
		if err != nil {
			errs = append(errs, &Error{option, value, err})
		}
	}
	for _, s := range cfg.Own {
		check("own origin", s, addOrigin(p, s))
	}
	others := false
	for _, s := range cfg.AllowOrigins {
		if s == "*" {
			p.all = true
			continue
		}
		others = true
		check("allow_origins", s, addOrigin(p, s))
	}
	if p.all && others {
		check("allow_origins", "*", errStar)
	}
	for _, s := range cfg.AllowHeaders {
		check("allow_headers", s, checkRequestName(s))
	}
	for _, s := range cfg.ExposeHeaders {
		check("expose_headers", s, checkExposedName(s))
	}
	check("max_age", cfg.MaxAge.String(), checkMaxAge(cfg.MaxAge))
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

// addOrigin allows an origin or a pattern.
func addOrigin(p *Policy, s string) error {
	if isPattern(s) {
		compiled, err := parsePattern(s)
		if err != nil {
			return hint(s, err)
		}
		p.patterns = append(p.patterns, compiled)
		return nil
	}
	o, err := origin.ParseTuple(s)
	if err != nil {
		return hint(s, err)
	}
	p.exact[o.String()] = true
	return nil
}

// hint adds to err what s was probably meant to be, if that is clear.
func hint(s string, err error) error {
	meant := ""
	switch {
	case errors.Is(err, origin.ErrNoScheme):
		host, _, _ := strings.Cut(s, ":")
		if meant = "https://" + s; origin.IsLoopback(host) {
			meant = "http://" + s
		}
		meant = withoutPath(meant)
	case errors.Is(err, origin.ErrPath):
		meant = withoutPath(s)
	}
	if meant == "" {
		return err
	}
	if isPattern(meant) {
		if _, bad := parsePattern(meant); bad != nil {
			return err
		}
	} else if _, bad := origin.ParseTuple(meant); bad != nil {
		return err
	}
	return fmt.Errorf("%w; write %q", err, meant)
}

// withoutPath returns what stands before the path of a URL.
func withoutPath(s string) string {
	scheme, rest, _ := strings.Cut(s, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}

// checkMaxAge returns why d cannot be a max-age, or nil. 0 stands for the default.
func checkMaxAge(d time.Duration) error {
	switch {
	case d < 0:
		return errors.New("must not be negative")
	case d != 0 && d < time.Second:
		return errors.New("must be a second or more")
	case d > MaxMaxAge:
		return fmt.Errorf("must not be longer than %v, no browser keeps an answer longer", MaxMaxAge)
	}
	return nil
}

// seconds returns d as the value of Access-Control-Max-Age, rounded down.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(d/time.Second), 10)
}
