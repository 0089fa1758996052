package mcpauthbridge

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
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
	return d.Errf("%s is given twice; give it only once", label)
}

// blocks has the options of each block, for those who look for them in another place.
func blocks() map[string][]string {
	return map[string][]string{
		"challenge":            namesOf(challengeOptions),
		"cors":                 namesOf(corsOptions),
		"metadata":             namesOf(metadataOptions),
		"authorization_server": namesOf(authorizationServerOptions),
		"authorize":            namesOf(authorizeOptions),
		"stdio":                namesOf(stdioOptions),
		"sessions":             namesOf(sessionsOptions),
		"limits":               namesOf(limitsOptions),
	}
}

// errUnknownIn refuses an option that a block does not have.
func errUnknownIn(d *caddyfile.Dispenser, block, name string, known []string) error {
	if renamed[block][name] == "" && suggest.Nearest(name, known) == "" {
		if home := homeOf(name, block); home != "" {
			return d.Errf("%s: the option %q belongs in %s; move it there", block, name, home)
		}
	}
	return d.Err(suggest.Unknown(block, name, known, renamed[block]))
}

// homeOf returns where an option belongs that does not belong in a block; nothing if there
// is no such option. The empty block is that of mcp_auth_bridge itself.
func homeOf(name, not string) string {
	if not != "" && slices.ContainsFunc(options, func(o topOption) bool { return o.name == name }) {
		return "the block of mcp_auth_bridge"
	}
	for _, block := range blockNames {
		if block != not && slices.Contains(blocks()[block], name) {
			return "the block `" + block + "`"
		}
	}
	return ""
}

// blockNames are the blocks in the order in which an option is looked for.
var blockNames = []string{"cors", "metadata", "challenge", "authorization_server", "authorize", "stdio", "sessions", "limits"}

// renamed has, for each block, the new names of options that have had another one.
var renamed = map[string]map[string]string{
	"limits": {
		"request_body":         "max_request_body",
		"held_body":            "max_held_body",
		"response_header":      "response_header_timeout",
		"response_header_size": "max_response_header",
		"challenge_wait":       "challenge_timeout",
		"metadata_size":        "max_metadata_size",
		"metadata_entries":     "max_metadata_entries",
		"form":                 "max_form",
		"message":              "max_message",
		"endpoint_event":       "max_endpoint_event",
	},
	"sessions": {
		"idle":       "idle_timeout",
		"lifetime":   "max_lifetime",
		"buffer":     "max_buffer",
		"keep_alive": "keepalive_interval",
		"unmatched":  "unmatched_timeout",
	},
}

// placed gives the first of the errors of what was just read its place.
func placed(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		err = joined.Unwrap()[0]
	}
	return d.WrapErr(err)
}
