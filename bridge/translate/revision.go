package translate

import "sync"

// Era is how a server begins a conversation.
type Era uint8

const (
	// Unknown means that the server was not asked yet.
	Unknown Era = iota
	// Handshake is a server that begins with initialize (MCP specification 2024-11-05 to
	// 2025-11-25). One connection to it has one client.
	Handshake
	// Stateless is a server that answers server/discover (MCP specification 2026-07-28).
	// Each request stands for itself.
	Stateless
)

// maxHandshakes bounds the handshakes in a row that may fail without an answer. Then the
// server is asked for its era again, because it may be another program by now.
const maxHandshakes = 5

// ServerRevision is what an endpoint knows of the protocol revision of its server. The
// sessions and the shared servers of the endpoint have one in common. All methods may be
// called at the same time.
type ServerRevision struct {
	remote bool

	mu                sync.Mutex
	era               Era
	refusesInitialize bool
	failed            int // handshakes in a row that were not answered
}

// NewServerRevision returns what is known of a server before its first connection. remote
// means that the server is connected to and not started: shared servers always use the
// handshake with it.
func NewServerRevision(remote bool) *ServerRevision {
	v := &ServerRevision{remote: remote}
	if remote {
		v.era = Handshake
	}
	return v
}

// Known returns the era of the server for shared servers.
func (v *ServerRevision) Known() Era {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.era
}

// Found notes the era that the server has shown.
func (v *ServerRevision) Found(e Era) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.era = e
}

// FoundStateless notes that a server for which a handshake was tried is stateless.
func (v *ServerRevision) FoundStateless() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.era, v.failed = Stateless, 0
}

// HandshakeAnswered notes whether a handshake was answered. If too many in a row were not,
// the era is unknown again.
func (v *ServerRevision) HandshakeAnswered(answered bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if answered {
		v.failed = 0
		return
	}
	if v.failed++; v.failed >= maxHandshakes {
		v.era, v.failed = Unknown, 0
	}
}

// RefusesInitialize reports whether the server is known to refuse initialize.
func (v *ServerRevision) RefusesInitialize() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.refusesInitialize
}

// SetRefusesInitialize notes whether the server refuses initialize and answers
// server/discover instead. Clients find out when that is not so any more, because the
// server may be another one by then (MCP specification 2026-07-28, "Backward Compatibility
// with Initialization-Based Versions").
func (v *ServerRevision) SetRefusesInitialize(refuses bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refusesInitialize = refuses
	if refuses && !v.remote {
		v.era = Stateless
	}
}
