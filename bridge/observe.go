package bridge

import (
	"net/http"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/challenge"
)

// Observer is told what happens at an endpoint, at the moment when it does and on
// the goroutine of the request: it must not wait. Several requests tell it at one
// time. What it is given may carry secrets of the upstream's; [Redact] takes them
// away.
type Observer interface {
	// Challenged is told of each answer that has a challenge, or is a 401, once it
	// is edited. The lines in o are good until it returns; x.Outcome is o from now on.
	Challenged(x *Exchange, o *Outcome)
	// UpstreamFailed is told when an upstream that was well gives no answer.
	UpstreamFailed(address string, why Failure)
	// UpstreamBack is told when it does again, after so long.
	UpstreamBack(address string, down time.Duration)
	// StreamOpened is told when the answer to a client begins to be a stream of
	// events, and StreamClosed when it has ended, after so long.
	StreamOpened(x *Exchange)
	StreamClosed(x *Exchange, age time.Duration)
}

// Action is what became of the challenges of an answer. The set is closed.
type Action string

// The actions.
const (
	// ActionRewritten: a metadata URL was mapped to the endpoint's.
	ActionRewritten Action = "rewritten"
	// ActionAdded: a challenge gained the parameter.
	ActionAdded Action = "added"
	// ActionInserted: a challenge was put before those that there are, if any.
	ActionInserted Action = "inserted"
	// ActionRelayed: the challenges crossed as they came.
	ActionRelayed Action = "relayed"
	// ActionUnparsable: they crossed as they came, and one of them does not parse.
	ActionUnparsable Action = "unparsable"
	// ActionDropped: the edge owns the tokens, and the challenges were taken away.
	ActionDropped Action = "dropped"
	// ActionReplaced: the edge owns the tokens, and the whole 401 became a 502.
	ActionReplaced Action = "replaced"
	// ActionMissing: a 401 has no challenge, and none could be inserted.
	ActionMissing Action = "missing"
)

// Actions lists them.
var Actions = []Action{
	ActionRewritten, ActionAdded, ActionInserted, ActionRelayed, ActionUnparsable, ActionDropped, ActionReplaced, ActionMissing,
}

// Reason is why no metadata URL of a challenge was rewritten and none added. The
// set is closed; it is empty where that was done.
type Reason string

// The reasons.
const (
	// ReasonPolicy: the operator wants challenges as they are (relay), or none
	// (replace).
	ReasonPolicy Reason = "policy"
	// ReasonPublic: the URL is the endpoint's already.
	ReasonPublic Reason = "already_public"
	// ReasonForeign: the URL is on a host that is neither the upstream's nor local
	// nor listed in `origins`; or on the public host where nothing is known of its
	// metadata.
	ReasonForeign Reason = "foreign"
	// ReasonUnparsable: the line that may name the URL does not parse.
	ReasonUnparsable Reason = "unparsable"
	// ReasonUnknown: the upstream's metadata is not known, so that nothing is added.
	ReasonUnknown Reason = "metadata_unknown"
	// ReasonScheme: there is no Bearer or DPoP challenge that could gain the URL.
	ReasonScheme Reason = "no_bearer"
	// ReasonStatus: nothing is added to an answer that is neither 401 nor 403.
	ReasonStatus Reason = "status"
	// ReasonHost: the request names no usable host, so that there is no public URL.
	ReasonHost Reason = "no_public_url"
)

// Outcome is what became of the challenges of one answer.
type Outcome struct {
	Action Action
	Reason Reason
	// Status is the upstream's, and Given the client's.
	Status, Given int
	// Sent are the WWW-Authenticate lines as the upstream sent them, and Lines as the
	// client gets them.
	Sent, Lines []string
	// At is the public URL, where it was asked for.
	At string

	scheme, code string // what Kind has found
}

// Closed sets of what challenges name; all else is "other", and what is not there
// "none".
var (
	// Schemes are the auth-schemes that are told apart (IANA's registry).
	Schemes = []string{"bearer", "dpop", "basic", "digest", "negotiate", "other", "none"}
	// Errors are the error codes of RFC 6750 section 3.1, RFC 9449 sections 7 and 9,
	// and RFC 9470 section 3.
	Errors = []string{
		"invalid_token", "insufficient_scope", "invalid_request", "invalid_dpop_proof", "use_dpop_nonce",
		"insufficient_user_authentication", "other", "none",
	}
)

// Kind returns scheme and error of the challenge that the answer is about, each of
// its closed set: of the lines that the upstream sent, the first with an error, else
// the first of Bearer or DPoP, else the first.
func (o *Outcome) Kind() (scheme, code string) {
	if o.scheme == "" {
		o.scheme, o.code = kindOf(o.Sent)
	}
	return o.scheme, o.code
}

func kindOf(lines []string) (scheme, code string) {
	scheme, code = "none", "none"
	for _, line := range lines {
		for _, c := range challenge.Parse(line).Challenges() {
			name := strings.ToLower(c.Scheme)
			if text, ok := c.Param("error"); ok {
				return among(Schemes, name), among(Errors, text)
			}
			if scheme == "none" || scheme != "bearer" && scheme != "dpop" && (name == "bearer" || name == "dpop") {
				scheme = among(Schemes, name)
			}
		}
	}
	return scheme, code
}

// among returns s, or "other" where the set has it not.
func among(set []string, s string) string {
	for _, known := range set {
		if s == known && s != "none" {
			return known
		}
	}
	return "other"
}

// EndReason is why a session has ended. The set is closed.
type EndReason string

// The reasons.
const (
	EndClient   EndReason = "client"   // by DELETE, or by closing the stream that it lives on
	EndIdle     EndReason = "idle"     // nobody has used it for a while
	EndLifetime EndReason = "lifetime" // it was as old as it may get
	EndServer   EndReason = "server"   // the server has ended
	EndEvicted  EndReason = "evicted"  // another one needed the room
	EndOperator EndReason = "operator" // through the admin API
	EndClosed   EndReason = "closed"   // the configuration has dropped the endpoint, or Caddy ends
)

// EndReasons lists them.
var EndReasons = []EndReason{EndClient, EndIdle, EndLifetime, EndServer, EndEvicted, EndOperator, EndClosed}

// HubObserver is told what happens to the sessions and servers of a hub, as
// [Observer] is of the endpoint. No lock of the hub is held.
type HubObserver interface {
	// SessionBegun is told when a session has been initialized, or a conversation
	// that stateless requests share has begun.
	SessionBegun(s SessionInfo)
	// SessionEnded is told when one that has begun is over.
	SessionEnded(s SessionInfo, why EndReason)
	// ServerStarted is told of each server that was started or connected to; again,
	// where it stands in for one that has ended by itself.
	ServerStarted(again bool)
	// ServerFailed is told when one could not be; err is a [*Refusal] where it answers,
	// with a challenge perhaps.
	ServerFailed(err error)
	// ServerEnded is told when one has ended: by itself, or because its session has.
	ServerEnded(byItself bool)
	// BackingOff is told when none is started for so long, because too many have
	// ended soon after their start.
	BackingOff(wait time.Duration)
}

// Transport is how the clients of a session speak. The set is closed.
type Transport string

// The transports.
const (
	TransportHTTP      Transport = "http"      // Streamable HTTP with sessions
	TransportSSE       Transport = "sse"       // HTTP+SSE
	TransportStateless Transport = "stateless" // requests of 2026-07-28, which share it
)

// Transports lists them.
var Transports = []Transport{TransportHTTP, TransportSSE, TransportStateless}

// SessionInfo is what is told of a session.
type SessionInfo struct {
	// ID is the [HashID] of its id.
	ID        string
	Transport Transport
	// User is the [HashID] of whoever began it, empty for nobody in particular: two
	// sessions of one identity have the same.
	User    string
	Begun   time.Time
	Used    time.Time // when its last request ended
	Active  int       // requests under way
	Version string    // the protocol version that was negotiated; empty: none

	begun bool
}

// unobserved is the observer of a hub that nobody observes.
type unobserved struct{}

func (unobserved) SessionBegun(SessionInfo)            {}
func (unobserved) SessionEnded(SessionInfo, EndReason) {}
func (unobserved) ServerStarted(bool)                  {}
func (unobserved) ServerFailed(error)                  {}
func (unobserved) ServerEnded(bool)                    {}
func (unobserved) BackingOff(time.Duration)            {}

// challenged tells of an edited answer.
func (e *Endpoint) challenged(x *Exchange, o *Outcome, h http.Header) {
	o.Lines = h["Www-Authenticate"]
	x.Outcome = o
	if e.cfg.Observer != nil {
		e.cfg.Observer.Challenged(x, o)
	}
}
