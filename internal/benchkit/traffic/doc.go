// Package traffic has the requests and streams that programs below bench/ send to an HTTP upstream
// through a Caddy that is reloaded meanwhile. Each answer is judged.
package traffic
