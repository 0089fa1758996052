package metadata

import (
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/oncelog"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
)

// EventKind says what an operator should know. The set is closed.
type EventKind string

// The kinds of [Event].
const (
	// SignedMetadataDropped: signed_metadata was removed, because it would contradict the
	// mapped document.
	SignedMetadataDropped EventKind = "signed_metadata_dropped"
	// PrivateAuthorizationServer: the document names an authorization server on a local
	// host, which clients elsewhere cannot reach.
	PrivateAuthorizationServer EventKind = "private_authorization_server"
	// OwnAuthorizationServer: the MCP server is its own authorization server, which is not
	// bridged.
	OwnAuthorizationServer EventKind = "own_authorization_server"
	// ForeignResource: the resource of the document is not the upstream. It was not mapped,
	// and clients will refuse the document.
	ForeignResource EventKind = "foreign_resource"
	// ForeignMetadataURL: the upstream's challenge names a metadata URL elsewhere, which was
	// not fetched.
	ForeignMetadataURL EventKind = "foreign_metadata_url"
	// DocumentInvalid: the upstream serves an invalid document.
	DocumentInvalid EventKind = "document_invalid"
	// NotJSON: a 200 is not JSON and has another media type, as with a site that serves one
	// page at every path.
	NotJSON EventKind = "not_json"
	// PassedOver: the document at one place is invalid, and another place has a valid one.
	PassedOver EventKind = "passed_over"
	// ServerNotRelayed: the upstream has metadata of an authorization server and none of a
	// resource, and the former must not be relayed.
	ServerNotRelayed EventKind = "server_not_relayed"
	// RedirectRefused: a redirect led away from the upstream, or there were too many.
	RedirectRefused EventKind = "redirect_refused"
	// Unavailable: the upstream did not answer, or with an error, or asked to wait.
	Unavailable EventKind = "unavailable"
	// ForeignIssuer: the upstream serves the metadata of an authorization server elsewhere.
	// It is relayed as it is.
	ForeignIssuer EventKind = "foreign_issuer"
	// ServerFeatureDropped: members of the bridged authorization server's metadata were
	// removed, because the bridge cannot carry what they offer. Value lists them.
	ServerFeatureDropped EventKind = "server_feature_dropped"
	// PrivateURLDropped: members of a document were removed, because they had private URLs
	// of the upstream whose paths are not served at the public origin. Value lists them.
	PrivateURLDropped EventKind = "private_url_dropped"
	// Busy: more than [Config.MaxFlights] discoveries were asked for at one time.
	Busy EventKind = "busy"
)

// transient reports whether an event of this kind is reported again after a success.
func (k EventKind) transient() bool {
	switch k {
	case DocumentInvalid, RedirectRefused, Unavailable:
		return true
	case SignedMetadataDropped, PrivateAuthorizationServer, OwnAuthorizationServer, ForeignResource, ForeignMetadataURL, NotJSON, PassedOver, ServerNotRelayed, Busy, ForeignIssuer, ServerFeatureDropped, PrivateURLDropped:
	}
	return false
}

// Event is something that an operator should know. Its texts have no query and no userinfo.
type Event struct {
	Kind EventKind
	// Endpoint is the public URL.
	Endpoint string
	// Source is the path that was fetched from the upstream; empty if there was none.
	Source string
	// Value is the offending text, cut to 256 bytes.
	Value string
	// Reason is a short phrase from a closed set.
	Reason string
	// Option is the option that fixes it; empty if there is none.
	Option string
}

const (
	maxEventValue = 256
)

// reportKey is what makes two events the same. All public hosts that are not fixed share one
// key for a path, because requests can name any number of them.
type reportKey struct {
	endpoint, value, reason string
	kind                    EventKind
}

type reporter struct {
	log  func(Event)
	seen oncelog.Set[reportKey]
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
	if _, due := r.seen.Due(k); due {
		r.log(e)
	}
}

// recovered forgets the failures of an endpoint, so that the next failure is reported again.
func (r *reporter) recovered(pub Public) {
	endpoint := reportEndpoint(pub)
	r.seen.Forget(func(k reportKey) bool { return k.endpoint == endpoint && k.kind.transient() })
}

func reportEndpoint(pub Public) string {
	if pub.Fixed {
		return pub.URL()
	}
	return pub.Path
}

// redact removes userinfo, query and fragment from a URL and bounds its length.
func redact(s string) string {
	s = safetext.URL(s)
	if len(s) > maxEventValue {
		s = s[:maxEventValue]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
