package stats

import (
	"slices"
	"strings"
	"time"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/safetext"
)

const (
	maxDenials = 32 // kinds of denials
	maxIssuers = 32

	// maxDenialText bounds a text of a client, a token or an issuer in a denial, in bytes.
	maxDenialText = 256
)

// Denial is a request that `authorize` has refused. Nothing in it is secret.
type Denial struct {
	Kind   DenialKind
	Status int
	Reason string // the check that failed
	Rule   string // the rule that decided, as it is written; empty if the credentials did
	// Method and Name are those of the operation that was refused.
	Method, Name string
	Needed, Held string // scopes
	// User and Client are those of the credentials, if they were accepted.
	User, Client string
}

// SeenDenial are denials that are alike. Cause is why the issuer of the last one could not be
// asked, if it could not.
type SeenDenial struct {
	Seen
	Denial
	Cause string
}

// IssuerUse is what an issuer is asked for. The set is closed.
type IssuerUse string

// What issuers are asked for.
const (
	IssuerKeys     IssuerUse = "keys"
	IssuerTokens   IssuerUse = "introspection"
	IssuerExchange IssuerUse = "exchange"
)

// IssuerState describes an issuer that cannot be asked.
type IssuerState struct {
	Issuer string
	Use    IssuerUse
	// Failing is since when, and Last when it was last tried.
	Failing, Last time.Time
	Error         string
}

// Denied remembers a denial, or counts it if it is remembered already.
func (m *Memory) Denied(d Denial, cause string) {
	for _, text := range []*string{&d.Rule, &d.Method, &d.Name, &d.Needed, &d.Held, &d.User, &d.Client} {
		*text = denialText(*text)
	}
	cause = issuerText(cause)
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := count(&m.denials, maxDenials, func(s *SeenDenial) bool { return s.Denial == d }, func() *SeenDenial { return &SeenDenial{Denial: d} })
	seen.Cause = cause
}

// denialText is a text of a client, or of its token, in a form that can be shown.
func denialText(s string) string {
	return strings.Clone(safetext.Cut(strings.ToValidUTF8(s, "\uFFFD"), maxDenialText))
}

// issuerText is an error that may have a text of an issuer in it, in a form that can be shown.
func issuerText(s string) string { return denialText(safetext.Masked(s)) }

// Denials returns the last denials, the newest first.
func (m *Memory) Denials() []SeenDenial {
	all := snapshot(&m.mu, &m.denials)
	slices.SortStableFunc(all, func(a, b SeenDenial) int { return b.Last.Compare(a.Last) })
	return all
}

// Accepted remembers that the credentials of a request were accepted.
func (m *Memory) Accepted() { m.accepted.Store(time.Now().UnixNano()) }

// LastAccepted returns when credentials were last accepted; zero if they never were.
func (m *Memory) LastAccepted() time.Time {
	if at := m.accepted.Load(); at > 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// IssuerFailed remembers that an issuer cannot be asked. The name is the operator's.
func (m *Memory) IssuerFailed(issuer string, use IssuerUse, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.issuer(issuer, use)
	if i < 0 {
		if len(m.issuers) >= maxIssuers {
			return
		}
		m.issuers = append(m.issuers, &IssuerState{Issuer: issuer, Use: use, Failing: time.Now()})
		i = len(m.issuers) - 1
	}
	m.issuers[i].Last, m.issuers[i].Error = time.Now(), issuerText(why)
}

// IssuerBack remembers that an issuer can be asked again.
func (m *Memory) IssuerBack(issuer string, use IssuerUse) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.issuer(issuer, use); i >= 0 {
		m.issuers = slices.Delete(m.issuers, i, i+1)
	}
}

// issuer returns the index of an issuer that cannot be asked, or -1. The caller holds the lock.
func (m *Memory) issuer(issuer string, use IssuerUse) int {
	return slices.IndexFunc(m.issuers, func(s *IssuerState) bool { return s.Issuer == issuer && s.Use == use })
}

// Issuers returns the issuers that cannot be asked.
func (m *Memory) Issuers() []IssuerState { return snapshot(&m.mu, &m.issuers) }
