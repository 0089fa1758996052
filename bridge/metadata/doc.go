// Package metadata finds, maps and serves the protected resource metadata
// (RFC 9728) of an MCP endpoint, and judges which metadata URLs of a challenge
// are the endpoint's own.
//
// A [Store] belongs to one endpoint. Its document is the one that the operator
// configured or, failing that, the upstream's own, found as a client would find
// it: at the path-inserted well-known URL, at the root one, and then at the
// resource_metadata URL of the upstream's own 401. The upstream's document keeps
// every member and its order; only the value of resource is mapped to the public
// URL, and only where it named the upstream.
//
// # Whose URL is it
//
// URLs are judged on their text, never by DNS. Hosts are compared in lower case
// and without one trailing dot, ports with the scheme's default filled in,
// IPv6-mapped IPv4 addresses as the IPv4 address.
//
// Local hosts are the loopback, unspecified, private (RFC 1918, RFC 4193),
// link-local and shared (RFC 6598) addresses, names of a single label, and names
// below localhost, local, internal, localdomain, lan, home.arpa and svc.
//
// A URL is foreign, and stays as it is, when it has userinfo, a percent-encoded
// or non-ASCII host, an IPv6 zone, a port of 0, another scheme than http or
// https, a control character, a space or a backslash anywhere, or a host that
// ends in a number and is no dotted-decimal IPv4 address: 127.1, 0x7f.1,
// 2130706433 and 127.0.0.01 are foreign, though some clients would reach the
// loopback interface by them. A reference that starts with one slash is judged
// like a URL on the public host. Any other relative reference is foreign.
package metadata
