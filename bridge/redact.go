package bridge

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/challenge"
)

// redacted stands where a secret stood.
const redacted = "[redacted]"

// shownParams are the parameters of challenges whose values are shown: those that say what
// is wanted. Any other one may be a secret, as nonces are (RFC 6750 section 3, RFC 7616
// section 3.3, RFC 9449 section 7.1, RFC 9470 section 3, RFC 9728 section 5.1).
var shownParams = map[string]bool{
	"realm": true, "scope": true, "error": true, "error_description": true, "error_uri": true,
	"resource_metadata": true, "resource": true, "authorization_uri": true, "as_uri": true,
	"algs": true, "algorithm": true, "charset": true, "qop": true, "stale": true, "title": true, "max_age": true, "acr_values": true,
}

const (
	// maxShown bounds a line that is kept, in bytes.
	maxShown = 1 << 10
	// leastToken is the length from which a word that looks like one is taken for a
	// token, and leastSecret the one from which a client's own secret is looked for.
	leastToken, leastSecret = 20, 6
	// maxSecrets bounds the secrets of a request that are looked for.
	maxSecrets = 256
)

// Redact returns a WWW-Authenticate line as an operator may see it, at most about 1 KiB
// of it: without token68, without the values of parameters that may be secret, without
// userinfo, query and fragment of URLs and without words that look like tokens.
func Redact(line string) string {
	line = cut(line, maxShown)
	l := challenge.Parse(line)
	if l.Err() != nil {
		return maskText(line)
	}
	return l.Replace(func(p challenge.Param) (string, bool) {
		if !shownParams[strings.ToLower(p.Name)] {
			return redacted, p.Value != ""
		}
		masked := maskText(p.Value)
		return masked, masked != p.Value
	}, func(string) string { return "redacted" }) // which is a token68
}

// cut shortens a text to a number of bytes.
func cut(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// separators end a word of a text that may have a secret in it.
const separators = " \t\r\n,;\"'()<>[]{}="

// maskText masks the secrets in a text that anyone may have written.
func maskText(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		end := strings.IndexAny(s, separators)
		if at := strings.Index(s, "://"); at >= 0 && (end < 0 || at < end) {
			// A URL ends later: its query has separators.
			end = strings.IndexAny(s, " \t\r\n\"<>")
		}
		switch {
		case end < 0:
			end = len(s)
		case end == 0:
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		b.WriteString(maskWord(s[:end]))
		s = s[end:]
	}
	return b.String()
}

func maskWord(w string) string {
	if strings.Contains(w, "://") {
		return maskURL(w)
	}
	if strings.HasPrefix(w, "eyJ") || len(w) >= leastToken && strings.ContainsAny(w, "0123456789") && strings.ContainsAny(strings.ToLower(w), "abcdefghijklmnopqrstuvwxyz") {
		return redacted
	}
	return w
}

// maskURL takes userinfo, query and fragment from a URL, and what looks like a token
// from its path.
func maskURL(s string) string {
	s, _, _ = strings.Cut(s, "?")
	s, _, _ = strings.Cut(s, "#")
	scheme, rest, _ := strings.Cut(s, "://")
	authority, path, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	s = scheme + "://" + authority
	if len(rest) == len(authority) && path == "" {
		return s
	}
	for segment := range strings.SplitSeq(path, "/") {
		s += "/"
		if strings.HasPrefix(segment, "eyJ") || len(segment) >= 2*leastToken && strings.ContainsAny(segment, "0123456789") {
			segment = redacted
		}
		s += segment
	}
	return s
}

// secretFields carry what belongs to the client alone.
var secretFields = []string{
	"Authorization", "Proxy-Authorization", "Dpop", "Cookie", sessionHeader, "X-Api-Key", "Api-Key", "X-Auth-Token", "X-Access-Token",
}

// secretsOf returns the secrets that a request carries, the longest first: servers quote
// them in what they answer. Where there are more than maxSecrets, some are left out.
func secretsOf(r *http.Request) (secrets []string) {
	if r == nil {
		return nil
	}
	add := func(s string) {
		if s = strings.TrimSpace(s); len(s) >= leastSecret && len(secrets) <= maxSecrets {
			secrets = append(secrets, s)
		}
	}
	for _, name := range secretFields {
		for _, value := range r.Header[name] {
			add(value)
			switch name {
			case "Authorization", "Proxy-Authorization":
				_, token, _ := strings.Cut(value, " ")
				add(token)
			case "Cookie":
				for pair := range strings.SplitSeq(value, ";") {
					_, cookie, _ := strings.Cut(pair, "=")
					add(strings.Trim(cookie, `"`))
				}
			}
		}
	}
	if r.URL != nil && r.URL.RawQuery != "" {
		add(r.URL.RawQuery)
		for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
			_, raw, _ := strings.Cut(pair, "=")
			add(raw)
			if value, err := url.QueryUnescape(raw); err == nil {
				add(value)
			}
		}
	}
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return secrets
}

// without returns lines as an operator may see them, without what a client has sent in
// confidence; of a client that sends more than maxSecrets, none of their text.
func without(lines, secrets []string) []string {
	if len(lines) > maxLines {
		lines = lines[:maxLines]
	}
	kept := make([]string, 0, len(lines))
	if len(secrets) > maxSecrets {
		for range lines {
			kept = append(kept, redacted)
		}
		return kept
	}
	pairs := make([]string, 0, 2*len(secrets))
	for _, secret := range secrets {
		pairs = append(pairs, secret, redacted)
	}
	replacer := strings.NewReplacer(pairs...) // what it has put there is not looked at again
	for _, line := range lines {
		kept = append(kept, strings.Clone(Redact(replacer.Replace(line))))
	}
	return kept
}

// Shown returns the lines that the upstream has sent in answer to a client's request r
// and those that the client has got, as an operator may see them.
func (o *Outcome) Shown(r *http.Request) (sent, given []string) {
	secrets := secretsOf(r)
	return without(o.Sent, secrets), without(o.Lines, secrets)
}
