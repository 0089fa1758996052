package doctor

import (
	"net/netip"
	"net/url"
	"strings"
)

// sharedAddressSpace is RFC 6598's.
var sharedAddressSpace = netip.MustParsePrefix("100.64.0.0/10")

// localSuffixes end names that no public DNS resolves.
var localSuffixes = []string{".localhost", ".local", ".internal", ".localdomain", ".lan", ".home.arpa", ".svc", ".cluster.local"}

// loopback reports whether a host is this machine. Nothing is resolved.
func loopback(u *url.URL) bool {
	host := bareHost(u)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// private reports whether a host means nothing, or another machine, to a client
// elsewhere: loopback, a private address, or a name without a dot. Nothing is
// resolved.
func private(u *url.URL) bool {
	host := bareHost(u)
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		return addr.IsLoopback() || addr.IsUnspecified() || addr.IsPrivate() ||
			addr.IsLinkLocalUnicast() || sharedAddressSpace.Contains(addr)
	}
	if !strings.Contains(host, ".") {
		return true
	}
	for _, suffix := range localSuffixes {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

func bareHost(u *url.URL) string {
	return strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
}

// originOf returns the origin of a URL as browsers write it.
func originOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if port := u.Port(); port == "80" && u.Scheme == "http" || port == "443" && u.Scheme == "https" || port == "" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme + "://" + host
}

// misplaced says why a client at one URL should not go to another that a server
// names, or returns "". What is judged is the text: a public server that names
// a private host sends its clients into their own networks.
func misplaced(from, to *url.URL) string {
	switch {
	case to.Scheme != "http" && to.Scheme != "https" || to.Host == "":
		return "is no http or https URL"
	case private(to) && !private(from):
		return "is on a private host"
	case loopback(to) && !loopback(from):
		return "is on the client's own machine"
	}
	return ""
}
