// Package placeholder replaces placeholders of Caddy in the values of options, when a
// configuration is loaded.
package placeholder

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// In reports whether a value of an option has a placeholder that is replaced when the
// configuration is loaded: {env.*} or {file.*}.
func In(value string) bool {
	return strings.Contains(value, "{env.") || strings.Contains(value, "{file.")
}

// Unset returns the environment variables that a value names and that have no value.
func Unset(value string) (names []string) {
	for {
		_, rest, ok := strings.Cut(value, "{env.")
		if !ok {
			return names
		}
		var name string
		if name, value, ok = strings.Cut(rest, "}"); ok && os.Getenv(name) == "" {
			names = append(names, name)
		}
	}
}

// Written returns the values without a placeholder, which are known when the Caddyfile is read.
func Written(values []string) []string {
	return slices.DeleteFunc(slices.Clone(values), In)
}

// Replacer replaces {env.*} and {file.*} in the values of options, and collects the errors.
type Replacer struct {
	replace func(string) string
	errs    []error
}

// NewReplacer returns a replacer without errors.
func NewReplacer() *Replacer { return &Replacer{replace: Known("env.", "file.")} }

// One replaces the placeholders of a value. A value that becomes empty is an error, which names
// the option.
func (r *Replacer) One(option string, to *string) {
	if !In(*to) {
		return
	}
	value := strings.TrimSpace(r.replace(*to))
	if value == "" {
		r.errs = append(r.errs, fmt.Errorf("%s: %q is empty; set the environment variable or write the file that it names", option, *to))
	}
	*to = value
}

// List replaces the placeholders of a list. A placeholder may stand for several values with
// spaces between them.
func (r *Replacer) List(option string, to *[]string) {
	if !slices.ContainsFunc(*to, In) {
		return
	}
	var values []string
	for _, value := range *to {
		if !In(value) {
			values = append(values, value)
			continue
		}
		r.One(option, &value)
		values = append(values, strings.Fields(value)...)
	}
	*to = values
}

// Err returns the errors of all values that could not be replaced, or nil.
func (r *Replacer) Err() error { return errors.Join(r.errs...) }

// Known returns a function that replaces placeholders in a text if their names begin with one of
// kinds and they have a value. Others stay as they are.
func Known(kinds ...string) func(text string) string {
	known := caddy.NewReplacer()
	chosen := caddy.NewEmptyReplacer()
	chosen.Map(func(key string) (any, bool) {
		for _, kind := range kinds {
			if strings.HasPrefix(key, kind) {
				return known.Get(key)
			}
		}
		return nil, false
	})
	return func(text string) string { return chosen.ReplaceKnown(text, "") }
}
