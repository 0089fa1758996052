package mcpauthbridge

import (
	"math"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/placeholder"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/suggest"
)

// setting is an option of the Caddyfile. The dispenser is at its name; the values are read next.
type setting struct {
	*caddyfile.Dispenser
	label   string // how errors name the option: "cors max_age"
	example string // a line that sets it
}

// as shows what the option looks like, for the end of an error.
func (s setting) as() string {
	if s.example == "" {
		return ""
	}
	return ", as in `" + s.example + "`"
}

// one reads the one value of the option.
func (s setting) one(to *string) error {
	if !s.NextArg() {
		return s.Errf("%s: needs a value%s", s.label, s.as())
	}
	*to = s.Val()
	return s.end()
}

// end refuses further values and a block.
func (s setting) end() error {
	if s.NextArg() {
		return s.Errf("%s: takes one value, remove %q; a text with spaces needs quotes", s.label, s.Val())
	}
	return s.noBlock()
}

// noBlock refuses a block after an option that takes none.
func (s setting) noBlock() error {
	for nesting := s.Nesting(); s.NextBlock(nesting); {
		return s.Errf("%s: takes no block; remove the braces, and write it on one line%s", s.label, s.as())
	}
	return nil
}

// many reads one or more values of the option.
func (s setting) many(to *[]string) error {
	values := s.RemainingArgs()
	if len(values) == 0 {
		return s.Errf("%s: needs one or more values%s", s.label, s.as())
	}
	*to = append(*to, values...)
	return nil
}

// list is many for values that have no comma.
func (s setting) list(to *[]string) error {
	var values []string
	if err := s.many(&values); err != nil {
		return err
	}
	for _, value := range values {
		if strings.Contains(value, ",") {
			return s.errComma(value, values)
		}
	}
	*to = append(*to, values...)
	return nil
}

// words is many for values that may have a comma in them, but not at the end.
func (s setting) words(to *[]string) error {
	var values []string
	if err := s.many(&values); err != nil {
		return err
	}
	for _, value := range values {
		if strings.HasSuffix(value, ",") {
			return s.errComma(value, values)
		}
	}
	*to = append(*to, values...)
	return nil
}

// errComma refuses commas between the values of a list.
func (s setting) errComma(value string, values []string) error {
	return s.Errf("%s: %q has a comma; separate values with spaces, as in `%s`", s.label, value, s.name()+" "+suggest.WithoutCommas(values))
}

// name is the option without its block.
func (s setting) name() string {
	return s.label[strings.LastIndexByte(s.label, ' ')+1:]
}

// flag reads an option that is on without a value, and off with the value `off`.
func (s setting) flag(to *bool) error {
	*to = true
	if !s.NextArg() {
		return s.noBlock()
	}
	switch s.Val() {
	case "on":
	case "off":
		*to = false
	default:
		return s.Errf("%s: takes no value but `off`; remove %q", s.label, s.Val())
	}
	return s.end()
}

// unlimited is the value of a limit that is off.
const unlimited = -1

// duration reads a positive duration, or `off` if that is a value of the option.
func (s setting) duration(to *caddy.Duration, off bool) error {
	var value string
	if err := s.one(&value); err != nil {
		return err
	}
	if off && value == "off" {
		*to = unlimited
		return nil
	}
	parsed, err := caddy.ParseDuration(value)
	if err != nil || parsed <= 0 {
		return s.errValue(value, "a duration, such as 30s or 10m", off, bareSeconds(value))
	}
	*to = caddy.Duration(parsed)
	return nil
}

// bareSeconds returns a number without a unit as seconds. It returns "" if value is not a number.
func bareSeconds(value string) string {
	if n, err := strconv.Atoi(value); err != nil || n <= 0 {
		return ""
	}
	return value + "s"
}

// maxSize bounds the sizes that can be configured, in bytes.
const maxSize = 1 << 40

// leastBare is the least number of bytes that may be written without a unit. A smaller one is
// meant in another unit.
const leastBare = 1024

// size reads a number of bytes such as 64KiB, or `off` if that is a value of the option.
func (s setting) size(to *int64, off bool) error {
	var value string
	if err := s.one(&value); err != nil {
		return err
	}
	if off && value == "off" {
		*to = unlimited
		return nil
	}
	n, err := humanize.ParseBytes(value)
	if _, bare := strconv.ParseUint(value, 10, 64); bare == nil && n > 0 && n < leastBare {
		return s.errValue(value, "a size with its unit, such as 64KiB or 16MiB", off, value+"MiB")
	}
	if err != nil || n == 0 || n > maxSize {
		return s.errValue(value, "a size, such as 64KiB or 16MiB, of at most 1TiB", off, "")
	}
	*to = int64(n)
	return nil
}

// count reads a positive number.
func (s setting) count(to *int) error {
	var value string
	if err := s.one(&value); err != nil {
		return err
	}
	n, err := strconv.Atoi(value)
	if err != nil || n <= 0 || n > math.MaxInt32 {
		return s.errValue(value, "a number from 1 to "+strconv.Itoa(math.MaxInt32), false, "")
	}
	*to = n
	return nil
}

// errValue refuses a value. want describes a valid value. meant is what the operator probably
// meant; it may be empty.
func (s setting) errValue(value, want string, off bool, meant string) error {
	end := ""
	switch {
	case placeholder.In(value):
		end = "; " + atLoad(value)
	case meant != "":
		end = "; write `" + s.name() + " " + meant + "`"
	case off:
		end = "; `off` means no limit"
	case value == "off":
		end = "; it cannot be off, remove the line for its default"
	}
	return s.Errf("%s: %q must be %s%s", s.label, value, want, end)
}

// atLoad names the kind of placeholder that works here, for a value with one that does not.
func atLoad(value string) string {
	name := "NAME"
	if _, rest, ok := strings.Cut(value, "{env."); ok {
		if before, _, ok := strings.Cut(rest, "}"); ok && before != "" {
			name = before
		}
	}
	return "placeholders are not replaced here: write `{$" + name + "}`, which is replaced when the Caddyfile is read"
}
