package mcpauthbridge

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// blockOption is an option of a block that sets up a T.
type blockOption[T any] struct {
	name    string
	example string // its values, for errors
	read    func(s setting, to *T) error
	repeats bool // it may stand more than once
}

// readBlock reads the block of an option, which may be left out. check checks what was read
// so far after each option, so that an error has its line; it may be nil.
func readBlock[T any](d *caddyfile.Dispenser, block string, options []blockOption[T], to *T, check func() error) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		i := slices.IndexFunc(options, func(o blockOption[T]) bool { return o.name == name })
		if i < 0 {
			return errUnknownIn(d, block, name, namesOf(options))
		}
		option := options[i]
		if seen[name] && !option.repeats {
			return errTwice(d, block+" "+name)
		}
		seen[name] = true
		s := setting{Dispenser: d, label: block + " " + name, example: name + " " + option.example}
		if option.example == "" {
			s.example = name
		}
		err := option.read(s, to)
		if err == nil {
			err = s.noBlock() // behind an option that has read its own, if it has one
		}
		if err == nil && check != nil {
			err = placed(d, check())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func namesOf[T any](options []blockOption[T]) (names []string) {
	for _, o := range options {
		names = append(names, o.name)
	}
	return names
}

// errTwice refuses an option that stands twice.
func errTwice(d *caddyfile.Dispenser, label string) error {
	return d.Errf("%s is given twice; remove one of the two", label)
}

// placed returns the first error of err with the file and line of the token that was just read.
func placed(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		err = joined.Unwrap()[0]
	}
	return d.WrapErr(err)
}
