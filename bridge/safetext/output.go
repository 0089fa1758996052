package safetext

import (
	"regexp"
	"strings"
)

// MaxOutput bounds a line of a program that is shown, in bytes.
const MaxOutput = 512

var (
	// named matches a value behind a name that says that it is a secret.
	named = regexp.MustCompile(`(?i)((?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|authorization|cookie)[a-z0-9_-]*["']?\s*[:=]\s*["']?)((?:bearer|basic)\s+)?([^\s"']+)`)
	// bearer matches credentials behind their scheme.
	bearer = regexp.MustCompile(`(?i)\b(bearer|basic|dpop)\s+([A-Za-z0-9._~+/=-]{6,})`)
	// moment matches a time, which programs write at the begin of a line.
	moment = regexp.MustCompile(`^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)?$`)
	// pathlike matches the begin of a path, of a package, or of a place in a source file.
	pathlike = regexp.MustCompile(`^(?:\.{0,2}/|~/|@[a-z]|[A-Za-z]:\\|(?:node|file|npm):)`)
)

// Output returns a line that a program has written in a form that can be shown, of at most
// about [MaxOutput] bytes, without the secrets, which the program was given, and without what
// looks like a secret. Paths and times stay.
func (s *Secrets) Output(line string) string {
	line = s.Hide(strings.ToValidUTF8(line, "\uFFFD"), MaxOutput, redacted)
	line = named.ReplaceAllString(line, "${1}${2}"+redacted)
	line = bearer.ReplaceAllString(line, "${1} "+redacted)
	return maskWords(line, maskOutputWord)
}

func maskOutputWord(w string) string {
	switch bare := strings.TrimRight(w, ".:"); {
	case moment.MatchString(bare):
		return w
	case strings.Contains(w, "eyJ"):
		return redacted
	case pathlike.MatchString(bare) && !strings.Contains(w, "://"):
		return strings.ReplaceAll(maskPath(strings.ReplaceAll(w, `\`, "/\x00")), "/\x00", `\`)
	}
	return maskWord(w)
}
