// Package metadata finds, maps and serves the protected resource metadata
// (RFC 9728) of an MCP endpoint, and decides which metadata URLs of a challenge
// are the endpoint's own.
//
// A [Store] belongs to one endpoint. Its document is the one that the operator
// configured, or else the upstream's own. Discovery looks for the upstream's as a client
// would: at the resource_metadata URL of the upstream's own challenge, at the
// path-inserted well-known URL, and at the root one. Invalid documents are skipped.
//
// The upstream's document keeps every member and its order. Only the value of resource
// is mapped to the public URL, and only if it named the upstream.
//
// A challenge may name another document, and an MCP URL may have a query: each of these
// leads to a document of its own.
//
// The parts: the cache (cache.go, state.go), the search at the upstream (discover.go,
// send.go, serverdiscover.go), the mapping of documents (document.go, serverdocument.go),
// the mapping of challenge URLs (challengeurl.go), which URLs are the upstream's
// (upstream.go), and the answers to clients (serve.go).
//
// # Whose URL is it
//
// URLs are judged by their text, never by DNS. Hosts are compared in lower case
// and without one trailing dot, ports with the scheme's default filled in, and
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
