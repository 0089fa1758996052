package mcpauthbridge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/placeholder"
)

// namePlaceholder is replaced by each of the `names` of a directive.
const namePlaceholder = "{name}"

// maxName is the most bytes of one of the `names`: those of a label of a host name.
const maxName = 63

// namesExample is a line with names, for errors.
const namesExample = "names github files"

// parseNames reads a directive with `names`: one endpoint for each name, as if each were
// written out with the name in place of {name}. segment has the tokens of the directive
// without `names`.
func parseNames(h httpcaddyfile.Helper, names []string, segment caddyfile.Segment) (routes []httpcaddyfile.ConfigValue, err error) {
	for _, name := range names {
		tokens := slices.Clone(segment)
		for i := range tokens {
			tokens[i].Text = strings.ReplaceAll(tokens[i].Text, namePlaceholder, name)
		}
		own, err := parseEndpoint(h.WithDispenser(caddyfile.NewDispenser(tokens)), name)
		if err != nil {
			return nil, fmt.Errorf("server %q: %w", name, err)
		}
		routes = append(routes, own...)
	}
	return routes, nil
}

// takeNames takes the options `names` out of the tokens of a directive.
func takeNames(segment caddyfile.Segment) (names []string, rest caddyfile.Segment, err error) {
	d := caddyfile.NewDispenser(segment)
	d.Next()
	line := caddyfile.Segment{d.Token()}
	for d.NextArg() {
		line = append(line, d.Token())
	}
	split := &directive{seen: make(map[string]bool)}
	varies := slices.ContainsFunc(line[1:], func(t caddyfile.Token) bool {
		return strings.Contains(t.Text, namePlaceholder) && (strings.HasPrefix(t.Text, "/") || strings.HasPrefix(t.Text, "@"))
	})
	var first caddyfile.Segment // of the options `names`
	var root, public *caddyfile.Token
	block := segment[len(line):]
	rest = slices.Clone(line)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.NextSegment()
		switch option[0].Text {
		case "names":
			if err := split.parseOption(option); err != nil {
				return nil, nil, err
			}
			if first == nil {
				first = option
			}
			continue
		case "endpoint":
			varies = varies || slices.ContainsFunc(option, func(t caddyfile.Token) bool { return strings.Contains(t.Text, namePlaceholder) })
		case "public_url":
			if !slices.ContainsFunc(option, func(t caddyfile.Token) bool { return strings.Contains(t.Text, namePlaceholder) }) {
				public = &option[0]
			}
		case "root_metadata":
			root = &option[0]
		}
		if len(rest) == len(line) {
			rest = append(rest, block[0]) // the brace
		}
		rest = append(rest, option...)
	}
	switch {
	case first == nil:
		return nil, segment, nil
	case !varies:
		return nil, nil, at(first[0]).Errf("names: each server needs a path of its own: write %s in the path of the endpoint, as in `mcp_auth_bridge /servers/%[1]s/mcp http://%[1]s:3000/mcp`", namePlaceholder)
	case public != nil && len(split.names) > 1:
		return nil, nil, at(*public).Errf("public_url: each server needs a URL of its own; write %s in it, as in `public_url https://mcp.example.com/%[1]s/mcp`", namePlaceholder)
	case root != nil && len(split.names) > 1:
		return nil, nil, errRootOfNames(*root, line, split.names)
	}
	if len(rest) > len(line) {
		rest = append(rest, block[len(block)-1])
	}
	return split.names, rest, nil
}

// errRootOfNames refuses root_metadata for all servers of a directive.
func errRootOfNames(root caddyfile.Token, line caddyfile.Segment, names []string) error {
	var words []string
	for _, token := range line {
		words = append(words, strings.ReplaceAll(token.Text, namePlaceholder, names[0]))
	}
	return at(root).Errf("root_metadata: only one endpoint of a site can have it, and this directive has %d; remove it here, and write its server apart and not in `names`, as in `%s {`", len(names), strings.Join(words, " "))
}

func readNames(dir *directive, s setting) error {
	var names []string
	if err := s.list(&names); err != nil {
		return err
	}
	for _, name := range names {
		if err := checkName(name); err != nil {
			return s.WrapErr(err)
		}
		if slices.Contains(dir.names, name) {
			return s.Errf("names: %q is given twice; remove one of the two", name)
		}
		dir.names = append(dir.names, name)
	}
	return nil
}

// checkName refuses names that do not stand for themselves in a path and in a host name: paths
// are compared with those of clients, who can write other characters in several ways.
func checkName(name string) error {
	lower := strings.ToLower(name)
	switch {
	case placeholder.In(name):
		return fmt.Errorf("names: %q must be a name; %s", name, atLoad(name))
	case strings.ContainsAny(name, "*?[]^$|()+"):
		return fmt.Errorf("names: %q must be a name, not a pattern; write each name, as in `%s`", name, namesExample)
	case lower != name && checkName(lower) == nil:
		return fmt.Errorf("names: %q must be in lower case, as host names are; write %s", name, lower)
	case len(name) > maxName:
		return fmt.Errorf("names: %q has more than %d characters; write a shorter name", name, maxName)
	case !isName(name):
		return fmt.Errorf("names: %q may have letters, digits, and inside it `-`, `_` and single dots; write a name such as github", name)
	}
	return nil
}

// isName reports whether a text has only lower-case letters and digits, and between them `-`,
// `_` and single dots.
func isName(s string) bool {
	isWord := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	for i := range len(s) {
		switch c := s[i]; {
		case isWord(c):
		case i == 0 || i == len(s)-1:
			return false
		case c == '.' && s[i-1] == '.':
			return false
		case c != '-' && c != '_' && c != '.':
			return false
		}
	}
	return s != ""
}

// errNameWithoutNames refuses {name} in the path of an endpoint whose directive has no names.
func errNameWithoutNames(path string) error {
	return fmt.Errorf("endpoint: %q has %s, which stands for the `names` of servers; write them in its block, as in `%s`", path, namePlaceholder, namesExample)
}
