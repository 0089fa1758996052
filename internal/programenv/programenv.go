// Package programenv parses the entries of `env`, the environment that an operator gives to
// a program. It knows which placeholders there are, and not what they stand for.
package programenv

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Variable is one entry of `env`.
type Variable struct {
	Name  string
	Parts []Part // of its value
	// Own is true for an entry that is a name alone. Its value is the one in Caddy's own
	// environment.
	Own bool
}

// Part is text, or a placeholder in place of text.
type Part struct {
	Text        string
	Placeholder string // without braces: env.NAME or file.PATH; empty: text
}

// Parse reads an entry of `env`: NAME=value, or NAME. An error has no part of
// the value but a placeholder, since the value may be a secret.
func Parse(s string) (Variable, error) {
	name, value, hasValue := strings.Cut(s, "=")
	switch {
	case name == "":
		return Variable{}, errors.New("an entry has no name before its `=`; write NAME=value")
	case strings.ContainsRune(s, 0):
		return Variable{}, fmt.Errorf("%q has a NUL byte, which no environment can have", name)
	case strings.ContainsAny(name, "{}"):
		return Variable{}, errors.New("an entry has a placeholder in its name; placeholders stand in values, as in NAME={env.NAME}")
	case !allowedName.MatchString(name):
		if !hasValue { // it may be a value
			name = "an entry"
		}
		return Variable{}, fmt.Errorf("%s cannot be the name of a variable; write NAME=value, with a name of letters, digits and underscores that does not begin with a digit", name)
	case !hasValue:
		return Variable{Name: name, Own: true}, nil
	}
	parts, err := parseValue(value)
	if err != nil {
		return Variable{}, fmt.Errorf("%s: %w", name, err)
	}
	return Variable{Name: name, Parts: parts}, nil
}

// namePattern is the name of a variable (POSIX, "Environment Variable Definition").
var namePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// allowedName is a name that an entry may have. Beside those of namePattern there are names
// with dots and dashes, which programs read but shells do not, and on Windows with brackets.
var allowedName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.()-]*$`)

// IsName reports whether s can be the name of a variable.
func IsName(s string) bool { return namePattern.MatchString(s) }

// lowerNames are variables that are written in lower case.
var lowerNames = []string{"all_proxy", "ftp_proxy", "http_proxy", "https_proxy", "no_proxy"}

// LooksLikeVariable reports whether the second of two words of an `env` line is the name
// of another variable to hand on, and not the value of the first: a name is written as the
// first one is.
func LooksLikeVariable(first, second string) bool {
	switch {
	case strings.Contains(second, "="):
		name, _, _ := strings.Cut(second, "=")
		return namePattern.MatchString(name)
	case !namePattern.MatchString(second):
		return false
	}
	return second == strings.ToUpper(second) || first != strings.ToUpper(first) || slices.Contains(lowerNames, second)
}

// placeholderWord matches the text between the braces of a placeholder. Any other text in braces
// is not a placeholder, but JSON for example.
var placeholderWord = regexp.MustCompile(`^\$?[A-Za-z_][A-Za-z0-9_.\-\[\]:/]*$`)

// parseValue takes a value apart. A brace behind a backslash is text, as everywhere in
// Caddy.
func parseValue(s string) (parts []Part, err error) {
	var text strings.Builder
	for len(s) > 0 {
		i := strings.IndexAny(s, `\{`)
		if i < 0 {
			break
		}
		text.WriteString(s[:i])
		s = s[i:]
		if s[0] == '\\' {
			if len(s) > 1 && (s[1] == '{' || s[1] == '}') {
				s = s[1:]
			}
			text.WriteByte(s[0])
			s = s[1:]
			continue
		}
		end := strings.IndexAny(s[1:], "{}") + 1
		if end == 0 || s[end] == '{' {
			if strings.HasPrefix(s[1:], "env.") || strings.HasPrefix(s[1:], "file.") {
				return nil, errors.New("a placeholder is not closed, or has another one in it; write one after the other, or \\{ for a brace")
			}
			text.WriteByte('{')
			s = s[1:]
			continue
		}
		inner := s[1:end]
		switch {
		case strings.HasPrefix(inner, "env.") && len(inner) > len("env."), strings.HasPrefix(inner, "file.") && len(inner) > len("file."):
			parts = append(parts, Part{Text: text.String()}, Part{Placeholder: inner})
			text.Reset()
		case placeholderWord.MatchString(inner):
			return nil, fmt.Errorf("{%s} is not replaced here, since nothing of a request reaches a program; "+
				"use {env.NAME} or {file./path}, or write \\{%[1]s} for the text itself", inner)
		default:
			text.WriteString(s[:end+1])
		}
		s = s[end+1:]
	}
	text.WriteString(s)
	return append(parts, Part{Text: text.String()}), nil
}
