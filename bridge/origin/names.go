package origin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Use is what a URL from a server is used for. It decides how strictly [Names.Own] checks
// that the URL is the server's own.
//
// For every use a URL is the server's own if it has the address that is dialled, the Host
// that was sent, or the public host, each with a port that the server may take for its own;
// or an origin that the operator lists. The constants say what each use adds.
type Use uint8

const (
	// Challenge is for the metadata URL of a challenge (contract A5), and for a redirect that
	// only adds or removes the final slash (A10). Mapping it is safe: the result is the
	// endpoint's own URL, or the same request to the same server. It adds the hosts above
	// with any port, and every local host ([Host.Local]).
	Challenge Use = iota
	// Reference is for any other Location or Content-Location (A10), and for the message path
	// of an HTTP+SSE server (D2). It is like Challenge, but another port of the public host
	// is another service, which clients can reach by themselves, unless that host is local.
	Reference
	// Document is for the resource or the issuer in a metadata document (C3, C5). Mapped, it
	// speaks for the public host. It adds local hosts, but only with the port that is dialled.
	Document
	// Fetch is for a URL that the bridge itself requests (C4). It adds nothing, and it does not
	// include the listed origins: these are other servers to ask.
	Fetch
)

// Names are the names of one server: the addresses that are dialled, and the origins that
// the operator lists.
type Names struct {
	dials  []Host
	listed []URL
}

// NewNames returns the names of a server: the addresses "host:port" that are dialled, with
// TLS or not, and the origins that the operator lists.
func NewNames(dials []string, https bool, listed []string) (*Names, error) {
	n := new(Names)
	var errs []error
	for _, dial := range dials {
		h, err := parseDial(dial, https)
		if err != nil {
			errs = append(errs, fmt.Errorf("upstream %q: %w", dial, err))
			continue
		}
		n.dials = append(n.dials, h)
	}
	for _, s := range listed {
		u, err := ParseOrigin(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("origins: %w", err))
			continue
		}
		n.listed = append(n.listed, u)
	}
	return n, errors.Join(errs...)
}

// parseDial parses an address that is dialled. ":3000" is an address on this machine: it has
// a port but no host.
func parseDial(dial string, https bool) (h Host, err error) {
	if port, ok := strings.CutPrefix(dial, ":"); ok {
		h.Port, err = parsePort(port)
		return h, err
	}
	return ParseHost(withoutZone(dial), defaultPort(https))
}

// withoutZone removes the zone of an IPv6 address, which has a meaning only on this machine
// and is in no URL of the server.
func withoutZone(dial string) string {
	before, zone, ok := strings.Cut(dial, "%")
	if !ok || !strings.HasPrefix(dial, "[") {
		return dial
	}
	if i := strings.IndexByte(zone, ']'); i >= 0 {
		return before + zone[i:]
	}
	return dial
}

// Dials returns the dialled addresses that have a host.
func (n *Names) Dials() []Host { return n.dials }

// Listed reports whether the operator lists the URL's origin.
func (n *Names) Listed(u URL) bool { return slices.ContainsFunc(n.listed, u.SameOrigin) }

// DialsPort reports whether one of the dialled addresses has this port.
func (n *Names) DialsPort(port uint16) bool {
	return slices.ContainsFunc(n.dials, func(d Host) bool { return d.Port == port })
}

func (n *Names) dialsName(name string) bool {
	return slices.ContainsFunc(n.dials, func(d Host) bool { return d.Name == name })
}

// Seen is what one request to the server adds to its names. Texts that do not parse add
// nothing.
type Seen struct {
	Public URL    // the origin that the client used
	Sent   string // the Host field that the server was sent
	Dial   string // the address that was dialled, "host:port"; empty: one of [Names.Dials]
	HTTPS  bool   // whether Dial was dialled with TLS
}

// sent parses the Host field. Its port is 0 if none was sent, because it is not known which
// scheme the server assumes.
func (s Seen) sent() Host { return zeroIf(ParseHost(s.Sent, 0)) }

// dialled parses the address that was dialled.
func (s Seen) dialled() Host {
	if s.Dial == "" {
		return Host{}
	}
	return zeroIf(ParseHost(withoutZone(s.Dial), defaultPort(s.HTTPS)))
}

func zeroIf(h Host, err error) Host {
	if err != nil {
		return Host{}
	}
	return h
}

// Own reports whether a URL that the server has sent is its own, for one use.
func (n *Names) Own(u URL, seen Seen, use Use) bool {
	if u.Name == "" {
		return false
	}
	switch use {
	case Challenge, Reference:
		if n.Listed(u) || u.Local() {
			return true
		}
		if u.Name == seen.Public.Name {
			return use == Challenge || n.exactly(u, seen)
		}
		return n.dialsName(u.Name) || u.Name == seen.sent().Name || u.Name == seen.dialled().Name
	case Document:
		return n.Listed(u) || u.Local() && n.DialsPort(u.Port) || n.exactly(u, seen)
	case Fetch:
		return n.exactly(u, seen)
	}
	return false
}

// exactly reports whether the URL has the address that is dialled, or the Host that was
// sent, or the public host with a port that the server may take for its own: the public
// port, the default of the scheme, or the dialled one.
func (n *Names) exactly(u URL, seen Seen) bool {
	if slices.Contains(n.dials, u.Host) {
		return true
	}
	if u.Name == seen.Public.Name {
		return u.Port == seen.Public.Port || u.onDefaultPort() || n.DialsPort(u.Port) || u.Port == seen.dialled().Port
	}
	if u.Host == seen.dialled() {
		return true
	}
	sent := seen.sent()
	return u.Name == sent.Name && (u.Port == sent.Port || sent.Port == 0 && u.onDefaultPort())
}

// Set is a set of origins. A URL of the authorization server must be on exactly one of its
// origins (contract C5). [Names.Own], which is more lenient, is not used for these URLs.
type Set []URL

// Has reports whether the URL is on one of the origins.
func (s Set) Has(u URL) bool { return slices.ContainsFunc(s, u.SameOrigin) }

// Without returns the set without an origin. If the text is not an origin it returns the
// whole set.
func (s Set) Without(raw string) Set {
	u, err := ParseOrigin(raw)
	if err != nil {
		return s
	}
	return slices.DeleteFunc(slices.Clone(s), u.SameOrigin)
}

// Add adds the origin of a URL.
func (s *Set) Add(u URL) {
	u.Path, u.Query, u.Fragment = "", "", false
	if !s.Has(u) {
		*s = append(*s, u)
	}
}
