// Package identity computes what may be shared: the identity of an endpoint ([Endpoint]),
// which sessions, servers and memory are kept by, and the owner of a request ([Owner]), who
// alone may use a session. A new way to tell users apart goes into fields.go or owner.go.
package identity
