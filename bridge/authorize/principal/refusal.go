package principal

import "time"

// Refusal says why the credentials of a request give no principal. It has nothing of the
// credentials.
type Refusal struct {
	Code   Code
	Reason Reason
	// RetryAfter is when to try again, with the code [Unavailable].
	RetryAfter time.Duration
	// Cause is for logs. It may be nil.
	Cause error
}

// Error returns the reason as a sentence, and the cause.
func (r *Refusal) Error() string {
	if r.Cause != nil {
		return r.Reason.Text() + ": " + r.Cause.Error()
	}
	return r.Reason.Text()
}

func (r *Refusal) Unwrap() error { return r.Cause }

// Code says how a refusal is answered. The set is closed.
type Code string

// The codes of refusals. Those with an underscore are values of `error` in a challenge.
const (
	// Missing: the request has no credentials. 401, without an error (RFC 6750 section 3).
	Missing Code = "missing"
	// InvalidRequest: more than one credential, or one in the wrong place. 400.
	InvalidRequest Code = "invalid_request"
	// InvalidToken: 401 (RFC 6750 section 3.1).
	InvalidToken Code = "invalid_token"
	// InvalidProof: 401 (RFC 9449 section 7.1).
	InvalidProof Code = "invalid_dpop_proof"
	// UseNonce: 401 with a DPoP-Nonce header (RFC 9449 section 9).
	UseNonce Code = "use_dpop_nonce"
	// Unavailable: the issuer could not be asked. 503 with Retry-After, and no challenge: a
	// login would not help.
	Unavailable Code = "unavailable"
	// IssuerFault: the issuer refuses the edge itself, or gives it no token for the MCP server, or
	// its answer cannot be used. 502, and no challenge: a login would not help.
	IssuerFault Code = "issuer_fault"
)

// Reason is the check that failed. The set is closed: it is a label of metrics.
type Reason string

// The reasons of refusals.
const (
	NoCredentials     Reason = "no_credentials"
	TwoCredentials    Reason = "two_credentials"
	TokenInQuery      Reason = "token_in_query"
	MalformedHeader   Reason = "malformed_header"
	MalformedToken    Reason = "malformed_token"
	TokenTooLong      Reason = "token_too_long"
	WrongType         Reason = "token_type"
	WrongAlgorithm    Reason = "algorithm"
	CriticalHeader    Reason = "critical_header"
	UnknownIssuer     Reason = "issuer"
	UnknownKey        Reason = "unknown_key"
	WrongSignature    Reason = "signature"
	WrongAudience     Reason = "audience"
	NoAudience        Reason = "no_audience"
	NoExpiry          Reason = "no_expiry"
	Expired           Reason = "expired"
	NotYetValid       Reason = "not_yet_valid"
	IssuedInFuture    Reason = "issued_in_future"
	IDToken           Reason = "id_token"
	NoSubject         Reason = "no_subject"
	Inactive          Reason = "inactive"
	Unbound           Reason = "proof_missing"
	UnknownBinding    Reason = "unknown_binding"
	NotBound          Reason = "token_not_bound"
	WrongScheme       Reason = "scheme"
	WrongCertificate  Reason = "certificate"
	WrongKey          Reason = "key"
	ProofMalformed    Reason = "proof_malformed"
	ProofKey          Reason = "proof_key"
	ProofURL          Reason = "proof_url"
	ProofMethod       Reason = "proof_method"
	ProofTime         Reason = "proof_time"
	ProofToken        Reason = "proof_token"
	ProofReplayed     Reason = "proof_replayed"
	ProofNonce        Reason = "proof_nonce"
	IssuerUnreachable Reason = "issuer_unreachable"
	TooBusy           Reason = "too_busy"
	NotExchanged      Reason = "not_exchanged"
	ExchangeDenied    Reason = "exchange_denied"
	ExchangeFailed    Reason = "exchange_failed"
)

var texts = map[Reason]string{
	NoCredentials:     "the request has no credentials",
	TwoCredentials:    "the request has more than one credential",
	TokenInQuery:      "a token must not be in the URL",
	MalformedHeader:   "the Authorization header is malformed",
	MalformedToken:    "the token is malformed",
	TokenTooLong:      "the token is too long",
	WrongType:         "this type of token is not an access token",
	WrongAlgorithm:    "the signature algorithm of the token is not allowed",
	CriticalHeader:    "the token has a critical header that is not known here",
	UnknownIssuer:     "the token is from another issuer",
	UnknownKey:        "the issuer has no key with this id",
	WrongSignature:    "the signature of the token is wrong",
	WrongAudience:     "the token was issued for another audience",
	NoAudience:        "the authorization server does not say what the token was issued for",
	NoExpiry:          "the token has no expiry time",
	Expired:           "the token has expired",
	NotYetValid:       "the token is not valid yet",
	IssuedInFuture:    "the token was issued in the future",
	IDToken:           "this is an ID token, not an access token",
	NoSubject:         "the token names no subject",
	Inactive:          "the token is not active",
	Unbound:           "the token is bound to a key, and the request has no proof of it",
	UnknownBinding:    "the token is bound in a way that is not supported",
	NotBound:          "the token is not bound to the key of the proof",
	WrongScheme:       "the token needs another authentication scheme",
	WrongCertificate:  "the token is bound to another client certificate",
	WrongKey:          "the key is wrong",
	ProofMalformed:    "the DPoP proof is malformed",
	ProofKey:          "the DPoP proof is signed with another key, or wrongly",
	ProofURL:          "the DPoP proof is for another URL",
	ProofMethod:       "the DPoP proof is for another method",
	ProofTime:         "the DPoP proof is too old, or from the future",
	ProofToken:        "the DPoP proof is for another token",
	ProofReplayed:     "the DPoP proof was used before",
	ProofNonce:        "the DPoP proof needs a fresh nonce",
	IssuerUnreachable: "the authorization server could not be asked",
	TooBusy:           "too many tokens are being checked",
	NotExchanged:      "the authorization server does not exchange this token",
	ExchangeDenied:    "the authorization server gives this user no token for the MCP server",
	ExchangeFailed:    "the token could not be exchanged for one for the MCP server",
}

// Text returns the reason as a sentence without a full stop, for `error_description`.
func (r Reason) Text() string { return texts[r] }

// Invalid returns a refusal of a token.
func Invalid(reason Reason) *Refusal { return &Refusal{Code: InvalidToken, Reason: reason} }
