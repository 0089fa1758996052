package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// Owner is who a request is from: everything that may tell one user from another. All of it
// counts, because the bridge cannot know which part a server uses. It has hashes only.
type Owner struct {
	host  sum // of the request
	known sum // the user and the client certificate that Caddy knows
	guard sum // the fields that guards in front set
	// authorization is the field of that name, cookies are those that count, and rest is
	// every other field that counts, and the query.
	authorization, cookies, rest sum
	// subject is issuer and subject of a token that is a JWT (RFC 7519). The token was not
	// verified here.
	subject sum
	user    bool // Caddy knows a user
}

// sum is a hash. It is zero if there is nothing to hash.
type sum [sha256.Size]byte

// OwnerOf returns the owner of a request. user is the user that an authentication handler of
// Caddy has found, or "".
func OwnerOf(r *http.Request, user string) Owner {
	t := make(texts, 0, 512)
	o := Owner{host: t.add(strings.ToLower(r.Host)).sum(), user: user != ""}
	if t = t[:0]; r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		t = t.add("certificate").add(string(r.TLS.PeerCertificates[0].Raw))
	}
	if user != "" {
		t = t.add("user").add(user)
	}
	o.known = t.sum()
	t = t[:0]
	for _, name := range guardFields {
		t = t.field(r.Header, name)
	}
	o.guard = t.sum()
	authorization := r.Header["Authorization"]
	o.authorization = t[:0].add(authorization...).sum()
	o.cookies = t[:0].add(cookies(r.Header["Cookie"])...).sum()
	t = t[:0]
	var few [16]string
	names := few[:0]
	for name := range r.Header {
		if name != "Authorization" && name != "Cookie" && Counts(name) && !guards[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		t = t.field(r.Header, name)
	}
	if r.URL.RawQuery != "" {
		t = t.add("?", r.URL.RawQuery)
	}
	o.rest = t.sum()
	if len(authorization) == 1 {
		if issuer, subject, ok := subjectOf(authorization[0]); ok {
			o.subject = t[:0].add(issuer, subject).sum()
		}
	}
	return o
}

// texts is a sequence of texts, each written with its length, so that different sequences
// never look the same.
type texts []byte

func (t texts) add(all ...string) texts {
	for _, text := range all {
		t = binary.AppendUvarint(t, uint64(len(text)))
		t = append(t, text...)
	}
	return t
}

// field adds a field, with the number of its lines.
func (t texts) field(h http.Header, name string) texts {
	lines := h[name]
	if len(lines) == 0 {
		return t
	}
	return texts(binary.AppendUvarint(t.add(name), uint64(len(lines)))).add(lines...)
}

// sum hashes the texts. Without one it is zero.
func (t texts) sum() sum {
	if len(t) == 0 {
		return sum{}
	}
	return sha256.Sum256(t)
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

// Key returns a text that is the same exactly for requests of one owner. What is shared by
// this key needs no other secret, so everything counts.
func (o Owner) Key() string {
	all := make([]byte, 0, 6*sha256.Size)
	for _, part := range []*sum{&o.host, &o.known, &o.guard, &o.authorization, &o.cookies, &o.rest} {
		all = append(all, part[:]...)
	}
	key := sha256.Sum256(all)
	return string(key[:])
}

// IsAnonymous reports whether the request has nothing that tells its user from others.
func (o Owner) IsAnonymous() bool {
	o.host = sum{}
	return o == Owner{}
}

// Owns reports whether a request of other may use a session that o began. The request has
// named the session already, by an id that cannot be guessed. Host, the user that Caddy
// knows, and the fields of guards must be the same. Besides:
//
//   - judged: the server gets the fields of each request, and checks them itself. Then a
//     token may be refreshed, unless both tokens name a subject and these differ.
//   - otherwise nothing of a request reaches the server. All fields and the query must be the
//     same. Authorization and cookies may change if Caddy or a guard in front names the user,
//     and cookies may change if Authorization stays the same.
func (o Owner) Owns(other Owner, judged bool) bool {
	if o.host != other.host || o.known != other.known || o.guard != other.guard {
		return false
	}
	if o.subject != (sum{}) && other.subject != (sum{}) && o.subject != other.subject {
		return false
	}
	if judged {
		return true
	}
	named := o.user || o.guard != (sum{})
	sameToken := o.authorization == other.authorization
	sameCookies := o.cookies == other.cookies || sameToken && o.authorization != (sum{})
	return o.rest == other.rest && (named || sameToken && sameCookies)
}
