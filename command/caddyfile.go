package command

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/site"
)

// DefaultPath is the path of an endpoint whose Caddyfile names none.
const DefaultPath = "/mcp"

// DefaultListen is where `caddy mcp serve` listens without --listen and --domain.
const DefaultListen = "localhost:8080"

// Options are the arguments of `caddy mcp serve`.
type Options struct {
	Listen, Domain, Path string
	To                   string   // the URL of a server that speaks HTTP
	Program              []string // a program that is started, and its arguments
}

// Place is where the site is.
type Place struct {
	addresses []string // of the site, as its Caddyfile has them
	bind      string   // the host that it listens on; empty: all
	listen    string   // what it listens on, as a network address of Caddy
	// URL is the origin that clients use.
	URL string
}

// place works out where the site is.
func (o *Options) place() (Place, error) {
	listen := o.Listen
	if listen == "" && o.Domain == "" {
		listen = DefaultListen
	}
	host, port, err := splitListen(listen, o.Domain != "")
	if err != nil {
		return Place{}, err
	}
	p := Place{bind: host}
	if host == "localhost" {
		p.bind = "127.0.0.1"
	}
	if o.Domain != "" {
		if strings.ContainsAny(o.Domain, "/:{}\"`, \t\r\n") {
			return Place{}, fmt.Errorf("--domain %q must be a host name, such as mcp.example.com", o.Domain)
		}
		p.URL = "https://" + o.Domain
		p.addresses = []string{o.Domain}
		if port != "" {
			p.URL += ":" + port
			p.addresses = []string{p.URL}
		}
		p.listen = net.JoinHostPort(p.bind, withDefault(port, "443"))
		return p, nil
	}
	p.listen = net.JoinHostPort(p.bind, port)
	switch p.bind {
	case "127.0.0.1", "::1":
		p.URL = "http://localhost:" + port
		p.addresses = []string{p.URL, "http://" + p.listen}
	case "":
		p.URL = "http://<this machine>:" + port
		p.addresses = []string{"http://:" + port}
	default:
		p.URL = "http://" + p.listen
		p.addresses = []string{"http://:" + port}
	}
	return p, nil
}

// splitListen splits the value of --listen. The port may be missing if there is a domain.
func splitListen(listen string, hasDomain bool) (host, port string, err error) {
	if listen == "" {
		return "", "", nil
	}
	host, port, err = net.SplitHostPort(listen)
	if err != nil && hasDomain && !strings.Contains(listen, ":") {
		host, port, err = listen, "", nil
	}
	if err == nil && (port != "" || !hasDomain) {
		if n, numeric := strconv.ParseUint(port, 10, 16); numeric != nil || n == 0 {
			err = errors.New("bad port")
		}
	}
	if err != nil || strings.ContainsAny(host, "/{}\"`, \t\r\n%") {
		advice := DefaultListen
		if _, numeric := strconv.ParseUint(listen, 10, 16); numeric == nil {
			advice = "localhost:" + listen
		}
		return "", "", fmt.Errorf("--listen %q must be a host and a port; write %s", listen, advice)
	}
	return host, port, nil
}

func withDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Caddyfile returns the Caddyfile for the options, and the place of its site.
func (o *Options) Caddyfile() (string, Place, error) {
	switch {
	case o.To == "" && len(o.Program) == 0:
		return "", Place{}, errors.New("missing server: give a program, as in `caddy mcp serve -- npx -y <package>`, or --to with the URL of a server")
	case o.To != "" && len(o.Program) > 0:
		return "", Place{}, fmt.Errorf("--to %s and the program %q are two servers; give one of them", o.To, o.Program[0])
	}
	p, err := o.place()
	if err != nil {
		return "", Place{}, err
	}
	if len(o.Program) > 0 && !site.IsLocal(p.listen) {
		return "", Place{}, fmt.Errorf("other machines can reach %s, and everyone could run the program there; add `--listen %s`, "+
			"or put a login in front of it in a Caddyfile, with allow_unauthenticated in the block of stdio", p.listen, o.localListen())
	}
	if i := slices.IndexFunc(o.Program, unquotable); i >= 0 {
		return "", Place{}, fmt.Errorf("%q has a backtick and a backslash, which a Caddyfile cannot quote together; put the command into a script", o.Program[i])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s {\n", strings.Join(p.addresses, ", "))
	if p.bind != "" {
		fmt.Fprintf(&b, "\tbind %s\n", p.bind)
	}
	b.WriteString("\tmcp_auth_bridge")
	if o.Path != DefaultPath {
		b.WriteString(" " + Quote(o.Path))
	}
	if o.To != "" {
		fmt.Fprintf(&b, " %s\n}\n", Quote(o.To))
		return b.String(), p, nil
	}
	b.WriteString(" {\n\t\tstdio")
	for _, word := range o.Program {
		b.WriteString(" " + Quote(word))
	}
	b.WriteString("\n\t}\n}\n")
	return b.String(), p, nil
}

// localListen is a value of --listen that only this machine reaches.
func (o *Options) localListen() string {
	if o.Domain != "" {
		return "127.0.0.1"
	}
	if _, port, err := net.SplitHostPort(o.Listen); err == nil {
		return "localhost:" + port
	}
	return DefaultListen
}

// plain are the characters of words that need no quotes in a Caddyfile, beside letters and
// digits.
const plain = "-_./:@=+,%~"

// unquotable reports whether a word cannot be quoted in a Caddyfile: a word between backticks
// cannot have a backtick, and between double quotes a backslash escapes the next character.
func unquotable(word string) bool {
	return strings.Contains(word, "`") && strings.Contains(word, `\`)
}

// Quote returns a word as it is written in a Caddyfile. Placeholders in it are not escaped,
// because a Caddyfile cannot do that.
func Quote(word string) string {
	isPlain := func(r rune) bool {
		return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || strings.ContainsRune(plain, r)
	}
	switch {
	case word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !isPlain(r) }):
		return word
	case strings.ContainsAny(word, `"\`) && !strings.Contains(word, "`"):
		return "`" + word + "`"
	}
	return `"` + strings.ReplaceAll(word, `"`, `\"`) + `"`
}
