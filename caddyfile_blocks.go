package mcpauthbridge

import (
	"cmp"
	"slices"
	"strings"

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

// blocks has the options of each block, for those who look for them in another place.
func blocks() map[string][]string {
	return map[string][]string{
		"challenge":            namesOf(challengeOptions),
		"cors":                 namesOf(corsOptions),
		"metadata":             namesOf(metadataOptions),
		"authorization_server": namesOf(authorizationServerOptions),
		"authorize":            namesOf(authorizeOptions),
		"authorize issuer":     namesOf(issuerOptions),
		"authorize rule":       namesOf(ruleOptions),
		introspectBlock:        namesOf(introspectOptions),
		exchangeBlock:          namesOf(exchangeOptions),
		"stdio":                namesOf(stdioOptions),
		"sessions":             namesOf(sessionsOptions),
		"limits":               namesOf(limitsOptions),
	}
}

// errUnknownIn refuses an option that a block does not have.
func errUnknownIn(d *caddyfile.Dispenser, block, name string, known []string) error {
	if hint := wordsOfRules[name]; hint != "" && slices.Equal(known, namesOf(ruleOptions)) {
		return d.Errf("%s: unrecognized option %q; %s", block, name, hint)
	}
	near := renamed[block][name] != "" || suggest.Nearest(name, known) != ""
	if home := homeOf(name, block); home != "" && (!near || strings.HasPrefix(block, "authorize")) {
		return d.Errf("%s: the option %q belongs in %s; move it there", block, name, home)
	}
	return d.Err(suggest.Unknown(block, name, known, renamed[block]))
}

// homeOf returns where an option belongs that does not belong in a block; nothing if there
// is no such option. The empty block is that of mcp_auth_bridge itself.
func homeOf(name, not string) string {
	if not != "" && slices.ContainsFunc(options, func(o topOption) bool { return o.name == name }) {
		return "the block of mcp_auth_bridge"
	}
	family, _, _ := strings.Cut(not, " ")
	names := slices.Clone(blockNames)
	slices.SortStableFunc(names, func(a, b string) int { // the nearest first
		return cmp.Compare(strings.Index(b, family), strings.Index(a, family))
	})
	var nested []string
	for _, block := range names {
		if block == not || !slices.Contains(blocks()[block], name) {
			continue
		}
		home := homes[block]
		if home == "" && len(nested) == 0 {
			return "the block `" + block + "`"
		}
		if home != "" {
			nested = append(nested, home)
		}
	}
	return strings.Join(nested, ", or in ")
}

// introspectBlock is the block with the credentials for an issuer that is asked about tokens.
const introspectBlock = "authorize issuer introspect"

// exchangeBlock is the block with what a token is exchanged for.
const exchangeBlock = "authorize token exchange"

// blockNames are the blocks in the order in which an option is looked for.
var blockNames = []string{
	"cors", "metadata", "challenge", "authorization_server", "authorize", "authorize issuer", "authorize rule", introspectBlock, exchangeBlock,
	"stdio", "sessions", "limits",
}

// homes are the blocks inside of others, as errors name them.
var homes = map[string]string{
	"authorize issuer": "the block of an `issuer`",
	"authorize rule":   "the block of a rule, such as `tools write_*`",
	introspectBlock:    "the block `introspect` of an `issuer`",
	exchangeBlock:      "the block `token exchange`",
}

// wordsOfRules has what to write in place of words that other programs have in rules.
var wordsOfRules = map[string]string{
	"allow":   "a rule without options allows: remove the line",
	"require": "write what is required as `scope`, `claim` or `when`",
	"scopes":  "write `scope`",
	"claims":  "write `claim`",
}

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
