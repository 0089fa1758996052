// Package authserver bridges an authorization server that stands on the MCP server's own origin:
// it decides which paths of the public origin are the authorization server's, and edits what
// crosses between a browser or an OAuth client and a server that has another origin than it
// thinks (parameters of queries and forms, cookies, redirects, URLs in JSON). Every byte that
// does not have to change stays.
//
// The root package uses [Server] and [Request]. Package bridge makes the Server of an endpoint.
package authserver
