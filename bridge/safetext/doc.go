// Package safetext makes texts of clients and servers safe to show to an operator, in
// logs and in the status: without tokens, session ids, cookies, queries and nonces.
package safetext
