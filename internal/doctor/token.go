package doctor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// useToken has a conversation with a token.
func (w *walk) useToken(ctx context.Context, s *Step) {
	if w.opts.Token == "" {
		s.skip("there is no token; --token and --login give one")
		return
	}
	w.withToken = true
	credentials := http.Header{"Authorization": {"Bearer " + w.opts.Token}}
	r := w.post("initialize", initializeMessage, initializeID)
	add(r.header, credentials)
	a := w.send(ctx, s, r)
	reply, ok := a.reply()
	switch {
	case w.tokenRefused(s, a):
		return
	case a.err != nil:
		w.fail(s, "endpoint.answer", "initialize with the token has no answer: %s", a.Error)
		return
	case a.redirect():
		w.fail(s, "endpoint.redirect", "the message with the token is redirected (%d), which is not followed with a token", a.Status)
		return
	case a.ok() && ok && reply.Error == nil:
		w.pass(s, "token.accepted", "the token is accepted")
		w.revision = reply.revision()
		w.talkInSession(ctx, s, credentials, a.header.Get("Mcp-Session-Id"))
	default:
		w.talkModern(ctx, s, credentials)
	}
}

// claims are those of a token that is a JWT (RFC 9068), unverified.
type claims struct {
	Audience audience `json:"aud"`
	Expires  float64  `json:"exp"`
}

// audience is a string or a list of them.
type audience []string

func (a *audience) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(a))
}

// readClaims reads the claims of a token, where it is a JWT.
func readClaims(token string) (claims, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c claims
	if err != nil || json.Unmarshal(raw, &c) != nil {
		return claims{}, false
	}
	return c, true
}

// tokenRefused tells why a token is refused, if it is.
func (w *walk) tokenRefused(s *Step, a *answer) bool {
	if !w.withToken || a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden {
		return false
	}
	code, description, scope := "", "", ""
	if one, ok := parseChallenge(a.header).first(); ok {
		code, _ = one.Param("error")
		description, _ = one.Param("error_description")
		scope, _ = one.Param("scope")
	}
	said := ""
	if description != "" {
		said = ": " + w.secrets.text(description)
	}
	if a.Status == http.StatusForbidden {
		w.fail(s, "token.scope", "the token is good for too little (403 %s); wanted: %s%s", w.secrets.text(code), orWord(w.secrets.text(scope), "not said"), said)
		return true
	}
	c, isJWT := readClaims(w.opts.Token)
	resource := orWord(w.resource.resource, w.report.URL)
	switch {
	case isJWT && c.Expires > 0 && time.Unix(int64(c.Expires), 0).Before(time.Now()):
		w.fail(s, "token.time", "the token is refused (401); it expired at %s%s", time.Unix(int64(c.Expires), 0).UTC().Format(time.RFC3339), said)
	case isJWT && len(c.Audience) > 0 && !slices.Contains(c.Audience, resource):
		w.fail(s, "token.audience", "the token is refused (401); it is made out to %s, not to %s%s", w.secrets.text(strings.Join(c.Audience, ", ")), w.secrets.link(resource), said)
	case isJWT && len(c.Audience) > 0 && w.loggedIn:
		w.fail(s, "token.audience", "the token is refused (401) right after the login, although it is made out to %s as it should be: the server expects another audience%s", w.secrets.text(strings.Join(c.Audience, ", ")), said)
	case strings.Contains(strings.ToLower(description), "audience"):
		w.fail(s, "token.audience", "the token is refused (401)%s", said)
	default:
		w.fail(s, "token.accepted", "the token is refused (401 %s)%s", w.secrets.text(code), said)
	}
	return true
}
