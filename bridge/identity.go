package bridge

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// identity is who a request is from, as far as it tells. What it is made of is not
// kept.
type identity struct {
	// user is whom something in front has found out: an authentication handler, or a
	// client certificate.
	user [sha256.Size]byte
	// named is who the fields say it is that such handlers set. Where none does, a
	// client can say anything there.
	named [sha256.Size]byte
	// subject is issuer and subject of a token that is a JWT (RFC 7519). Nobody has
	// verified it here.
	subject [sha256.Size]byte
	// credentials are the token, API key or cookies.
	credentials [sha256.Size]byte
}

// none is what is not there.
var none [sha256.Size]byte

// userFields are set by what authenticates in front, and say who a request is from.
var userFields = []string{
	"Remote-User", "Remote-Email", "Remote-Groups", "X-Remote-User", "X-Forwarded-User", "X-Forwarded-Email",
	"X-Forwarded-Preferred-Username", "X-Auth-Request-User", "X-Auth-Request-Email", "X-Webauth-User", "X-User",
	"X-User-Id", "X-Authenticated-User", "X-Authentik-Username", "X-Authentik-Uid", "X-Goog-Authenticated-User-Id",
	"X-Ms-Client-Principal-Id", "Cf-Access-Authenticated-User-Email", "Tailscale-User-Login",
}

// credentialFields carry credentials, the first that is there counts: cookies change
// for many reasons.
var credentialFields = []string{"Authorization", "X-Api-Key", "Api-Key", "X-Auth-Token", "X-Access-Token", "Cookie"}

// identify says who a request is from.
func (h *Hub) identify(r *http.Request) (id identity) {
	if user := h.cfg.User(r); user != "" {
		id.user = digest("user", user)
	} else if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		id.user = digest("certificate", string(r.TLS.PeerCertificates[0].Raw))
	} else {
		for _, name := range userFields {
			if lines := r.Header[name]; len(lines) > 0 {
				id.named = digest(append([]string{base64.StdEncoding.EncodeToString(id.named[:]), name}, lines...)...)
			}
		}
	}
	for _, name := range credentialFields {
		if lines := r.Header[name]; len(lines) > 0 {
			id.credentials = digest(append([]string{name}, lines...)...)
			break
		}
	}
	if lines := r.Header["Authorization"]; len(lines) == 1 {
		if issuer, subject, ok := subjectOf(lines[0]); ok {
			id.subject = digest("subject", issuer, subject)
		}
	}
	return id
}

// digest is a hash of texts, whatever they have in them.
func digest(texts ...string) [sha256.Size]byte {
	encoded, _ := json.Marshal(texts) // strings do not fail
	return sha256.Sum256(encoded)
}

// subjectOf returns issuer and subject of a JWT in an Authorization field.
func subjectOf(authorization string) (issuer, subject string, ok bool) {
	_, token, _ := strings.Cut(authorization, " ")
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return "", "", false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", "", false
	}
	var claims struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Issuer == "" || claims.Subject == "" {
		return "", "", false
	}
	return claims.Issuer, claims.Subject, true
}

// key is what requests of one identity have in common, and no others.
func (id identity) key() string {
	if id.user != none {
		return "u" + string(id.user[:])
	}
	return "c" + string(id.named[:]) + string(id.credentials[:])
}

// owns reports whether a session that id began is other's as well. Tokens are
// refreshed: another one is taken for the same user's where both name one subject,
// or where a server that judges each request itself is asked with it.
func (id identity) owns(other identity, judged bool) bool {
	if id.user != none || other.user != none {
		return id.user == other.user
	}
	if id.named != other.named {
		return false
	}
	if id.named != none || id.credentials == other.credentials {
		return true
	}
	if id.subject != none && other.subject != none {
		return id.subject == other.subject
	}
	return judged
}

// owns reports whether a session may be used by a request: whoever learns the id of
// another's session gets the answer that an unknown one gets.
func (h *Hub) owns(s *session, r *http.Request) bool {
	return strings.EqualFold(s.host, r.Host) && s.owner.owns(h.identify(r), h.cfg.Remote)
}
