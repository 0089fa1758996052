// Package hubtest is the other side of a hub in a test: scripted servers and upstreams, and
// clients with a session and without. A [Kit] makes the hubs of the package under test.
package hubtest
