package metadata

import (
	"strings"
	"sync"
)

// EventKind says what an operator should know. The set is closed.
type EventKind string

// The kinds of [Event].
const (
	// SignedMetadataDropped: the upstream's signed_metadata would contradict the
	// mapped document, and was removed.
	SignedMetadataDropped EventKind = "signed_metadata_dropped"
	// PrivateAuthorizationServer: the document names an authorization server on
	// a local host, where no client elsewhere can reach it.
	PrivateAuthorizationServer EventKind = "private_authorization_server"
	// ForeignResource: the document's resource is not the upstream and stayed as
	// it was; clients will refuse it.
	ForeignResource EventKind = "foreign_resource"
	// ForeignMetadataURL: the upstream's 401 names a metadata URL elsewhere,
	// which was not fetched.
	ForeignMetadataURL EventKind = "foreign_metadata_url"
	// DocumentInvalid: what the upstream served cannot be used.
	DocumentInvalid EventKind = "document_invalid"
	// NotJSON: a 200 with another media type was taken for "not found".
	NotJSON EventKind = "not_json"
	// RedirectRefused: a redirect out of the upstream, or too many of them.
	RedirectRefused EventKind = "redirect_refused"
	// Unavailable: the upstream gave no answer, or an error, or asked to wait.
	Unavailable EventKind = "unavailable"
	// ForeignIssuer: the upstream serves the metadata of an authorization server
	// elsewhere, which is passed on as it is.
	ForeignIssuer EventKind = "foreign_issuer"
	// ServerFeatureDropped: the metadata of the bridged authorization server
	// names what cannot cross; Value has the members.
	ServerFeatureDropped EventKind = "server_feature_dropped"
	// Busy: more discoveries at one time than [Config.MaxFlights] were asked for.
	Busy EventKind = "busy"
)

// transient reports whether a later success makes a new report worthwhile.
func (k EventKind) transient() bool {
	switch k {
	case DocumentInvalid, RedirectRefused, Unavailable:
		return true
	case SignedMetadataDropped, PrivateAuthorizationServer, ForeignResource, ForeignMetadataURL, NotJSON, Busy, ForeignIssuer, ServerFeatureDropped:
	}
	return false
}

// Event is one thing that an operator should know. No text in it has a query
// or userinfo.
type Event struct {
	Kind EventKind
	// Endpoint is the public URL.
	Endpoint string
	// Source is the path asked for at the upstream, where there was one.
	Source string
	// Value is the offending text, cut to 256 bytes.
	Value string
	// Reason is a short phrase from a closed set.
	Reason string
	// Option names the option that mends it, where one does.
	Option string
}

const (
	maxEventValue = 256
	// maxReported bounds the memory of what was reported.
	maxReported = 1024
)

// reportKey is what makes two events the same one. Requests may name any number
// of public hosts that are not fixed: these share one key for a path.
type reportKey struct {
	endpoint, value, reason string
	kind                    EventKind
}

type reporter struct {
	log  func(Event)
	mu   sync.Mutex
	seen map[reportKey]struct{}
}

func (r *reporter) report(pub Public, e Event) {
	if r.log == nil {
		return
	}
	e.Endpoint, e.Value, e.Source = pub.URL(), redact(e.Value), redact(e.Source)
	k := reportKey{endpoint: reportEndpoint(pub), kind: e.Kind, reason: e.Reason}
	if pub.Fixed {
		k.value = e.Value
	}
	r.mu.Lock()
	_, seen := r.seen[k]
	if !seen && len(r.seen) < maxReported {
		if r.seen == nil {
			r.seen = make(map[reportKey]struct{})
		}
		r.seen[k] = struct{}{}
	} else {
		seen = true
	}
	r.mu.Unlock()
	if !seen {
		r.log(e)
	}
}

// recovered forgets the failures of an endpoint, so that the next is reported.
func (r *reporter) recovered(pub Public) {
	endpoint := reportEndpoint(pub)
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.seen {
		if k.endpoint == endpoint && k.kind.transient() {
			delete(r.seen, k)
		}
	}
}

func reportEndpoint(pub Public) string {
	if pub.Fixed {
		return pub.URL()
	}
	return pub.Path
}

// redact removes userinfo, query and fragment of a URL and bounds its length.
func redact(s string) string {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i]
	}
	if start := authorityStart(s); start >= 0 {
		authority := s[start:]
		if i := strings.IndexAny(authority, `/\`); i >= 0 {
			authority = authority[:i]
		}
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			s = s[:start] + s[start+i+1:]
		}
	}
	if len(s) > maxEventValue {
		s = s[:maxEventValue]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// authorityStart returns where some client may see an authority begin: after a
// scheme, with any number of slashes, or after two of them; else -1.
func authorityStart(s string) int {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || strings.ContainsAny(scheme, `/\`) {
		rest = s
	}
	start := len(s) - len(strings.TrimLeft(rest, `/\`))
	if len(rest) == len(s) && start < 2 {
		return -1
	}
	return start
}
