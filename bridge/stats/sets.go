package stats

// Action is what the bridge did with the challenges of an answer. The set is closed.
type Action string

// The actions.
const (
	// ActionRewritten: a metadata URL was mapped to that of the endpoint.
	ActionRewritten Action = "rewritten"
	// ActionAdded: the parameter was added to a challenge.
	ActionAdded Action = "added"
	// ActionInserted: a challenge was put before the others, if there are any.
	ActionInserted Action = "inserted"
	// ActionRelayed: the challenges were relayed unchanged.
	ActionRelayed Action = "relayed"
	// ActionUnparsable: the challenges were relayed unchanged, and one of them does not parse.
	ActionUnparsable Action = "unparsable"
	// ActionDropped: the edge owns the tokens, and the challenges were removed.
	ActionDropped Action = "dropped"
	// ActionReplaced: the edge owns the tokens, and the whole 401 became a 502.
	ActionReplaced Action = "replaced"
	// ActionMissing: a 401 has no challenge, and none could be inserted.
	ActionMissing Action = "missing"
)

// Actions has all actions.
var Actions = []Action{
	ActionRewritten, ActionAdded, ActionInserted, ActionRelayed, ActionUnparsable, ActionDropped, ActionReplaced, ActionMissing,
}

// Reason is why no metadata URL of a challenge was rewritten and none was added. It is
// empty if one was. The set is closed.
type Reason string

// The reasons.
const (
	// ReasonPolicy: the operator wants challenges unchanged (relay), or removed (replace).
	ReasonPolicy Reason = "policy"
	// ReasonPublic: the URL is already that of the endpoint.
	ReasonPublic Reason = "already_public"
	// ReasonForeign: the host of the URL is not that of the upstream, not local, and not
	// listed in `origins`. Or it is the public host, whose metadata is not known.
	ReasonForeign Reason = "foreign"
	// ReasonUnparsable: the line that may name the URL does not parse.
	ReasonUnparsable Reason = "unparsable"
	// ReasonUnknown: nothing was added because the upstream's metadata is not known.
	ReasonUnknown Reason = "metadata_unknown"
	// ReasonScheme: there is no Bearer or DPoP challenge that the URL could be added to.
	ReasonScheme Reason = "no_bearer"
	// ReasonStatus: nothing is added to an answer that is neither 401 nor 403.
	ReasonStatus Reason = "status"
	// ReasonHost: the request names no usable host, so that there is no public URL.
	ReasonHost Reason = "no_public_url"
)

// The sets of words by which challenges are counted. In each set, "other" stands for any word that
// is not in it, and "none" for no word.
var (
	// Schemes are auth-schemes of IANA's registry.
	Schemes = []string{"bearer", "dpop", "basic", "digest", "negotiate", "other", "none"}
	// Errors are the error codes of RFC 6750 section 3.1, RFC 9449 sections 7 and 9, and
	// RFC 9470 section 3.
	Errors = []string{
		"invalid_token", "insufficient_scope", "invalid_request", "invalid_dpop_proof", "use_dpop_nonce",
		"insufficient_user_authentication", "other", "none",
	}
)

// DenialKind is how `authorize` has refused a request. The set is closed.
type DenialKind string

// The kinds. Most are the error code of the challenge.
const (
	DenialMissing DenialKind = "missing"            // no credentials: each client begins so
	DenialRequest DenialKind = "invalid_request"    // more than one credential, or one in the wrong place
	DenialToken   DenialKind = "invalid_token"      // a token, a key or a proof that does not count
	DenialProof   DenialKind = "invalid_dpop_proof" // a proof of DPoP that does not count
	DenialNonce   DenialKind = "use_dpop_nonce"     // a proof without the nonce that is asked for
	DenialIssuer  DenialKind = "issuer_unavailable" // the issuer could not be asked
	DenialFault   DenialKind = "issuer_fault"       // the issuer has refused the edge, or its answer cannot be used
	DenialMessage DenialKind = "invalid_message"    // the body, or a header field with it, cannot be decided on
	DenialScope   DenialKind = "insufficient_scope" // more scopes would open the request
	DenialForever DenialKind = "forbidden"          // no scope would
	DenialSession DenialKind = "unknown_session"    // the session, or the message path, is not one of the principal
	DenialTask    DenialKind = "unknown_task"       // the task is one of other principals
)

// DenialKinds has all kinds.
var DenialKinds = []DenialKind{DenialMissing, DenialRequest, DenialToken, DenialProof, DenialNonce, DenialIssuer, DenialFault, DenialMessage, DenialScope, DenialForever, DenialSession, DenialTask}

// Failure is why an upstream gave no answer. The set is closed.
type Failure string

// The failures.
const (
	FailureRefused     Failure = "refused" // nothing listens at the address
	FailureTimeout     Failure = "timeout"
	FailureName        Failure = "name"        // the host has no address
	FailureNoTLS       Failure = "no_tls"      // it does not speak TLS
	FailureCertificate Failure = "certificate" // it is not trusted, or for another name
	FailureBroken      Failure = "broken"      // the connection ended, or TLS or HTTP failed on it
)

// Failures has all failures.
var Failures = []Failure{FailureRefused, FailureTimeout, FailureName, FailureNoTLS, FailureCertificate, FailureBroken}

// Transport is how the clients of a session speak. The set is closed.
type Transport string

// The transports.
const (
	TransportHTTP      Transport = "http"      // Streamable HTTP with sessions
	TransportSSE       Transport = "sse"       // HTTP+SSE
	TransportStateless Transport = "stateless" // requests of 2026-07-28, which share a server
)

// Transports has all transports.
var Transports = []Transport{TransportHTTP, TransportSSE, TransportStateless}

// EndReason is why a session has ended. The set is closed.
type EndReason string

// The reasons.
const (
	EndClient   EndReason = "client"   // by DELETE, or by closing the stream of HTTP+SSE
	EndIdle     EndReason = "idle"     // it was not used for too long
	EndLifetime EndReason = "lifetime" // it has reached its maximum age
	EndServer   EndReason = "server"   // the server has ended
	EndEvicted  EndReason = "evicted"  // another session needed its slot
	EndOperator EndReason = "operator" // through the admin API
	EndClosed   EndReason = "closed"   // the endpoint is gone from the configuration, or Caddy stops
)

// EndReasons has all reasons.
var EndReasons = []EndReason{EndClient, EndIdle, EndLifetime, EndServer, EndEvicted, EndOperator, EndClosed}

// ExitCause is why a program has ended. The set is closed.
type ExitCause string

// The causes. If a session has ended, and its program because of it, the cause is the
// [EndReason] of the session.
const (
	// ExitDone: it ended by itself, with exit status 0.
	ExitDone ExitCause = "exited"
	// ExitCrashed: it ended by itself, with another exit status or because of a signal.
	ExitCrashed ExitCause = "crashed"
	// ExitKilled: something else than Caddy killed it, such as a system without memory.
	ExitKilled ExitCause = "killed"
	// ExitHungUp: it closed its standard input or output, and was ended.
	ExitHungUp ExitCause = "hung_up"
	// ExitNoAnswer: it did not answer its first request in time.
	ExitNoAnswer ExitCause = "no_answer"
	// ExitRejected: it answered its first request with an error, or with nothing of use.
	ExitRejected ExitCause = "rejected"
	// ExitNotMCP: what it writes is not MCP.
	ExitNotMCP ExitCause = "not_mcp"
	// ExitLate: it answered after its client had left.
	ExitLate ExitCause = "late"
)

// ByItself reports whether a program was not asked to end.
func (c ExitCause) ByItself() bool {
	return c == ExitDone || c == ExitCrashed || c == ExitKilled || c == ExitHungUp
}

// IsTrouble reports whether an operator has to do something about the end of a program.
func (c ExitCause) IsTrouble() bool {
	return c.ByItself() || c == ExitNoAnswer || c == ExitRejected || c == ExitNotMCP
}

// What requests, servers and searches for metadata are counted by.
var (
	// Methods are the HTTP methods that an endpoint serves, and one word for all others.
	Methods = []string{"GET", "POST", "DELETE", "OPTIONS", "OTHER"}
	// Classes are the classes of status codes.
	Classes = []string{"1xx", "2xx", "3xx", "4xx", "5xx"}
	// Starts are the results of starting a server.
	Starts = []string{"started", "restarted", "failed", "backoff"}
	// Exits are the ways that a server ends.
	Exits = []string{"by_itself", "with_session"}
	// CacheResults are the results of a look into the cache of metadata.
	CacheResults = []string{"hit", "miss", "stale", "busy"}
	// FetchResults are the results of a search for metadata.
	FetchResults = []string{"found", "absent", "unavailable"}
)
