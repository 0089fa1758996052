// Package status is what the operator sees of the endpoints: the answers of Caddy's admin
// API, the status page, `caddy mcp status`, and the metrics. The root package registers them
// with Caddy, and hands in the endpoints.
package status
