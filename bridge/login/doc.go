// Package login edits what crosses between a browser or an OAuth client and an
// authorization server that has another origin than it thinks: parameters of
// queries and forms, cookies, and which paths are its own. Every byte that does
// not have to change stays.
package login
