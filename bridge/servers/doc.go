// Package servers starts and ends the MCP servers of one endpoint, and bounds how many there
// are. A server belongs to a [Holder]: a session, or the stateless requests that share it.
//
// What both kinds of holder need is here as well: the reading of a POST, the lock from which
// messages are sent ([Outbox]), and the writing of events to a client ([EventWriter]).
package servers
